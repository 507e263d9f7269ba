"""What `paxlock doctor` has measured, judged: pure, so that each judgement has a test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from paxlock.core.messages import NodeMode
from paxlock.core.quorum import majority
from paxlock.observe.clocks import HERE, Rate, unfit
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
LOSS_MAX = 0.05  #: above this what is lost makes renewals late: of repetitions too many are lost in a row


@attrs.frozen
class NodeExamined:
    """One node: how it describes itself, how many pings it was sent, and the round trips of those that it
    answered (seconds); how fast its clock runs, None where that is not known.
    """

    node_id: str
    mode: NodeMode | None
    complaint: str
    asked: int
    round_trips: Sequence[float]
    rate: Rate | None = None

    @property
    def worst(self) -> float | None:
        return max(self.round_trips, default=None)

    @property
    def loss(self) -> float:
        """The share of pings without an answer within a second."""
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
    findings = [*_of_nodes(found), *_of_clocks(found), *_of_machine(found)]
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
        if node.mode is not None and node.loss > 0.0:
            lost = node.asked - len(node.round_trips)
            sentence = (
                f"of {node.asked} pings to node {node.node_id} {lost} came back late or not at all "
                f"({node.loss * 100:.0f} %): the network loses datagrams, or its machine is too busy"
            )
            findings.append(Diagnosis(node.loss > LOSS_MAX, f"node {node.node_id}", sentence))
    return findings


def _of_clocks(found: Examination) -> list[Diagnosis]:
    rates = {node.node_id: node.rate for node in found.nodes if node.rate is not None}
    allowed = f"the cell file says that each is within {found.drift * 100:g} % of true time (drift)"
    findings = []
    for clock in unfit(rates, found.drift):
        who = "the clock of " + (HERE if clock.who == HERE else f"node {clock.who}")
        others = " and ".join(HERE if other == HERE else f"node {other}" for other in clock.against)
        sentence = (
            f"{who} runs {abs(clock.off) * 100:.2f} % too {'fast' if clock.off > 0.0 else 'slow'} against "
            f"{others}, and {allowed}: two may lead at once; mend the clock of that machine"
        )
        findings.append(Diagnosis(True, "clock", sentence))
    for node_id, rate in rates.items():
        if rate.uneven:
            sentence = (
                f"the clock of node {node_id} and that of this machine did not run evenly: one of the two "
                "machines was frozen, or its clock is not fit for leases"
            )
            findings.append(Diagnosis(True, "clock", sentence))
        elif rate.error > found.drift:
            sentence = (
                f"the clock of node {node_id} could be compared to within {rate.error * 100:.1f} % only, and "
                f"{allowed}: measure for longer (--for)"
            )
            findings.append(Diagnosis(False, "clock", sentence))
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
