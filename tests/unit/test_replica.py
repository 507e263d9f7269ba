"""A node's machine: dispatch, the names in use, statistics, the order of effects."""

from __future__ import annotations

from random import Random

import attrs

from paxlock.config.keys import new_key
from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.effects import NOTHING
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Commit,
    Greet,
    Greeted,
    Hello,
    List,
    Member,
    Message,
    Names,
    Poll,
    Prepare,
    Release,
    Released,
    Renew,
    Renewed,
    StandingPrepare,
    View,
    Waiters,
    Waiting,
    Watch,
    Welcome,
)
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start
from paxlock.wire.codec import encode
from paxlock.wire.endpoint import Endpoint, NodeSender
from paxlock.wire.keyring import Keyring

SESSION = b"athens".ljust(16, b".")
RECORD = NodeRecord(b"c" * 16, 1, "a", 3, 5_000, Durability.RECORD, Membership.MEMBER, 30_000, clean=False)
SEVEN: dict[str, list[tuple[str, int]]] = {node: [] for node in "bcdefg"}  # the others of the largest cell
MEMBERS = tuple(Member(node, f"{node}.example:7400") for node in "abc")


def replica(*, ceiling: int = 5_000) -> Replica:
    settings = ReplicaSettings("a", Configuration(MEMBERS, 30_000, 10_000, 50), float(1 << 42))
    record = attrs.evolve(RECORD, ceiling=ceiling)
    found = Replica(settings, Start(record, 0, 0.0, None), run=b"r" * 16, now=0.0, rng=Random(1))
    found.take_effects()
    return found


def ask(node: Replica, message: Message, now: float = 0.0) -> list[Message]:
    node.receive(message, SESSION, now)
    return [sent for peer, sent in node.take_effects().sends if peer == SESSION]


def hold(node: Replica, name: str, attempt: int, now: float = 0.0) -> None:
    lease = Lease(Candidate(SESSION, attempt), 10_000, "", b"")
    assert ask(node, Accept(1, name, 1, lease, 1, 0), now)


def test_nothing_to_do_is_nothing() -> None:
    node = replica()
    node.tick(0.0)
    node.take_effects()
    assert node.take_effects() is NOTHING


def test_the_others_are_the_members_without_itself() -> None:
    assert replica().settings.others == ("b", "c")


def test_hello_is_answered_with_the_configuration() -> None:
    (welcome,) = ask(replica(), Hello(5))
    assert isinstance(welcome, Welcome)
    assert (welcome.request, welcome.node_id, welcome.members) == (5, "a", MEMBERS)
    assert (welcome.max_ttl_ms, welcome.drift_ppm, welcome.grace_ms) == (30_000, 10_000, 50)


def test_what_makes_no_sense_is_counted_and_dropped() -> None:
    node = replica()
    answer = View(1, "n", 1, None, 0, False, False, False, 0)
    assert ask(node, answer) == []
    assert ask(node, Greet(1, 1, b"x" * 16)) == []
    for message in (
        Prepare(1, "n", 1, Candidate(SESSION, 1), 0, 0, 0, ""),
        Poll(1, "n"),
        Names(1, "", (), False),
    ):
        node.receive(message, "b", 0.0)
    assert [m for peer, m in node.take_effects().sends if peer == "b" and not isinstance(m, Greet)] == []
    assert node.counters["unexpected"] == 5
    assert node.statistics().names == 0


def test_names_in_use_are_listed_in_order_a_page_at_a_time() -> None:
    node = replica()
    wanted = [f"jobs/{number:03}-{'x' * 60}" for number in range(40)]
    for attempt, name in enumerate(reversed(wanted), 1):
        hold(node, name, attempt)
    hold(node, "other", 99)
    found: list[str] = []
    pages = 0
    while True:
        (page,) = ask(node, List(1, "jobs/", found[-1] if found else "", 1))
        assert isinstance(page, Names)
        found.extend(page.names)
        pages += 1
        if not page.more:
            break
    assert found == wanted
    assert pages > 1


def test_a_name_that_ended_is_not_in_use() -> None:
    node = replica()
    hold(node, "n", 1)
    ask(node, Release(1, "n", Candidate(SESSION, 1), 1), 1.0)
    (page,) = ask(node, List(1, "", "", 1), 1.0)
    assert isinstance(page, Names) and page.names == ()


def test_a_renewal_of_many_is_answered_in_as_few_datagrams_as_it_fits() -> None:
    sealed = Keyring.of([new_key()])
    endpoint = Endpoint(NodeSender("a" * 16, 1, b"r" * 16), sealed, cell_id=b"c" * 16, epoch=1, members=SEVEN)
    for term, attempts, parts in ((9, 100, 1), (1 << 20, 1 << 20, 2), (1 << 61, 1 << 40, 3)):
        node = replica(ceiling=(1 << 61) + 10_000)
        asked = tuple(range(attempts, attempts + 100))
        for attempt in asked[:80]:
            lease = Lease(Candidate(SESSION, attempt), 10_000, "", b"")
            assert ask(node, Accept(1, f"n{attempt}", term, lease, 1, 0)), term
        found = ask(node, Renew(1 << 50, SESSION, 1 << 50, asked), 0.1)
        assert len(found) == parts
        told = [part for part in found if isinstance(part, Renewed)]
        assert [attempt for part in told for attempt, _ in part.held] == list(asked[:80])
        assert [attempt for part in told for attempt in part.not_held] == list(asked[80:])
        assert all(len(encode(part)) <= endpoint.room for part in told)


def test_poll_and_line_are_answered() -> None:
    node = replica()
    hold(node, "n", 1)
    (view,) = ask(node, Poll(3, "n"), 0.125)
    assert isinstance(view, View) and (view.request, view.holds, view.remaining_ms) == (3, True, 9_875)
    (line,) = ask(node, Waiting(4, "n", 0), 0.125)
    assert isinstance(line, Waiters) and (line.request, line.total) == (4, 0)


def test_who_waits_or_watches_is_sent_to_before_who_lets_go() -> None:
    node = replica()
    waiter, watcher = (name.ljust(16, b".") for name in (b"byblos", b"corinth"))
    hold(node, "n", 1)
    node.receive(Watch(1, 1, "n", False, 10_000), watcher, 0.0)
    node.receive(
        StandingPrepare(1, "n", 2, Candidate(waiter, 1), 0, 1_000, 0, "", 10_000, b"", 1), waiter, 0.0
    )
    node.take_effects()
    node.receive(Release(2, "n", Candidate(SESSION, 1), 1), SESSION, 0.1)
    sends = node.take_effects().sends
    assert [(peer, type(message)) for peer, message in sends][-1] == (SESSION, Released)
    assert {peer for peer, _ in sends[:-1]} >= {waiter, watcher}


def test_a_commit_is_taken_only_from_the_session_that_it_names_or_from_a_node() -> None:
    node = replica()
    foreign = Lease(Candidate(b"byblos".ljust(16, b"."), 1), 10_000, "", b"", 4)
    ask(node, Commit("n", 4, foreign))
    (view,) = ask(node, Poll(1, "n"))
    assert isinstance(view, View) and not view.chosen
    node.receive(Commit("n", 4, foreign), "b", 0.0)
    (view,) = ask(node, Poll(2, "n"))
    assert isinstance(view, View) and view.chosen


def test_one_write_at_a_time_and_what_does_not_rest_on_it_goes_out_meanwhile() -> None:
    node = replica()
    node.receive(Greet(1, 4, b"x" * 16), "b", 0.0)
    first = node.take_effects().persist
    assert first is not None
    node.receive(Greet(1, 6, b"y" * 16), "c", 0.1)
    node.receive(Poll(9, "n"), SESSION, 0.1)
    effects = node.take_effects()
    assert effects.persist is None
    assert [m for _, m in effects.sends if isinstance(m, View)]
    assert not [m for _, m in effects.sends if isinstance(m, Greeted)]
    node.persisted(first, 0.2)
    effects = node.take_effects()
    assert [peer for peer, m in effects.sends if isinstance(m, Greeted)] == ["b"]
    second = effects.persist
    assert second is not None and {seen.node_id for seen in second.seen} == {"b", "c"}
    node.persisted(second, 0.3)
    assert [peer for peer, m in node.take_effects().sends if isinstance(m, Greeted)] == ["c"]


def test_statistics_are_a_copy() -> None:
    node = replica()
    hold(node, "n", 1)
    found = node.statistics()
    assert (found.names, found.messages["accept"], found.ceiling) == (1, 1, 5_000)
    hold(node, "m", 2)
    assert (found.names, found.messages["accept"]) == (1, 1)
