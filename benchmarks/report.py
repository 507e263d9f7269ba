"""The report in Markdown: where it was measured, one table per scenario, and the bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from benchmarks.bars import BARS, Bar
from benchmarks.figures import Figures, over_rounds, ratio
from benchmarks.registry import OURS, PEERS
from benchmarks.results import Results
from benchmarks.scenarios.base import Column, Scenario, Table

NOTHING = "-"
NONE: Mapping[str, str] = MappingProxyType({})
MIB = 1024 * 1024
METHOD = (
    "Medians of {rounds} rounds, peer after peer in each round, all on one machine. In brackets: how many "
    "times paxlock's figure, the median of the ratios inside each round."
)

UNITS: Mapping[str, Callable[[float], str]] = {
    "us": lambda value: f"{value * 1e6:,.0f} us",
    "ms": lambda value: f"{value * 1e3:,.1f} ms",
    "count": lambda value: f"{value:,.0f}",
    "whole": lambda value: f"{value:.0f}",
    "percent": lambda value: f"{value * 100:.1f} %",
    "rate": "{:.2f}".format,
    "ratio": lambda value: f"{value:.2f}" if math.isfinite(value) else "one had none",
    "cores": lambda value: f"{value:.3f}",
    "MiB": lambda value: f"{value / MIB:,.1f} MiB",
    "B": lambda value: f"{value:,.0f} B",
}
#: what one of a unit is as a figure, where that is not 1
UNIT_SIZES: Mapping[str, float] = {"us": 1e-6, "ms": 1e-3, "percent": 1e-2, "MiB": MIB}


def report(results: Results, scenarios: Sequence[Scenario], pictures: Mapping[str, str] = NONE) -> str:
    """The whole text. ``pictures`` are paths by scenario, as they are to stand in it."""
    parts = [_head(results)]
    for scenario in scenarios:
        if scenario.key in results.rounds:
            parts.append(f"## {scenario.key}. {scenario.title}")
            if scenario.key in pictures:
                parts.append(f"![{scenario.title}]({pictures[scenario.key]})")
            parts += [table_of(results, scenario.key, table) for table in scenario.tables]
    parts.append("## The figures hoped for")
    parts.append(bars_table(results, BARS))
    if results.left_out:
        parts.append("## Left out")
        parts.append("\n".join(f"- {_one_line(sentence)}" for sentence in results.left_out))
    return "\n\n".join(parts) + "\n"


def table_of(results: Results, scenario: str, table: Table) -> str:
    """Medians of the rounds; in brackets the ratio to paxlock, the median of the ratios in each round."""
    ours = results.of(scenario, OURS)
    lines = [
        f"**{table.title}**",
        "",
        row(["", *(column.heading for column in table.columns)]),
        row(["---", *("---:" for _ in table.columns)]),
    ]
    for participant, rounds in results.rounds[scenario].items():
        cells = [cell(column, participant, rounds, ours) for column in table.columns]
        if any(text != NOTHING for text in cells):
            lines.append(row([title_of(participant), *cells]))
    return "\n".join(lines)


def cell(column: Column, participant: str, rounds: Sequence[Figures], ours: Sequence[Figures]) -> str:
    value = over_rounds(rounds, column.key)
    if math.isnan(value):
        return NOTHING
    text = UNITS[column.unit](value)
    if not column.compared or participant == OURS or len(ours) != len(rounds):
        return text
    times = ratio(rounds, ours, column.key)
    return text if math.isnan(times) else f"{text} (x{rounded(times)})"


def rounded(times: float) -> str:
    """A ratio with about two digits that count."""
    if times >= 10:
        return f"{times:,.0f}"
    return f"{times:.1f}" if times >= 1 else f"{times:.2g}"


def bars_table(results: Results, bars: Sequence[Bar]) -> str:
    """What was hoped for, what was found, and whether that is enough."""
    lines = [row(["", "what", "bar", "found", "met"]), row(["---", "---", "---", "---:", "---"])]
    for bar in bars:
        found, met = bar.judge(results)
        verdict = NOTHING if met is None else "yes" if met else "**no**"
        shown = NOTHING if met is None else bar.show(found)
        lines.append(row([bar.scenario, bar.what, bar.words, shown, verdict]))
    return "\n".join(lines)


def title_of(participant: str) -> str:
    return PEERS[participant].title if participant in PEERS else participant


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(results: Results) -> str:
    rounds = max((len(r) for of in results.rounds.values() for r in of.values()), default=0)
    machine = "; ".join(f"{what}: {value}" for what, value in results.machine.items())
    lines = [
        "# Results",
        "",
        METHOD.format(rounds=rounds),
        "",
        machine + ".",
        "",
        row(["peer", "versions", "settings"]),
        row(["---", "---", "---"]),
    ]
    lines += [
        row([title_of(name), _one_line(versions), results.settings[name]])
        for name, versions in results.versions.items()
    ]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())
