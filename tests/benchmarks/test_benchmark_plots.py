"""The pictures of docs/benchmarks: every axis from zero, to scale, of the figures that the report shows."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import SCENARIOS, kept, main
from benchmarks.plots import LETTER, SHOWN, axes_of, draw, picture
from benchmarks.reading import read_report, value_of
from benchmarks.report import UNITS, report
from benchmarks.results import Results
from benchmarks.scenarios.base import Column, Scenario, Table

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
REPORT = (FOLDER / "results.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"
PUBLISHED = read_report(REPORT, SCENARIOS)
DRAWN = [scenario for scenario in SCENARIOS if scenario.key in SHOWN and scenario.key in PUBLISHED.rounds]
AGAIN = "python -m benchmarks --from docs/benchmarks/results.md --plots docs/benchmarks"

each_scenario = pytest.mark.parametrize("scenario", DRAWN, ids=lambda scenario: str(scenario.key))


def figure(svg: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{SVG}{kind}"))


@each_scenario
def test_a_published_picture_is_of_the_published_figures(scenario: Scenario) -> None:
    published = (FOLDER / f"{scenario.key.lower()}.svg").read_text(encoding="utf-8")
    assert published == picture(PUBLISHED, scenario), f"draw it again: {AGAIN}"


def test_every_published_picture_is_drawn_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.svg")} == {scenario.key.lower() for scenario in DRAWN}


@each_scenario
def test_every_axis_begins_at_zero_and_bars_are_to_scale(scenario: Scenario) -> None:
    svg, axes = picture(PUBLISHED, scenario), axes_of(PUBLISHED, scenario)
    bars = [bar for bar in figure(svg, "rect") if bar.attrib["class"] in ("ours", "others")]
    zeros = [float(text.attrib["x"]) for text in figure(svg, "text") if text.text == "0"]
    assert len(zeros) == len(axes)
    for axis, zero in zip(axes, zeros, strict=True):
        mine = [bar for bar in bars if float(bar.attrib["x"]) == zero]
        longest = max(float(bar.attrib["width"]) for bar in mine)
        assert [float(bar.attrib["width"]) / longest for bar in mine] == pytest.approx(
            [value / max(axis.values.values()) for value in axis.values.values()], abs=1e-3
        )
    assert len(bars) == sum(len(axis.values) for axis in axes)
    assert "logarithmic" not in svg


@each_scenario
def test_no_text_is_cut_off(scenario: Scenario) -> None:
    svg = picture(PUBLISHED, scenario)
    width, height = (float(ET.fromstring(svg).attrib[size]) for size in ("width", "height"))
    for text in figure(svg, "text"):
        assert text.text
        wide = len(text.text) * LETTER * 12
        left = float(text.attrib["x"])
        left -= {"middle": wide / 2, "end": wide}.get(text.attrib.get("text-anchor", ""), 0.0)
        assert left >= 0, text.text
        assert left + wide <= width, text.text
        assert 12 < float(text.attrib["y"]) < height, text.text


def test_the_tick_is_a_round_number_of_the_unit() -> None:
    table = Table("Memory", (Column("memory_1000", "1,000", "MiB"),))
    results = Results({}, {}, {})
    results.add("F", "paxlock", {"memory_1000": 218.7 * 1024 * 1024})
    axis = axes_of(results, Scenario("F", "Leases", (table,)))[0]
    assert axis.shown(axis.tick) == "200.0 MiB"


def test_what_was_not_measured_has_no_bar_and_zero_has_one_without_length(tmp_path: Path) -> None:
    table = Table("Time", (Column("acquire_p50", "acquire", "us"), Column("acquire_p99", "p99", "us")))
    results = Results({}, {}, {})
    results.add("A", "paxlock", {"acquire_p50": 0.0})
    results.add("A", "floor", {"acquire_p50": 0.002, "acquire_p99": 0.003})
    found = draw(results, (Scenario("A", "One client", (table,)),), tmp_path)
    svg = found["A"].read_text(encoding="utf-8")
    lengths = [
        bar.attrib["width"] for bar in figure(svg, "rect") if bar.attrib["class"] in ("ours", "others")
    ]
    assert lengths[0] == "0.00"
    assert len(lengths) == 3
    assert [text.text for text in figure(svg, "text")].count("-") == 1


def test_pictures_of_a_run_are_those_of_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded as the report rounds: they can be drawn again from it alone."""
    results = Results({}, {}, {})
    for seconds in (0.48874, 0.48868, 0.9):
        results.add("H", "paxlock", {"first_lock": seconds})
        results.add("H", "etcd", {"first_lock": 0.6959123})
    run, page, folder = tmp_path / "run.json", tmp_path / "page.md", tmp_path / "pictures"
    run.write_text(results.to_json(), encoding="utf-8")
    words = ["--from", str(run), "--report", str(page), "--plots", str(folder)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    main()
    again = read_report(page.read_text(encoding="utf-8"), SCENARIOS)
    starts = next(scenario for scenario in SCENARIOS if scenario.key == "H")
    assert "(pictures/h.svg)" in page.read_text(encoding="utf-8")
    assert (
        (folder / "h.svg").read_text(encoding="utf-8") == picture(again, starts) != picture(results, starts)
    )


# Reading a report back


@each_scenario
def test_a_report_that_is_read_shows_the_same_figures_again(scenario: Scenario) -> None:
    for table in scenario.tables:
        for column in table.columns:
            for rounds in PUBLISHED.rounds[scenario.key].values():
                value = rounds[0].get(column.key)
                if value is not None and not math.isnan(value):
                    shown = UNITS[column.unit](value)
                    assert re.search(rf"\| {re.escape(shown)}[ |]", REPORT), (scenario.key, column.key)


def test_a_report_is_read_as_it_was_written() -> None:
    table = Table("Time", (Column("one", "one", "ms"), Column("two", "two", "ratio")))
    scenario = Scenario("A", "One client", (table,))
    results = Results({}, {}, {})
    results.add("A", "etcd", {"one": 1.5, "two": float("inf")})
    results.add("A", "floor", {"one": 0.25})
    found = read_report(report(results, (scenario,)), (scenario,)).rounds["A"]
    assert found["etcd"] == [{"one": 1.5, "two": float("inf")}]
    assert found["floor"][0]["one"] == 0.25
    assert math.isnan(found["floor"][0]["two"])


def test_a_report_with_other_columns_is_refused() -> None:
    scenario = Scenario("A", "One client", (Table("Time", (Column("one", "one", "ms"),)),))
    other = Scenario("A", "One client", (Table("Time", (Column("two", "two", "ms"),)),))
    results = Results({}, {}, {})
    results.add("A", "etcd", {"one": 1.5})
    with pytest.raises(ValueError, match="no table 'Time' with the columns of this version"):
        read_report(report(results, (scenario,)), (other,))


@pytest.mark.parametrize(
    ("unit", "cell", "value"),
    [("us", "1,579 us (x1.6)", 0.001579), ("MiB", "2.0 MiB", 2097152.0), ("percent", "97.1 %", 0.971)],
)
def test_a_cell_has_its_figure(unit: str, cell: str, value: float) -> None:
    assert value_of(Column("x", "x", unit), cell) == pytest.approx(value)


def test_no_report_is_made_of_a_report(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    path.write_text(REPORT, encoding="utf-8")
    assert repr(kept(path, reports=False)) == repr(PUBLISHED)
    with pytest.raises(SystemExit, match="--report needs every figure"):
        kept(path, reports=True)
