"""A node asks what a key allows before anything else, and a session that hears it from enough nodes ends."""

from __future__ import annotations

from random import Random

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Forbidden,
    Hello,
    Member,
    Poll,
    Promise,
    Release,
    StandingPrepare,
    Watch,
    Welcome,
)
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start
from paxlock.core.reasons import Barrier
from paxlock.core.rights import ROOT, Revoked, Rights, Verb
from paxlock.core.session.events import KeyRefused
from paxlock.core.session.session import Session, SessionSettings
from paxlock.wire.grants import draw_session, grant_of, rights_of, session_of

GRANT = grant_of(Rights("app", Verb.ACQUIRE, ("jobs/*",), 0, 0, 0, ROOT.owns))
RIGHTS = rights_of(GRANT)
SESSION = session_of(draw_session(), GRANT)
MEMBERS = tuple(Member(node, f"{node}.example:7400") for node in "abc")
RECORD = NodeRecord(b"c" * 16, 1, "a", 3, 5_000, Durability.RECORD, Membership.MEMBER, 30_000, clean=False)


def replica(revoked: Revoked) -> Replica:
    settings = ReplicaSettings(
        "a", Configuration(MEMBERS, 30_000, 10_000, 50), float(1 << 38), revoked=revoked
    )
    return Replica(settings, Start(RECORD, 0, 0.0, None), run=b"r" * 16, now=0.0, rng=Random(1))


def test_a_node_answers_what_is_not_allowed_and_does_nothing() -> None:
    node = replica(Revoked())
    wanted = StandingPrepare(7, "other", 1, Candidate(SESSION, 1), 0, 0, 0, "", 1000, b"", 1)
    for message in (wanted, Watch(8, 1, "", True, 1000), Release(9, "other", Candidate(b"x" * 16, 1), 1)):
        node.receive(message, SESSION, 0.0, rights=RIGHTS)
    sends = [message for peer, message in node.take_effects().sends if peer == SESSION]
    assert sends == [Forbidden(request, Barrier.RIGHTS) for request in (7, 8, 9)]
    assert node.statistics().names == 0 and node.counters["not_allowed"] == 3


def test_a_key_that_is_not_taken_any_more_is_told_who_the_nodes_are_and_nothing_else() -> None:
    node = replica(Revoked(denied=frozenset({"app"})))
    node.receive(Poll(1, "jobs/1"), SESSION, 0.0, rights=RIGHTS)
    node.receive(Hello(2), SESSION, 0.0, rights=RIGHTS)
    sends = [message for peer, message in node.take_effects().sends if peer == SESSION]
    assert sends[0] == Forbidden(1, Barrier.KEY)
    assert isinstance(sends[1], Welcome)


def test_a_session_ends_once_so_many_refuse_its_key_that_the_others_are_no_quorum() -> None:
    """One node alone may have a clock that is ahead, or a newer cell file."""
    settings = SessionSettings(Configuration(MEMBERS, 30_000, 10_000, 50))
    session = Session(settings, session=SESSION, secret=bytes(16), now=0.0, rng=Random(1))

    def told() -> list[object]:
        return [event for event in session.take_effects().published if isinstance(event, KeyRefused)]

    for _ in range(3):
        session.receive(Forbidden(1, Barrier.KEY), "a", 1.0)
    session.receive(Forbidden(1, Barrier.RIGHTS), "b", 1.0)
    assert told() == []
    session.receive(Promise(1, "n", Candidate(SESSION, 1), 1, 0, 0), "a", 1.0)  # its file was put right
    session.receive(Forbidden(1, Barrier.KEY), "b", 1.0)
    assert told() == []
    session.receive(Forbidden(1, Barrier.KEY), "c", 1.0)
    assert told() == [KeyRefused()]
