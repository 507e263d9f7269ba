"""What reading the code as an enemy has found: one test for each."""

from __future__ import annotations

from random import Random

import pytest
import trio
from by_hand import (
    ATHENS,
    BYBLOS,
    HandAcceptor,
    HandReplica,
    HandSession,
    lease_of,
    member_record,
    replica_of,
    session_id,
    settings_for,
)
from starts import greeted
from trio.testing import MockClock

from paxlock import Cell, ConfigError, State
from paxlock.config.cell import ADDRESSES_MAX_BYTES
from paxlock.core.durable import Membership
from paxlock.core.lease import LABEL_MAX_BYTES, NAME_MAX_BYTES, TERM_MAX, Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
    Greet,
    List,
    Member,
    Message,
    Names,
    NodeMode,
    Occupancy,
    Occupant,
    Poll,
    Prepare,
    Promise,
    Recovering,
    RefusalReason,
    Refused,
    Release,
    Renew,
    Renewed,
    View,
    Waiters,
    Waiting,
    Watch,
    WatchEvent,
    Welcome,
)
from paxlock.core.node.forgetting import SWEEP_DIVISOR, TOMBSTONE_S
from paxlock.core.node.starts import Start
from paxlock.core.session.events import Changed, Granted, NamesFound
from paxlock.core.session.session import Session
from paxlock.core.session.watches import Watcher
from paxlock.core.timers import Timers
from paxlock.runtime.background import attended
from paxlock.testing import open_virtual_cell
from paxlock.wire.codec import INT_MAX, decode_untrusted, encode, join
from paxlock.wire.endpoint import Endpoint, NodeSender
from paxlock.wire.keyring import Keyring
from paxlock.wire.schema import ATTEMPTS_MAX

ROOM = Endpoint(
    NodeSender("sixteen-letters-", 1, b"r" * 16),
    Keyring({1: b"k" * 32}),
    cell_id=b"c" * 16,
    epoch=1,
    members={node: [] for node in "bcdefg"},  # the largest cell
).room


def fits(message: Message) -> bool:
    """Whether a message goes into one datagram and can be read back."""
    encoded = encode(message)
    return len(encoded) <= ROOM and decode_untrusted(join([encoded])) == (message,)


# Answers that stopped the node which gave them, or that nobody could read


def test_the_answer_to_many_renewals_with_high_terms_fits_into_datagrams() -> None:
    node = HandReplica(replica_of("a", "a", wall_offset=4e10))
    term = 1 << 54
    attempts = tuple(range(1 << 33, (1 << 33) + ATTEMPTS_MAX))
    node.receive(Accept(1, "n", term, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)  # raises the ceiling
    for attempt in attempts:
        lease = Lease(Candidate(ATHENS.session, attempt), 10_000, "", b"")
        (answer,) = node.receive(Accept(1, f"n{attempt}", term, lease, 1, 0), ATHENS.session, 0.0)
        assert isinstance(answer, Accepted)
    missing = tuple(range(1 << 34, (1 << 34) + ATTEMPTS_MAX))
    for asked, held in ((attempts, True), (missing, False)):
        answers = node.receive(Renew(2, ATHENS.session, 9, asked), ATHENS.session, 0.1)
        assert all(isinstance(answer, Renewed) and fits(answer) for answer in answers)
        renewed = [answer for answer in answers if isinstance(answer, Renewed)]
        assert {(answer.request, answer.seq) for answer in renewed} == {(2, 9)}
        assert [a for answer in renewed for a, _ in answer.held] == (list(asked) if held else [])
        assert [a for answer in renewed for a in answer.not_held] == ([] if held else list(asked))


def test_a_renewal_of_nothing_is_answered() -> None:
    node = HandReplica(replica_of("a", "a"))
    (answer,) = node.receive(Renew(2, ATHENS.session, 9, ()), ATHENS.session, 1.0)
    assert answer == Renewed(2, ATHENS.session, ATHENS.session, 9, (), ())


def test_a_list_of_short_names_can_be_read() -> None:
    node = HandReplica(replica_of("a", "a"))
    names = [f"{number:02x}" for number in range(256)]
    for number, name in enumerate(names):
        lease = Lease(Candidate(ATHENS.session, number + 1), 10_000, "", b"")
        node.receive(Accept(1, name, 1, lease, 1, 0), ATHENS.session, 0.0)
    found: list[str] = []
    more = True
    while more:
        (answer,) = node.receive(List(1, "", found[-1] if found else "", 1), ATHENS.session, 0.0)
        assert isinstance(answer, Names) and fits(answer)
        found += answer.names
        more = answer.more
    assert found == names


def test_a_page_of_a_line_with_the_longest_entries_fits() -> None:
    name, label = "n" * NAME_MAX_BYTES, "l" * 64
    node = HandReplica(replica_of("a", "a"))
    node.receive(Accept(1, name, 1, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    for number in range(20):
        waiting = Candidate(session_id(f"w{number}"), INT_MAX)
        node.receive(Prepare(1, name, 1, waiting, INT_MAX, 1_000, 0, label), waiting.session, 0.0)
    (answer,) = node.receive(Waiting(INT_MAX, name, 0), ATHENS.session, 0.0)
    assert isinstance(answer, Waiters) and answer.entries and fits(answer)


def test_a_nonsensical_age_does_not_make_answers_unreadable() -> None:
    node = HandReplica(replica_of("a", "a"))
    node.receive(Accept(1, "n", 1, lease_of(ATHENS), 1, INT_MAX), ATHENS.session, 5.0)
    (answer,) = node.receive(Prepare(2, "n", 1, BYBLOS, 0, 0, 0, ""), BYBLOS.session, 5.0)
    assert isinstance(answer, Refused) and answer.occupant is not None and fits(answer)


def test_the_longest_configuration_that_is_allowed_can_be_told() -> None:
    ids = [f"sixteen-letters{number}" for number in range(7)]
    host = "h" * 47 + "." + "h" * 47
    members = [Member(node_id, f"{host[len(str(n)) :]}{n}:7400") for n, node_id in enumerate(ids)]
    assert sum(len(member.address) for member in members) == ADDRESSES_MAX_BYTES
    cell = Cell.new(members, max_ttl=24 * 3600.0, grace=3600.0)
    welcome = Welcome(
        *(INT_MAX, ids[0], cell.members, cell.max_ttl_ms, cell.configuration.drift_ppm, cell.grace_ms),
        *(NodeMode.RECOVERING, INT_MAX, TERM_MAX, "c" * LABEL_MAX_BYTES),
    )
    assert fits(welcome)
    members[0] = Member(ids[0], "h" + members[0].address)
    with pytest.raises(ConfigError, match="at most 700 bytes together"):
        Cell.new(members)


def test_a_ceiling_at_the_end_of_the_range_can_be_written_down() -> None:
    record = member_record("a", membership=Membership.JOINING, incarnation=1_000)
    node = HandReplica(replica_of("a", "abc", Start(record, 0, 30.0, None)))
    mine = (1_000, session_id("first"))
    for other in "bc":
        node.receive(greeted(to=mine), other, 0.0)
    node.tick(31.0)
    for other in "bc":
        node.receive(greeted(to=mine, request=2, ceiling=TERM_MAX), other, 31.0)
    assert node.disk.ceiling <= TERM_MAX


# What grows without bound


def test_a_cancelled_timer_leaves_nothing_behind() -> None:
    timers, done = Timers(), []

    def note(what: int, now: float) -> None:
        done.append(what)

    for number in range(10_000):
        timers.add(1e6, note, number)
        timers.cancel(note, number)
        timers.add(1e6 + number, note, -1)
    assert len(timers._heap) < 500
    assert timers.deadline() == 1e6
    timers.run(1e6)
    assert done == [-1]


def test_a_question_that_is_repeated_for_ever_keeps_few_numbers() -> None:
    session = HandSession()
    session.machine.poll("n", 0.0, patience=1e9)
    session.run_until(600.0)
    assert len(session.machine._queries._asked) <= 64
    for _ in range(2):  # "free" is asked twice
        last = session.sent(Poll)[-1][1]
        for node in "abc":
            session.receive(node, View(last.request, "n", 1, None, 0, False, False, False, 0), 600.0)
    assert not session.machine._queries._asked


def test_greetings_without_an_incarnation_are_not_kept() -> None:
    node = HandReplica(replica_of("a", "abc"))
    for _ in range(100):
        node.receive(Greet(1, 0, b"r" * 16), "b", 0.0)
    assert not node.machine._after_save


def test_a_subscription_and_a_place_in_line_lapse_whatever_was_asked_for() -> None:
    node = HandReplica(replica_of("a", "a"))
    node.receive(Watch(1, 7, "n", False, INT_MAX), BYBLOS.session, 0.0)
    node.receive(Accept(1, "n", 1, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    node.receive(Prepare(1, "n", 1, BYBLOS, 0, INT_MAX, 0, ""), BYBLOS.session, 0.0)
    node.tick(120.0)
    assert not node.machine._learner.subscriptions._subscriptions
    node.receive(Accept(1, "n", 9, lease_of(ATHENS), 2, 0), ATHENS.session, 120.0)
    (answer,) = node.receive(Waiting(1, "n", 0), ATHENS.session, 120.0)
    assert isinstance(answer, Waiters) and answer.total == 0


def test_sweeping_pauses_between_slices() -> None:
    one = HandAcceptor()
    for number in range(2_000):
        one.release(Candidate(session_id(f"s{number}"), 1), 1, now=0.0, name=f"n{number}")
    moment = one.timers.deadline()
    assert TOMBSTONE_S <= moment <= TOMBSTONE_S * (1 + 1 / SWEEP_DIVISOR)
    one.run_out(moment)
    assert one.acceptor.records, "all at once"
    assert one.timers.deadline() > moment
    while one.timers.deadline() < moment + 10.0:
        one.run_out(one.timers.deadline())
    assert not one.acceptor.records


def test_a_watch_of_a_prefix_goes_on_after_very_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxlock.core.session.watches.WATCH_NAMES_MAX", 10)
    watcher = Watcher(1, "jobs/", True, ("a",), 0.0)
    shown: list[tuple[str, State]] = []
    for number in range(50):
        name = f"jobs/{number:03}"
        lease = Lease(Candidate(ATHENS.session, number + 1), 10_000, "", b"", number + 1)
        for version, released in enumerate((False, True), 2 * number):
            view = View(0, name, number + 1, lease, number + 1, not released, True, released, 1_000)
            assert watcher.event("a", WatchEvent(1, version, view), 0.0) is not None
            changed = watcher.look(name, 0.0)
            assert changed is not None
            shown.append((changed.name, changed.state))
    assert shown == [(f"jobs/{n:03}", state) for n in range(50) for state in (State.LED, State.FREE)]
    assert len(watcher.views) <= 10


# Storms


def test_a_watch_of_many_names_costs_about_one_event_for_each() -> None:
    node = HandReplica(replica_of("a", "a"))
    count = 300
    for number in range(count):
        lease = Lease(Candidate(ATHENS.session, number + 1), 10_000, "", b"")
        node.receive(Accept(1, f"n{number:03}", 1, lease, 1, 0), ATHENS.session, 0.0)
    session = Session(settings_for("a"), session=BYBLOS.session, secret=bytes(16), now=0.0, rng=Random(1))
    session.watch("n", True, 0.0)
    node.sends.clear()
    events, told = 0, set()
    for _ in range(2 * count):
        effects = session.take_effects()
        told |= {notice.name for notice in effects.published if isinstance(notice, Changed)}
        for _, message in effects.sends:
            node.receive(message, BYBLOS.session, 0.001)
        sends, node.sends = node.sends, []
        events += sum(isinstance(message, WatchEvent) for _, message in sends)
        for peer, message in sends:
            if peer == BYBLOS.session:
                session.receive(message, "a", 0.001)
        if not sends or events > 10 * count:
            break
    assert len(told) == count
    assert events <= 2 * count


def test_a_page_that_is_repeated_starts_no_second_walk() -> None:
    session = HandSession(nodes="a")
    session.machine.names("", 0.0, patience=1e9)
    ((_, asked),) = session.sent(List)
    pages = [
        Names(asked.request, f"n{number:02}" if number else "", (f"n{number + 1:02}",), more=True)
        for number in range(asked.pages)
    ]
    last = pages[-1].names[0]
    for page in pages:
        session.receive("a", page, 0.001)
    assert [message.after for _, message in session.sent(List)] == [last]
    for page in pages:
        session.receive("a", page, 0.003)
    assert session.sent(List) == []
    session.receive("a", Names(asked.request, last, ("n99",), more=False), 0.004)
    assert session.told(NamesFound)[0].names == (*(page.names[0] for page in pages), "n99")


# What clients count


def test_a_term_of_nothing_is_not_chosen() -> None:
    session = HandSession()
    accept = session.to_accept(now=0.0)
    occupant = Occupant(BYBLOS, Occupancy.HELD, 60_000, "", 1_000, 10_000)
    session.refused("a", accept, RefusalReason.HELD, now=0.001, occupant=occupant)
    session.refused("b", accept, RefusalReason.STALE, now=0.001)
    (withdrawn, *_) = session.sent(
        Release
    )  # in favour of an older one: a new attempt, that asked nothing yet
    assert withdrawn[1].candidate == accept.lease.candidate
    follower = accept.lease.candidate._replace(attempt=accept.lease.candidate.attempt + 1)
    for node in "abc":
        session.receive(node, Accepted(0, accept.name, follower, 0, accept.seq), 0.002)
    assert session.told(Granted) == []


def test_a_node_that_answers_again_is_no_longer_counted_as_recovering() -> None:
    session = HandSession()
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.receive("a", Recovering(asked.request, 30_000), 0.0)
    assert session.machine.statistics().recovering_nodes == 1
    session.receive("a", Promise(asked.request, asked.name, asked.candidate, 1, 0, 0), 1.0)
    assert session.machine.statistics().recovering_nodes == 0


# The shell


@pytest.mark.parametrize("prefix", ["\ud800", "x" * 256, "x" * 2_000, "a\n"])
async def test_a_prefix_that_cannot_be_sent_is_refused_and_harms_nothing(
    autojump_clock: MockClock, prefix: str
) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, client.lock("held") as held:
        with pytest.raises(ConfigError):
            client.watch(prefix + "*")
        with pytest.raises(ConfigError):
            await client.list(prefix)
        await trio.sleep(1)
        assert held.valid


async def test_a_failure_while_leaving_does_not_hang() -> None:
    fail = trio.Event()

    async def failing() -> None:
        await fail.wait()
        raise ConfigError("broken")

    async def leave() -> None:
        fail.set()
        await trio.sleep_forever()

    with trio.fail_after(2), pytest.raises(ConfigError, match="broken"):
        async with attended(failing, trio.sleep_forever, before_leaving=leave):
            pass


async def test_an_error_of_a_body_that_has_released_is_not_hidden_by_cancellation(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:

        async def body() -> None:
            with trio.CancelScope() as scope:
                async with client.lock("x") as held:
                    await held.release()
                    scope.cancel()
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await body()
