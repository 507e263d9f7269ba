"""Whoever has one client's key and wants everything: what a node lets one key have, and no more."""

from __future__ import annotations

import random
from random import Random

import attrs
import pytest

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
    Forbidden,
    Hello,
    Member,
    Message,
    Poll,
    Prepare,
    Promise,
    Refused,
    Release,
    Released,
    Renew,
    Seen,
    StandingPrepare,
    Unwatch,
    Waiters,
    Waiting,
    Watch,
    WatchEvent,
    Watching,
)
from paxlock.core.node import quotas, subscriptions
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start
from paxlock.core.reasons import Barrier
from paxlock.core.rights import ROOT, Rights, Verb
from paxlock.core.session.events import OverQuota
from paxlock.core.session.session import Session, SessionSettings
from paxlock.core.steering import Revoke
from paxlock.wire import peers
from paxlock.wire.grants import draw_session, grant_of, rights_of, session_of
from paxlock.wire.header import SessionSender
from paxlock.wire.peers import KnownSession, KnownSessions

MEMBERS = tuple(Member(node, f"{node}.example:7400") for node in "abc")
RECORD = NodeRecord(b"c" * 16, 1, "a", 3, 100_000, Durability.RECORD, Membership.MEMBER, 30_000, clean=False)
START = 1000.0
LATER = START + 2 * quotas.STRANGE_AGES_S  #: the node has been there for long


def grant(key: str) -> bytes:
    return grant_of(Rights(key, Verb.ACQUIRE | Verb.OBSERVE, ("*",), 0, 0, 0, ROOT.owns))


GREEDY, MODEST = grant("greedy"), grant("modest")


@attrs.define
class Node:
    """A node that serves, and its clients."""

    replica: Replica
    now: float = LATER
    request: int = 0

    def ask(self, message: Message, session: bytes, key: bytes = GREEDY) -> list[Message]:
        """What the node answers to the session at once."""
        rights = rights_of(key)
        self.replica.tick(self.now)
        self.replica.receive(message, session, self.now, rights=rights)
        effects = self.replica.take_effects()
        return [answer for peer, answer in effects.sends if peer == session]

    def wants(
        self,
        name: str,
        session: bytes,
        key: bytes = GREEDY,
        *,
        attempt: int = 1,
        refresh_ms: int = 0,
        age_ms: int = 0,
    ) -> object:
        self.request += 1
        made = StandingPrepare(
            *(self.request, name, 1, Candidate(session, attempt), 0, 0, 0, "", 10_000, b"", self.request)
        )
        (answer,) = self.ask(attrs.evolve(made, refresh_ms=refresh_ms, age_ms=age_ms), session, key)
        return answer

    def line(self, name: str) -> list[bytes]:
        (answer,) = self.ask(Waiting(1, name, 0), b"r" * 16, b"")
        assert isinstance(answer, Waiters)
        return [entry.candidate.session for entry in answer.entries]

    def over(self, what: str) -> int:
        return self.replica.statistics().messages.get(f"over_quota_{what}", 0)


@pytest.fixture
def node() -> Node:
    settings = ReplicaSettings("a", Configuration(MEMBERS, 30_000, 10_000, 50), 0.0)
    replica = Replica(settings, Start(RECORD, 0, 0.0, None), run=b"r" * 16, now=START, rng=Random(1))
    replica.tick(START)
    for _ in range(8):
        record = replica.take_effects().persist
        if record is not None:
            assert isinstance(record, NodeRecord)
            replica.persisted(record, START)
    replica.tick(LATER)
    replica.take_effects()
    return Node(replica)


def sessions(count: int, key: bytes = GREEDY) -> list[bytes]:
    return [session_of(draw_session(), key) for _ in range(count)]


def refused(answer: object) -> bool:
    return isinstance(answer, Forbidden) and answer.barrier is Barrier.QUOTA


def test_names(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "NAMES_PER_KEY", 3)
    greedy, modest = session_of(draw_session(), GREEDY), session_of(draw_session(), MODEST)
    for name in "xyz":
        assert isinstance(node.wants(name, greedy), Accepted)
    assert refused(node.wants("one-more", greedy)) and refused(
        node.wants("one-more", session_of(draw_session(), GREEDY))
    )
    lease = Lease(Candidate(greedy, 9), 1000, "", b"")
    assert refused(node.ask(Accept(5, "one-more", 1, lease, 1, 0), greedy)[0])
    assert refused(node.ask(Prepare(6, "one-more", 1, Candidate(greedy, 9), 0, 0, 0, ""), greedy)[0])
    assert refused(node.ask(Release(7, "one-more", Candidate(greedy, 9), 1), greedy)[0])
    assert node.replica.statistics().names == 3 and node.over("names") == 5
    assert isinstance(node.wants("one-more", modest, MODEST), Accepted)
    assert isinstance(node.ask(Renew(8, greedy, 9, (1,)), greedy)[0], Message)
    assert isinstance(node.ask(Release(9, "x", Candidate(greedy, 1), 1), greedy)[0], Released)


def test_a_name_that_is_held_counts_for_as_long_as_it_is_renewed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renewals name no name: forgotten here, they would be without bound."""
    monkeypatch.setattr(quotas, "NAMES_PER_KEY", 2)
    greedy = session_of(draw_session(), GREEDY)
    node.wants("held", greedy)
    node.wants("left", greedy, attempt=2)
    node.ask(Release(1, "left", Candidate(greedy, 2), 1), greedy)
    for beat in range(20):
        node.now += 5.0
        node.ask(Renew(beat, greedy, 100 + beat, (1,)), greedy)
    assert isinstance(node.wants("another", greedy, attempt=3), Accepted)
    assert refused(node.wants("and-another", greedy, attempt=4))


def test_places_in_line(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "PLACES_PER_KEY", 2)
    modest = session_of(draw_session(), MODEST)
    node.wants("n", modest, MODEST)
    crowd = sessions(4)
    for one in crowd:
        assert isinstance(node.wants("n", one, refresh_ms=1000), Refused)
    assert node.line("n") == sorted(crowd[:2]) and node.over("places") == 2
    late = session_of(draw_session(), MODEST)
    node.wants("n", late, MODEST, refresh_ms=1000)
    assert late in node.line("n")
    node.now += 3.5
    node.wants("n", crowd[3], refresh_ms=1000)
    assert node.line("n") == [crowd[3]]


def test_a_session_has_one_place_in_a_line(node: Node) -> None:
    """One alone could fill a line: that holds also for who has the root key."""
    node.wants("n", session_of(draw_session(), MODEST), MODEST)
    greedy = random.Random(1).randbytes(16)
    for attempt in (5, 7, 6):
        node.wants("n", greedy, b"", attempt=attempt, refresh_ms=1000)
    (answer,) = node.ask(Waiting(1, "n", 0), greedy, b"")
    assert isinstance(answer, Waiters)
    assert [entry.candidate.attempt for entry in answer.entries] == [7]


def test_nobody_has_waited_for_longer_than_he_is_known(node: Node) -> None:
    node.wants("n", session_of(draw_session(), MODEST), MODEST)
    modest, greedy = session_of(draw_session(), MODEST), session_of(draw_session(), GREEDY)
    node.ask(Poll(1, "n"), modest, MODEST)
    node.now += 8.0
    node.wants("n", modest, MODEST, refresh_ms=1000, age_ms=7_000)
    node.wants("n", greedy, refresh_ms=1000, age_ms=1 << 40)
    assert node.line("n") == [modest, greedy] and node.over("age") == 1


def test_who_has_waited_elsewhere_is_believed_for_a_while_after_a_start(node: Node) -> None:
    """Else each restart of a node would make all who wait the youngest there."""
    settings = ReplicaSettings("a", Configuration(MEMBERS, 30_000, 10_000, 50), 0.0)
    replica = Replica(settings, Start(RECORD, 0, 0.0, None), run=b"r" * 16, now=LATER, rng=Random(1))
    restarted = Node(replica, LATER + quotas.STRANGE_AGES_S / 2)
    restarted.wants("n", session_of(draw_session(), MODEST), MODEST)
    restarted.wants("n", session_of(draw_session(), GREEDY), refresh_ms=1000, age_ms=60_000)
    assert restarted.over("age") == 0


def test_tombstones(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """By sessions of the own key, of which there is no end."""
    monkeypatch.setattr(quotas, "STONES_PER_KEY", 3)
    greedy = session_of(draw_session(), GREEDY)
    answers = [
        node.ask(Release(n, "n", Candidate(one, 1), 1), one)[0] for n, one in enumerate(sessions(5), 1)
    ]
    assert [refused(answer) for answer in answers] == [False] * 3 + [True] * 2
    assert node.over("tombstones") == 2
    node.now += 61.0
    assert isinstance(node.ask(Release(9, "n", Candidate(greedy, 1), 1), greedy)[0], Released)


def test_tombstones_by_made_up_handles(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one candidate as many as there are secrets, and by one secret as many as there are attempts."""
    monkeypatch.setattr(quotas, "BARRED_PER_KEY", 3)
    greedy, other = session_of(draw_session(), GREEDY), session_of(draw_session(), GREEDY)
    made_up = [(1, b"1" * 16), (1, b"2" * 16), (2, b"2" * 16), (3, b"2" * 16), (3, b"3" * 16)]
    answers = [
        node.ask(Release(n, "n", Candidate(other, attempt), 1, secret), greedy)[0]
        for n, (attempt, secret) in enumerate(made_up, 1)
    ]
    assert [refused(answer) for answer in answers] == [False] * 3 + [True] * 2
    assert node.over("tombstones") == 2


def test_no_made_up_handle_is_in_the_way_of_a_release(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lease is held, a wrong secret sets no tombstone, and costs none; elsewhere their bound is
    another.
    """
    monkeypatch.setattr(quotas, "STONES_PER_KEY", 1)
    monkeypatch.setattr(quotas, "BARRED_PER_KEY", 2)
    holder, insider = session_of(draw_session(), GREEDY), session_of(draw_session(), GREEDY)
    node.wants("n", holder)
    for n in range(1, 5):
        (answer,) = node.ask(Release(n, "n", Candidate(holder, 1), 1, bytes([n] * 16)), insider)
        assert answer == Forbidden(n, Barrier.SECRET)
    for n in range(5, 9):
        (answer,) = node.ask(Release(n, "n", Candidate(holder, 2), 1, bytes([n] * 16)), insider)
        assert refused(answer) == (n > 6)
    assert isinstance(node.ask(Release(9, "n", Candidate(holder, 1), 1), holder)[0], Released)


def test_tombstones_of_forced_ends(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that may administer makes up candidates. These stand for max_ttl longer, and so do the names."""
    monkeypatch.setattr(quotas, "STONES_PER_KEY", 3)
    steward = grant_of(Rights("steward", Verb.ADMINISTER, ("*",), 0, 0, 0, ROOT.owns))
    mine = session_of(draw_session(), steward)
    crowd = iter(sessions(20))

    def forced(name: str) -> bool:
        (answer,) = node.ask(Revoke(1, name, Candidate(next(crowd), 1), 1, True, None), mine, steward)
        return refused(answer)

    assert [forced("n") for _ in range(5)] == [False] * 3 + [True] * 2
    assert node.over("tombstones") == 2
    node.now += 61.0
    assert forced("n")
    node.now += 30.0
    assert not forced("n")
    monkeypatch.setattr(quotas, "NAMES_PER_KEY", 2)
    assert [forced(name) for name in ("x", "y")] == [False, True]
    assert node.over("names") == 1


def test_sessions(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "SESSIONS_PER_KEY", 2)
    crowd = sessions(3)
    answers = [node.ask(Poll(1, "n"), one)[0] for one in crowd]
    assert [refused(answer) for answer in answers] == [False, False, True] and node.over("sessions") == 1
    assert not refused(node.ask(Hello(1), crowd[2])[0])  # who the nodes are is told to all
    assert not refused(node.ask(Poll(1, "n"), session_of(draw_session(), MODEST), MODEST)[0])
    node.now += 61.0
    assert not refused(node.ask(Poll(1, "n"), crowd[2])[0])


def test_a_full_account_is_looked_through_once_a_second(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each message: that would be the next way to keep a node busy."""
    monkeypatch.setattr(quotas, "SESSIONS_PER_KEY", 1)
    looked = []
    tidy = quotas.Quotas._tidy

    def watched(self: quotas.Quotas, account: quotas._Account, rights: Rights, now: float) -> None:
        before = account.sessions
        tidy(self, account, rights, now)
        looked.append(account.sessions is not before)

    monkeypatch.setattr(quotas.Quotas, "_tidy", watched)
    for one in sessions(5):
        node.ask(Poll(1, "n"), one)
    node.now += 1.5
    for one in sessions(2):
        node.ask(Poll(1, "n"), one)
    assert looked == [True, False, False, False, True, False]


def test_watches(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "WATCHES_PER_SESSION", 2)
    monkeypatch.setattr(quotas, "WATCHES_PER_KEY", 3)
    one, two = sessions(2)

    def watches(session: bytes, number: int, key: bytes = GREEDY) -> bool:
        answers = node.ask(Watch(number, number, "n", False, 17_000), session, key)
        assert refused(answers[-1]) or any(isinstance(answer, Watching) for answer in answers)
        return not refused(answers[-1])

    assert [watches(one, 1), watches(one, 2), watches(one, 3)] == [True, True, False]
    assert [watches(two, 1), watches(two, 2)] == [True, False]
    assert node.over("watches") == 2
    assert watches(one, 1)  # a refresh
    assert watches(session_of(draw_session(), MODEST), 1, MODEST)
    node.ask(Unwatch(1, 1), one)
    assert watches(two, 2) and not watches(two, 3)
    node.now += 18.0
    node.replica.tick(node.now)
    node.replica.take_effects()
    assert watches(two, 3)  # all others have lapsed


def test_events_that_nobody_acknowledges(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "EVENTS_PER_KEY", 40)
    greedy, modest = session_of(draw_session(), GREEDY), session_of(draw_session(), MODEST)
    node.ask(Watch(1, 1, "", True, 17_000), greedy)
    node.ask(Watch(1, 1, "", True, 17_000), modest, MODEST)
    names = [f"n{number:02}" for number in range(60)]
    told = 0
    for number, name in enumerate(names, 1):
        node.replica.receive(
            StandingPrepare(number, name, 1, Candidate(b"r" * 16, number), 0, 0, 0, "", 10_000, b"", number),
            b"r" * 16,
            node.now,
        )
        for peer, event in node.replica.take_effects().sends:
            if peer == modest and isinstance(event, WatchEvent):
                node.ask(Seen(1, ((event.view.name, event.version),)), modest, MODEST)
                told += 1
    assert node.over("events") == 1 and told == len(names)
    held = node.replica._learner.subscriptions
    assert held.events["greedy"] == 0 and held.events["modest"] == 0 and not held.known(greedy, 1)
    (watching, *events) = node.ask(Watch(2, 1, "", True, 17_000), greedy)
    assert len(events) == subscriptions.EVENTS_IN_FLIGHT or isinstance(watching, WatchEvent)


def test_who_has_the_root_key_is_not_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("NAMES_PER_KEY", "PLACES_PER_KEY", "SESSIONS_PER_KEY", "WATCHES_PER_KEY"):
        monkeypatch.setattr(quotas, limit, 1)
    root = b"r" * 16
    for attempt, name in enumerate("xyz", 1):
        assert isinstance(node.wants(name, root, b"", attempt=attempt), Accepted | Promise)
    assert not any(what.startswith("over_quota") for what in node.replica.statistics().messages)


def test_addresses_that_a_key_has_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that proves one session after another makes the node forget its own, not those of others."""
    monkeypatch.setattr(peers, "SESSIONS_PER_KEY", 2)
    monkeypatch.setattr(peers, "SESSIONS_MAX", 4)
    known = KnownSessions()
    modest, *crowd = (SessionSender(draw_session(), key) for key in (MODEST, *[GREEDY] * 4))
    known.admit(KnownSession(("10.0.0.1", 1), modest, 1), "modest")
    for one in crowd:
        known.admit(KnownSession(("10.0.0.2", 1), one, 1), "greedy")
    assert list(known) == [one.session for one in (modest, *crowd[2:])]
    roots = [SessionSender(bytes([number]) * 16) for number in range(3)]
    for one in roots:
        known.admit(KnownSession(("10.0.0.3", 1), one, 1), "")
    assert list(known) == [one.session for one in (crowd[3], *roots)]
    known.forget(crowd[3].session)
    assert known._of_key == {}


def test_a_program_is_told_once_that_its_key_has_used_up_its_quota() -> None:
    session = session_of(draw_session(), GREEDY)
    settings = SessionSettings(Configuration(MEMBERS, 30_000, 10_000, 50))
    machine = Session(settings, session=session, secret=bytes(16), now=0.0, rng=Random(1))
    for node_id in "abca":
        machine.receive(Forbidden(1, Barrier.QUOTA), node_id, 1.0)
    assert [type(event) for event in machine.take_effects().published] == [OverQuota]
