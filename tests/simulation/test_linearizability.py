"""The judge of histories: as brute force on small ones, fast on long ones, sharp on planted violations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxlock.core.session.judgement import State
from paxlock.simulator.linearizability import (
    NotLinearizable,
    Operation,
    OperationKind,
    OperationOutcome,
    check_history,
)

ACQUIRE, RELEASE = OperationKind.ACQUIRE, OperationKind.RELEASE
RENEW, POLL = OperationKind.RENEW, OperationKind.POLL
OK, REFUSED, UNKNOWN = OperationOutcome.OK, OperationOutcome.REFUSED, OperationOutcome.UNKNOWN
END = 6


def acquire(called: float, returned: float, term: int, until: float) -> Operation:
    return Operation(f"holder of {term}", "n", ACQUIRE, called, returned, term, OK, until)


def untold(called: float, outcome: OperationOutcome = UNKNOWN) -> Operation:
    return Operation("unlucky", "n", ACQUIRE, called, called + 1.0, outcome=outcome)


def release(called: float, returned: float, term: int, outcome: OperationOutcome = OK) -> Operation:
    return Operation(f"holder of {term}", "n", RELEASE, called, returned, term, outcome)


def renew(called: float, returned: float, term: int, until: float = inf) -> Operation:
    kept = OK if until < inf else REFUSED
    return Operation(f"holder of {term}", "n", RENEW, called, returned, term, kept, min(until, END * 10.0))


def poll(called: float, returned: float, term: int = 0) -> Operation:
    state = State.LED if term else State.FREE
    return Operation("onlooker", "n", POLL, called, returned, term, OK, state=state)


def fine(*history: Operation) -> bool:
    try:
        check_history(history)
    except NotLinearizable:
        return False
    return True


# What a correct cell may answer

CORRECT: dict[str, list[Operation]] = {
    "one after the other": [
        acquire(0, 1, 3, 5), poll(2, 2.5, 3), release(3, 4, 3), poll(4.5, 5, 0), acquire(5, 6, 4, 9),
    ],
    "taken over at the deadline": [acquire(0, 1, 3, 5), acquire(4, 5, 4, 9)],
    "a renewal moves the deadline": [acquire(0, 1, 3, 5), renew(2, 2, 3, 7), acquire(4, 7, 4, 9)],
    "a poll sees what the holder has not been told": [acquire(0, 4, 3, 9), poll(1, 2, 3), poll(5, 6, 3)],
    "an acquisition of unknown outcome is seen, and ends": [
        untold(0), poll(1, 2, 7), poll(2, 3, 7), poll(4, 5), acquire(6, 7, 6, 9),
    ],
    "an acquisition that was given up is seen": [untold(0, REFUSED), poll(1, 2, 7), acquire(3, 4, 9, 9)],
    "an acquisition is seen in an earlier round than that of its token": [
        acquire(0, 5, 4, 9), poll(1, 2, 4), poll(3, 4, 3), poll(6, 7, 4),
    ],
    "a release may have done its work at any time": [
        acquire(0, 1, 3, 9), release(2, inf, 3, UNKNOWN), poll(3, 4, 3), poll(5, 6), acquire(7, 8, 4, 9),
    ],
    "a holder that was refused has given up": [acquire(0, 1, 3, 9), renew(2, 3, 3), acquire(4, 5, 4, 9)],
    "a release of a tenure that is over does nothing": [
        acquire(0, 1, 3, 2), acquire(3, 4, 4, 9), release(5, 6, 3), poll(7, 8, 4),
    ],
    "a release that crosses a renewal": [
        acquire(0, 1, 3, 9), renew(2, 6, 3, 20), release(3, 5, 3), acquire(5.5, 7, 4, 9),
    ],
    "a tenure that ran out unseen is still shown": [acquire(0, 1, 3, 2), poll(5, 6, 3)],
    "a tenure that ran out is shown, by nodes that have not noticed": [
        acquire(0, 1, 3, 2), poll(2, 3), poll(4, 5, 3), poll(6, 7), acquire(8, 9, 4, 9),
    ],
    "who dies with its lease is outlived": [acquire(0, 1, 3, 4), poll(2, 3, 3), poll(3, 4.5)],
    "names are independent": [acquire(0, 1, 3, 9), attrs.evolve(acquire(0, 1, 3, 9), name="other")],
    "an answer that says nothing": [
        acquire(0, 1, 3, 9), Operation("x", "n", POLL, 2, 3, outcome=OK, state=State.UNKNOWN),
    ],
    "nothing": [],
}  # fmt: skip


@pytest.mark.parametrize("history", CORRECT.values(), ids=CORRECT.keys())
def test_a_correct_history_is_accepted(history: list[Operation]) -> None:
    check_history(history)
    check_history(list(reversed(history)))  # the order of the file does not matter


# What it must never answer

WRONG: dict[str, tuple[list[Operation], int]] = {
    "two holders at once": ([acquire(0, 1, 3, 9), acquire(2, 3, 4, 9)], 2),
    "two holders at once, renewed": (
        [acquire(0, 1, 3, 2), renew(1, 2, 3, 4), renew(3, 4, 3, 9), acquire(5, 6, 4, 9)], 3,
    ),
    "a token that goes back": ([acquire(0, 1, 3, 2), acquire(3, 4, 2, 9)], 2),
    "a token given twice": ([acquire(0, 1, 3, 2), acquire(3, 4, 3, 9)], 2),
    "free while held all the time": ([acquire(0, 1, 3, 9), poll(2, 3)], 2),
    "a renewal after another's acquisition": (
        [acquire(0, 1, 3, 4), acquire(5, 6, 4, 9), renew(7, 8, 3, 9)], 3,
    ),
    "a renewal after the release": ([acquire(0, 1, 3, 4), release(1, 2, 3), renew(3, 4, 3, 9)], 3),
    "a release that frees another's": (
        [acquire(0, 1, 3, 2), acquire(3, 4, 4, 20), release(5, 6, 3), acquire(7, 8, 5, 20)], 2,
    ),
    "led after a quorum has taken the release": ([acquire(0, 1, 3, 9), release(2, 3, 3), poll(4, 5, 3)], 3),
    "led after the release, though it had run out": (
        [acquire(0, 1, 3, 2), poll(3, 4), release(4, 5, 3), poll(6, 7, 3)], 3,
    ),
    "led by who was succeeded": ([acquire(0, 1, 3, 2), acquire(3, 4, 4, 9), poll(5, 6, 3)], 2),
    "led by nobody who tried": ([poll(0, 1, 3)], 1),
    "led before anybody tried": ([poll(0, 1, 3), acquire(2, 3, 3, 9)], 1),
    "seen by a poll while another surely holds": ([untold(0), acquire(0, 1, 3, 9), poll(2, 3, 7)], 2),
    "renewed, but never acquired": ([renew(2, 3, 3, 9)], 1),
}  # fmt: skip


@pytest.mark.parametrize(("history", "part"), WRONG.values(), ids=WRONG.keys())
def test_a_violation_is_found_in_the_midst_of_a_long_history(history: list[Operation], part: int) -> None:
    assert not fine(*history)
    before = correct_history(Random(1), operations=300, deaths=0.0)
    shift = max(op.returned for op in before if op.returned < inf) + 100.0
    term = max(op.term for op in before)
    moved = [
        attrs.evolve(op, called=op.called + shift, returned=op.returned + shift, until=op.until + shift,
                     term=op.term + term if op.term else 0)
        for op in history
    ]  # fmt: skip
    later = [
        attrs.evolve(op, called=op.called + 2 * shift, returned=op.returned + 2 * shift,
                     until=op.until + 2 * shift, term=op.term + term + 20 if op.term else 0)
        for op in before
    ]  # fmt: skip
    check_history(before)
    with pytest.raises(NotLinearizable) as caught:
        check_history([*later, *before, *moved])
    assert caught.value.name == "n"
    found = [op for op in caught.value.operations if op in moved]
    assert len(found) >= min(part, 2)
    assert len(caught.value.operations) <= part + 1
    assert all(str(op) in str(caught.value) for op in caught.value.operations)


def test_the_explanation_says_what_is_wrong() -> None:
    with pytest.raises(NotLinearizable, match="token 3 is held") as caught:
        check_history([acquire(0, 1, 3, 9), untold(0), poll(1, 1, 3), acquire(2, 3, 4, 9)])
    assert "holder of 4: acquire, ok, token 4, valid until 9.000000" in str(caught.value)
    assert [op.term for op in caught.value.operations] == [3, 4]
    with pytest.raises(NotLinearizable, match="token 3 was given twice"):
        check_history([acquire(0, 1, 3, 2), acquire(3, 4, 3, 9)])


# Brute force


@attrs.frozen
class Lock:
    holder: int = 0
    highest: int = 0  #: that was acquired
    released: frozenset[int] = frozenset()


def brute_force(history: Sequence[Operation]) -> bool:
    """Try every order with every moment on a grid, and every end of a tenure. Slow, and plain to read."""
    terms = [op.term for op in history if op.kind is ACQUIRE and op.ok]
    binding = [op for op in history if op.ok and op.state is not State.UNKNOWN]
    if len(set(terms)) < len(terms) or any(op.kind is RENEW and op.term not in terms for op in binding):
        return False

    def valid_until(term: int) -> float:
        mine = [op for op in history if op.term == term and op.kind is not POLL]
        given_up = [op.called for op in mine if op.kind in (RENEW, RELEASE) and op.outcome is not OK
                    and (op.kind, op.outcome) != (RENEW, UNKNOWN)]  # fmt: skip
        counted = max(op.until for op in mine if op.ok and op.kind is not RELEASE)
        return min([counted, *given_up])

    def possible(left: list[Operation], now: float, lock: Lock) -> bool:
        if not left:
            return True
        for op in left:
            rest = [other for other in left if other is not op]
            last = min(op.returned, END * 3)
            for moment in range(max(int(now), int(op.called)), int(last) + 1):
                locks = [lock]
                if lock.holder and moment >= valid_until(lock.holder):
                    locks.append(attrs.evolve(lock, holder=0))
                for before in locks:
                    after = apply(op, moment, before)
                    if after is not None and possible(rest, moment, after):
                        return True
        return False

    def apply(op: Operation, moment: float, lock: Lock) -> Lock | None:
        holder, highest = lock.holder, lock.highest
        if op.kind is ACQUIRE:
            return (
                attrs.evolve(lock, holder=op.term, highest=op.term)
                if not holder and op.term > highest
                else None
            )
        if op.kind is RELEASE:
            if op.term in terms and op.term > highest:
                return None  # nobody knows a token before it is given
            return attrs.evolve(
                lock, holder=0 if holder == op.term else holder, released=lock.released | {op.term}
            )
        if op.kind is RENEW:
            return lock if holder == op.term else None
        if op.state is State.FREE:
            return lock if holder == 0 else None
        if holder == op.term:
            return lock
        shown_late = not holder and op.term == highest and op.term not in lock.released
        may_be_it = any(
            other.kind is ACQUIRE and other.called <= moment and (not other.ok or other.term >= op.term)
            for other in history
        )
        return lock if shown_late or (not holder and op.term > highest and may_be_it) else None

    return possible(binding, 0.0, Lock())


@st.composite
def small_operations(draw: st.DrawFn) -> Operation:
    kind = draw(st.sampled_from([ACQUIRE, ACQUIRE, RELEASE, RENEW, POLL, POLL]))
    called = draw(st.integers(0, END))
    returned = draw(st.integers(called, END + 1))
    term = draw(st.integers(1, 3))
    outcome = draw(st.sampled_from([OK, OK, OK, REFUSED, UNKNOWN]))
    until = float(draw(st.integers(called, END + 2))) if kind in (ACQUIRE, RENEW) and outcome is OK else -inf
    state = None
    if kind is POLL:
        outcome, state = OK, draw(st.sampled_from([State.LED, State.FREE]))
        term = term if state is State.LED else 0
    if kind is ACQUIRE and outcome is not OK:
        term = 0
    ended = inf if outcome is UNKNOWN else float(returned)
    return Operation("c", "n", kind, float(called), ended, term, outcome, until, state)


@given(st.lists(small_operations(), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_small_histories_are_judged_as_by_brute_force(history: list[Operation]) -> None:
    assert fine(*history) == brute_force(history)


@given(st.integers(0, 1 << 32), st.integers(2, 7))
@settings(max_examples=200, deadline=None)
def test_nearly_correct_histories_are_judged_as_by_brute_force(seed: int, operations: int) -> None:
    rng = Random(seed)
    history = correct_history(rng, operations=operations, grid=True)
    at = rng.randrange(len(history))
    wrong = attrs.evolve(history[at], term=rng.randint(1, 4) if history[at].term else 0)
    history[at] = wrong
    history = history[:7]
    assert fine(*history) == brute_force(history)


# Long histories


def correct_history(
    rng: Random, *, operations: int, deaths: float = 0.2, grid: bool = False
) -> list[Operation]:
    """What clients heard of an atomic lock with tokens that was really run. Their calls overlap, and some
    die while they acquire. ``grid``: only whole seconds.
    """
    history: list[Operation] = []
    now, holder, until, highest, untold = 0.0, 0, 0.0, 0, False

    def add(kind: OperationKind, term: int = 0, until: float = -inf, **rest: Any) -> None:
        called, returned = max(0.0, now - rng.expovariate(0.5)), now + rng.expovariate(0.5)
        if grid:
            called, returned = float(int(called)), float(int(returned + 1.0))
        client = f"client {rng.randrange(9)}"
        history.append(
            Operation(client, "n", kind, called, returned, term, rest.pop("outcome", OK), until, **rest)
        )

    while len(history) < operations:
        now += float(rng.randint(0, 1)) if grid else rng.expovariate(1.0)
        if holder and now >= until and rng.random() < 0.7:
            holder = 0
        choice = rng.random()
        if choice < 0.3 and not holder:
            highest += rng.randint(1, 2)
            holder, until, untold = highest, now + rng.randint(0, 4), rng.random() < deaths
            if untold:
                history.append(Operation("gone", "n", ACQUIRE, now))
            else:
                add(ACQUIRE, holder, until)
        elif choice < 0.5 and holder and not untold:
            until = max(until, now + rng.randint(0, 4))
            add(RENEW, holder, until)
        elif choice < 0.65 and holder and not untold:
            add(RELEASE, holder, outcome=rng.choice((OK, OK, UNKNOWN)))
            holder = 0
        elif choice < 0.9:
            add(POLL, holder, state=State.LED if holder else State.FREE)
    return history


@given(st.integers(0, 1 << 32))
@settings(max_examples=50, deadline=None)
def test_the_history_of_a_real_lock_is_never_refused(seed: int) -> None:
    check_history(correct_history(Random(seed), operations=200))


def test_ten_thousand_operations_on_one_name_are_judged_quickly() -> None:
    history = correct_history(Random(5), operations=10_000)
    began = time.process_time()
    check_history(history)
    assert time.process_time() - began < 10.0


def test_fifty_waiting_clients_and_twenty_polls_at_a_time_are_no_trouble() -> None:
    history = [acquire(0.0, term + 0.5, term, term + 0.6) for term in range(1, 200)]
    history += [release(term + 0.7, term + 0.9, term) for term in range(1, 200)]
    history += [poll(term, term + 1.5, term) for term in range(1, 200) for _ in range(20)]
    check_history(history)
    assert not fine(*history, poll(150.55, 150.58))


# Files


@pytest.mark.parametrize("history", CORRECT.values(), ids=CORRECT.keys())
def test_operations_are_kept_as_lines_of_json(history: list[Operation]) -> None:
    for operation in history:
        assert "\n" not in operation.to_json()
        assert Operation.from_json(operation.to_json()) == operation


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"client":"a","name":"n","kind":"seize","called":1}',
        '{"client":"a","name":"n","kind":"poll","called":2,"returned":1}',
        '{"client":"a","name":"n","kind":"poll","called":1,"color":"red"}',
    ],
)
def test_a_line_that_is_no_operation_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"not an operation of a history"):
        Operation.from_json(line)
