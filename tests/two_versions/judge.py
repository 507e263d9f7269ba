"""The judge: what is looked for in everything that was noted in a play, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf
from pathlib import Path

import attrs

from paxlock.simulator.linearizability import Operation, OperationKind
from tests.chaos.cluster import Child
from tests.chaos.journal import History, whole_lines
from tests.chaos.verdict import judged as judged_as_chaos

__all__ = ["FailedCall", "Phase", "Record", "Seen", "acquired", "report", "violations"]

HEARD_WITHIN_S = 5.0  #: of a watcher: from when somebody knew that it holds until the watcher was told
SHOWN_MAX = 20


@attrs.frozen
class FailedCall:
    """A call that did not do what it is for."""

    client: str
    verb: str
    name: str
    said: str
    at: float

    def __str__(self) -> str:
        return f"{self.client}: {self.verb} {self.name!r} failed at {self.at:.6f}: {self.said}"


@attrs.frozen
class Phase:
    """A part of the play, in seconds of the machine's clock."""

    what: str
    began: float
    ended: float

    def has(self, moment: float) -> bool:
        return self.began <= moment < self.ended


@attrs.frozen
class Seen:
    """What a watcher was told."""

    state: str
    term: int
    at: float


@attrs.frozen
class Record:
    """All that was noted. ``kept`` are the names that somebody held all along, ``ended`` is when the clients
    were told to end.
    """

    history: History
    phases: Sequence[Phase]
    versions: Sequence[str] = ("old", "new")
    kept: Sequence[str] = ()
    ended: float = inf
    failed: Sequence[FailedCall] = ()
    seen: dict[tuple[str, str], list[Seen]] = attrs.field(factory=dict)
    dropped: Counter[str] = attrs.field(factory=Counter)

    @classmethod
    def read(
        cls,
        folder: Path,
        phases: Sequence[Phase] = (),
        *,
        kept: Sequence[str] = (),
        ended: float = inf,
        failed: Iterable[FailedCall] = (),
    ) -> Record:
        """What the clients have written so far; ``failed`` are calls that were noted elsewhere."""
        calls, dropped = list(failed), Counter[str]()
        seen: dict[tuple[str, str], list[Seen]] = {}
        for path in sorted(folder.glob("*.notes")):
            for line in whole_lines(path):
                if "watch" in line:
                    told = Seen(line["state"], line["term"], line["at"])
                    seen.setdefault((path.stem, line["watch"]), []).append(told)
                elif "failed" in line:
                    found = line["failed"], line["name"], line["said"], line["at"]
                    calls.append(FailedCall(path.stem, *found))
                elif "dropped" in line:
                    dropped.update({f"{path.stem}, {key}": count for key, count in line["dropped"].items()})
        return cls(
            History.read(sorted(folder.glob("*.journal"))),
            *(phases, ("old", "new"), kept, ended, calls, seen, dropped),
        )


def violations(
    record: Record, children: Sequence[Child], troubles: Sequence[str], nothing: Path
) -> list[str]:
    """Everything that must not be, one sentence each. ``nothing`` is an empty file: nobody wrote anything."""
    found = [
        *judged_as_chaos(record.history, children, nothing, [], troubles),
        *map(str, record.failed),
        *_unanswered(record),
        *_lost(record),
        *_let_go(record),
        *_watched(record),
        *_idle(record),
    ]
    more = len(found) - SHOWN_MAX
    return found[:SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])


def _unanswered(record: Record) -> Iterator[str]:
    """Every call comes back: nobody was killed in one."""
    told = {(call.client, call.name) for call in record.failed}
    for op in record.history.operations:
        if op.returned == inf and (op.client, op.name) not in told:
            yield f"{op.name!r}: {op.client} was never answered: {op}"


def _lost(record: Record) -> Iterator[str]:
    for loss in record.history.losses:
        yield f"{loss.name!r}: {loss.client} lost token {loss.term} at {loss.at:.6f}: {loss.reason}"


def _let_go(record: Record) -> Iterator[str]:
    """Who holds a name all along is seen to hold it, with one token, by watchers of both versions."""
    for (watcher, name), told in record.seen.items():
        if name not in record.kept:
            continue
        term = next((seen.term for seen in told if seen.state == "led"), 0)
        if not term:
            yield f"{name!r}: {watcher} has never seen that it is held"
        held = False
        for seen in told:
            held = held or seen.state == "led"
            other = seen.state == "free" or (seen.state == "led" and seen.term != term)
            if held and other and seen.at < record.ended:
                shown = f"{seen.state}, token {seen.term}"
                yield f"{name!r}: {watcher} saw {shown} at {seen.at:.6f}, after token {term}"


def _watched(record: Record) -> Iterator[str]:
    """Tokens that a watcher sees do not fall, and it is told of each one, or of a later one, in time."""
    for (watcher, name), told in record.seen.items():
        led = [seen for seen in told if seen.state == "led"]
        for before, after in pairwise(led):
            if after.term < before.term:
                yield f"{name!r}: {watcher} saw token {after.term} after token {before.term}"
        for op in acquired(record.history.operations, name):
            if led and led[0].at < op.returned < record.ended - HEARD_WITHIN_S:
                heard = min((seen.at for seen in led if seen.term >= op.term), default=inf)
                if heard > op.returned + HEARD_WITHIN_S:
                    yield f"{name!r}: {watcher} was not told of token {op.term} of {op.client} in time"


def acquired(operations: Iterable[Operation], name: str = "") -> Iterator[Operation]:
    """The acquisitions that succeeded, of this name or of all."""
    for op in operations:
        if op.kind is OperationKind.ACQUIRE and op.ok and name in ("", op.name):
            yield op


def _idle(record: Record) -> Iterator[str]:
    """Nothing follows from a part in which nobody did anything."""
    for phase in record.phases:
        for version in record.versions:
            worker = f"worker-{version}"
            if not any(
                op.client == worker and phase.has(op.returned) for op in acquired(record.history.operations)
            ):
                yield f"{phase.what}: {worker} acquired nothing"
    for version in record.versions:
        if not any(op.client == f"cli-{version}" for op in acquired(record.history.operations)):
            yield f"cli-{version} acquired nothing"
        if not any(watcher == f"worker-{version}" for watcher, _ in record.seen):
            yield f"worker-{version} watched nothing"


# The report.


def _row(record: Record, phase: Phase, version: str) -> str:
    """What the clients of one version did in one part."""
    mine = [
        op
        for op in record.history.operations
        if op.client.endswith(f"-{version}") and op.ok and phase.has(op.returned)
    ]
    counts = Counter(op.kind for op in mine)
    polls = [
        op.returned - op.called for op in mine if op.kind is OperationKind.POLL and "worker" in op.client
    ]
    longest = f"{1000 * max(polls):.0f} ms" if polls else "-"
    return (
        f"    {version}: {counts[OperationKind.ACQUIRE]} acquired, {counts[OperationKind.RELEASE]} released, "
        f"{counts[OperationKind.RENEW]} renewed, {counts[OperationKind.POLL]} polled (longest {longest})"
    )


def report(record: Record, found: Sequence[str], lines: Iterable[str]) -> str:
    """The report as text; ``lines`` is what else is to be told."""
    text = []
    for phase in record.phases:
        text.append(f"{phase.what}, {phase.ended - phase.began:.1f} s")
        text += [_row(record, phase, version) for version in record.versions]
    text += lines
    changes = Counter(watcher for (watcher, _), told in record.seen.items() for _ in told)
    text.append(f"changes seen: {_counted(changes)}")
    text.append(f"dropped by clients: {_counted(record.dropped)}")
    text.append(f"failed calls: {len(record.failed)}; lost leases: {len(record.history.losses)}")
    text.append(f"violations: {len(found)}")
    text += [f"  VIOLATION {violation}" for violation in found]
    return "\n".join(text)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "nothing"
