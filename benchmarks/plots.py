"""One picture per scenario: bars on a logarithmic axis. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.figures import over_rounds
from benchmarks.machine import missing_modules
from benchmarks.registry import OURS
from benchmarks.report import UNITS, title_of
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
OURS_COLOUR = "#c44e00"
OTHERS_COLOUR = "#8aa0b8"
BELOW, ABOVE = 3.0, 6.0  #: how much the axis goes on beside the bars: for the shortest, and for the labels


def missing() -> list[str]:
    return missing_modules(matplotlib="matplotlib")


def draw(results: Results, scenarios: Sequence[Scenario], folder: Path) -> dict[str, Path]:
    """Write an SVG for each scenario that was measured; gives their paths by scenario."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "paxlock"  # the same figures give the same file
    pyplot: Any = import_module("matplotlib.pyplot")
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
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
        written[scenario.key] = path
    return written


def _draw_one(
    pyplot: Any, results: Results, scenario: Scenario, columns: Sequence[Column], path: Path
) -> None:
    size = (WIDTH_INCHES * len(columns), HEIGHT_INCHES)
    figure, axes = pyplot.subplots(1, len(columns), figsize=size, squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        found = {
            participant: over_rounds(rounds, column.key)
            for participant, rounds in results.rounds[scenario.key].items()
        }
        known = {name: value for name, value in found.items() if math.isfinite(value) and value > 0}
        colours = [OURS_COLOUR if name == OURS else OTHERS_COLOUR for name in known]
        bars = axis.barh([title_of(name) for name in known], list(known.values()), color=colours)
        axis.bar_label(bars, [f" {UNITS[column.unit](value)}" for value in known.values()], fontsize=7)
        axis.invert_yaxis()
        axis.set_xscale("log")
        if known:
            axis.set_xlim(min(known.values()) / BELOW, max(known.values()) * ABOVE)
        axis.set_xticks([], minor=True)
        axis.set_xticks([])
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_title(column.heading, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.suptitle(f"{scenario.key}. {scenario.title} (logarithmic)", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
