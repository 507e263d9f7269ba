"""protocol.md section 7: a node that starts by itself, and has no memory."""

from __future__ import annotations

import attrs
import pytest
from by_hand import DRIFT, MAX_TTL, HandReplica, replica_of, session_id, start_of
from starts import SECOND, first_promise, greet, greeted, mode_of

from paxlock.core.durable import Membership
from paxlock.core.lease import quarantine
from paxlock.core.messages import Greet, NodeMode
from paxlock.core.node.joining import WAIVED_AFTER_S
from paxlock.core.node.recovery import BEGINS_ANEW_MAX, WaitsFor, Waived
from paxlock.core.node.replica import MemoryLost

UNIX_S = 1_800_000_000
MINE = (UNIX_S, SECOND)
NOTED = 1.0
SITS_OUT = quarantine(MAX_TTL, DRIFT) + 1.0
END = NOTED + SITS_OUT
TERMS_PER_SECOND = 1 << 20


def blank(
    nodes: str = "abc",
    *,
    unix_seconds: int = UNIX_S,
    created: int = 0,
    by_clock: bool = False,
) -> HandReplica:
    """A node that starts by itself on an empty disk, and has not been answered yet."""
    start = start_of("a", None, nodes=len(nodes), unix_seconds=unix_seconds, by_clock=by_clock)
    machine = replica_of("a", nodes, start, run="second", wall_offset=float(unix_seconds), created=created)
    return HandReplica(machine)


def answer(
    node: HandReplica, others: str, at: float, *, request: int = 1, is_blank: bool = True, **changes: object
) -> None:
    """These others answer: that they have no memory either, unless they serve."""
    state = {"mode": NodeMode.RECOVERING, "member": False, "blank": True} if is_blank else {}
    for other in others:
        node.receive(greeted(to=MINE, request=request, **{**state, **changes}), other, at)  # type: ignore[arg-type]


def asks(node: HandReplica, at: float) -> int:
    node.sent(Greet)
    node.tick(at)
    return node.sent(Greet)[-1][1].request


def test_the_first_nodes_of_a_cell_sit_out_and_begin_by_the_clock() -> None:
    node = blank()
    assert mode_of(node.machine) is NodeMode.STARTING
    answer(node, "bc", NOTED)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    assert asks(node, END - 0.01) == 1
    request = asks(node, END + 0.01)
    assert request == 2
    answer(node, "bc", END + 0.5, request=request)
    assert mode_of(node.machine) is NodeMode.SERVING
    term = first_promise(node, END + 0.6).term
    assert term == int((UNIX_S + END + 0.5) * TERMS_PER_SECOND) + 1
    assert node.disk.membership is Membership.MEMBER
    assert node.disk.ceiling > term


def test_s7_a_lost_disk_is_found_out_by_the_others() -> None:
    node = blank()
    answer(node, "bc", NOTED, is_blank=False)
    request = asks(node, END + 0.01)
    answer(node, "b", END + 0.5, request=request, is_blank=False, ceiling=7000)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    answer(node, "c", END + 0.5, request=request, is_blank=False, ceiling=9000)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, END + 0.6).term == 9001


def test_with_two_disks_lost_the_floor_is_above_the_ceiling_that_is_left() -> None:
    node = blank()
    answer(node, "b", NOTED)
    answer(node, "c", NOTED, is_blank=False)
    request = asks(node, END + 0.01)
    ceiling = (UNIX_S + 500) * TERMS_PER_SECOND
    answer(node, "c", END + 0.5, request=request, is_blank=False, ceiling=ceiling)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    answer(node, "b", END + 0.5, request=request)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, END + 0.6).term == ceiling + 1


@pytest.mark.parametrize("others", ["b", ""])
def test_it_begins_by_the_clock_only_once_every_other_has_answered(others: str) -> None:
    node = blank()
    answer(node, "bc", NOTED)
    request = asks(node, END + 0.01)
    answer(node, others, END + 0.5, request=request)
    answer(node, "bc", END + 0.6, request=1)  # to what it asked before
    node.tick(END + 500.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    (waits,) = [notice for notice in node.notices if isinstance(notice, WaitsFor)][-1:]
    assert waits == WaitsFor(tuple(sorted(set("bc") - set(others))), clock_is_set=True)


def test_a_node_that_sits_out_with_its_memory_is_waited_for() -> None:
    """It remembers, and will serve: its ceiling counts."""
    node = blank()
    answer(node, "bc", NOTED)
    request = asks(node, END + 0.01)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "c", END + 0.5, request=request, is_blank=False, mode=NodeMode.RECOVERING, ceiling=5000)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    answer(node, "c", END + 9.0, request=request, is_blank=False, ceiling=5000)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_s15_by_the_clock_the_time_counts_from_the_last_that_has_noted_it() -> None:
    """With an earlier life of this node, and one that serves, there would be a quorum until then."""
    node = blank("abcde")
    answer(node, "bcd", NOTED, is_blank=False)
    answer(node, "e", NOTED + 20.0)
    request = asks(node, END + 0.01)
    answer(node, "bc", END + 0.5, request=request, is_blank=False)
    answer(node, "de", END + 0.5, request=request)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    later = asks(node, END + 20.01)
    assert later > request
    answer(node, "bc", END + 20.5, request=later, is_blank=False)
    answer(node, "de", END + 20.5, request=later)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_s15_by_the_clock_who_has_lost_its_memory_meanwhile_has_to_note_it_again() -> None:
    node = blank()
    answer(node, "bc", NOTED)
    answer(node, "c", NOTED + 10.0, incarnation=6)  # another life of c
    request = asks(node, END + 0.01)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "c", END + 0.5, request=request, incarnation=6)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    later = asks(node, END + 10.01)
    answer(node, "b", END + 10.5, request=later)
    answer(node, "c", END + 10.5, request=later, incarnation=6)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_s15_answers_that_do_not_count_together_are_not_of_everybody() -> None:
    node = blank()
    answer(node, "bc", NOTED)
    request = asks(node, END + 0.01)
    answer(node, "b", END + 0.5, request=request, incarnation=4)
    answer(node, "c", END + 0.5, request=request, known={"b": 5})
    assert mode_of(node.machine) is NodeMode.RECOVERING


def test_alone_in_its_cell_a_node_waits_for_nobody() -> None:
    node = blank("a")
    assert mode_of(node.machine) is NodeMode.RECOVERING
    node.tick(SITS_OUT - 0.01)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    node.tick(SITS_OUT + 0.01)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, SITS_OUT + 1.0).term > UNIX_S * TERMS_PER_SECOND


@pytest.mark.parametrize(("seconds", "created"), [(1_000, 0), (UNIX_S, UNIX_S + 3_600)])
def test_a_clock_before_the_cell_was_made_does_not_do(seconds: int, created: int) -> None:
    node = blank("a", unix_seconds=seconds, created=created)
    for waited in range(100):
        node.tick(SITS_OUT + waited)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    assert WaitsFor((), clock_is_set=False) in node.notices


def test_until_it_is_a_member_every_start_begins_anew() -> None:
    start = start_of("a", None, unix_seconds=UNIX_S)
    assert start.record.membership is Membership.BLANK
    again = start_of("a", start.record, unix_seconds=UNIX_S + 5)
    assert (again.record.membership, again.record.incarnation) == (Membership.BLANK, UNIX_S + 1)
    assert again.floor == 0
    assert again.sits_out == pytest.approx(SITS_OUT)


def test_the_floor_by_the_clock_is_durable_before_it_serves() -> None:
    node = blank("a")
    node.machine.tick(SITS_OUT + 0.01)
    effects = node.machine.take_effects()
    assert effects.persist is not None and effects.persist.ceiling > UNIX_S * TERMS_PER_SECOND
    assert mode_of(node.machine) is NodeMode.RECOVERING
    again = start_of("a", effects.persist, nodes=1)
    assert again.floor == effects.persist.ceiling and again.sits_out > 0.0
    node.machine.persisted(effects.persist, SITS_OUT + 0.02)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_the_configuration_may_name_a_longer_time_of_sitting_out() -> None:
    """Nobody remembers a larger max_ttl that was lowered."""
    start = start_of("a", None, sit_out=100.0)
    assert start.sits_out == pytest.approx(quarantine(100.0, DRIFT) + 1.0)
    assert start_of("a", start.record, sit_out=100.0).sits_out == start.sits_out


def test_a_blank_node_says_so_and_is_no_member() -> None:
    told = greet(blank(), "b", 9, session_id("b-run"), 0.5)
    assert told.blank and not told.member
    member = greet(HandReplica(replica_of("b", "abc")), "a", 9, SECOND, 0.1)
    assert member.member and not member.blank


def test_s15_two_that_start_as_one_node_do_not_outbid_each_other_for_ever() -> None:
    node = blank()
    mine = MINE
    for step in range(BEGINS_ANEW_MAX + 1):
        assert not any(isinstance(notice, MemoryLost) for notice in node.notices)
        higher = (mine[0] + 1, session_id("other"))
        node.receive(greeted(to=mine, seen=higher, blank=True, member=False), "b", step + 1.0)
        mine = (node.disk.incarnation, SECOND)
    (lost,) = [notice for notice in node.notices if isinstance(notice, MemoryLost)]
    assert "another process" in lost.explanation


# Told by-clock, of five nodes of which c is gone for good


def without_c(nodes: str = "abcde", *, created: int = 0, by_clock: bool = True) -> HandReplica:
    return blank(nodes, created=created, by_clock=by_clock)


def sat_out(node: HandReplica) -> int:
    """b has lost its disk as well, d and e serve: they note this life, and are asked after it has sat out."""
    answer(node, "b", NOTED)
    answer(node, "de", NOTED, is_blank=False)
    return asks(node, END + 0.01)


def waits_for(node: HandReplica) -> WaitsFor:
    return [notice for notice in node.notices if isinstance(notice, WaitsFor)][-1]


def waived(node: HandReplica) -> list[Waived]:
    return [notice for notice in node.notices if isinstance(notice, Waived)]


def test_who_is_gone_for_good_is_waived_and_the_floor_is_above_the_clock_and_all_ceilings() -> None:
    node = without_c()
    request = sat_out(node)
    ceiling = (UNIX_S + 500) * TERMS_PER_SECOND
    answer(node, "b", END + 0.5, request=request)
    answer(node, "de", END + 0.5, request=request, is_blank=False, ceiling=ceiling)
    node.tick(END + WAIVED_AFTER_S - 0.1)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    node.tick(END + WAIVED_AFTER_S + 0.1)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert waived(node) == [Waived(("c",))]
    assert first_promise(node, END + 3.0).term == ceiling + 1


def test_without_the_word_it_waits_for_who_is_gone_and_says_so_before_it_sits_out() -> None:
    node = without_c(by_clock=False)
    for second in range(1, 100):
        answer(node, "b", NOTED + second)
        answer(node, "de", NOTED + second, is_blank=False)
        node.tick(NOTED + second + 0.5)
    assert mode_of(node.machine) is NodeMode.STARTING
    assert waits_for(node) == WaitsFor(("c",), clock_is_set=True, noted=False)


def test_by_the_clock_the_floor_is_above_it_where_the_ceilings_are_low() -> None:
    node = without_c()
    request = sat_out(node)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "de", END + 0.5, request=request, is_blank=False, ceiling=7)
    node.tick(END + 3.0)
    assert first_promise(node, END + 3.1).term > (UNIX_S + END + WAIVED_AFTER_S) * TERMS_PER_SECOND


@pytest.mark.parametrize(("nodes", "there"), [("abcde", "bd"), ("abc", "b")])
def test_s15_n_minus_quorum_plus_one_others_must_answer_all_the_same(nodes: str, there: str) -> None:
    node = without_c(nodes)
    answer(node, there, NOTED)
    for second in range(1, 100):
        node.tick(END + second)
        answer(node, there, END + second + 0.1, request=2)
    assert mode_of(node.machine) is not NodeMode.SERVING


def test_who_is_waived_may_be_some_only_and_it_says_so() -> None:
    node = without_c()
    request = sat_out(node)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "d", END + 0.5, request=request, is_blank=False)
    node.tick(END + 500.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    assert waits_for(node) == WaitsFor(("c", "e"), clock_is_set=True, needed=3)


def test_s15_the_time_counts_from_the_last_of_those_who_answer_in_the_end() -> None:
    node = without_c()
    answer(node, "b", NOTED)
    answer(node, "de", NOTED + 20.0, is_blank=False)
    assert asks(node, END + 0.01) == 1
    assert asks(node, END + 20.01) == 2
    answer(node, "b", END + 20.5, request=2)
    answer(node, "de", END + 20.5, request=2, is_blank=False)
    node.tick(END + 24.0)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_who_greets_is_not_gone() -> None:
    node = without_c()
    node.receive(Greet(1, 7, session_id("c-run")), "c", NOTED)
    for second in range(1, 100):
        answer(node, "b", NOTED + second)
        answer(node, "de", NOTED + second, is_blank=False)
        node.tick(NOTED + second + 0.5)
    assert mode_of(node.machine) is NodeMode.STARTING
    assert waits_for(node) == WaitsFor(("c",), clock_is_set=True, needed=3, noted=False)


def test_s15_who_comes_back_with_its_memory_before_it_serves_has_to_note_it_first() -> None:
    node = without_c()
    request = sat_out(node)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "cde", END + 1.0, request=request, is_blank=False)
    node.tick(END + 3.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    later = asks(node, END + 1.0 + SITS_OUT + 0.01)
    assert later > request
    answer(node, "cde", END + 2.0 + SITS_OUT, request=later, is_blank=False)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert waived(node) == []


def test_s15_a_blank_one_that_comes_back_costs_the_time_anew() -> None:
    node = without_c()
    request = sat_out(node)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "de", END + 0.5, request=request, is_blank=False)
    answer(node, "c", END + 1.0, request=request)
    node.tick(END + 3.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    later = asks(node, END + 1.0 + SITS_OUT + 0.01)
    assert later > request
    answer(node, "bc", END + 2.0 + SITS_OUT, request=later)
    answer(node, "de", END + 2.0 + SITS_OUT, request=later, is_blank=False)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert waived(node) == []


def test_who_sits_out_with_its_memory_is_not_gone() -> None:
    node = without_c()
    request = sat_out(node)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "d", END + 0.5, request=request, is_blank=False)
    answer(node, "e", END + 0.5, request=request, is_blank=False, mode=NodeMode.RECOVERING, ceiling=5000)
    node.tick(END + 500.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    assert waits_for(node).nodes == ("c", "e")


def test_a_clock_before_the_cell_was_made_waives_nobody() -> None:
    node = without_c(created=UNIX_S + 36_000)
    request = sat_out(node)
    answer(node, "b", END + 0.5, request=request)
    answer(node, "de", END + 0.5, request=request, is_blank=False)
    node.tick(END + 500.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    assert waits_for(node) == WaitsFor(("c",), clock_is_set=False, needed=3)


def test_with_a_record_by_clock_is_an_ordinary_start() -> None:
    start = start_of("a", None, unix_seconds=UNIX_S, by_clock=True)
    assert start.by_clock and start_of("a", start.record, by_clock=True).by_clock
    assert start_of("a", None).by_clock is False
    member = attrs.evolve(start.record, membership=Membership.MEMBER)
    again = start_of("a", member, by_clock=True)
    assert again.record.membership is Membership.MEMBER
    assert again.floor == member.ceiling and not again.by_clock
