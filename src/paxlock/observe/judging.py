"""What `paxlock doctor` has measured, judged: pure, so that each judgement has a test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from paxlock.core.messages import NodeMode
from paxlock.core.quorum import majority
from paxlock.observe.noticing import SLOW_WRITE_S

__all__ = [
    "BUFFER_BYTES",
    "Diagnosis",
    "Examination",
    "NodeExamined",
    "judge",
    "proposed_ttl",
    "worst_takeover",
]

BUFFER_BYTES = 4 << 20  #: what the sockets of nodes ask for; the kernel grants at most rmem_max
RENEWALS_WITHIN_TTL = 3.0
SPARE = 2.0  #: one renewal may be lost, and its repetition comes in time
TTL_MIN_S = 1.0


@attrs.frozen
class NodeExamined:
    """One node: how it describes itself, and the round trips of the questions it answered (seconds)."""

    node_id: str
    mode: NodeMode | None
    complaint: str
    asked: int
    round_trips: Sequence[float]

    @property
    def worst(self) -> float | None:
        return max(self.round_trips, default=None)

    @property
    def unanswered(self) -> float:
        """The share of questions without an answer within a second."""
        return 1.0 - len(self.round_trips) / self.asked if self.asked else 0.0


@attrs.frozen
class Examination:
    """What was measured here, times in seconds; None where it was not asked for or cannot be read."""

    nodes: Sequence[NodeExamined]
    max_ttl: float
    drift: float
    ttl: float
    pause: float  #: the longest time that this process did not run
    fsync: float | None = None  #: the longest write and fsync in the data folder
    buffer_bytes: int | None = None  #: net.core.rmem_max


@attrs.frozen
class Diagnosis:
    """``problem``: something is wrong; else advice."""

    problem: bool
    about: str
    sentence: str


def _round_trip(found: Examination) -> float:
    """The worst round trip to a quorum: of the nearest so many nodes."""
    worst = sorted(node.worst for node in found.nodes if node.worst is not None)
    needed = majority(len(found.nodes))
    return worst[needed - 1] if len(worst) >= needed else max(worst, default=0.0)


def proposed_ttl(found: Examination) -> float:
    """The shortest ttl that this network and this machine keep: between two renewals, ttl / 3 apart, one may
    be lost and this process stand still as long as it did now.
    """
    needed = RENEWALS_WITHIN_TTL * SPARE * (_round_trip(found) + found.pause)
    return float(max(TTL_MIN_S, math.ceil(needed)))


def worst_takeover(found: Examination) -> float:
    """After how many seconds another leads at the latest, where the holder dies just after a renewal and
    somebody waits: the nodes' clocks may be slow by drift, and the next has to hear of it and be accepted.
    """
    slow = (1.0 + found.drift) / (1.0 - found.drift)
    return found.ttl * slow + 2.0 * _round_trip(found) + found.pause


def judge(found: Examination) -> list[Diagnosis]:
    """Everything that is worth saying, what is wrong first."""
    findings = [*_of_nodes(found), *_of_machine(found)]
    proposed = proposed_ttl(found)
    if proposed > found.max_ttl:
        sentence = (
            f"a ttl of {proposed:.0f} s would be needed here, and max_ttl is {found.max_ttl:.0f} s: find out "
            "what makes this machine or the network so slow, or raise max_ttl"
        )
        findings.append(Diagnosis(True, "ttl", sentence))
    elif found.ttl < proposed:
        sentence = f"a ttl of {found.ttl:.1f} s is too short here: take {proposed:.0f} s or more"
        findings.append(Diagnosis(True, "ttl", sentence))
    return sorted(findings, key=lambda finding: not finding.problem)


def _of_nodes(found: Examination) -> list[Diagnosis]:
    findings = []
    serving = sum(node.mode is NodeMode.SERVING for node in found.nodes)
    needed = majority(len(found.nodes))
    if serving < needed:
        sentence = f"no quorum: {serving} of {len(found.nodes)} nodes serve, {needed} are needed"
        findings.append(Diagnosis(True, "quorum", sentence))
    for node in found.nodes:
        if node.mode is None:
            sentence = (
                f"node {node.node_id} does not answer: start it, open its UDP port, or give it this key and "
                "cell file"
            )
            findings.append(Diagnosis(True, f"node {node.node_id}", sentence))
        elif node.mode is not NodeMode.SERVING:
            findings.append(
                Diagnosis(False, f"node {node.node_id}", f"node {node.node_id} does not serve yet")
            )
        if node.complaint:
            sentence = f"node {node.node_id} complains: {node.complaint}"
            findings.append(Diagnosis(True, f"node {node.node_id}", sentence))
        if node.mode is not None and node.unanswered > 0.0:
            share = f"{node.unanswered * 100:.0f} %"
            sentence = f"node {node.node_id} did not answer {share} of the questions within a second"
            findings.append(Diagnosis(True, f"node {node.node_id}", sentence))
    return findings


def _of_machine(found: Examination) -> list[Diagnosis]:
    findings = []
    if found.fsync is not None and found.fsync >= SLOW_WRITE_S:
        sentence = f"a write of the data folder took {found.fsync:.2f} s: give the node a faster disk"
        findings.append(Diagnosis(True, "disk", sentence))
    if found.buffer_bytes is not None and found.buffer_bytes < BUFFER_BYTES:
        sentence = (
            f"sockets get {found.buffer_bytes // 1024} KiB of buffer at most, and nodes ask for "
            f"{BUFFER_BYTES // 1024} KiB: on hosts of nodes, sysctl -w net.core.rmem_max={BUFFER_BYTES}"
        )
        findings.append(Diagnosis(False, "buffers", sentence))
    return findings
