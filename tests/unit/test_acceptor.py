"""One acceptor beyond the rules: bounds, housekeeping, what others may ask."""

from __future__ import annotations

import pytest

from paxlock.core.durable import SnapshotName
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Accept, Accepted, Prepare, Promise, Refused, Release, Waiting
from paxlock.core.node.acceptor import CEILING_STEP_TERMS, Acceptor
from paxlock.core.node.forgetting import (
    SWEEP_DIVISOR,
    SWEEP_PAUSE_S,
    SWEEP_SLICE_RECORDS,
    SWEEP_SLICE_STONES,
    TOMBSTONE_S,
)
from paxlock.core.timers import Timers

GRACE = 0.05


def who(number: int) -> Candidate:
    return Candidate(number.to_bytes(16, "big"), 1)


def acceptor(*, ceiling: int = 1 << 40) -> tuple[Acceptor, Timers]:
    timers = Timers()
    return Acceptor(
        floor=0, ceiling=ceiling, max_ttl=30.0, grace=GRACE, timers=timers, wall_offset=0.0
    ), timers


def accept(node: Acceptor, name: str, candidate: Candidate, term: int = 1, now: float = 0.0) -> None:
    answer = node.accept(Accept(1, name, term, Lease(candidate, 10_000, "", b""), 1, 0), now)
    assert isinstance(answer, Accepted)


def prepare(
    node: Acceptor, name: str, candidate: Candidate, now: float, *, age: int = 0, at_least: int = 1
) -> Promise | Accepted | Refused | None:
    return node.prepare(Prepare(1, name, at_least, candidate, age, 5_000, 0, "w"), now)


def released(node: Acceptor, name: str, candidate: Candidate, term: int, now: float) -> None:
    """By its own session."""
    node.release(Release(1, name, candidate, term), candidate.session, now, candidate)


def test_names_are_independent() -> None:
    node, _ = acceptor()
    accept(node, "one", who(1), term=5)
    answer = prepare(node, "two", who(2), 0.0)
    assert isinstance(answer, Promise) and answer.term == 1
    assert node.records["one"].lease is not None


def test_waiters_are_shown_a_page_at_a_time() -> None:
    node, _ = acceptor()
    accept(node, "n", who(0))
    for number in range(1, 12):
        prepare(node, "n", who(number), 1.0, age=1000 - number)
    first = node.waiters(Waiting(1, "n", 0), 2.0)
    rest = node.waiters(Waiting(2, "n", len(first.entries)), 2.0)
    assert first.total == rest.total == 11
    assert [w.candidate for w in (*first.entries, *rest.entries)] == [who(n) for n in range(1, 12)]
    assert first.entries[0].waiting_ms == pytest.approx(1999, abs=1)
    assert node.waiters(Waiting(3, "other", 0), 2.0).total == 0


def test_memory_is_bounded_by_what_is_in_use() -> None:
    node, timers = acceptor()
    for number in range(1_000):
        candidate = who(number + 1)
        accept(node, f"name-{number}", candidate, term=number + 1)
        released(node, f"name-{number}", candidate, number + 1, 0.1)
    accept(node, "used", who(7), term=3, now=55.0)
    for slices in range(40):  # a slice at a time, so that no sweep holds up other work
        timers.run(64.0 + slices / 100)
    assert set(node.records) == {"used"}
    assert node.floor == 1_000
    assert node.records["used"].term == 3
    timers.run(500.0)
    assert node.records == {}


def test_a_sweep_of_very_many_names_takes_small_steps() -> None:
    node, timers = acceptor()
    names = 20 * SWEEP_SLICE_RECORDS
    for number in range(names):
        accept(node, f"name-{number}", who(number + 1), term=number + 1)
        released(node, f"name-{number}", who(number + 1), number + 1, 0.1)
    while node.records:
        now = timers.deadline()
        before = len(node.records)
        timers.run(now)
        assert before - len(node.records) <= SWEEP_SLICE_RECORDS
        assert timers.deadline() >= now + SWEEP_PAUSE_S or not node.records
    assert now < 60.1 + 2 * TOMBSTONE_S / SWEEP_DIVISOR + 1.0
    assert node.floor == names
    assert len(node.names) == 0


def test_a_name_used_again_and_again_is_looked_at_in_one_place_and_keeps_no_old_tombstones() -> None:
    node, timers = acceptor()
    now = 0.0
    for number in range(1, 2_001):
        now += 0.1
        timers.run(now)
        accept(node, "n", who(number), term=number, now=now)
        released(node, "n", who(number), number, now)
        assert len(node.sweeper) == 1
    stones = node.records["n"].tombstones
    assert stones is not None
    kept_s = len(stones) * 0.1
    assert TOMBSTONE_S <= kept_s <= TOMBSTONE_S * (1 + 2 / SWEEP_DIVISOR)
    assert all(node.records["n"].ended(who(number)) for number in range(1_401, 2_001))


def test_very_many_tombstones_of_one_name_go_in_steps() -> None:
    node, timers = acceptor()
    count = 10 * SWEEP_SLICE_STONES
    for number in range(1, count + 1):
        released(node, "n", who(number), 1, 0.0)
    timers.run(59.9)
    stones = node.records["n"].tombstones
    assert stones is not None and len(stones) == count
    while stones:
        before = len(stones)
        timers.run(timers.deadline())
        assert before - len(stones) == SWEEP_SLICE_STONES
    assert node.records == {}
    assert timers.deadline() == float("inf")


def test_a_name_only_asked_for_is_forgotten_too() -> None:
    node, timers = acceptor()
    accept(node, "n", who(1))
    prepare(node, "n", who(2), 1.0)
    timers.run(1_000.0)
    assert node.records == {}
    timers.run(2_000.0)
    assert timers.deadline() == float("inf")


def test_a_higher_ceiling_is_asked_for_ahead_of_need() -> None:
    node, _ = acceptor(ceiling=CEILING_STEP_TERMS)
    prepare(node, "n", who(1), 0.0, at_least=10)
    assert node.wanted_ceiling == CEILING_STEP_TERMS
    answer = prepare(node, "m", who(1), 0.0, at_least=CEILING_STEP_TERMS - 1)
    assert isinstance(answer, Promise)
    assert node.wanted_ceiling > CEILING_STEP_TERMS


def test_restoring_takes_up_a_lease_and_its_promise() -> None:
    node, timers = acceptor()
    lease = Lease(who(1), 10_000, "", b"")
    saved = SnapshotName("n", 5, lease, 5, who(1).session, 9, 4_000, (who(3),), None, 0, False)
    node.restore(saved, 100.0, 100.0)
    assert node.records["n"].owner == who(1)
    answer = prepare(node, "n", who(3), 100.0)
    assert isinstance(answer, Refused)
    (again,) = node.snapshot(101.0)
    assert (again.term, again.lease, again.seq, again.remaining_ms) == (5, lease, 9, 3_000)
    assert again.tombstones == (who(3),)
    timers.run(104.0)
    assert node.records["n"].lease is None


def test_a_lease_saved_below_the_term_it_was_promised_leaves_the_term_closed() -> None:
    node, _ = acceptor()
    lease = Lease(who(1), 10_000, "", b"")
    node.restore(SnapshotName("n", 8, lease, 5, who(1).session, 9, 4_000, (), None, 0, False), 0.0, 0.0)
    assert (node.records["n"].term, node.records["n"].owner) == (8, None)
    answer = prepare(node, "n", who(1), 0.0)
    assert isinstance(answer, Promise) and (answer.term, answer.lease_term) == (9, 5)


def test_pushes_and_touched_names_are_collected() -> None:
    node, _ = acceptor()
    accept(node, "n", who(1))
    prepare(node, "n", who(2), 0.5)
    assert node.touched == {"n"} and node.pushes == []
    released(node, "n", who(1), 1, 1.0)
    ((to, pushed),) = node.pushes
    assert (to, pushed.candidate, pushed.request) == (who(2).session, who(2), 0)
