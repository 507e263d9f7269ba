"""The report: tables with ratios, and the bars."""

from __future__ import annotations

import math

import pytest

from benchmarks.bars import BARS, Bar
from benchmarks.figures import Figures
from benchmarks.registry import PEERS
from benchmarks.report import bars_table, cell, report, rounded, table_of
from benchmarks.results import Results
from benchmarks.scenarios.base import Column, Scenario, Table

COLUMN = Column("p50", "p50", "us")
TABLE = Table("Time", (COLUMN, Column("lost", "lost", "whole", compared=False)))
SCENARIO = Scenario("A", "One client", (TABLE,))


def results(**rounds: list[Figures]) -> Results:
    found = Results({"CPUs": "2"}, {"etcd": "etcd 3"}, {"etcd": "defaults"})
    for participant, of in rounds.items():
        for figures in of:
            found.add("A", participant, figures)
    return found


def test_a_figure_stands_beside_its_ratio_to_ours() -> None:
    ours: list[Figures] = [{"p50": 1e-4}, {"p50": 4e-4}, {"p50": 2e-4}]
    theirs: list[Figures] = [{"p50": 3e-4}, {"p50": 12e-4}, {"p50": 6e-4}]
    assert cell(COLUMN, "etcd", theirs, ours) == "600 us (x3.0)"
    assert cell(COLUMN, "paxlock", ours, ours) == "200 us"


def test_without_ours_there_is_no_ratio() -> None:
    assert cell(COLUMN, "etcd", [{"p50": 3e-4}], []) == "300 us"


def test_what_was_not_measured_is_a_dash() -> None:
    assert cell(COLUMN, "etcd", [{}, {}], [{"p50": 1.0}, {"p50": 1.0}]) == "-"


@pytest.mark.parametrize(
    ("times", "text"), [(0.0213, "0.021"), (0.5, "0.5"), (1.04, "1.0"), (9.96, "10.0"), (1234.0, "1,234")]
)
def test_ratios_have_two_digits_that_count(times: float, text: str) -> None:
    assert rounded(times) == text


def test_a_table_has_a_row_for_each_who_took_part() -> None:
    text = table_of(
        results(paxlock=[{"p50": 1e-4, "lost": 0.0}], etcd=[{"p50": 2e-4, "lost": 2.0}], redis=[{}]),
        "A",
        TABLE,
    )
    assert text.splitlines() == [
        "**Time**",
        "",
        "|  | p50 | lost |",
        "| --- | ---: | ---: |",
        "| paxlock | 100 us | 0 |",
        "| etcd | 200 us (x2.0) | 2 |",
    ]


def test_a_report_tells_what_was_left_out_in_one_line() -> None:
    found = results(paxlock=[{"p50": 1e-4}])
    found.left_out.append("etcd: install etcd-server\n(Debian)")
    text = report(found, (SCENARIO,))
    assert "## A. One client" in text
    assert "- etcd: install etcd-server (Debian)" in text
    assert "| etcd | etcd 3 | defaults |" in text


def test_a_picture_stands_under_its_heading() -> None:
    text = report(results(paxlock=[{"p50": 1e-4}]), (SCENARIO,), {"A": "pictures/a.svg", "B": "b.svg"})
    assert "## A. One client\n\n![One client](pictures/a.svg)\n\n**Time**" in text
    assert "b.svg" not in text


@pytest.mark.parametrize(
    ("found", "at_least", "strict", "met"),
    [
        (1.0, False, False, True),
        (1.0, False, True, False),
        (1.01, False, False, False),
        (1.0, True, False, True),
        (1.0, True, True, False),
        (0.99, True, False, False),
        (math.inf, False, False, False),
        (math.nan, False, False, None),
    ],
)
def test_bars_are_judged_at_their_edge(found: float, at_least: bool, strict: bool, met: bool | None) -> None:
    bar = Bar("A", "what", lambda _: found, 1.0, at_least, strict)
    assert bar.judge(results())[1] is met


def test_a_bar_that_was_not_measured_is_neither_met_nor_missed() -> None:
    rows = bars_table(results(), BARS).splitlines()[2:]
    assert len(rows) == len(BARS)
    assert all(row.endswith("| - | - |") for row in rows)


def test_bars_say_what_was_found() -> None:
    found = results(paxlock=[{"acquire_p50": 4.0}, {"acquire_p50": 9.0}])
    for figures in ({"acquire_p50": 2.0}, {"acquire_p50": 3.0}):
        found.add("A", "floor", figures)
    row = next(line for line in bars_table(found, BARS).splitlines() if "floor" in line)
    assert row == "| A | acquire p50 : floor | at most 1.65 x | 2.50 x | **no** |"


def test_every_bar_reads_figures_that_scenarios_have() -> None:
    from benchmarks.__main__ import SCENARIOS

    class Asked(dict[str, float]):
        def get(self, key: str, default: float = 0.0) -> float:  # type: ignore[override]
            asked.add(key)
            return 1.0

        def __missing__(self, key: str) -> float:
            return self.get(key)

    for bar in BARS:
        asked: set[str] = set()
        everything = Results({}, {}, {})
        everything.rounds = {bar.scenario: {name: [Asked()] for name in (*PEERS, "floor")}}
        bar.judge(everything)
        scenario = next(s for s in SCENARIOS if s.key == bar.scenario)
        known = {column.key for table in scenario.tables for column in table.columns}
        assert asked, bar.what
        assert asked <= known, bar.what


def test_results_survive_their_file() -> None:
    found = results(paxlock=[{"p50": 1e-4, "evenness": math.inf}])
    found.left_out.append("something")
    assert Results.from_json(found.to_json()) == found


def test_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        Results.from_json('{"format": 0}')
