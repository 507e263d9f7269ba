"""What the doctor says of what was measured."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from paxlock.core.messages import NodeMode
from paxlock.observe.clocks import Rate
from paxlock.observe.judging import (
    BUFFER_BYTES,
    Examination,
    NodeExamined,
    judge,
    proposed_ttl,
    worst_takeover,
)

EVEN = Rate(0.9999, 1.0001)
A, B, C = (NodeExamined(node, NodeMode.SERVING, "", 10, [0.001] * 9 + [0.002], EVEN) for node in "abc")
WELL = Examination((A, B, C), 30.0, 0.01, 10.0, 0.005, 0.01, BUFFER_BYTES)
SILENT = NodeExamined("c", None, "", 10, [])


def clocked(rate: float, error: float = 0.001, *, uneven: bool = False) -> NodeExamined:
    return attrs.evolve(C, rate=Rate(rate - error, rate + error, uneven))


def test_nothing_is_wrong() -> None:
    assert judge(WELL) == []
    assert proposed_ttl(WELL) == 1.0
    assert worst_takeover(WELL) == pytest.approx(10.0 * 1.01 / 0.99 + 0.004 + 0.005)


@pytest.mark.parametrize(
    ("change", "problem", "about", "words"),
    [
        ({"nodes": (A, B, SILENT)}, True, "node c", "does not answer"),
        ({"nodes": (A, B, attrs.evolve(C, complaint="x"))}, True, "node c", "complains: x"),
        (
            {"nodes": (A, B, attrs.evolve(C, asked=20))},
            True,
            "node c",
            "10 came back late or not at all (50 %)",
        ),
        ({"nodes": (A, B, attrs.evolve(C, asked=500, round_trips=[0.001] * 490))}, False, "node c", "(2 %)"),
        ({"nodes": (A, B, clocked(1.05))}, True, "clock", "the clock of node c runs 5.00 % too fast against"),
        (
            {"nodes": (A, B, clocked(0.95))},
            True,
            "clock",
            "too slow against this machine and node a and node b",
        ),
        ({"nodes": (A, B, clocked(1.0, 0.03))}, False, "clock", "within 3.0 % only"),
        ({"nodes": (A, B, clocked(1.0, uneven=True))}, True, "clock", "did not run evenly"),
        ({"nodes": (A, B, attrs.evolve(C, mode=NodeMode.RECOVERING))}, False, "node c", "not serve yet"),
        ({"fsync": 0.3}, True, "disk", "0.30 s"),
        ({"buffer_bytes": 212_992}, False, "buffers", "208 KiB"),
        ({"pause": 0.5, "ttl": 2.0}, True, "ttl", "take 4 s"),
        ({"pause": 20.0}, True, "ttl", "max_ttl is 30 s"),
    ],
)
def test_each_finding(change: dict[str, Any], problem: bool, about: str, words: str) -> None:
    (finding,) = judge(attrs.evolve(WELL, **change))
    assert (finding.problem, finding.about) == (problem, about)
    assert words in finding.sentence


def test_no_quorum_comes_first_and_the_slowest_of_it_counts() -> None:
    found = judge(attrs.evolve(WELL, nodes=(A, SILENT, SILENT), buffer_bytes=1))
    assert [finding.about for finding in found] == ["quorum", "node c", "node c", "buffers"]
    near, far = attrs.evolve(B, round_trips=[0.1]), attrs.evolve(C, round_trips=[0.9])
    # With one node far away the quorum is of the two that are nearer.
    assert proposed_ttl(attrs.evolve(WELL, nodes=(A, near, far), pause=0.0)) == 1.0
    assert proposed_ttl(attrs.evolve(WELL, nodes=(A, far, far), pause=0.0)) == 6.0
