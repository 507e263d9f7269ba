"""Draws what happened in a run: a line for each machine, an arrow for each message, from top to bottom.

What is drawn comes from a trace (stories.py); here are only places, colours and letters. The picture is an
SVG with a background of its own, light or dark as the reader's system is, so that it can be read on any page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from textwrap import wrap

import attrs

__all__ = ["Arrow", "Bar", "Chart", "Lane", "Remark", "Row", "drawn", "spread", "text_width"]

# All lengths are in pixels of the picture.
FONT = 13
LETTER = 0.62  #: of the font's size: wider than the letters of usual fonts are on average
MARGIN = 12
HEAD = 66  #: where the lines of the machines begin
LINE = 17  #: of text
STEP = 12  #: between two arrows of one row
SLANT = 5  #: how far an arrow goes down on its way
ROW_GAP = 16
LABEL = 16  #: what the words of the arrows take above them
BAR = 9
KEY_LINE = 20

STYLE = """
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:13px}
.bold{font-weight:600}
.back{fill:#ffffff}.ink{fill:#1f2328}.dim{fill:#57606a}.life{stroke:#8c959f;fill:none}.box{fill:#f0f3f6;stroke:#8c959f}
.s0{stroke:#57606a}.f0{fill:#57606a}.s1{stroke:#0b7a75}.f1{fill:#0b7a75}.s2{stroke:#b35900}.f2{fill:#b35900}
@media (prefers-color-scheme:dark){
.back{fill:#14181f}.ink{fill:#e6edf3}.dim{fill:#a9b4c0}.life{stroke:#66717d}.box{fill:#232a33;stroke:#66717d}
.s0{stroke:#a9b4c0}.f0{fill:#a9b4c0}.s1{stroke:#4fd1c5}.f1{fill:#4fd1c5}.s2{stroke:#ffb454}.f2{fill:#ffb454}
}
"""


@attrs.frozen
class Lane:
    """The line of one machine, at ``x``. ``hue`` is 1 or 2 for those who may hold something, else 0."""

    who: str
    head: str
    role: str
    x: float
    hue: int = 0


@attrs.frozen
class Arrow:
    """One message, from one lane to another."""

    sender: str
    to: str


@attrs.frozen
class Bar:
    """From here on ``who`` holds something for ``owner``, or nothing."""

    who: str
    owner: str | None


@attrs.frozen
class Remark:
    """What one machine tells; ``ends`` where it is no more."""

    who: str
    text: str
    ends: bool = False


Item = Arrow | Bar | Remark


@attrs.define
class Row:
    """Messages that say the same, with what happens while they arrive. ``caption`` explains them."""

    time: str
    words: str
    hue: int
    caption: str = ""
    items: list[Item] = attrs.field(factory=list)

    @property
    def arrows(self) -> list[Arrow]:
        return [item for item in self.items if isinstance(item, Arrow)]

    @property
    def remarks(self) -> list[Remark]:
        return [item for item in self.items if isinstance(item, Remark)]


@attrs.frozen
class Chart:
    """A picture. ``said_at`` is where the column of sentences begins; ``key`` explains the signs below."""

    title: str
    lanes: tuple[Lane, ...]
    rows: tuple[Row, ...]
    said_at: float
    width: float
    key: tuple[str, ...]


def text_width(text: str, size: float = FONT) -> float:
    """How much room a text takes at most, in pixels."""
    return len(text) * LETTER * size


def drawn(chart: Chart) -> str:
    """The picture as SVG; the same chart gives the same text."""
    return _Drawing(chart).svg()


class _Drawing:
    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        self._lanes = {lane.who: lane for lane in chart.lanes}
        self._letters = int((chart.width - MARGIN - chart.said_at) / (LETTER * FONT))
        self._over: list[str] = []  # what is drawn above the lines of the machines
        self._since: dict[str, tuple[float, str]] = {}
        self._ended: dict[str, float] = {}
        self._bars: list[str] = []

    def svg(self) -> str:
        chart = self._chart
        y: float = HEAD + ROW_GAP
        last = ""
        for row in chart.rows:
            if row.time != last:
                self._over.append(_text(MARGIN, y + LABEL - 3, row.time, "dim"))
            last = row.time
            y = self._row(row, y) + ROW_GAP
        for who in list(self._since):
            self._bar(who, None, y)
        heads = [line for lane in chart.lanes for line in self._head(lane, self._ended.get(lane.who, y))]
        keys = [_text(MARGIN, y + KEY_LINE * (at + 1.2), line, "dim") for at, line in enumerate(chart.key)]
        height = y + KEY_LINE * (len(chart.key) + 1)
        size = f'viewBox="0 0 {_n(chart.width)} {_n(height)}" width="{_n(chart.width)}" height="{_n(height)}"'
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
            f"<title>{escape(chart.title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="back" width="{_n(chart.width)}" height="{_n(height)}" rx="6"/>',
            *heads,
            *self._bars,
            *self._over,
            *keys,
            "</svg>",
            "",
        ])  # fmt: skip

    def _head(self, lane: Lane, end: float) -> Iterator[str]:
        wide = max(text_width(lane.head), text_width(lane.role)) + 12
        x, y = lane.x - wide / 2, 10
        yield f'<rect class="box" x="{_n(x)}" y="{y}" width="{_n(wide)}" height="44" rx="5"/>'
        yield _text(lane.x, y + 18, lane.head, f"bold {'ink' if not lane.hue else f'f{lane.hue}'}", "middle")
        yield _text(lane.x, y + 36, lane.role, "dim", "middle")
        yield f'<path class="life" d="M{_n(lane.x)} {HEAD - 12}V{_n(end)}"/>'

    # One row

    def _row(self, row: Row, top: float) -> float:
        """Draws it; where it ends."""
        y = top + (LABEL + 6 if row.arrows else 0)
        if row.arrows:
            words = _text(self._middle(row), top + LABEL - 3, row.words, f"bold f{row.hue}", "middle")
            self._over.append(words)
        for item in row.items:
            match item:
                case Arrow():
                    self._arrow(item, y, row.hue)
                    y += STEP
                case Bar():
                    self._bar(item.who, item.owner, y - STEP + SLANT if row.arrows else y + LABEL / 2)
                case Remark(ends=True):
                    self._cross(item.who, y + LABEL / 2)
        said = top
        for text, kind in self._said(row):
            said += LINE
            self._over.append(_text(self._chart.said_at, said - 4, text, kind))
        return max(y, said)

    def _said(self, row: Row) -> list[tuple[str, str]]:
        told = [
            (text, f"bold f{self._lanes[remark.who].hue}")
            for remark in row.remarks
            for text in wrap(remark.text, self._letters)
        ]
        explained = [(text, "ink") for text in wrap(row.caption, self._letters)]
        # What a row without messages is about comes first.
        return [*explained, *told] if row.arrows else [*told, *explained]

    def _middle(self, row: Row) -> float:
        """The middle of the gap beside the machine from which all arrows go, or to which all come."""
        first = row.arrows[0]
        ends = [{arrow.sender, arrow.to} for arrow in row.arrows]
        hubs = set.intersection(*ends)
        hub = first.sender if first.sender in hubs else first.to
        others = [self._lanes[who].x for who in set.union(*ends) - {hub}]
        return (self._lanes[hub].x + min(others, key=lambda x: abs(x - self._lanes[hub].x))) / 2

    def _arrow(self, arrow: Arrow, y: float, hue: int) -> None:
        start, end = self._lanes[arrow.sender].x, self._lanes[arrow.to].x
        right = 1 if end > start else -1
        tip, down = end - right * (BAR / 2 + 1), y + SLANT
        self._over.append(
            f'<circle class="f{hue}" cx="{_n(start)}" cy="{_n(y)}" r="2.5"/>'
            f'<path class="s{hue}" stroke-width="1.4" d="M{_n(start)} {_n(y)}L{_n(tip)} {_n(down)}"/>'
            f'<path class="f{hue}" d="M{_n(tip)} {_n(down)}l{-right * 8} -4.5v8z"/>'
        )

    def _bar(self, who: str, owner: str | None, y: float) -> None:
        """What was held until here is drawn; ``owner`` holds from here on."""
        x = self._lanes[who].x
        if who in self._since:
            since, former = self._since.pop(who)
            hue = self._lanes[former].hue
            # The second one's is hollow: the two can be told apart without colours.
            look = f's{hue} back" stroke-width="2' if hue > 1 else f"f{hue}"
            place = f'x="{_n(x - BAR / 2)}" y="{_n(since)}" width="{BAR}" height="{_n(y - since)}" rx="2"'
            self._bars.append(f'<rect class="{look}" {place}/>')
        if owner is not None:
            self._since[who] = y, owner

    def _cross(self, who: str, y: float) -> None:
        x = self._lanes[who].x
        self._ended[who] = y
        self._over.append(
            f'<path class="s{self._lanes[who].hue}" stroke-width="3" '
            f'd="M{_n(x - 7)} {_n(y - 7)}l14 14m0 -14l-14 14"/>'
        )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, kind: str, anchor: str = "") -> str:
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}"{where}>{escape(text)}</text>'


def spread(
    lanes: Sequence[tuple[str, str, str, int]], gaps: Iterable[float], first: float
) -> tuple[Lane, ...]:
    """Lanes (who, head, role, hue) beside each other, with these gaps between them."""
    places = [first]
    for gap in gaps:
        places.append(places[-1] + gap)
    return tuple(
        Lane(who, head, role, x, hue) for (who, head, role, hue), x in zip(lanes, places, strict=True)
    )
