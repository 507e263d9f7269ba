"""Was there, for every name, one order of the operations in which a lock with fencing tokens behaves so?

A history is linearizable if every operation can be given a moment between its call and its return such that,
in the order of these moments, all answers are those of one machine: a lock with a fencing token (Wing and
Gong's search; configurations that were met before are not entered again, as Lowe proposes). Names are
independent of each other and are judged one by one.

What the lock allows (protocol.md sections 3 and 6):

- acquire, with a token: only while nobody holds, and only with a token above all before.
- release of a token: ends that tenure and no other.
- renew: only while that token is held.
- a tenure may end without a call, once its holder no longer counts on it: after the last ``until`` that was
  promised to the holder, or as soon as a release of unknown outcome was called or a renewal was refused.
- poll "free": nobody holds. Poll "led": that token is held; or was the last one, and ended without a release
  that a quorum has taken (nodes may go on showing what ran out); or nobody holds, the token is above all
  before, and what was seen may be a round of an acquisition that has been called and not yet been told.

Acquisitions that failed, or that nobody knows the end of, need not have happened.
"""

from __future__ import annotations

import enum
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import inf
from typing import Any

import attrs

from paxlock.core.session.judgement import State
from paxlock.simulator.minimising import minimised

__all__ = ["NotLinearizable", "Operation", "OperationKind", "OperationOutcome", "check_history"]

SHOWN_OPERATIONS = 40


class OperationKind(enum.Enum):
    """What a client wanted."""

    ACQUIRE = "acquire"
    RELEASE = "release"
    RENEW = "renew"
    POLL = "poll"


class OperationOutcome(enum.Enum):
    """What the client was told."""

    OK = "ok"  #: acquired; renewed; a quorum has taken the release; a poll with an answer
    REFUSED = "refused"  #: not acquired: held, or gave up waiting; not renewed: the tenure is over
    UNKNOWN = "unknown"  #: the client died, or no quorum answered


@attrs.frozen
class Operation:
    """One call of one client, in true seconds. ``returned`` is inf where the call never came back.

    ``term`` is the fencing token: required for a successful acquire or renew, for a release, and for a poll
    that says "led". ``until``, of a successful acquire or renew: how long the holder counts the lease as
    valid. A holder that stops counting earlier must have released it, or had a renewal refused.
    """

    client: str
    name: str
    kind: OperationKind
    called: float
    returned: float = inf
    term: int = 0
    outcome: OperationOutcome = OperationOutcome.UNKNOWN
    until: float = -inf
    state: State | None = None

    def __attrs_post_init__(self) -> None:
        if self.returned < self.called:
            raise ValueError(f"an operation of {self.client} returns before it is called: {self}")

    @property
    def ok(self) -> bool:
        return self.outcome is OperationOutcome.OK

    def to_json(self) -> str:
        """One line of JSON, without the end of line. What has its default is left out."""
        fields: dict[str, object] = {}
        for field in attrs.fields(Operation):
            value = getattr(self, field.name)
            if value != field.default:
                fields[field.name] = value.value if isinstance(value, enum.Enum) else value
        return json.dumps(fields, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Operation:
        """The operation of a line of ``to_json``. Raises ValueError for anything else."""
        try:
            fields: dict[str, Any] = json.loads(line)
            fields["kind"] = OperationKind(fields["kind"])
            if "outcome" in fields:
                fields["outcome"] = OperationOutcome(fields["outcome"])
            if fields.get("state") is not None:
                fields["state"] = State(fields["state"])
            return cls(**fields)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not an operation of a history: {line.strip()!r} ({error})") from error

    def __str__(self) -> str:
        returned = "..." if self.returned == inf else f"{self.returned:.6f}"
        said = self.state.value if self.state is not None else self.outcome.value
        parts = [f"{self.called:.6f} - {returned}  {self.client}: {self.kind.value}, {said}"]
        if self.term:
            parts.append(f"token {self.term}")
        if self.until > -inf:
            parts.append(f"valid until {self.until:.6f}")
        return ", ".join(parts)


class NotLinearizable(AssertionError):
    """No order of the operations on ``name`` explains all answers. ``operations`` are a part, made as
    small as it can be found, that already has none.
    """

    def __init__(self, name: str, explanation: str, operations: tuple[Operation, ...]) -> None:
        lines = [f"{name!r}: {explanation}", *(f"  {operation}" for operation in operations)]
        if len(lines) > SHOWN_OPERATIONS:
            lines[SHOWN_OPERATIONS:] = [f"  and {len(lines) - SHOWN_OPERATIONS} more"]
        super().__init__("\n".join(lines))
        self.name = name
        self.explanation = explanation
        self.operations = operations


def check_history(operations: Iterable[Operation]) -> None:
    """Raise NotLinearizable for the first name whose answers no order of its operations explains."""
    names: dict[str, list[Operation]] = {}
    for operation in operations:
        names.setdefault(operation.name, []).append(operation)
    for name, history in names.items():
        if _explanation(history, history) is not None:
            part = _smallest(history)
            raise NotLinearizable(name, _explanation(part, history) or "", tuple(part))


# The search


@attrs.frozen
class _State:
    """The lock: is the highest token that was given still held, and has a quorum taken its release?"""

    highest: int = 0
    held: bool = False
    released: bool = False


@attrs.frozen
class _Configuration:
    """How far a search has come: ``pending`` may come next, all from ``upcoming`` on are called later."""

    upcoming: int
    pending: tuple[int, ...]
    state: _State


class _UnderWay:
    """From when on somebody may have been at acquiring with a token, without having been told of it.

    The acquisition that a poll saw may be given up later, or succeed with a higher token.
    """

    def __init__(self, history: Iterable[Operation]) -> None:
        acquires = [op for op in history if op.kind is OperationKind.ACQUIRE]
        told = sorted((op for op in acquires if op.ok), key=lambda op: op.term)
        self._terms = [op.term for op in told]
        untold = min((op.called for op in acquires if not op.ok), default=inf)
        backwards = accumulate((op.called for op in reversed(told)), min, initial=untold)
        self._since = list(backwards)[::-1]

    def since(self, term: int) -> float:
        return self._since[bisect_left(self._terms, term)]


class _Search:
    """Looks for an order of one name's operations."""

    def __init__(self, history: Sequence[Operation], whole: Sequence[Operation]) -> None:
        #: only what was answered for certain has to find its place
        self._calls = sorted(filter(_binds, history), key=lambda op: (op.called, op.returned))
        self._acquired = {op.term for op in self._calls if op.kind is OperationKind.ACQUIRE}
        self._may_end = _ends(history)
        self._under_way = _UnderWay(whole)
        #: where the search came furthest: (operations placed, the one that was due, the lock)
        self.furthest: tuple[int, Operation | None, _State] = (-1, None, _State())

    def succeeds(self) -> bool:
        """Whether there is an order."""
        stack = [_Configuration(0, (), _State())]
        met: set[_Configuration] = set()
        while stack:
            configuration, frontier = self._settled(stack.pop())
            if configuration in met:
                continue
            met.add(configuration)
            if not configuration.pending:
                return True
            self._note(configuration)
            stack.extend(self._next(configuration, frontier))
        return False

    def _settled(self, configuration: _Configuration) -> tuple[_Configuration, float]:
        """Take in what was called by now, and place at once what changes nothing: later is never better.

        Returns with it the frontier: the moment by which the next operation must have its place.
        """
        calls, state = self._calls, configuration.state
        upcoming, pending = configuration.upcoming, list(configuration.pending)
        while True:
            frontier = min((calls[at].returned for at in pending), default=inf)
            while upcoming < len(calls) and calls[upcoming].called <= frontier:
                frontier = min(frontier, calls[upcoming].returned)
                pending.append(upcoming)
                upcoming += 1
            left = [at for at in pending if not self._changes_nothing(calls[at], state, frontier)]
            if len(left) == len(pending):
                return _Configuration(upcoming, tuple(left), state), frontier
            pending = left

    def _changes_nothing(self, call: Operation, state: _State, frontier: float) -> bool:
        """Whether the call may come now and leaves the lock as it is."""
        match call.kind:
            case OperationKind.RENEW:
                return state.held and call.term == state.highest
            case OperationKind.RELEASE:
                last = state.released and call.term == state.highest
                return last or call.term < state.highest or call.term not in self._acquired
            case OperationKind.POLL if call.state is State.FREE:
                return not state.held
            case OperationKind.POLL if call.term == state.highest:
                return not state.released
            case OperationKind.POLL:
                started = self._under_way.since(call.term) <= frontier
                return not state.held and call.term > state.highest and started
            case OperationKind.ACQUIRE:
                return False

    def _next(self, configuration: _Configuration, frontier: float) -> Iterator[_Configuration]:
        """Everything that may come next and changes the lock. Tokens come in their order, so of the pending
        acquisitions only the one with the lowest can be next.
        """
        upcoming, pending, state = configuration.upcoming, configuration.pending, configuration.state
        calls, last = self._calls, state.highest
        if not state.released and any(
            calls[at].kind is OperationKind.RELEASE and calls[at].term == last for at in pending
        ):
            yield _Configuration(upcoming, pending, _State(last, released=True))
        if state.held:
            if self._may_end[last] <= frontier:
                yield _Configuration(upcoming, pending, _State(last))
            return
        acquires = [at for at in pending if calls[at].kind is OperationKind.ACQUIRE]
        lowest = min(acquires, key=lambda at: calls[at].term, default=None)
        if lowest is not None and calls[lowest].term > last:
            left = tuple(at for at in pending if at != lowest)
            yield _Configuration(upcoming, left, _State(calls[lowest].term, held=True))

    def _note(self, configuration: _Configuration) -> None:
        placed = configuration.upcoming - len(configuration.pending)
        if placed > self.furthest[0]:
            due = min(configuration.pending, key=lambda at: self._calls[at].returned)
            self.furthest = (placed, self._calls[due], configuration.state)


def _binds(operation: Operation) -> bool:
    """Whether its answer says for certain something about the lock."""
    return operation.ok and (operation.kind is not OperationKind.POLL or operation.state is not State.UNKNOWN)


def _ends(history: Iterable[Operation]) -> dict[int, float]:
    """From when on each tenure may end without a further call."""
    valid: dict[int, float] = {}
    given_up: dict[int, float] = {}
    for op in history:
        if op.kind is OperationKind.POLL:
            continue
        if op.ok and op.kind is not OperationKind.RELEASE:
            valid[op.term] = max(valid.get(op.term, -inf), op.until)
        elif (op.kind, op.outcome) in _GIVES_UP:
            given_up[op.term] = min(given_up.get(op.term, inf), op.called)
    return {term: min(until, given_up.get(term, inf)) for term, until in valid.items()}


_GIVES_UP = {
    (OperationKind.RELEASE, OperationOutcome.UNKNOWN),
    (OperationKind.RELEASE, OperationOutcome.REFUSED),
    (OperationKind.RENEW, OperationOutcome.REFUSED),
}


# What to say about it


def _explanation(history: Sequence[Operation], whole: Sequence[Operation]) -> str | None:
    """Why there is no order for ``history``, a part of ``whole``; None where there is one."""
    tokens: set[int] = set()
    for op in history:
        if op.kind is OperationKind.ACQUIRE and op.ok:
            if op.term in tokens:
                return f"token {op.term} was given twice"
            tokens.add(op.term)
    for op in history:
        if op.kind is OperationKind.RENEW and op.ok and op.term not in tokens:
            return f"token {op.term} was renewed, but nobody acquired with it"
    search = _Search(history, whole)
    if search.succeeds():
        return None
    _, due, state = search.furthest
    assert due is not None
    held = "is held" if state.held else "was released" if state.released else "has run out"
    lock = f"token {state.highest} {held}" if state.highest else "nobody has held it"
    return f"no order explains all answers; at the furthest, {lock}, and this has no place: {due}"


def _smallest(history: Sequence[Operation]) -> list[Operation]:
    """A part of the history that has no order either, and of which no piece can be left out.

    A piece is a whole tenure, or then a single renewal or poll: without it a history is never harder to
    explain. (A release alone is no piece: without it, what comes after it would be wrong.)
    """
    bound = [op for op in history if _binds(op) or (op.kind, op.outcome) in _GIVES_UP]

    def fails(pieces: list[list[Operation]]) -> bool:
        return _explanation(_joined(pieces), history) is not None

    tenures: dict[object, list[Operation]] = {}
    for at, op in enumerate(bound):
        tenures.setdefault(op.term or (at,), []).append(op)
    part = _joined(minimised(list(tenures.values()), fails))
    single = [[op] for op in part if _is_single(op)]
    others = [op for op in part if not _is_single(op)]
    return _joined([others, *minimised(single, lambda pieces: fails([others, *pieces]))])


def _is_single(operation: Operation) -> bool:
    return operation.kind is OperationKind.POLL or (operation.kind is OperationKind.RENEW and operation.ok)


def _joined(pieces: Iterable[list[Operation]]) -> list[Operation]:
    return sorted((op for piece in pieces for op in piece), key=lambda op: (op.called, op.returned))
