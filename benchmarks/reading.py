"""Reads a report (report.py) back: its medians, as if they had been measured in one round."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.figures import Figures
from benchmarks.registry import PEERS
from benchmarks.report import NOTHING, UNIT_SIZES, title_of
from benchmarks.results import Results
from benchmarks.scenarios.base import Column, Scenario, Table


def read_report(text: str, scenarios: Sequence[Scenario]) -> Results:
    """The figures of a report, without machine, versions and settings.

    Raises ValueError where a table of a scenario has other columns than now.
    """
    results = Results({}, {}, {})
    lines = text.splitlines()
    for scenario in scenarios:
        heading = f"## {scenario.key}. {scenario.title}"
        if heading not in lines:
            continue
        rest = lines[lines.index(heading) + 1 :]
        end = next((at for at, line in enumerate(rest) if line.startswith("## ")), len(rest))
        found: dict[str, dict[str, float]] = {}
        for table in scenario.tables:
            for participant, figures in _rows(scenario, table, rest[:end]):
                found.setdefault(participant, {}).update(figures)
        for participant, figures in found.items():
            results.add(scenario.key, participant, figures)
    return results


def _rows(scenario: Scenario, table: Table, lines: Sequence[str]) -> list[tuple[str, Figures]]:
    """The rows of one table."""
    title, headings = f"**{table.title}**", ["", *(column.heading for column in table.columns)]
    at = lines.index(title) if title in lines else None
    if at is None or _cells(lines[at + 2]) != headings:
        raise ValueError(f"{scenario.key}: no table {table.title!r} with the columns of this version")
    names = {title_of(name): name for name in PEERS}
    found: list[tuple[str, Figures]] = []
    for line in lines[at + 4 :]:
        if not line.startswith("|"):
            break
        name, *cells = _cells(line)
        figures = {
            column.key: value_of(column, cell) for column, cell in zip(table.columns, cells, strict=True)
        }
        found.append((names.get(name, name), figures))
    return found


def value_of(column: Column, cell: str) -> float:
    """The figure that a cell shows; NaN where there is none, infinite where it says so."""
    shown = cell.partition(" (x")[0]
    if shown == NOTHING:
        return math.nan
    if shown == "one had none":
        return math.inf
    return float(shown.split(" ")[0].replace(",", "")) * UNIT_SIZES.get(column.unit, 1.0)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
