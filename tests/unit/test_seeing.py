"""What a node tells those who look after it: its counters and its clock, in pages, and who reads them."""

from __future__ import annotations

from random import Random

import attrs
import pytest

from paxlock.core.configuration import Configuration
from paxlock.core.lives import UNKNOWN
from paxlock.core.messages import Member, NodeMode, Welcome
from paxlock.core.node.seeing import AGAIN_S, Seeing
from paxlock.core.seeing import Count, Counted, Ping, Pong
from paxlock.core.session.events import CountersRead, NodePing, Pinged
from paxlock.core.session.seeing import PAGES_MAX
from paxlock.core.session.session import Session, SessionSettings
from paxlock.observe.counting import flat, readable
from paxlock.observe.noticing import PeerSeen
from paxlock.observe.statistics import NodeStatistics
from paxlock.wire.codec import PAYLOAD_MAX_BYTES, encode

MEMBERS = tuple(Member(node, f"10.0.0.{number}:7400") for number, node in enumerate("abc", 1))
WORST = {f"messages.{'x' * 230}_{number:03}": (1 << 63) - 1 for number in range(60)}


def pages(seeing: Seeing, now: float) -> list[Counted]:
    found = [seeing.answer(Count(1, ""), now)]
    while isinstance(page := found[-1], Counted) and page.more:
        found.append(seeing.answer(Count(1, page.counters[-1][0]), now))
    return [page for page in found if isinstance(page, Counted)]


@pytest.mark.parametrize("counters", [{}, {"names": 0}, {"b": 2, "a": 1, "a.b": 3}, WORST])
def test_pages_tell_every_counter_once_in_datagrams_that_are_never_full(counters: dict[str, int]) -> None:
    found = pages(Seeing(lambda now: counters, 100.0), 107.5)
    assert [pair for page in found for pair in page.counters] == sorted(counters.items())
    assert all(len(encode(page)) <= PAYLOAD_MAX_BYTES - 200 for page in found)


def test_the_pages_of_one_answer_are_of_one_moment_and_counting_is_bounded() -> None:
    times = []

    def source(now: float) -> dict[str, int]:
        times.append(now)
        return {"names": len(times)}

    seeing = Seeing(source, 0.0)
    for tenth in range(1000):
        seeing.answer(Count(1, ""), 5.0 + tenth * AGAIN_S / 100)
    assert len(times) == 10


def test_a_pong_tells_for_how_long_the_node_has_run_by_its_own_clock() -> None:
    seeing = Seeing(dict, 100.0)  # type: ignore[arg-type]
    assert seeing.answer(Ping(7), 107.5) == Pong(7, 7500)
    year = 365 * 86400.0
    assert seeing.answer(Ping(8), 100.0 + 20 * year) == Pong(8, int(20 * year * 1000))


# --- who asks --------------------------------------------------------------------------------------------


def client(*, welcomed: bool = True) -> Session:
    settings = SessionSettings(Configuration(MEMBERS, 30_000, 10_000, 10), "label")
    session = Session(settings, session=b"s" * 16, secret=bytes(16), now=0.0, rng=Random(1))
    session.take_effects()
    if welcomed:
        for node in "abc":
            session.receive(welcome(node), node, 0.5, UNKNOWN)
    return session


def welcome(node: str) -> Welcome:
    return Welcome(1, node, MEMBERS, 30_000, 10_000, 10, NodeMode.SERVING, 0, 0)


def asked(session: Session, kind: type) -> dict[str, Ping | Count]:
    sends = session.take_effects().sends
    return {str(peer): message for peer, message in sends if isinstance(message, kind)}  # type: ignore[misc]


def test_a_ping_that_is_lost_is_not_repeated_and_shows() -> None:
    session = client()
    ticket = session.ping("abc", 1.0)
    sent = asked(session, Ping)
    assert sent.keys() == {"a", "b", "c"}
    session.receive(Pong(sent["a"].request, 5000), "a", 1.25, UNKNOWN)
    session.receive(Pong(sent["a"].request, 9000), "a", 1.5, UNKNOWN)  # repeated by the network
    session.receive(Pong(sent["b"].request, 6000), "b", 1.75, UNKNOWN)
    told = []
    for tenth in range(1, 101):
        session.tick(1.0 + tenth / 10)
        effects = session.take_effects()
        assert not any(isinstance(message, Ping) for _, message in effects.sends)
        told += [event for event in effects.published if isinstance(event, Pinged)]
    assert told == [
        Pinged(ticket, (NodePing("a", 0.25, 1.0, 5.0), NodePing("b", 0.75, 1.0, 6.0), NodePing("c")))
    ]


def test_a_node_that_does_not_know_this_session_yet_is_pinged_once_it_does() -> None:
    session = client(welcomed=False)
    session.ping("ab", 1.0)
    assert not asked(session, Ping)
    session.receive(welcome("b"), "b", 1.1, UNKNOWN)
    while not (sent := asked(session, Ping)):
        assert session.deadline() < 1.9
        session.tick(session.deadline())
    assert sent.keys() == {"b"}


def test_only_the_nodes_that_are_named_are_pinged() -> None:
    session = client()
    session.ping(["b"], 1.0)
    sent = asked(session, Ping)
    assert sent.keys() == {"b"}
    session.receive(Pong(sent["b"].request, 5000), "b", 1.25, UNKNOWN)
    (told,) = [event for event in session.take_effects().published if isinstance(event, Pinged)]
    assert [ping.node_id for ping in told.nodes] == ["b"]


def read(session: Session, answers: dict[str, Seeing], rounds: int = 100) -> CountersRead:
    now = 1.0
    session.count(now)
    for _ in range(rounds):
        now += 0.01
        session.tick(now)
        effects = session.take_effects()
        for event in effects.published:
            if isinstance(event, CountersRead):
                return event
        for peer, message in effects.sends:
            if isinstance(message, Count) and peer in answers:
                session.receive(answers[str(peer)].answer(message, now), str(peer), now, UNKNOWN)
    session.tick(now + 100.0)
    (told,) = [event for event in session.take_effects().published if isinstance(event, CountersRead)]
    return told


def test_all_pages_of_all_nodes_are_read_and_one_that_is_silent_has_none() -> None:
    told = read(client(), {"a": Seeing(lambda now: WORST, 0.0), "c": Seeing(lambda now: {"names": 3}, 0.0)})
    assert [(node.node_id, node.answered, dict(node.counters)) for node in told.nodes] == [
        ("a", True, WORST),
        ("b", False, {}),
        ("c", True, {"names": 3}),
    ]


class Endless(Seeing):
    """A node whose counters never end."""

    def answer(self, question: Ping | Count, now: float) -> Pong | Counted:
        assert isinstance(question, Count)
        return Counted(question.request, question.after, True, ((question.after + "a", 1),))


class Backwards(Seeing):
    """A node that tells the same again and again."""

    def answer(self, question: Ping | Count, now: float) -> Pong | Counted:
        assert isinstance(question, Count)
        return Counted(question.request, question.after, True, (("b", 1), ("a", 2)))


def test_a_node_that_never_ends_or_lies_about_its_order_is_bounded() -> None:
    told = read(client(), {"a": Endless(dict, 0.0), "b": Backwards(dict, 0.0)})  # type: ignore[arg-type]
    counts = {node.node_id: (node.answered, len(node.counters)) for node in told.nodes}
    assert counts == {"a": (True, PAGES_MAX), "b": (False, 0), "c": (False, 0)}


# --- the counters of a node ------------------------------------------------------------------------------

FOUND = NodeStatistics(
    node_id="a",
    up_seconds=12.5,
    incarnation=3,
    mode=NodeMode.SERVING,
    sits_out_seconds=0.0,
    names=7,
    cell_nodes=3,
    cell_quorum_nodes=2,
    cell_serving_nodes=3,
    quorum=True,
    max_ttl_seconds=30.0,
    peers={"b.c": PeerSeen(True, NodeMode.SERVING, 0.0012345, 10, 9)},
    messages={"hello": 4},
    endpoint={"received": 9, "dropped_seal": 2},
    transport={"send_errors": 1, "send_errors_EPERM": 1, "receive_errors": 0, "kernel_drops": 5},
    record_writes=1,
    record_write_seconds=0.25,
    record_write_seconds_max=0.125,
    record_slow_writes=0,
    data_folder_gone=True,
    state_not_kept=True,
    late_turns=0,
    late_seconds_max=0.5,
    floods=0,
)


def test_counters_have_the_names_of_metrics() -> None:
    told = flat(FOUND)
    assert told["up_us"] == 12_500_000 and told["record_write_us_max"] == 125_000
    assert told["messages.hello"] == 4 and told["datagrams.received"] == 9 and told["dropped.seal"] == 2
    assert told["send_errors.EPERM"] == 1 and told["kernel_drops"] == 5
    assert "send_errors" not in told
    assert told["data_folder_gone"] == 1 and told["state_not_kept"] == 1
    assert told["peer_answers.b.c"] == 9 and told["peer_round_trip_us.b.c"] == 1234
    assert all(type(number) is int for number in told.values())
    shown = readable(told)
    assert shown["up_ms"] == 12_500.0 and shown["peer_round_trip_ms.b.c"] == 1.234
    assert shown["late_ms_max"] == 500.0 and shown["names"] == 7


def test_a_node_that_asks_no_other_tells_nothing_of_them() -> None:
    """Such as those of `paxlock dev`: they would look as if each stood alone."""
    unseen = {"b": PeerSeen(False, None, 0.0, 0, 0)}
    told = flat(attrs.evolve(FOUND, peers=unseen, quorum=None, cell_serving_nodes=1))
    assert "cell_serving_nodes" not in told and not [name for name in told if name.startswith("peer_")]
    assert flat(attrs.evolve(FOUND, peers={}, cell_serving_nodes=1))["cell_serving_nodes"] == 1


def test_every_field_of_the_statistics_is_told() -> None:
    told = {name.partition(".")[0].replace("_us", "_seconds") for name in flat(FOUND)}
    apart = {"node_id", "mode", "quorum", "peers", "messages", "endpoint", "transport"}
    assert {field.name for field in attrs.fields(NodeStatistics)} - apart <= told
