"""protocol.md section 7: joining, and nodes without a disk."""

from __future__ import annotations

import pytest
from by_hand import (
    BYBLOS,
    DRIFT,
    MAX_TTL,
    HandReplica,
    member_record,
    replica_of,
    session_id,
    start_of,
)
from starts import SECOND, SITS_OUT, first_promise, greet, greeted, mode_of, prepare_from, serve

from paxlock.core.durable import Durability, Membership, SeenNode
from paxlock.core.messages import Greet, NodeMode
from paxlock.core.node.joining import INCARNATION_STEP
from paxlock.core.node.replica import MemoryLost, ModeChanged

UNIX_S = 1_000
MINE = (UNIX_S, SECOND)  # the life of the node that joins
NOTED = 1.0  # when enough others have noted it

# Joining


def joining(nodes: str = "abc", *, max_ttl: float = MAX_TTL) -> HandReplica:
    """A node that has lost its disk, and has not been answered yet."""
    return serve(start_of("a", None, nodes=len(nodes), join=True, max_ttl=max_ttl), nodes, max_ttl=max_ttl)


def note(node: HandReplica, by: str = "bc", *, at: float = NOTED, max_ttl: float = MAX_TTL) -> HandReplica:
    """These others have noted it."""
    for other in by:
        node.receive(greeted(to=MINE, max_ttl=max_ttl), other, at)
    return node


def asks(node: HandReplica, at: float) -> int:
    """The number of the newest greeting at this moment."""
    node.tick(at)
    return node.sent(Greet)[-1][1].request


def test_s7_joining_sits_out_first_and_reads_the_ceilings_after_that() -> None:
    node = note(joining())
    assert mode_of(node.machine) is NodeMode.RECOVERING
    for other in "bc":  # too early: what they have in use may still grow
        node.receive(greeted(to=MINE, request=1, ceiling=9000), other, 2.0)
    node.tick(NOTED + SITS_OUT + 5.0)
    assert mode_of(node.machine) is not NodeMode.SERVING
    asked = {to: m.request for to, m in node.sent(Greet)}
    assert set(asked) == {"b", "c"}
    for other, ceiling in (("b", 9000), ("c", 12_000)):
        answer = greeted(to=MINE, request=asked[other], ceiling=ceiling)
        node.receive(answer, other, NOTED + SITS_OUT + 5.1)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, NOTED + SITS_OUT + 6.0).term == 12_001


def test_s15_an_answer_to_another_life_or_run_of_this_node_counts_for_nothing() -> None:
    """A greeting of an earlier life, which asked after sitting out, comes late, and this one is answered."""
    node, end = note(joining()), NOTED + SITS_OUT
    request = asks(node, end + 0.5)
    for life in ((UNIX_S - 1, session_id("first")), (UNIX_S, session_id("first")), (UNIX_S - 1, SECOND)):
        for other in "bc":
            node.receive(greeted(to=life, request=request, ceiling=1000), other, end + 0.6)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    for other in "bc":
        node.receive(greeted(to=MINE, request=request, ceiling=3000), other, end + 1.0)
    assert first_promise(node, end + 2.0).term == 3001


def test_s15_a_late_greeting_of_an_earlier_life_is_answered_to_that_life() -> None:
    node = HandReplica(replica_of("b", "abc"))
    greet(node, "a", 9, SECOND, 0.1)
    late = greet(node, "a", 3, session_id("first"), 0.2)
    assert (late.to_incarnation, late.to_run) == (3, session_id("first"))
    assert (late.seen_incarnation, late.seen_run) == (9, SECOND)


def test_s7_joining_needs_enough_others_in_service() -> None:
    node = note(joining())
    end = NOTED + SITS_OUT
    request = asks(node, end + 0.5)
    node.receive(greeted(to=MINE, request=request, ceiling=9000), "b", end + 1.1)
    node.receive(greeted(to=MINE, request=request, ceiling=1, mode=NodeMode.RECOVERING), "c", end + 1.1)
    node.tick(end + 100.0)
    assert mode_of(node.machine) is not NodeMode.SERVING
    node.receive(greeted(to=MINE, request=request, ceiling=1), "c", end + 100.1)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_s7_an_answer_to_a_greeting_of_before_does_not_count_after() -> None:
    node = note(joining())
    request = asks(node, NOTED + SITS_OUT + 0.5)
    for other in "bc":
        node.receive(greeted(to=MINE, request=1, ceiling=1), other, NOTED + SITS_OUT + 1.1)
    assert mode_of(node.machine) is not NodeMode.SERVING
    assert request != 1


def test_the_joined_floor_is_durable_before_it_serves() -> None:
    node = note(joining("abcde"), "bcd")
    machine, end = node.machine, NOTED + SITS_OUT
    request = asks(node, end + 0.5)
    for other in "bcd":
        answer = greeted(to=MINE, request=request, ceiling=9000, known={"e": 7})
        machine.receive(answer, other, end + 1.1)
    effects = machine.take_effects()
    assert effects.persist is not None
    assert effects.persist.ceiling >= 9000
    assert ("e", 7) in {(seen.node_id, seen.incarnation) for seen in effects.persist.seen}
    assert mode_of(machine) is not NodeMode.SERVING
    # Should it stop right now, it starts above that ceiling.
    assert start_of("a", effects.persist).floor >= 9000
    machine.persisted(effects.persist, end + 1.2)
    assert mode_of(machine) is NodeMode.SERVING


def test_a_join_that_was_interrupted_begins_again() -> None:
    start = start_of("a", None, join=True)
    again = start_of("a", start.record)
    assert again.record.membership is Membership.JOINING
    assert again.sits_out == pytest.approx(SITS_OUT)


# One life of a node: noted first


def test_s15_the_time_of_sitting_out_begins_when_enough_others_have_noted_it() -> None:
    node = joining()
    node.tick(500.0)
    assert mode_of(node.machine) is NodeMode.STARTING
    note(node, "b", at=500.0)
    assert mode_of(node.machine) is NodeMode.STARTING
    note(node, "c", at=501.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    assert [notice.sits_out for notice in node.notices if isinstance(notice, ModeChanged)][-1] == (
        pytest.approx(SITS_OUT)
    )
    assert asks(node, 501.0 + SITS_OUT - 0.001) == 1
    assert asks(node, 501.0 + SITS_OUT + 0.1) == 2


@pytest.mark.parametrize(("nodes", "needed"), [("abc", 2), ("abcde", 3), ("abcdefg", 4)])
def test_s15_a_quorum_with_an_earlier_life_has_one_that_has_noted(nodes: str, needed: int) -> None:
    node = joining(nodes)
    for count, other in enumerate(nodes[1:], 1):
        note(node, other)
        assert (mode_of(node.machine) is NodeMode.RECOVERING) is (count >= needed)


def test_s15_who_joins_itself_or_has_been_outlived_has_not_noted() -> None:
    node = joining("abcde")
    node.receive(greeted(to=MINE, member=False, mode=NodeMode.RECOVERING), "b", 1.0)
    node.receive(greeted(to=MINE), "c", 1.0)
    node.receive(greeted(to=MINE, incarnation=4), "d", 1.0)
    node.receive(greeted(to=MINE, known={"d": 5}), "e", 1.0)
    assert mode_of(node.machine) is NodeMode.STARTING
    node.receive(greeted(to=MINE, incarnation=5), "d", 2.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING


def test_s15_a_node_that_joins_says_that_it_is_no_member_yet() -> None:
    node = joining()
    assert not greet(node, "b", 9, SECOND, 0.1).member
    note(node)
    request = asks(node, NOTED + SITS_OUT + 0.1)
    assert not greet(node, "b", 10, SECOND, NOTED + SITS_OUT + 0.2).member
    for other in "bc":
        node.receive(greeted(to=MINE, request=request), other, NOTED + SITS_OUT + 0.3)
    assert greet(node, "b", 11, SECOND, NOTED + SITS_OUT + 0.4).member


def test_s15_it_sits_out_the_longest_max_ttl_that_anybody_names() -> None:
    node = joining()
    note(node, "b", max_ttl=MAX_TTL)
    note(node, "c", max_ttl=100.0)
    end = NOTED + 100.0 * (1 + DRIFT) / (1 - DRIFT)
    assert asks(node, end - 0.1) == 1
    assert asks(node, end + 0.1) == 2


def test_s15_ceilings_of_a_life_that_is_over_do_not_count() -> None:
    node = note(joining())
    end = NOTED + SITS_OUT
    request = asks(node, end + 0.5)
    node.receive(greeted(to=MINE, request=request, ceiling=1, incarnation=4), "b", end + 1.0)
    node.receive(greeted(to=MINE, request=request, ceiling=50, known={"b": 5}), "c", end + 1.0)
    assert mode_of(node.machine) is not NodeMode.SERVING
    node.sent(Greet)
    node.tick(end + 2.1)
    assert {to for to, _ in node.sent(Greet)} == {"b"}  # it is asked again
    node.receive(greeted(to=MINE, request=request, ceiling=900, incarnation=5), "b", end + 2.2)
    assert first_promise(node, end + 2.5).term == 901


def test_s15_a_joining_node_is_above_every_incarnation_that_anybody_has_seen() -> None:
    """The clock was ahead when an earlier life joined."""
    ahead = UNIX_S + 5_000
    node = joining()
    note(node, "b")
    node.receive(greeted(to=MINE, seen=(ahead, session_id("first"))), "c", 1.0)
    assert not any(isinstance(notice, MemoryLost) for notice in node.notices)
    assert node.disk.incarnation == ahead + INCARNATION_STEP
    assert mode_of(node.machine) is NodeMode.STARTING
    node.sent(Greet)
    node.tick(2.5)
    assert {(to, m.incarnation) for to, m in node.sent(Greet)} == {
        (other, ahead + INCARNATION_STEP) for other in "bc"
    }
    note(node, "bc", at=3.0)  # to the incarnation of before
    assert mode_of(node.machine) is NodeMode.STARTING
    for other in "bc":
        node.receive(greeted(to=(ahead + INCARNATION_STEP, SECOND)), other, 4.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING


def test_s15_nobody_is_greeted_under_an_incarnation_that_is_not_durable() -> None:
    node = joining()
    node.machine.receive(greeted(to=MINE, seen=(UNIX_S, session_id("first"))), "c", 1.0)
    effects = node.machine.take_effects()
    assert effects.persist is not None and effects.lives is None
    node.machine.tick(3.0)
    node.machine.receive(Greet(1, 7, session_id("b-run")), "b", 3.0)
    assert not [m for _, m in node.machine.take_effects().sends if isinstance(m, Greet)]
    node.machine.persisted(effects.persist, 3.1)
    after = node.machine.take_effects()
    assert after.lives == {"a": UNIX_S + INCARNATION_STEP}


def test_a_joining_node_is_above_any_earlier_incarnation() -> None:
    start = start_of("a", member_record("a", incarnation=40), join=True, unix_seconds=12)
    assert start.record.incarnation == 41
    assert start_of("a", None, join=True, unix_seconds=12).record.incarnation == 12


def test_s15_a_node_that_hears_of_a_later_life_of_itself_stops() -> None:
    node = HandReplica(replica_of("a", "abc"))
    lives = {"b": 5, "a": 1, "c": 3}
    node.machine.receive(Greet(1, 5, session_id("b-run")), "b", 0.0, lives)
    node.collect(0.0)
    assert not any(isinstance(notice, MemoryLost) for notice in node.notices)
    node.machine.receive(Greet(1, 5, session_id("b-run")), "b", 0.1, {**lives, "a": 2})
    node.collect(0.1)
    assert any(isinstance(notice, MemoryLost) for notice in node.notices)


def test_s15_what_is_noted_is_told_with_every_datagram_once_it_is_durable() -> None:
    machine = replica_of("a", "abc")
    assert machine.take_effects().lives == {"a": 1}
    machine.receive(Greet(1, 9, session_id("b-run")), "b", 0.0)
    effects = machine.take_effects()
    assert effects.lives is None and effects.persist is not None
    machine.persisted(effects.persist, 0.1)
    effects = machine.take_effects()
    assert effects.lives == {"a": 1, "b": 9}
    assert any(to == "b" for to, _ in effects.sends)


def test_s15_the_lives_that_others_know_are_taken_over() -> None:
    node = HandReplica(replica_of("a", "abcde"))
    node.receive(greeted(to=(1, session_id("first")), known={"c": 7, "d": 8, "a": 0}), "b", 0.1)
    node.receive(greeted(to=(1, session_id("first")), incarnation=2, known={"c": 6}), "e", 0.2)
    assert [(seen.node_id, seen.incarnation) for seen in node.disk.seen] == [
        ("b", 5),
        ("c", 7),
        ("d", 8),
        ("e", 2),
    ]
    answer = greet(node, "b", 5, SECOND, 0.3)
    assert answer.known == tuple(seen for seen in node.disk.seen if seen.node_id != "b")
    assert SeenNode("c", 7, session_id("other")) in answer.known


# A max_ttl that was lowered


def test_a_joining_node_sits_out_a_max_ttl_that_was_lowered_while_it_still_matters() -> None:
    """The cell ran with 100 s; b and c were started anew with 30 s, 60 s ago."""
    node = joining()
    for other in "bc":
        node.receive(greeted(to=MINE, lowered=(100.0, 40.0)), other, NOTED)
    end = NOTED + 40.0 * (1 + DRIFT) / (1 - DRIFT)
    assert asks(node, end - 0.1) == 1
    assert asks(node, end + 0.1) == 2


def test_s7_an_old_max_ttl_heard_of_with_the_ceilings_is_waited_for_and_the_ceilings_are_read_again() -> None:
    node = note(joining())
    first = NOTED + SITS_OUT + 1.0
    request = asks(node, first)
    for other in "bc":
        lowered = (100.0, 30.0) if other == "c" else (0.0, 0.0)
        node.receive(greeted(to=MINE, request=request, ceiling=1, lowered=lowered), other, first)
    end = first + 30.0 * (1 + DRIFT) / (1 - DRIFT)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    again = asks(node, end + 0.1)
    assert again > request
    for other in "bc":
        node.receive(greeted(to=MINE, request=request, ceiling=1), other, end + 0.2)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    for other in "bc":
        node.receive(greeted(to=MINE, request=again, ceiling=77), other, end + 0.3)
    assert first_promise(node, end + 0.4).term == 78
    assert node.disk.max_ttl_ms == 100_000  # for others that join: it still matters to this node


def test_a_node_tells_the_old_max_ttl_and_what_is_left_of_it() -> None:
    lowered = 5.0
    node = serve(start_of("a", member_record("a"), max_ttl=lowered), max_ttl=lowered)
    answer = greet(node, "b", 9, SECOND, 10.0)
    assert (answer.max_ttl_ms, answer.old_max_ttl_ms) == (5_000, round(MAX_TTL * 1000))
    assert answer.old_left_ms == pytest.approx((SITS_OUT - 10.0) * 1000, abs=1)
    node.tick(SITS_OUT)
    answer = greet(node, "b", 10, SECOND, SITS_OUT + 0.1)
    assert (answer.max_ttl_ms, answer.old_max_ttl_ms, answer.old_left_ms) == (5_000, 0, 0)


def test_the_others_tell_their_durable_ceiling() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(prepare_from(BYBLOS.session, at_least=900), BYBLOS.session, 0.0)
    answer = greet(node, "b", 9, SECOND, 0.1)
    assert answer.ceiling == node.disk.ceiling >= 900


# Without a disk

MEMORY_SITS_OUT = SITS_OUT + 1.0  # clocks are right to within max_ttl, in whole seconds


def in_memory(nodes: str = "abc", *, noted: bool = True) -> HandReplica:
    start = start_of("a", None, nodes=len(nodes), durability=Durability.MEMORY)
    machine = replica_of("a", nodes, start, run="second", wall_offset=float(UNIX_S))
    node = HandReplica(machine)
    return note(node, nodes[1:], at=0.0) if noted else node


def test_without_a_disk_every_start_sits_out_and_a_second_more() -> None:
    node = in_memory()
    assert mode_of(node.machine) is NodeMode.RECOVERING
    assert asks(node, MEMORY_SITS_OUT - 0.001) == 1
    assert asks(node, MEMORY_SITS_OUT + 0.1) == 2


def test_s15_without_a_disk_nobody_serves_who_has_not_been_noted() -> None:
    node = in_memory(noted=False)
    node.tick(100.0)
    assert mode_of(node.machine) is NodeMode.STARTING
    note(node, "b", at=100.0)
    node.tick(200.0)
    assert mode_of(node.machine) is NodeMode.STARTING
    note(node, "c", at=200.0)
    node.tick(200.0 + MEMORY_SITS_OUT - 0.1)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    node.tick(200.0 + MEMORY_SITS_OUT + 3.0)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_s15_without_a_disk_whoever_starts_has_noted() -> None:
    node = in_memory(noted=False)
    answer = greet(node, "b", 9, SECOND, 0.1)
    assert answer.member and answer.mode is NodeMode.STARTING


def test_the_only_node_of_its_cell_needs_no_disk_and_nobody() -> None:
    node = in_memory("a")
    node.tick(MEMORY_SITS_OUT + 0.1)
    assert mode_of(node.machine) is NodeMode.SERVING


@pytest.mark.parametrize("above", [True, False])
def test_without_a_disk_the_floor_is_of_the_clock_and_of_the_others(above: bool) -> None:
    node = in_memory()
    request = asks(node, MEMORY_SITS_OUT + 0.5)
    by_clock = int(UNIX_S + MEMORY_SITS_OUT + 0.5) << 20
    ceiling = 2 * by_clock if above else 5
    for other in "bc":
        node.receive(greeted(to=MINE, request=request, ceiling=ceiling), other, MEMORY_SITS_OUT + 0.6)
    assert mode_of(node.machine) is NodeMode.SERVING
    term = first_promise(node, MEMORY_SITS_OUT + 0.6).term
    assert term == ceiling + 1 if above else term > by_clock - (1 << 20)


def test_without_a_disk_and_without_the_others_the_clock_must_do() -> None:
    node = in_memory()
    node.tick(MEMORY_SITS_OUT + 10.0)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, MEMORY_SITS_OUT + 10.0).term > UNIX_S << 20


def test_a_node_without_a_disk_tells_the_floor_it_took() -> None:
    node = in_memory()
    node.tick(MEMORY_SITS_OUT + 10.0)
    floor = node.machine._acceptor.floor
    answer = greet(node, "b", 9, SECOND, MEMORY_SITS_OUT + 10.1)
    assert answer.ceiling >= floor > 0
