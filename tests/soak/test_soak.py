"""A short soak; ``python -m tests.soak`` is the long one."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.soak.__main__ import soak
from tests.soak.scales import Weight, leaks

WEIGHT = Weight(threads=3, files=11, tasks=1, objects=30_000, rss_mib=40.0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"threads": 4}, "threads: 3 at first, 4 at the end; at most 3"),
        ({"files": 12}, "files: 11 at first, 12 at the end; at most 11"),
        ({"tasks": 2}, "tasks: 1 at first, 2 at the end; at most 1"),
        ({"objects": 40_000}, "objects: 30000 at first, 40000 at the end; at most 32600"),
        ({"rss_mib": 60.0}, "rss_mib: 40.0 at first, 60.0 at the end; at most 48"),
    ],
)
def test_what_has_become_more_is_a_leak(more: dict[str, Any], said: str) -> None:
    assert leaks([WEIGHT, WEIGHT]) == []
    assert leaks([WEIGHT, attrs.evolve(WEIGHT, **more)]) == [said]


@pytest.mark.slow
@pytest.mark.processes
def test_threads_and_tasks_under_faults_leak_nothing() -> None:
    said: list[str] = []
    found = soak(21.0, threads=200, tasks=200, seed=1, say=said.append)
    assert found.troubles == [], (said, found)
    assert found.faults >= 3
    for deed in ("released", "lost, released", "lost, expired", "revoked", "looked"):
        assert found.counts[f"threads: {deed}"]
    assert found.counts["tasks: cancelled"]
