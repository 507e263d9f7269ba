"""What a session deposits, and when: the wire's half of a last will (protocol.md section 11)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from paxlock.core.lease import NAME_MAX_BYTES, Candidate
from paxlock.core.messages import Poll, Release, View
from paxlock.host.last_will import LastWill, obey_will, will_words
from paxlock.wire import wills as wills_module
from paxlock.wire.endpoint import Endpoint, NodeSender, SessionSender
from paxlock.wire.header import parse_untrusted
from paxlock.wire.keyring import Keyring
from paxlock.wire.transport import Address
from paxlock.wire.wills import FIRST_NUMBER, LEASES_MAX, LEASES_PER_PAGE, Wills

CELL = b"cell" * 4
SENDER = SessionSender(b"S" * 16)
SESSION = SENDER.session
HOME = ("10.0.1.1", 5000)
PLACES: dict[str, Address] = {"a": ("10.0.0.1", 7400), "b": ("10.0.0.2", 7400), "c": ("10.0.0.3", 7400)}
MEMBERS = {node_id: [address] for node_id, address in PLACES.items()}
COOKIE_S = 25.0


class Kept:
    """A guardian that only keeps. ``settled`` counts how often it was waited for."""

    def __init__(self) -> None:
        self.will = LastWill()
        self.will.process_dead = self.will.pipe_ended = True
        self.deposits = 0
        self.settled = 0
        self.caught_up = 0
        self.closed = False

    def expect(self) -> None:
        pass

    def deposit(self, page: int, at: int, address: Address, datagrams: Sequence[bytes]) -> None:
        self.deposits += 1
        line = will_words(0, page, at, address, tuple(datagrams))
        obey_will(self.will, line.encode().split())

    def catch_up(self) -> None:
        self.caught_up += 1

    def settle(self) -> None:
        self.settled += 1

    def close(self) -> None:
        self.closed = True


class World:
    """A session that has proved itself to three nodes, and its will."""

    def __init__(self) -> None:
        keys = Keyring({1: bytes(range(32))})
        self.session = Endpoint(SENDER, keys, cell_id=CELL, epoch=1, members=MEMBERS)
        self.nodes = {
            PLACES[node]: Endpoint(
                NodeSender(node, 1, b"r" * 16), keys, cell_id=CELL, epoch=1, members=MEMBERS
            )
            for node in PLACES
        }
        self.now = 1000.0
        self.guardian = Kept()
        self.wills = Wills(self.session, self.guardian)

    def exchange(self) -> None:
        """The session asks all nodes, and they answer; twice, as the first time is a challenge."""
        for _ in range(2):
            for node_id in PLACES:
                self.session.queue(node_id, Poll(1, "jobs"))
            for datagram, address in self.session.flush():
                node = self.nodes[address]
                node.age(self.now)
                received = node.receive_untrusted(datagram, HOME)
                if received is not None:
                    node.queue(SESSION, View(1, "jobs", 0, None, 0, False, False, False, 0))
                for answer, _ in node.flush():
                    self.session.receive_untrusted(answer, address)
            self.session.flush()

    def hold(self, ticket: int, name: str = "jobs") -> None:
        self.wills.hold(ticket, name, Candidate(SESSION, ticket), 7)

    def read(self) -> dict[Address, list[Release]]:
        """What the nodes would take of the will now; to each, in the order of sending."""
        found: dict[Address, list[Release]] = {address: [] for address in self.nodes}
        for _, address, datagram in self.guardian.will.due():
            received = self.nodes[address].receive_untrusted(datagram, HOME)
            if received is not None:
                found[address] += [message for message in received.messages if isinstance(message, Release)]
        return found

    def names_only(self, *tickets: int) -> bool:
        """Whether all three nodes would let go of just these."""
        wanted = [Candidate(SESSION, ticket) for ticket in tickets]
        return all([one.candidate for one in told] == wanted for told in self.read().values())


@pytest.fixture
def world() -> World:
    found = World()
    found.exchange()
    return found


def test_a_will_releases_exactly_what_is_held_at_every_node(world: World) -> None:
    world.hold(1)
    world.hold(2, "other")
    world.wills.settle_turn()
    assert set(world.read()[PLACES["a"]]) == {
        Release(0, "jobs", Candidate(SESSION, 1), 7),
        Release(0, "other", Candidate(SESSION, 2), 7),
    }


def test_what_is_over_is_in_it_no_more(world: World) -> None:
    world.hold(1)
    world.hold(2, "other")
    world.wills.settle_turn()
    world.wills.drop(1)
    world.wills.settle_turn()
    assert world.names_only(2)
    world.wills.drop(2)
    world.wills.settle_turn()
    assert world.guardian.will.due() == []


def test_its_numbers_are_its_own_and_a_node_takes_them_whatever_was_sent_since(world: World) -> None:
    world.hold(1)
    world.wills.settle_turn()
    for _ in range(600):
        world.exchange()
    assert world.names_only(1)


def test_no_number_is_used_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    sealing = world.session._sealing
    shipped = sealing.seal_at

    def seal_at(number: int, *args: object, **kwargs: object) -> bytes:
        used.append(number)
        return shipped(number, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sealing, "seal_at", seal_at)
    for ticket in range(1, 40):
        world.hold(ticket, f"name {ticket}")
        world.wills.settle_turn()
        world.exchange()
    assert len(set(used)) == len(used)
    of_wills = [number for number in used if number >= FIRST_NUMBER]
    assert of_wills == sorted(of_wills)
    assert max(number for number in used if number < FIRST_NUMBER) < 1000


def test_another_cookie_is_a_reason_to_deposit_anew(world: World) -> None:
    world.hold(1)
    world.wills.settle_turn()
    deposits = world.guardian.deposits
    world.wills.settle_turn()
    assert world.guardian.deposits == deposits  # nothing has changed
    for _ in range(4):  # the cookies of the first deposit are long dead by then
        world.now += COOKIE_S
        world.exchange()
        world.wills.settle_turn()
    assert world.guardian.deposits > deposits
    assert world.names_only(1)


def test_a_node_whose_cookie_is_not_known_gets_nothing() -> None:
    world = World()
    world.hold(1)
    world.wills.settle_turn()
    assert world.guardian.will.due() == []
    world.exchange()
    world.wills.settle_turn()
    assert world.names_only(1)


def test_whoever_may_take_the_lease_by_what_is_sent_now_is_in_the_will_first(world: World) -> None:
    world.hold(1)
    world.wills.settle_turn()
    deposits = world.guardian.deposits
    world.wills.settle_places()
    assert world.guardian.deposits == deposits
    for _ in range(4):  # the cookies of the first deposit are long dead by then
        world.now += COOKIE_S
        world.exchange()
        world.wills.settle_places()
    assert world.names_only(1)


def test_what_waits_for_the_guardian_is_told_with_the_next_turn(world: World) -> None:
    world.hold(1)
    world.wills.settle_turn()
    told = world.guardian.caught_up
    world.wills.settle_turn()
    assert world.guardian.caught_up == told + 1


def test_at_a_node_whose_address_is_lost_no_handle_is_undone(world: World) -> None:
    """Its numbers are not the next node's, and what was deposited for it is taken back."""
    world.hold(1)
    world.hold(2, "other")
    world.wills.settle_turn()
    world.session.configure(CELL, 1, {**MEMBERS, "b": []})
    world.wills.withdraw(1)
    told = {place: [one.candidate.attempt for one in found] for place, found in world.read().items()}
    assert told == {PLACES["a"]: [2], PLACES["b"]: [], PLACES["c"]: [2]}


def test_before_a_handle_is_shown_the_guardian_has_said_that_it_is_out(world: World) -> None:
    world.hold(1)
    world.hold(2, "other")
    world.wills.settle_turn()
    world.wills.withdraw(1)
    assert world.guardian.settled == 1
    assert world.names_only(2)
    world.wills.withdraw(1)  # it is out already
    assert world.guardian.settled == 1


def test_many_leases_share_pages_and_old_pages_are_not_left_behind_the_window(world: World) -> None:
    for ticket in range(3 * LEASES_PER_PAGE):
        world.hold(ticket, f"name {ticket}")
    world.wills.settle_turn()
    for ticket in range(1000, 1700):  # the third page comes and goes
        world.wills.drop(ticket - 1 if ticket > 1000 else 3 * LEASES_PER_PAGE - 1)
        world.hold(ticket, f"name {ticket}")
        world.wills.settle_turn()
    numbers = [parse_untrusted(datagram).sequence for _, _, datagram in world.guardian.will.due()]
    assert max(numbers) - min(numbers) < 1024
    assert len(world.read()[PLACES["b"]]) == 3 * LEASES_PER_PAGE


def test_long_names_take_several_datagrams(world: World) -> None:
    for ticket in range(LEASES_PER_PAGE):
        world.hold(ticket, f"{ticket:x}" * NAME_MAX_BYTES)
    world.wills.settle_turn()
    assert world.names_only(*range(LEASES_PER_PAGE))


def test_there_is_a_limit(world: World) -> None:
    for ticket in range(LEASES_MAX + 5):
        world.hold(ticket, f"name {ticket}")
    world.wills.settle_turn()
    world.wills.drop(LEASES_MAX + 1)
    world.wills.settle_turn()
    assert len(world.read()[PLACES["c"]]) == LEASES_MAX


def test_the_end_of_the_session_ends_its_will(world: World) -> None:
    world.hold(1)
    world.wills.settle_turn()
    world.wills.close()
    world.wills.close()
    assert world.guardian.closed
    deposits = world.guardian.deposits
    world.hold(2)
    world.wills.drop(1)
    world.wills.settle_turn()
    assert world.guardian.deposits == deposits


def test_in_the_child_of_a_fork_nothing_is_sealed(world: World) -> None:
    world.hold(1)
    world.session._life.forked()
    world.wills.settle_turn()
    assert world.guardian.deposits == 0


@pytest.mark.parametrize(("dead", "ended"), [(False, False), (True, False), (False, True)])
def test_nothing_is_due_while_the_process_or_a_fork_may_live(dead: bool, ended: bool) -> None:
    will = LastWill()
    will.deposit(0, 0, 0, HOME, (b"the will",))
    will.process_dead, will.pipe_ended = dead, ended
    assert will.due() == []
    will.process_dead = will.pipe_ended = True
    assert will.due() == [(0, HOME, b"the will")]


def test_a_client_that_has_ended_leaves_the_wills_of_the_others() -> None:
    will = LastWill()
    will.process_dead = will.pipe_ended = True
    will.deposit(1, 0, 0, HOME, (b"one",))
    will.deposit(2, 0, 0, HOME, (b"two",))
    will.revoke(1)
    assert will.due() == [(2, HOME, b"two")]


def test_what_is_deposited_later_is_sent_later() -> None:
    """Its number is higher, and a node may take none that is far below."""
    will = LastWill()
    will.process_dead = will.pipe_ended = True
    for page, datagram in ((0, b"one"), (1, b"two"), (0, b"three")):
        will.deposit(0, page, 0, HOME, (datagram,))
    assert [datagram for _, _, datagram in will.due()] == [b"two", b"three"]


def test_the_numbers_of_pages_fit_the_window() -> None:
    assert wills_module.BEHIND_MAX + wills_module.PAGES_MAX * 7 < 1024
