"""What is looked for in the notes of a run, when it is over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf
from pathlib import Path

import attrs

from paxlock.simulator.linearizability import (
    NotLinearizable,
    Operation,
    OperationKind,
    check_history,
)

from .cluster import Child, Layout
from .journal import Attempt, History, Revocation
from .nemesis import Episode

__all__ = ["Recovery", "Tenure", "judged", "recoveries", "tenures_of"]

LEFT_STRETCH = 1.01 / 0.99  #: of what a node tells of its clock, in true seconds, and some more
EPSILON_S = 1e-6  #: of the arithmetic by which skewed clocks are converted
ALLOWANCE_S = 1.0  #: for what is not waiting: starting to ask again, queueing, lost datagrams
LAG_FACTOR = 10.0
GROWTH_MAX_KIB = 32 * 1024
TROUBLE_WORDS = ("Traceback", "Warning", "unexpected error", "Exception ignored")
SHOWN_MAX = 20


@attrs.frozen
class Tenure:
    """One lease in the hands of a client, in true seconds: from when it knew, until it no longer counted on
    it: ``until`` is the last deadline that it was told, ``released`` when it began to let go.
    """

    client: str
    name: str
    term: int
    since: float
    until: float
    released: float = inf

    @property
    def end(self) -> float:
        return min(self.until, self.released)


def tenures_of(operations: Iterable[Operation]) -> dict[str, list[Tenure]]:
    """The tenures of every name, in the order of their beginnings."""
    found: dict[tuple[str, str, int], Tenure] = {}
    ordered = sorted(operations, key=lambda op: (op.kind is not OperationKind.ACQUIRE, op.returned))
    for op in ordered:
        key = (op.client, op.name, op.term)
        if op.kind is OperationKind.ACQUIRE and op.ok:
            found[key] = Tenure(op.client, op.name, op.term, op.returned, op.until)
        elif key in found:
            if op.kind is OperationKind.RENEW and op.ok:
                found[key] = attrs.evolve(found[key], until=max(op.until, found[key].until))
            elif op.kind is OperationKind.RELEASE:
                found[key] = attrs.evolve(found[key], released=op.called)
    names: dict[str, list[Tenure]] = {}
    for tenure in sorted(found.values(), key=lambda tenure: tenure.since):
        names.setdefault(tenure.name, []).append(tenure)
    return names


@attrs.frozen
class Recovery:
    """How long after a healing a name was acquired or renewed, and how long that may take."""

    episode: Episode
    name: str
    took: float
    allowed: float


def recoveries(
    history: History, episodes: Iterable[Episode], layout: Layout, finished: float
) -> Iterator[Recovery]:
    """Of every episode and name. One ttl for the dead holder and one sitting out; a late machine has more.

    Who has held through the healing need not say so before the next episode.
    """
    tenures = tenures_of(history.operations)
    served = [
        op for op in history.operations if op.ok and op.kind in (OperationKind.ACQUIRE, OperationKind.RENEW)
    ]
    for episode in episodes:
        if not episode.calm:
            continue  # the run ended before
        allowed = layout.max_ttl + layout.sits_out + ALLOWANCE_S + LAG_FACTOR * episode.lag
        for name in layout.names:
            back = min(
                (op.returned for op in served if op.name == name and op.returned > episode.healed),
                default=finished,
            )
            if any(tenure.since <= episode.calm < tenure.end for tenure in tenures.get(name, ())):
                back = min(back, episode.calm)
            yield Recovery(episode, name, back - episode.healed, allowed)


def judged(
    history: History,
    children: Sequence[Child],
    guarded: Path,
    found: Sequence[Recovery],
    unexpected: Sequence[str],
) -> list[str]:
    """Everything that must not be, one sentence each."""
    violations = [
        *unexpected,
        *_overlaps(history),
        *_outside(history.attempts, tenures_of(history.operations)),
        *_backwards(history.attempts),
        *_unfenced(guarded),
        *_inexplicable(history.operations),
        *_unending(history),
        *_out_of_the_blue(history),
        *_too_slow(found),
        *_troubled(children),
    ]
    more = len(violations) - SHOWN_MAX
    return violations[:SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])


def _overlaps(history: History) -> Iterator[str]:
    """Never two at once (protocol.md section 3); and tokens rise."""
    for name, tenures in tenures_of(history.operations).items():
        latest = tenures[0]
        for tenure in tenures[1:]:
            if tenure.since < latest.end - EPSILON_S:
                yield (
                    f"{name!r}: {tenure.client} has token {tenure.term} at {tenure.since:.6f}, "
                    f"while {latest.client} holds token {latest.term} until {latest.end:.6f}"
                )
            latest = max(latest, tenure, key=lambda tenure: tenure.end)
        for before, after in pairwise(tenures):
            if after.term <= before.term and after.since > before.since:
                yield f"{name!r}: token {after.term} of {after.client} comes after token {before.term}"


def _outside(attempts: Iterable[Attempt], names: dict[str, list[Tenure]]) -> Iterator[str]:
    """Who writes holds, by its own deadline, at the moment at which it looked."""
    tenures = {(t.client, t.name, t.term): t for tenures in names.values() for t in tenures}
    for attempt in attempts:
        tenure = tenures.get((attempt.client, attempt.name, attempt.term))
        if tenure is None:
            yield f"{attempt.name!r}: {attempt.client} writes with token {attempt.term}, which it never had"
        elif attempt.at > tenure.end + EPSILON_S:
            late = attempt.at - tenure.end
            yield (
                f"{attempt.name!r}: {attempt.client} writes with token {attempt.term} at {attempt.at:.6f}, "
                f"{late:.6f} s after its tenure"
            )


def _backwards(attempts: Iterable[Attempt]) -> Iterator[str]:
    """In the order of the moments at which holders looked at their leases, tokens never fall."""
    highest: dict[str, Attempt] = {}
    for attempt in attempts:
        before = highest.setdefault(attempt.name, attempt)
        if attempt.term < before.term:
            yield (
                f"{attempt.name!r}: {attempt.client} believes in token {attempt.term} at {attempt.at:.6f}, "
                f"after {before.client} wrote with token {before.term} at {before.at:.6f}"
            )
        elif attempt.term > before.term:
            highest[attempt.name] = attempt


def _unfenced(guarded: Path) -> Iterator[str]:
    """The guarded file itself: what was accepted never has a token below one before it."""
    highest: dict[str, int] = {}
    for line in guarded.read_text().splitlines():
        write = json.loads(line)
        if write["accepted"] and write["term"] < highest.get(write["name"], 0):
            yield f"the file took a write to {write['name']!r} with the old token {write['term']}"
        highest[write["name"]] = max(write["term"], highest.get(write["name"], 0))


def _inexplicable(operations: Sequence[Operation]) -> Iterator[str]:
    for name in sorted({op.name for op in operations}):
        try:
            check_history(op for op in operations if op.name == name)
        except NotLinearizable as error:
            yield f"the history is not linearizable: {error}"


def _unending(history: History) -> Iterator[str]:
    """A tenure that a quorum has ended by force is not renewed any more, and nobody counts on it for longer
    than the operator was told (protocol.md section 12), as far as clocks may run apart.
    """
    forced: dict[tuple[str, int], list[Revocation]] = {}
    for revocation in history.revocations:
        if revocation.force and revocation.done < inf:
            forced.setdefault((revocation.name, revocation.term), []).append(revocation)
    for op in history.operations:
        for revocation in forced.get((op.name, op.term), ()) if op.ok else ():
            if op.kind is OperationKind.RENEW and op.called > revocation.done + EPSILON_S:
                who = f"{op.client} renews token {op.term} at {op.called:.6f}"
                yield f"{op.name!r}: {who}, but {_told(revocation)}"
    for tenures in tenures_of(history.operations).values():
        for tenure in tenures:
            for revocation in forced.get((tenure.name, tenure.term), ()):
                late = tenure.end - (revocation.done + revocation.left * LEFT_STRETCH)
                if late > EPSILON_S:
                    who = f"{tenure.client} counts on token {tenure.term} {late:.6f} s too long"
                    yield f"{tenure.name!r}: {who}: {_told(revocation)}, with {revocation.left:.6f} s left"


def _told(revocation: Revocation) -> str:
    return f"{revocation.client} was told at {revocation.done:.6f} that it is ended by force"


def _out_of_the_blue(history: History) -> Iterator[str]:
    """Nobody loses a lease to an operator that no operator has asked for.

    One may have asked in a term in which a quorum held the lease before its candidate knew: it went on to a
    higher term, and only that became its token (protocol.md section 6). Nobody's token is the lower one.
    """
    asked: dict[str, list[tuple[int, float]]] = {}
    for revocation in history.revocations:
        asked.setdefault(revocation.name, []).append((revocation.term, revocation.called))
    tokens = {name: [one.term for one in found] for name, found in tenures_of(history.operations).items()}
    for loss in history.losses:
        if loss.reason != "REVOKED":
            continue
        before = max((token for token in tokens.get(loss.name, ()) if token < loss.term), default=0)
        meant = any(before < term <= loss.term and at <= loss.at for term, at in asked.get(loss.name, ()))
        if not meant:
            yield f"{loss.name!r}: {loss.client} is told that token {loss.term} is revoked: by nobody"


def _too_slow(found: Iterable[Recovery]) -> Iterator[str]:
    for recovery in found:
        if recovery.took > recovery.allowed:
            kinds = ", ".join(kind.value for kind in recovery.episode.kinds)
            yield (
                f"{recovery.name!r} came back {recovery.took:.1f} s after the healing of {kinds}: "
                f"{recovery.allowed:.1f} s were allowed"
            )


def _troubled(children: Iterable[Child]) -> Iterator[str]:
    for child in children:
        trouble = [line for line in child.said if any(word in line for word in TROUBLE_WORDS)]
        if trouble:
            yield f"{child.name} said on stderr: {trouble[0]}"
        if child.peak_rss - child.first_rss > GROWTH_MAX_KIB:
            yield f"{child.name} grew from {child.first_rss} to {child.peak_rss} KiB"


def counted(operations: Iterable[Operation]) -> dict[str, Counter[str]]:
    """Operations by kind and outcome."""
    counts: dict[str, Counter[str]] = {kind.value: Counter() for kind in OperationKind}
    for op in operations:
        answer = op.state if op.ok and op.state is not None else op.outcome
        counts[op.kind.value][answer.value] += 1
    return counts
