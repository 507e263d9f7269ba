"""One picture per scenario: bars on a logarithmic axis. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.figures import over_rounds
from benchmarks.machine import missing_modules
from benchmarks.report import title_of
from benchmarks.results import Results
from benchmarks.scenarios.base import Column, Scenario

SHOWN: dict[str, tuple[str, ...]] = {
    "A": ("acquire_p50", "acquire_p99", "release_p50"),
    "B": ("per_s_1", "per_s_8", "per_s_64"),
    "C": ("per_s_0", "gap_p50_0", "gap_p99_0"),
    "D": ("longest",),
    "E": ("gap",),
    "F": ("cores_1000", "memory_1000", "per_lease_1000"),
    "G": ("released_p50", "released_p99"),
    "H": ("first_lock",),
}
WIDTH_INCHES = 4.0
HEIGHT_INCHES = 3.2


def missing() -> list[str]:
    return missing_modules(matplotlib="matplotlib")


def draw(results: Results, scenarios: Sequence[Scenario], folder: Path) -> list[Path]:
    """Write an SVG for each scenario that was measured; gives their paths."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "paxlock"  # the same figures give the same file
    pyplot: Any = import_module("matplotlib.pyplot")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for scenario in scenarios:
        columns = [
            column
            for table in scenario.tables
            for column in table.columns
            if column.key in SHOWN.get(scenario.key, ())
        ]
        if scenario.key not in results.rounds or not columns:
            continue
        path = folder / f"{scenario.key.lower()}.svg"
        _draw_one(pyplot, results, scenario, columns, path)
        written.append(path)
    return written


def _draw_one(
    pyplot: Any, results: Results, scenario: Scenario, columns: Sequence[Column], path: Path
) -> None:
    size = (WIDTH_INCHES * len(columns), HEIGHT_INCHES)
    figure, axes = pyplot.subplots(1, len(columns), figsize=size, squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        found = {
            title_of(participant): over_rounds(rounds, column.key)
            for participant, rounds in results.rounds[scenario.key].items()
        }
        known = {name: value for name, value in found.items() if math.isfinite(value) and value > 0}
        axis.barh(list(known), list(known.values()))
        axis.invert_yaxis()
        axis.set_xscale("log")
        axis.set_title(f"{column.heading} ({_axis_unit(column)})", fontsize=9)
        axis.tick_params(labelsize=7)
    figure.suptitle(f"{scenario.key}. {scenario.title}", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _axis_unit(column: Column) -> str:
    """Figures are kept in seconds and bytes."""
    return {"us": "s", "ms": "s", "MiB": "B", "count": "", "whole": ""}.get(column.unit, column.unit)
