"""What a client writes down, as it happens, and what is read from it afterwards.

Each line is one write to a file, so that nothing is lost with a killed client: a line at the call, another at
the return. A call without a return is of unknown outcome. All times are true seconds: CLOCK_BOOTTIME of the
kernel, also in a process whose clocks are made to run fast or slow.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import attrs

from paxlock.core.session.judgement import State
from paxlock.simulator.linearizability import Operation, OperationKind, OperationOutcome

__all__ = ["Attempt", "History", "Journal", "Loss", "Revocation", "SkewedClock", "true_now", "whole_lines"]

RATE_VARIABLE = "CHAOS_CLOCK_RATE"
CLOCK_BOOTTIME = 7
CALL_NUMBERS = {"x86_64": 228, "aarch64": 113}  #: of clock_gettime
PAIR_MAX_S = 0.0005
PAIR_TRIES = 10


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _kernel_boot_time() -> float:
    """CLOCK_BOOTTIME by the bare system call, which libfaketime does not replace."""
    spec = _Timespec()
    number = CALL_NUMBERS[os.uname().machine]
    _LIBC.syscall(ctypes.c_long(number), ctypes.c_long(CLOCK_BOOTTIME), ctypes.byref(spec))
    return float(spec.seconds + spec.nanoseconds * 1e-9)


_LIBC = ctypes.CDLL(None)
_RATE = float(os.environ.get(RATE_VARIABLE, "1.0"))


def true_now() -> float:
    """Seconds of the boot-time clock that all processes of the machine share."""
    return time.clock_gettime(CLOCK_BOOTTIME) if _RATE == 1.0 else _kernel_boot_time()


@attrs.frozen
class SkewedClock:
    """Converts moments of this process's own clock, which runs at ``rate``, to true time."""

    rate: float = _RATE

    def true(self, own: float) -> float:
        """The true time at which the own clock shows ``own``."""
        if self.rate == 1.0:
            return own
        for _ in range(PAIR_TRIES):
            before = _kernel_boot_time()
            shown = time.clock_gettime(CLOCK_BOOTTIME)
            if _kernel_boot_time() - before < PAIR_MAX_S:
                break
        return before + (own - shown) / self.rate


class Journal:
    """The notes of one client. ``clock`` converts the deadlines that its leases tell."""

    def __init__(self, path: Path, client: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._client = client
        self._clock = SkewedClock()
        self._count = 0

    def _write(self, **facts: object) -> None:
        os.write(self._handle, json.dumps(facts, separators=(",", ":")).encode() + b"\n")

    def call(self, kind: OperationKind, name: str, term: int = 0) -> int:
        """An operation begins; gives its number."""
        self._count += 1
        self._write(call=self._count, kind=kind.value, name=name, term=term, at=true_now())
        return self._count

    def answer(
        self, call: int, outcome: OperationOutcome, term: int = 0, deadline: float = -inf, state: str = ""
    ) -> None:
        """It has returned. ``deadline`` is of the own clock."""
        until = self._clock.true(deadline) if deadline > -inf else None
        self._write(answer=call, outcome=outcome.value, term=term, until=until, state=state, at=true_now())

    def extended(self, name: str, term: int, ttl: float, deadline: float) -> None:
        """A renewal was heard by a quorum. It was sent later than a ttl before the new deadline."""
        until = self._clock.true(deadline)
        self._write(extended=name, term=term, sent=until - ttl, until=until, at=true_now())

    def lost(self, name: str, term: int, reason: str) -> None:
        """The lease is over, not by a release."""
        self._write(lost=name, term=term, reason=reason, at=true_now())

    def revoke(self, name: str, term: int, force: bool) -> int:
        """Somebody else's tenure is to end; gives the number of this call."""
        self._count += 1
        self._write(revoke=self._count, name=name, term=term, force=force, at=true_now())
        return self._count

    def revoked(self, revoke: int, left: float) -> None:
        """A quorum has taken it; for so many seconds the lease is still held, at most."""
        self._write(revoked=revoke, left=left, at=true_now())

    def attempt(self, name: str, term: int, at: float) -> None:
        """A write will be tried; ``at`` was read before the lease was looked at."""
        self._write(attempt=name, term=term, at=at)


@attrs.frozen
class Attempt:
    """A write that a client thought it could do."""

    client: str
    name: str
    term: int
    at: float


@attrs.frozen
class Loss:
    """A tenure that was over, not by a release of its holder's own accord; ``at`` is when it was told."""

    client: str
    name: str
    term: int
    reason: str
    at: float


@attrs.frozen
class Revocation:
    """An operator ends a tenure, in true seconds. ``done`` is when it was told that a quorum has taken it,
    inf where that never was; ``left`` for how many seconds the lease was held from then on, at most.
    """

    client: str
    name: str
    term: int
    force: bool
    called: float
    done: float = inf
    left: float = inf


@attrs.define
class History:
    """Everything that clients wrote down."""

    operations: list[Operation] = attrs.field(factory=list)
    attempts: list[Attempt] = attrs.field(factory=list)
    losses: list[Loss] = attrs.field(factory=list)
    revocations: list[Revocation] = attrs.field(factory=list)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> History:
        """Merge journals; a file is named after its client."""
        history = cls()
        for path in paths:
            history._add(path.stem, whole_lines(path))
        history.operations.sort(key=lambda op: op.called)
        history.attempts.sort(key=lambda attempt: attempt.at)
        return history

    def _add(self, client: str, lines: Iterable[dict[str, Any]]) -> None:
        calls: dict[int, Operation] = {}
        revoked: dict[int, Revocation] = {}
        for line in lines:
            if "call" in line:
                kind = OperationKind(line["kind"])
                calls[line["call"]] = Operation(client, line["name"], kind, line["at"], term=line["term"])
            elif "answer" in line:
                calls[line["answer"]] = _answered(calls[line["answer"]], line)
            elif "extended" in line:
                self.operations.append(_renewal(client, line["extended"], line, OperationOutcome.OK))
            elif "lost" in line:
                self.operations.append(_renewal(client, line["lost"], line, OperationOutcome.REFUSED))
                self.losses.append(Loss(client, line["lost"], line["term"], line["reason"], line["at"]))
            elif "revoke" in line:
                wanted = (line["name"], line["term"], line["force"])
                revoked[line["revoke"]] = Revocation(client, *wanted, line["at"])
            elif "revoked" in line:
                found = revoked[line["revoked"]]
                revoked[line["revoked"]] = attrs.evolve(found, done=line["at"], left=line["left"])
            else:
                self.attempts.append(Attempt(client, line["attempt"], line["term"], line["at"]))
        self.operations.extend(calls.values())
        self.revocations.extend(revoked.values())


def _answered(call: Operation, line: dict[str, Any]) -> Operation:
    return attrs.evolve(
        call,
        returned=line["at"],
        outcome=OperationOutcome(line["outcome"]),
        term=line["term"] or call.term,
        until=-inf if line["until"] is None else line["until"],
        state=State(line["state"]) if line["state"] else None,
    )


def _renewal(client: str, name: str, line: dict[str, Any], outcome: OperationOutcome) -> Operation:
    """What the background told, as an operation."""
    at, until = line["at"], line.get("until", -inf)
    called = min(at, line.get("sent", at))
    kind = OperationKind.RENEW
    return Operation(client, name, kind, called, at, term=line["term"], outcome=outcome, until=until)


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal; one that was cut off by a full disk would end without its newline."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)
