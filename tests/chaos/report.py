"""The figures of a run, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import Any

import attrs

from .cluster import Cluster
from .journal import History
from .nemesis import Episode, Nemesis
from .verdict import Recovery, Tenure, counted, tenures_of

__all__ = ["Report", "gaps", "made"]


@attrs.frozen
class Report:
    """All figures; times are seconds."""

    seed: int
    minutes: float
    nodes: int
    skewed_clocks: bool
    episodes: int
    operations: dict[str, dict[str, int]]
    history_size: int
    load_held: float  #: the mean share of the time in which a name was held
    faults: dict[str, int]
    losses: dict[str, int]
    revocations: dict[str, dict[str, int]]  #: how many were asked for, and how many were taken by a quorum
    worst_gap: dict[str, float]
    worst_calm_gap: dict[str, float]
    longest_recovery: dict[str, float]
    closest_succession: float | None  #: from the end of a lease that ran out to the next tenure; never < 0
    writes_accepted: int
    stale_writes_refused: int
    datagrams: dict[str, int]
    relay_us_per_datagram: float
    node_growth_kib: int  #: of the node that has grown most
    machine_lag: float
    violations: list[str]

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self), indent=2)

    def to_text(self) -> str:
        """A table: one figure a line."""
        lines = []
        for key, value in attrs.asdict(self).items():
            if key != "violations":
                for label, shown in _rows(key, value):
                    lines.append(f"{label:<48} {shown}".rstrip())
        lines.append(f"{'violations':<48} {len(self.violations)}")
        lines.extend(f"  VIOLATION {violation}" for violation in self.violations)
        return "\n".join(lines)


def _rows(key: str, value: Any) -> Iterator[tuple[str, str]]:
    label = key.replace("_", " ")
    if isinstance(value, dict):
        yield label, ""
        for inner, figure in value.items():
            shown = (
                ", ".join(f"{v} {k}" for k, v in figure.items())
                if isinstance(figure, dict)
                else _figure(figure)
            )
            yield f"  {inner}", shown
    else:
        yield label, _figure(value)


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def gaps(tenures: Sequence[Tenure]) -> Iterator[tuple[float, float]]:
    """The times between two holders of one name: (from, to)."""
    end = tenures[0].end if tenures else 0.0
    for before, after in pairwise(tenures):
        end = max(end, before.end)
        if after.since > end:
            yield end, after.since


def _calm_spans(episodes: Sequence[Episode]) -> list[tuple[float, float]]:
    """From when everything was back until the next fault."""
    return [(before.calm, after.began) for before, after in pairwise(episodes) if before.calm]


def _longest(found: Sequence[Recovery]) -> dict[str, float]:
    """By name, the longest time that a healing took."""
    longest: dict[str, float] = {}
    for recovery in found:
        longest[recovery.name] = max(recovery.took, longest.get(recovery.name, 0.0))
    return longest


def _revocations(history: History) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for force, how in ((False, "polite"), (True, "forced")):
        asked = [each for each in history.revocations if each.force is force]
        found[how] = {"asked for": len(asked), "taken": sum(each.done < inf for each in asked)}
    return found


def made(
    cluster: Cluster,
    nemesis: Nemesis,
    history: History,
    found: Sequence[Recovery],
    *,
    seed: int,
    seconds: float,
    violations: list[str],
) -> Report:
    """Put the figures together."""
    layout, relay = cluster.layout, cluster.relay
    names = tenures_of(history.operations)
    spans = _calm_spans(nemesis.episodes)
    worst = {name: max((to - since for since, to in gaps(names[name])), default=0.0) for name in names}
    calm = {
        name: max(
            (
                to - since
                for since, to in gaps(names[name])
                if any(begin <= since and to <= end for begin, end in spans)
            ),
            default=0.0,
        )
        for name in names
    }
    held = sum(max(0.0, tenure.end - tenure.since) for tenures in names.values() for tenure in tenures)
    return Report(
        seed=seed,
        minutes=seconds / 60.0,
        nodes=layout.nodes,
        skewed_clocks=cluster.skewed,
        episodes=len(nemesis.episodes),
        operations={kind: dict(counts) for kind, counts in counted(history.operations).items()},
        history_size=len(history.operations),
        load_held=held / (seconds * len(layout.names)),
        faults={kind.value: count for kind, count in nemesis.counts.items()},
        losses=dict(Counter(loss.reason for loss in history.losses)),
        revocations=_revocations(history),
        worst_gap=worst,
        worst_calm_gap=calm,
        longest_recovery=_longest(found),
        closest_succession=min(
            (
                after.since - before.until
                for tenures in names.values()
                for before, after in pairwise(tenures)
                if before.until < before.released
            ),
            default=None,
        ),
        writes_accepted=cluster.guard.accepted,
        stale_writes_refused=cluster.guard.refused,
        datagrams=dict(relay.counts),
        relay_us_per_datagram=relay.busy_s * 1e6 / max(1, relay.counts["delivered"]),
        node_growth_kib=max(
            (child.peak_rss - child.first_rss for child in cluster.all if child.name.startswith("node")),
            default=0,
        ),
        machine_lag=max((episode.lag for episode in nemesis.episodes), default=0.0),
        violations=violations,
    )
