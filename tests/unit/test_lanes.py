"""The short way of datagrams that come again and again lets through nothing that the long way would not."""

from __future__ import annotations

import pytest

from paxlock.core.lease import Candidate
from paxlock.core.messages import Accepted, Poll, View
from paxlock.wire import endpoint as endpoint_module
from paxlock.wire import lanes as lanes_module
from paxlock.wire import peers as peers_module
from paxlock.wire.endpoint import Endpoint, NodeSender, Received, SessionSender
from paxlock.wire.keyring import Keyring
from paxlock.wire.transport import Address

CELL = b"c" * 16
DRAWN = b"s" * 16
SESSION = SessionSender(DRAWN).session
HOME: Address = ("127.0.0.1", 9000)
NODE: Address = ("127.0.0.1", 7000)
ELSEWHERE: Address = ("127.0.0.1", 9001)
MEMBERS = {"a": [NODE]}


class Pair:
    """A session and a node that have proved their addresses to each other."""

    def __init__(self, ring: Keyring | None = None) -> None:
        self.ring = ring or Keyring({1: b"k" * 32})
        sender = SessionSender(DRAWN)
        self.session = Endpoint(sender, self.ring, cell_id=CELL, epoch=1, members=MEMBERS)
        self.node = self.run(1)
        self.number = 0
        for _ in range(3):
            self.ask()
            self.answer()

    def another(self, session: bytes, address: Address) -> Endpoint:
        """One more session, which has proved its address to the node, and been heard there twice."""
        other = Endpoint(SessionSender(session), self.ring, cell_id=CELL, epoch=1, members=MEMBERS)
        for _ in range(3):
            other.queue("a", Poll(1, "n"))
            for datagram, _ in other.flush():
                self.node.receive_untrusted(datagram, address)
            for datagram, _ in self.node.flush():
                other.receive_untrusted(datagram, NODE)
        return other

    def run(self, incarnation: int) -> Endpoint:
        run = bytes([incarnation]) * 16
        return Endpoint(NodeSender("a", incarnation, run), self.ring, cell_id=CELL, epoch=1, members={})

    def request(self) -> bytes:
        self.number += 1
        self.session.queue("a", Poll(self.number, "n"))
        ((datagram, _),) = self.session.flush()
        return datagram

    def ask(self) -> Received | None:
        """One request on its way to the node; what is to be said to it comes back at once."""
        received = self.node.receive_untrusted(self.request(), HOME)
        for datagram, address in self.node.flush():
            assert address == HOME
            self.session.receive_untrusted(datagram, NODE)
        for datagram, _ in self.session.flush():
            received = self.node.receive_untrusted(datagram, HOME)
        return received

    def response(self) -> bytes:
        self.node.queue(SESSION, Accepted(self.number, "n", Candidate(SESSION, 1), 1, 1))
        ((datagram, _),) = self.node.flush()
        return datagram

    def answer(self) -> Received | None:
        return self.session.receive_untrusted(self.response(), NODE)


@pytest.fixture(params=[True, False], ids=["sealed", "unsealed"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair() if request.param else Pair(Keyring.unsealed())


def test_what_has_passed_once_goes_the_short_way(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(datagram: bytes) -> None:
        raise AssertionError("this datagram went the long way")

    monkeypatch.setattr(endpoint_module, "parse_untrusted", never)
    asked = pair.node.receive_untrusted(pair.request(), HOME)
    assert asked is not None
    assert asked == Received(SESSION, SessionSender(DRAWN), (Poll(pair.number, "n"),), HOME, CELL, 1)
    answered = pair.answer()
    assert answered is not None
    assert (answered.peer, answered.sender) == ("a", pair.node.sender)


def test_a_number_is_taken_once(pair: Pair) -> None:
    datagram = pair.request()
    assert pair.node.receive_untrusted(datagram, HOME) is not None
    assert pair.node.receive_untrusted(datagram, HOME) is None
    assert pair.node.statistics()["dropped_replay"] == 1


@pytest.mark.parametrize("at", [0, 3, 30, 40, 50, 60, -1])
def test_a_changed_byte_is_dropped(at: int) -> None:
    pair = Pair()
    datagram = bytearray(pair.request())
    datagram[at] ^= 1
    assert pair.node.receive_untrusted(bytes(datagram), HOME) is None


def test_an_earlier_run_of_a_node_is_not_heard_any_more(pair: Pair) -> None:
    late = pair.response()
    pair.node = pair.run(2)
    pair.ask()
    assert pair.answer() is not None
    assert pair.session.receive_untrusted(late, NODE) is None
    assert pair.session.statistics()["dropped_incarnation"] == 1


def test_a_session_that_has_moved_is_answered_where_it_is(pair: Pair) -> None:
    first = pair.request()
    assert pair.node.receive_untrusted(pair.request(), ELSEWHERE) is None  # not proved yet
    pair.node.flush()
    assert pair.node.receive_untrusted(first, HOME) is not None
    pair.node.queue(SESSION, View(1, "n", 0, None, 0, False, False, False, 0))
    ((_, address),) = pair.node.flush()
    assert address == HOME


def test_after_a_new_configuration_everybody_goes_the_long_way_once(pair: Pair) -> None:
    pair.session.configure(CELL, 2, MEMBERS)
    late = pair.response()  # of epoch 1
    assert pair.session.receive_untrusted(late, NODE) is None
    assert pair.session.statistics()["dropped_epoch"] == 1


def test_what_comes_under_another_configuration_is_dropped(pair: Pair) -> None:
    pair.session.configure(CELL, 2, MEMBERS)
    assert pair.node.receive_untrusted(pair.request(), HOME) is None
    assert pair.node.statistics()["dropped_epoch"] == 1


def test_another_datagram_than_before_is_judged_the_long_way(pair: Pair) -> None:
    too_long = pair.request() + bytes(1200)
    assert pair.node.receive_untrusted(too_long, HOME) is None
    assert pair.node.statistics()["dropped_length"] == 1


def of(endpoint: Endpoint) -> bytes:
    endpoint.queue("a", Poll(9, "n"))
    *_, (datagram, _) = endpoint.flush()
    return datagram


def test_two_sessions_behind_one_address_are_told_apart(pair: Pair) -> None:
    other = pair.another(b"t" * 16, HOME)
    for endpoint, session in (
        (pair.session, SESSION),
        (other, SessionSender(b"t" * 16).session),
        (pair.session, SESSION),
    ):
        received = pair.node.receive_untrusted(of(endpoint), HOME)
        assert received is not None and received.peer == session


def test_who_does_not_know_the_cookie_is_challenged(pair: Pair) -> None:
    """Without a seal everything else can be made up by somebody who does not receive at that address."""
    forger = Endpoint(SessionSender(DRAWN), pair.ring, cell_id=CELL, epoch=1, members=MEMBERS)
    forged = [of(forger) for _ in range(20)][-1]
    assert pair.node.receive_untrusted(forged, HOME) is None
    assert pair.node.statistics()["dropped_unproved"] == 2  # the first was the session's own, at the start


def test_a_late_datagram_of_an_earlier_address_leads_answers_back_there(pair: Pair) -> None:
    late = pair.request()
    pair.node.receive_untrusted(pair.request(), ELSEWHERE)
    for datagram, _ in pair.node.flush():
        pair.session.receive_untrusted(datagram, NODE)
    for datagram, _ in pair.session.flush():
        assert pair.node.receive_untrusted(datagram, ELSEWHERE) is not None
    for datagram, home in ((pair.request(), ELSEWHERE), (late, HOME)):
        assert pair.node.receive_untrusted(datagram, home) is not None
        pair.node.queue(SESSION, View(1, "n", 0, None, 0, False, False, False, 0))
        ((_, address),) = pair.node.flush()
        assert address == home


def test_a_forgotten_session_is_judged_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "SESSIONS_MAX", 1)
    pair.another(b"t" * 16, ELSEWHERE)
    received = pair.node.receive_untrusted(pair.request(), HOME)
    assert received is not None and received.peer == SESSION


def test_one_that_goes_the_short_way_is_not_the_one_to_be_forgotten(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_module, "SESSIONS_MAX", 2)
    silent = pair.another(b"t" * 16, ELSEWHERE).sender
    assert isinstance(silent, SessionSender)
    pair.node.receive_untrusted(pair.request(), HOME)
    pair.another(b"u" * 16, ("127.0.0.1", 9002))
    for session, known in ((SESSION, True), (silent.session, False)):
        pair.node.queue(session, Accepted(1, "n", Candidate(session, 1), 1, 1))
        assert bool(pair.node.flush()) is known


def test_lanes_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "LANES_MAX", 3)
    for number in range(10):
        pair.another(bytes([number]) * 16, ("127.0.0.1", 9100 + number))
        assert len(pair.node._lanes._lanes) <= 3
