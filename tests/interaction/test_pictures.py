"""The pictures of docs/how_it_works.md are what the traces of runs draw, and nothing in them is cut off."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from paxlock.simulator.moments import What
from tests.interaction.charts import MARGIN, STYLE, Bar, Chart, Row, drawn, text_width
from tests.interaction.commands import Commands
from tests.interaction.script import difference, play
from tests.interaction.stories import ACQUISITION, PICTURES, killed_holder, one_lock, script_trace, will_trace

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "pictures"
PAGE = (DOCS / "how_it_works.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"

each_picture = pytest.mark.parametrize(("name", "story"), PICTURES.items(), ids=PICTURES)
Story = Callable[[], Chart]


@each_picture
def test_a_picture_is_what_its_run_draws(name: str, story: Story, request: pytest.FixtureRequest) -> None:
    path, found = FOLDER / name, drawn(story())
    if request.config.getoption("--rewrite", default=False):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
        return
    other = difference(name, path.read_text(encoding="utf-8"), found)
    assert not other, f"not as drawn (after a look at it: pytest tests/interaction --rewrite)\n{other}"


def test_the_page_shows_each_picture_and_no_other() -> None:
    assert sorted(re.findall(r"!\[[^\]]+\]\(pictures/([^)]+)\)", PAGE)) == sorted(PICTURES)
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(PICTURES)


# What is drawn is what has happened


def words(rows: tuple[Row, ...]) -> list[str]:
    return [row.words for row in rows]


def holding(rows: tuple[Row, ...]) -> dict[str, str]:
    """Who holds, and for whom, by the bars at the end of the picture."""
    found: dict[str, str | None] = {}
    for row in rows:
        found.update((item.who, item.owner) for item in row.items if isinstance(item, Bar))
    return {who: owner for who, owner in found.items() if owner is not None}


def test_the_bars_of_one_lock_end_as_the_nodes_remember_it() -> None:
    commands = Commands()
    play(ACQUISITION.read_text(encoding="utf-8"), commands.run)
    bars = holding(one_lock().rows)
    for node in "abc":
        assert f"holds for {bars[node]} in 2" in commands.run(f"show {node}")[0]
    assert bars == {**dict.fromkeys("abc", "byblos"), "byblos": "byblos"}


def test_a_holder_stops_before_any_node_lets_go() -> None:
    order = [(item.who, item.owner) for row in one_lock().rows for item in row.items if isinstance(item, Bar)]
    ends = [who for who, owner in order if owner is None]
    assert ends == ["athens", "a", "b", "c"]
    assert order.index(("a", "athens")) < order.index(("athens", "athens"))


def test_the_tokens_are_those_of_the_run() -> None:
    for chart, trace in ((one_lock(), script_trace()), (killed_holder(), will_trace())):
        shown = [remark.text for row in chart.rows for remark in row.remarks if not remark.ends]
        granted = [moment.term for moment in trace if moment.what is What.GRANTED]
        assert [int(text.rpartition(" ")[2]) for text in shown] == granted == [1, 2]


def test_the_killed_holder_is_followed_long_before_its_lease_ends() -> None:
    first, second = [moment for moment in will_trace() if moment.what is What.GRANTED]
    killed = next(moment for moment in will_trace() if moment.what is What.STOPPED)
    assert killed.true < second.true < killed.true + 0.03 < first.until - 1.0
    rows = killed_holder().rows
    assert words(rows) == [
        "Prepare with lease", "Accepted, term 1", "Last will", "Prepare with lease", "Refused", "Killed",
        "Release", "Accepted, term 2",
    ]  # fmt: skip
    release = next(row for row in rows if row.words == "Release")
    assert {(arrow.sender, arrow.to) for arrow in release.arrows} == {("guardian", node) for node in "abc"}


@each_picture
def test_every_message_to_or_from_all_nodes_is_drawn_for_each(name: str, story: Story) -> None:
    assert {len(row.arrows) for row in story().rows if row.words != "Killed"} == {3}, name


def test_another_run_is_another_picture(tmp_path: Path) -> None:
    """Where one node hears nothing of the Release, no arrow says that it did."""
    text = ACQUISITION.read_text(encoding="utf-8")
    other = tmp_path / "other.txt"
    other.write_text(text.replace("$ deliver kind=Release\n", "$ deliver kind=Release to=a,b\n"), "utf-8")
    release = [m for m in script_trace(other) if m.what is What.ARRIVED and _kinds(m.messages) == ["Release"]]
    assert [moment.other for moment in release] == ["a", "b"]
    found = one_lock(script_trace(other))
    assert [arrow.to for row in found.rows if row.words == "Release" for arrow in row.arrows] == ["a", "b"]
    assert holding(found.rows)["c"] == "athens"
    assert drawn(found) != drawn(one_lock())


def _kinds(messages: tuple[object, ...]) -> list[str]:
    return [type(message).__name__ for message in messages]


# It can be read


@each_picture
def test_no_text_is_cut_off_or_lies_on_another(name: str, story: Story) -> None:
    root = ET.fromstring(drawn(story()))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    places: dict[float, list[tuple[float, float]]] = {}
    for text in root.iter(f"{SVG}text"):
        assert text.text, name
        wide = text_width(text.text)
        left = float(text.attrib["x"]) - (wide / 2 if "text-anchor" in text.attrib else 0.0)
        y = float(text.attrib["y"])
        assert left >= MARGIN - 1, text.text
        assert left + wide <= width, text.text
        assert 12 < y < height, text.text
        places.setdefault(y, []).append((left, left + wide))
    for spans in places.values():
        spans.sort()
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), name


@each_picture
def test_the_words_of_messages_lie_between_two_machines(name: str, story: Story) -> None:
    root = ET.fromstring(drawn(story()))
    chart = story()
    lines = [lane.x for lane in chart.lanes]
    said = {row.words for row in chart.rows if row.arrows}
    for text in root.iter(f"{SVG}text"):
        if text.text in said:
            middle, wide = float(text.attrib["x"]), text_width(text.text)
            crossed = [x for x in lines if middle - wide / 2 <= x <= middle + wide / 2]
            hidden = [x for x in lines if x == chart.lanes[1].x and name == "killed_holder.svg"]
            assert set(crossed) <= set(hidden), text.text


def test_what_has_a_colour_has_one_for_light_and_one_for_dark() -> None:
    light, _, dark = STYLE.partition("@media (prefers-color-scheme:dark){")
    colour = re.compile(r"\.(\w+)\{[^}]*#[0-9a-f]{6}")
    assert colour.findall(light) == colour.findall(dark)
    used = {word for story in PICTURES.values() for word in _classes(drawn(story()))}
    assert used - {"bold"} <= set(colour.findall(light))


def _classes(svg: str) -> set[str]:
    return {word for found in re.findall(r'class="([^"]+)"', svg) for word in found.split()}
