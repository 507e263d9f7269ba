"""What a node may do after a start: the record and the greetings, without a replica."""

from __future__ import annotations

import attrs
import pytest

from paxlock.core.durable import (
    CLOCK_SET_S,
    INCARNATION_AHEAD_S,
    Durability,
    Membership,
    NodeRecord,
)
from paxlock.core.lease import TERM_MAX
from paxlock.core.messages import Greet, Greeted, NodeMode
from paxlock.core.node.acceptor import CEILING_STEP_TERMS
from paxlock.core.node.recovery import Recovery

RUN = b"r" * 16
RECORD = NodeRecord(b"c" * 16, 1, "a", 3, 5_000, Durability.RECORD, Membership.MEMBER, 30_000, clean=False)


def greeted(seen: int = 0, *, to: int = 3, mode: NodeMode = NodeMode.STARTING) -> Greeted:
    return Greeted(1, to, RUN, seen, RUN, 1, RUN, 0, mode, True, False, 30_000, 0, 0, ())


def recovery(
    record: NodeRecord = RECORD, *, sits_out: float = 0.0, others: str = "bc", ttl: int = 30_000
) -> Recovery:
    found = Recovery(record, RUN, 0, tuple(others), sits_out, ttl, 0.01, 0.0)
    found.begin(0.0)
    return found


@pytest.mark.parametrize(("others", "needed"), [("", 0), ("b", 1), ("bc", 2), ("bcde", 3), ("bcdefg", 4)])
def test_how_many_of_the_others_are_needed(others: str, needed: int) -> None:
    assert recovery(others=others).needed == needed


def test_the_ceiling_only_rises_and_never_above_the_last_term() -> None:
    found = recovery()
    found.raise_ceiling(4_000)
    assert not found.unsaved
    found.raise_ceiling(9_000)
    assert (found.record.ceiling, found.saved.ceiling, found.unsaved) == (9_000, 5_000, True)
    found.raise_ceiling(TERM_MAX + CEILING_STEP_TERMS)
    assert found.record.ceiling == TERM_MAX


def test_without_a_disk_there_is_no_ceiling_to_raise() -> None:
    found = recovery(attrs.evolve(RECORD, durability=Durability.MEMORY, ceiling=1))
    found.raise_ceiling(9_000)
    assert found.record.ceiling == 1


def test_strangers_are_neither_answered_nor_counted() -> None:
    found = recovery(attrs.evolve(RECORD, membership=Membership.CREATING))
    assert found.greeted_by("x", Greet(1, 1, RUN), 0, 0.1) is None
    for node in ("x", "y", "z"):
        found.answered(node, greeted(mode=NodeMode.SERVING), 0.1)
    assert found.mode is NodeMode.STARTING
    assert not found.unsaved


@pytest.mark.parametrize("incarnation", [1, 2, 3, CLOCK_SET_S, CLOCK_SET_S + INCARNATION_AHEAD_S])
def test_an_incarnation_that_may_be_is_noted(incarnation: int) -> None:
    found = attrs.evolve(recovery(), wall_offset=float(CLOCK_SET_S))
    assert found.greeted_by("b", Greet(1, incarnation, RUN), 0, 0.5) is not None
    assert [seen.incarnation for seen in found.record.seen] == [incarnation]


@pytest.mark.parametrize("incarnation", [CLOCK_SET_S + INCARNATION_AHEAD_S + 1, (1 << 63) - 1])
def test_an_incarnation_from_the_future_is_neither_noted_nor_answered(incarnation: int) -> None:
    """Once noted it would lock the node out that it names, until that time has come."""
    found = attrs.evolve(recovery(), wall_offset=float(CLOCK_SET_S))
    assert found.greeted_by("b", Greet(1, incarnation, RUN), 0, 0.5) is None
    assert found.record.seen == ()
    # By a clock that was never set nothing can be told: then anything is believed, as of a lost disk.
    unset = recovery()
    assert unset.greeted_by("b", Greet(1, incarnation, RUN), 0, 0.5) is not None


def test_greetings_slow_down_and_end() -> None:
    found = recovery()
    waits = []
    for _ in range(8):
        assert {node for node, _ in found.greet(0.0)} == {"b", "c"}
        waits.append(found.next_greeting(0.0))
    assert waits == sorted(waits)
    assert waits[-1] == 1.0
    for node in "bc":
        found.answered(node, greeted(3), 0.1)
    assert list(found.greet(1.0)) == []
    assert found.next_greeting(1.0) == float("inf")


def test_lost_memory_stops_the_way_to_serving() -> None:
    found = recovery(sits_out=10.0)
    found.answered("b", greeted(4, mode=NodeMode.SERVING), 0.1)
    assert "--join" in found.lost_memory
    found.advance(20.0)
    assert found.mode is NodeMode.RECOVERING


def test_what_it_remembers_is_what_is_durable() -> None:
    found = recovery()
    found.greeted_by("b", Greet(1, 4, RUN), 0, 0.1)
    assert not found.remembers("b", 4)
    found.saved = found.record
    assert found.remembers("b", 4) and found.remembers("b", 3)
    assert not found.remembers("b", 5)


def test_a_max_ttl_that_was_not_lowered_needs_no_settling() -> None:
    found = recovery()
    found.settle_max_ttl(1e6)
    assert not found.unsaved
    lowered = recovery(ttl=10_000)
    lowered.settle_max_ttl(lowered.max_ttl_settles_at() - 0.001)
    assert not lowered.unsaved
    lowered.settle_max_ttl(lowered.max_ttl_settles_at())
    assert lowered.record.max_ttl_ms == 10_000
