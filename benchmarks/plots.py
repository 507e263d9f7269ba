"""One picture per scenario: bars, each axis from zero, with a number at every bar.

SVG, written here: the same figures give the same file, whatever is installed. Light or dark as the reader's
system is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from textwrap import wrap

import attrs

from benchmarks.figures import over_rounds
from benchmarks.registry import OURS
from benchmarks.report import UNIT_SIZES, UNITS, title_of
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

# All lengths are in pixels of the picture.
FONT = 12
LETTER = 0.62  #: of the font's size: wider than the letters of usual fonts are on average
MARGIN = 12
NAMES = 250  #: what the names of the participants take
PANELS = 630  #: what all panels of a picture take together
WIDTH = NAMES + PANELS + MARGIN
NUMBER = 92  #: what the number beside the longest bar takes
BAR, STEP = 14, 22
LINE = 16
TITLE = 34

STYLE = """
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:12px}
.bold{font-weight:600}
.back{fill:#ffffff}.ink{fill:#1f2328}.dim{fill:#57606a}.line{stroke:#57606a;fill:none}.thin{stroke:#d0d7de;fill:none}
.ours{fill:#c44e00}.others{fill:#8aa0b8}
@media (prefers-color-scheme:dark){
.back{fill:#14181f}.ink{fill:#e6edf3}.dim{fill:#a9b4c0}.line{stroke:#a9b4c0}.thin{stroke:#3a434d}
.ours{fill:#ff9e4f}.others{fill:#7089a5}
}
"""


@attrs.frozen
class Axis:
    """Bars of one figure: values by participant. ``about`` is the title of the table that it is from."""

    about: str
    column: Column
    values: dict[str, float]

    @property
    def end(self) -> float:
        """The longest bar; every axis begins at zero."""
        return max(self.values.values(), default=0.0) or 1.0

    @property
    def tick(self) -> float:
        """The largest of 1, 2, 5, 10, 20, ... (or parts of one) of the unit that lies on the axis."""
        one = UNIT_SIZES.get(self.column.unit, 1.0)
        power = one * 10.0 ** math.floor(math.log10(self.end / one))
        return max(times * power for times in (1.0, 2.0, 5.0) if times * power <= self.end * (1 + 1e-9))

    @property
    def heading(self) -> str:
        # The numbers of a table have no unit where they count cores.
        return f"{self.column.heading} (cores)" if self.column.unit == "cores" else self.column.heading

    def shown(self, value: float) -> str:
        return UNITS[self.column.unit](value)


def draw(results: Results, scenarios: Sequence[Scenario], folder: Path) -> dict[str, Path]:
    """Write an SVG for each scenario that was measured; gives their paths by scenario."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for scenario in scenarios:
        if scenario.key in results.rounds and axes_of(results, scenario):
            path = folder / f"{scenario.key.lower()}.svg"
            path.write_text(picture(results, scenario), encoding="utf-8")
            written[scenario.key] = path
    return written


def axes_of(results: Results, scenario: Scenario) -> list[Axis]:
    """What is shown of a scenario; of each participant for which there is a figure."""
    axes = []
    for table in scenario.tables:
        for column in table.columns:
            if column.key not in SHOWN.get(scenario.key, ()):
                continue
            found = {
                participant: over_rounds(rounds, column.key)
                for participant, rounds in results.rounds[scenario.key].items()
            }
            known = {name: value for name, value in found.items() if math.isfinite(value) and value >= 0}
            axes.append(Axis(table.title, column, known))
    return axes


def picture(results: Results, scenario: Scenario) -> str:
    """The SVG of one scenario."""
    axes = axes_of(results, scenario)
    names = [name for name in results.rounds[scenario.key] if any(name in axis.values for axis in axes)]
    wide = PANELS / len(axes)
    letters = int((wide - MARGIN) / (LETTER * FONT))
    heads = [[*wrap(axis.about, letters), axis.heading] for axis in axes]
    top = TITLE + LINE * max(map(len, heads)) + 10
    bottom = top + STEP * len(names)
    height = bottom + LINE + MARGIN
    parts = [
        _text(NAMES - 8, top + STEP * at + BAR, title_of(name), _kind(name), "end")
        for at, name in enumerate(names)
    ]
    for at, (axis, head) in enumerate(zip(axes, heads, strict=True)):
        x = NAMES + at * wide
        for line, text in enumerate(head):
            y = top - 10 - LINE * (len(head) - 1 - line)
            parts.append(_text(x, y, text, "bold ink" if line == len(head) - 1 else "dim"))
        parts += _panel(axis, names, x, wide - NUMBER, top, bottom)
    title = f"{scenario.key}. {scenario.title}"
    size = f'viewBox="0 0 {_n(WIDTH)} {_n(height)}" width="{_n(WIDTH)}" height="{_n(height)}"'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{_n(WIDTH)}" height="{_n(height)}" rx="6"/>',
        _text(MARGIN, 22, title, "bold ink"),
        *parts,
        "</svg>",
        "",
    ])  # fmt: skip


def _panel(
    axis: Axis, names: Sequence[str], x: float, wide: float, top: float, bottom: float
) -> Iterator[str]:
    tick = x + wide * axis.tick / axis.end
    yield f'<path class="thin" d="M{_n(tick)} {_n(top)}V{_n(bottom)}"/>'
    for at, name in enumerate(names):
        value, y = axis.values.get(name), top + STEP * at
        if value is None:
            yield _text(x + 5, y + BAR, "-", "dim")
            continue
        long = wide * value / axis.end
        kind = "ours" if name == OURS else "others"
        yield f'<rect class="{kind}" x="{_n(x)}" y="{_n(y + 3)}" width="{long:.2f}" height="{BAR}"/>'
        yield _text(x + long + 5, y + BAR, axis.shown(value), _kind(name))
    yield f'<path class="line" d="M{_n(x)} {_n(top)}V{_n(bottom)}h{_n(wide)}"/>'
    yield _text(x, bottom + LINE, "0", "dim", "middle")
    yield _text(tick, bottom + LINE, axis.shown(axis.tick).replace(".0 ", " "), "dim", "middle")


def _kind(name: str) -> str:
    return "bold ink" if name == OURS else "ink"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, kind: str, anchor: str = "") -> str:
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}"{where}>{escape(text)}</text>'
