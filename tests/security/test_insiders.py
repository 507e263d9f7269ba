"""Whoever has the same client key as a holder, and asks nodes for everything: it ends and renews nothing of
the holder's without its handle.

The insider here is not the shipped client: it says to the node whatever it likes, from a session of its own.
"""

from __future__ import annotations

from random import Random

import attrs
import pytest

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.handles import lock_of, secret_of
from paxlock.core.journal import Recall
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Forbidden,
    List,
    Member,
    Message,
    Poll,
    Prepare,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    StandingPrepare,
    Waiting,
    Watch,
)
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start
from paxlock.core.reasons import Barrier
from paxlock.core.rights import ROOT, Rights, Verb
from paxlock.core.seeing import Count
from paxlock.core.steering import Publish
from paxlock.wire.codec import encode
from paxlock.wire.grants import draw_session, grant_of, rights_of, session_of

MEMBERS = tuple(Member(node, f"{node}.example:7400") for node in "abc")
RECORD = NodeRecord(b"c" * 16, 1, "a", 3, 100_000, Durability.RECORD, Membership.MEMBER, 30_000, clean=False)
GRANT = grant_of(Rights("app", Verb.ACQUIRE | Verb.OBSERVE, ("*",), 0, 0, 0, ROOT.owns))
RIGHTS = rights_of(GRANT)
HOLDER, WAITER, INSIDER = (session_of(draw_session(), GRANT) for _ in range(3))
OWN_SECRET = bytes(range(100, 116))
HELD, WAITS = Candidate(HOLDER, 1), Candidate(WAITER, 1)
SECRET = secret_of(OWN_SECRET, 1)
LOCK = lock_of(HELD, SECRET)
NOW = 100.0


@attrs.define
class Node:
    """A node that serves."""

    replica: Replica
    heard: list[Message] = attrs.field(factory=list)  #: by the insider

    def says(self, message: Message, session: bytes = INSIDER, now: float = NOW) -> list[Message]:
        self.replica.receive(message, session, now, rights=RIGHTS)
        sends = self.replica.take_effects().sends
        found = [answer for peer, answer in sends if peer == session]
        self.heard += found if session == INSIDER else []
        return found

    def holds(self, now: float = NOW) -> tuple[object, ...]:
        record = self.replica._acceptor.records["n"]
        assert record.lease is not None
        waiting = record.line.entries(now) if record.line is not None else []
        return record.lease, record.deadline, record.term, [entry.candidate for entry in waiting]


@pytest.fixture
def node() -> Node:
    """It holds a lease of the holder's, and the waiter stands in line."""
    settings = ReplicaSettings("a", Configuration(MEMBERS, 30_000, 10_000, 50), 0.0)
    replica = Replica(settings, Start(RECORD, 0, 0.0, None), run=b"r" * 16, now=0.0, rng=Random(1))
    replica.take_effects()
    found = Node(replica)
    lease = Lease(HELD, 20_000, "holder", b"data")
    (answer,) = found.says(Accept(1, "n", 5, lease, 1, 0, 0, LOCK), HOLDER)
    assert isinstance(answer, Accepted)
    found.says(Commit("n", 5, lease.with_token(5)), HOLDER)
    lock = lock_of(WAITS, secret_of(OWN_SECRET, 1))
    waits = StandingPrepare(1, "n", 1, WAITS, 0, 1000, 0, "waiter", 20_000, b"", 1, lock)
    (answer,) = found.says(waits, WAITER)
    assert isinstance(answer, Refused)
    return found


def ask_everything(node: Node) -> None:
    for message in (
        Poll(1, "n"),
        Watch(2, 1, "n", False, 10_000),
        Watch(3, 2, "", True, 10_000),
        List(4, "", "", 4),
        Waiting(5, "n", 0),
        Recall(6, "n", 0),
        Count(7, ""),
        Prepare(8, "n", 1, Candidate(INSIDER, 1), 0, 0, 0, ""),
    ):
        node.says(message)
    node.replica.tick(NOW + 0.5)
    effects = node.replica.take_effects()
    node.heard += [answer for peer, answer in effects.sends if peer == INSIDER]


def test_nothing_that_it_is_told_has_the_secret_or_the_lock_in_it(node: Node) -> None:
    ask_everything(node)
    kinds = {type(answer).__name__ for answer in node.heard}
    assert kinds >= {"View", "WatchEvent", "Names", "Waiters", "Recalled", "Counted", "Refused"}
    told = b"".join(map(encode, node.heard))
    assert HOLDER in told  # it can write down all of the handle but the secret
    for kept in (SECRET, LOCK, OWN_SECRET):
        assert kept not in told


def test_with_all_that_it_is_told_it_ends_and_renews_nothing(node: Node) -> None:
    ask_everything(node)
    told = b"".join(map(encode, node.heard))
    before = node.holds()
    guesses = {told[at : at + 16] for at in range(len(told) - 15)}
    for guess in (b"", LOCK, *guesses):
        (answer,) = node.says(Release(1, "n", HELD, 5, guess))
        assert answer == Forbidden(1, Barrier.SECRET)
        (answer,) = node.says(Renew(2, HOLDER, 1 << 40, (1,), (guess,) if guess else ()))
        assert answer == Forbidden(2, Barrier.SECRET)
        (answer,) = node.says(Release(3, "n", WAITS, 5, guess))
        assert isinstance(answer, Released)  # nobody can say whether that is right before its lease comes
    assert node.holds() == before
    assert node.replica.counters["wrong_secret"] == 2 * (2 + len(guesses))


def test_it_speaks_for_no_candidate_but_its_own(node: Node) -> None:
    before = node.holds()
    lease = Lease(HELD, 20_000, "insider", b"mine", 0, 9)
    for message in (
        Publish(1, "n", HELD, 9, b"mine"),
        Accept(2, "n", 6, lease, 9, 0, 0, LOCK),
        Prepare(3, "n", 6, HELD, 0, 0, 0, ""),
        StandingPrepare(4, "n", 6, HELD, 0, 0, 0, "", 20_000, b"", 9, LOCK),
        Commit("n", 5, lease),
    ):
        assert node.says(message) == []
    assert node.holds() == before
    assert node.replica.counters["foreign_candidate"] == 5


def test_the_one_in_line_is_next_whatever_was_said_of_it(node: Node) -> None:
    for guess in (b"", LOCK, SECRET[::-1]):
        node.says(Release(1, "n", WAITS, 5, guess))
    node.says(Release(2, "n", HELD, 5), HOLDER)
    lease, *_ = node.holds()
    assert isinstance(lease, Lease) and lease.candidate == WAITS


def test_whoever_was_given_the_handle_may_do_both(node: Node) -> None:
    (renewed,) = node.says(Renew(1, HOLDER, 9, (1,), (SECRET,)), now=NOW + 1.0)
    assert isinstance(renewed, Renewed) and renewed.held == ((1, 5),)
    (answer,) = node.says(Release(2, "n", HELD, 5, SECRET), now=NOW + 1.0)
    assert isinstance(answer, Released)
    lease, *_ = node.holds()
    assert isinstance(lease, Lease) and lease.candidate == WAITS
