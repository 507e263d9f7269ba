"""Members that are gone for good, and come back all the same: others start without a word of them."""

from __future__ import annotations

from typing import Any

import pytest

from paxlock.core.node.recovery import Recovery
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import Simulation
from tests.planted.in_starts import WIPES

#: One of five nodes is dead, or out of reach for the others and not for clients, while disks are lost.
GONE: dict[str, Any] = {
    **WIPES, "nodes": 5, "names": 1, "clients": 3, "gone": 1.0, "wipes": 0.0, "disk_losses": 0.5,
    "crashes": 0.0, "faulty_for": 20.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 12), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_rule_is_broken_where_members_are_waived(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    waived: list[tuple[str, ...]] = []
    shipped = Recovery._join

    def join(self: Recovery, *arguments: Any) -> None:
        shipped(self, *arguments)
        if self.waived:
            waived.append(self.waived)

    monkeypatch.setattr(Recovery, "_join", join)
    for seed in seeds:
        Simulation(seed, Scenario(**GONE)).run()
    assert waived
