"""A traced run, for people to read: what happened when, and who held what from when to when.

Every line has the true time in milliseconds, a column for each machine, and a sentence. The columns show at
a glance what state the machines are in, and which of them the line is about.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, groupby

import attrs

from paxlock.core.messages import Message, Renew, Renewed, WatchEvent
from paxlock.simulator.moments import Moment, What

__all__ = ["KEY", "HeldSpan", "rendered", "tenures"]

WIDTH = 120
BAR_COLUMNS = 96
WIDE_LANES = 14  #: so many machines have a free column between them

KEY = (
    "columns: : node starts, | serves, . client, # client holds, = paused, blank down; whom a line is about:",
    "         > sends, < takes, x lost on the way, ! dropped, + granted, - ends, * anything else",
)
MARKS = {
    What.SENT: ">", What.ARRIVED: "<", What.LOST: "x", What.DROPPED: "!", What.GRANTED: "+", What.ENDED: "-",
}  # fmt: skip
DATAGRAMS = (What.SENT, What.ARRIVED, What.LOST, What.DROPPED)
#: fields of messages that are worth their place, and how they are introduced
SHOWN_FIELDS = {
    "reason": "", "term": "term ", "at_least": "at least ", "lease_term": "leased in ", "seq": "no. ",
    "floor": "floor ", "attempts": "attempts ", "held": "held ", "not_held": "not held ", "mode": "",
    "remaining_ms": "ms left: ", "pattern": "",
}  # fmt: skip


@attrs.frozen
class HeldSpan:
    """One tenure of a traced run, in true seconds; ``why`` it ended."""

    name: str
    token: int
    holder: str
    since: float
    until: float
    why: str


def tenures(moments: Sequence[Moment]) -> list[HeldSpan]:
    """All tenures, in the order in which they began."""
    found: dict[tuple[str, int, str], HeldSpan] = {}
    detached = {(m.who, m.name, m.term) for m in moments if m.what is What.DETACHED}
    for true, group in groupby(moments, key=lambda moment: moment.true):
        together = list(group)
        for m in together:
            key = (m.name, m.term, m.who)
            if m.what is What.GRANTED:
                found[key] = HeldSpan(m.name, m.term, m.who, true, m.until, "")
            elif key in found and m.what is What.EXTENDED:
                found[key] = attrs.evolve(found[key], until=m.until)
            elif key in found and m.what is What.ENDED and not found[key].why:
                why = _why_ended(m, together, (m.who, m.name, m.term) in detached)
                found[key] = attrs.evolve(found[key], until=min(true, found[key].until), why=why)
    last = moments[-1].true if moments else 0.0
    return [
        held if held.why else attrs.evolve(held, why="ran out" if held.until <= last else "the run ended")
        for held in found.values()
    ]


def _why_ended(ended: Moment, together: Iterable[Moment], detached: bool) -> str:
    """What else happened to the holder at that moment."""
    for m in together:
        if m.who == ended.who:
            if m.what is What.STOPPED:
                return f"its process was {m.text}"
            if m.what is What.LEFT and m.name == ended.name:
                return "released"
            if m.what is What.NOTICE and m.text.startswith("Lost("):
                return f"lost: {_cleaned(m.text)}"
    return "released or given up by handle" if detached else "ended"


def rendered(moments: Sequence[Moment], name: str | None = None, width: int = WIDTH) -> Iterator[str]:
    """The lines of the timeline, and a summary of the tenures. ``name``: only what concerns it."""
    lanes = _Lanes(moments, name)
    arrivals = _Arrivals()
    yield from KEY
    yield f"{'ms':>11}  {lanes.header}"
    for (true, _, what), group in groupby(moments, key=lambda m: (m.true, m.who, m.what)):
        together = list(group)
        told = [about for m in together if (about := _about(m, name)) is not None]
        for sentence, marked in arrivals.told(told) if what in DATAGRAMS else _others(told):
            line = f"{true * 1000.0:11.3f}  {lanes.shown(true, marked, MARKS.get(what, '*'))}  {sentence}"
            yield _cut(line, width)
        lanes.follow(together)
    summary = _summary([held for held in tenures(moments) if name in (None, held.name)], moments)
    yield from (_cut(line, width) for line in summary)


def _cut(line: str, width: int) -> str:
    line = line.rstrip()
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _about(moment: Moment, name: str | None) -> Moment | None:
    """What of the moment concerns the name; None where nothing does."""
    if name is None or moment.name == name:
        return moment
    if moment.messages:
        messages = tuple(message for message in moment.messages if _concerns(message, name))
        return attrs.evolve(moment, messages=messages) if messages else None
    about_others = moment.name or moment.what in DATAGRAMS
    if about_others or (moment.what is What.NOTICE and repr(name) not in moment.text):
        return None
    return moment


def _concerns(message: Message, name: str) -> bool:
    """Whether the message is about the name, or a renewal, which may be."""
    if isinstance(message, WatchEvent):
        return message.view.name == name
    return isinstance(message, Renew | Renewed) or getattr(message, "name", None) == name


class _Lanes:
    """One column for each node and for each place of a client, whose lives follow each other."""

    def __init__(self, moments: Sequence[Moment], name: str | None) -> None:
        started = sorted({_lane(m.who) for m in moments if m.what is What.STARTED})
        # Nodes first, then the clients by number.
        self._order = sorted(started, key=lambda lane: (lane.startswith("client "), len(lane), lane))
        self._between = " " if len(self._order) <= WIDE_LANES else ""
        self.header = self._between.join(lane[-1] for lane in self._order)
        self._name = name
        self._states: dict[str, str] = {}
        self._paused: set[str] = set()
        self._holds: dict[str, dict[tuple[str, int], float]] = {}

    def shown(self, true: float, marked: Iterable[str], mark: str) -> str:
        acting = {_lane(who) for who in marked}
        return self._between.join(mark if lane in acting else self._state(lane, true) for lane in self._order)

    def follow(self, moments: Iterable[Moment]) -> None:
        """Take in what these moments change."""
        for m in moments:
            lane = _lane(m.who)
            match m.what:
                case What.STARTED:
                    self._states[lane] = "." if lane.startswith("client ") else ":"
                case What.NOTICE if "SERVING" in m.text and m.text.startswith("ModeChanged("):
                    self._states[lane] = "|"
                case What.STOPPED:
                    self._states.pop(lane, None)
                    self._paused.discard(lane)
                case What.FAULT if "pause" in m.text or "suspend" in m.text:
                    self._paused.add(lane)
                case What.RESUMED:
                    self._paused.discard(lane)
                case What.GRANTED | What.EXTENDED if self._name in (None, m.name):
                    self._holds.setdefault(lane, {})[m.name, m.term] = m.until
                case What.ENDED:
                    self._holds.get(lane, {}).pop((m.name, m.term), None)

    def _state(self, lane: str, true: float) -> str:
        if lane in self._paused:
            return "="
        if any(until > true for until in self._holds.get(lane, {}).values()):
            return "#"
        return self._states.get(lane, " ")


def _lane(who: str) -> str:
    return who.partition(".")[0]


# Sentences, each with the machines that it is about


class _Arrivals:
    """Tells of datagrams; one that arrives more often than it was sent has been repeated by the network."""

    def __init__(self) -> None:
        self._left: Counter[tuple[str, str, tuple[Message, ...]]] = Counter()

    def told(self, moments: Iterable[Moment]) -> Iterator[tuple[str, list[str]]]:
        targets: dict[str, list[str]] = {}
        for m in moments:
            key = (m.who, m.other, m.messages)
            shown = "; ".join(map(_short, m.messages)) or "an empty datagram"
            match m.what:
                case What.ARRIVED:
                    again = "" if self._left[key] > 0 else " (again)"
                    self._left[key] -= 1
                    yield f"{m.other} <- {m.who}: {shown}{again}", [m.other]
                case What.DROPPED:
                    reasons = [reason for reason in m.text.split(", ") if reason != "received"]
                    yield f"{m.other} drops a datagram of {m.who}: {', '.join(reasons)}", [m.other]
                case _:
                    self._left[key] += 1
                    lost = " (lost)" if m.what is What.LOST else ""
                    targets.setdefault(f"{shown}{lost}", []).append(m.other)
        for shown, others in targets.items():
            yield f"{m.who} -> {', '.join(others)}: {shown}", [m.who]


def _others(moments: Iterable[Moment]) -> Iterator[tuple[str, list[str]]]:
    """What is not about a datagram."""
    for m in moments:
        text = _cleaned(m.text)
        match m.what:
            case What.GRANTED:
                yield f"{m.who} holds {m.name!r}, token {m.term}, until {m.until * 1000.0:.3f}", [m.who]
            case What.EXTENDED:
                yield f"{m.who} has renewed {m.name!r}, token {m.term}, until {m.until * 1000.0:.3f}", [m.who]
            case What.ENDED:
                yield f"{m.who} ends {m.name!r}, token {m.term}", [m.who]
            case What.NOTICE if text.startswith(("Granted(", "Extended(")):
                pass  # told already, with true times
            case What.FAULT:
                yield f"FAULT {re.sub(r'^[0-9.]+ s: ', '', text)}", [m.who]
            case _:
                what = " ".join(part for part in (m.who, m.what.value, m.name and repr(m.name)) if part)
                yield f"{what}: {text}" if text else what, [m.who]


def _short(message: Message) -> str:
    """A message in a few words."""
    if isinstance(message, WatchEvent):
        return f"Event {_short(message.view)}"
    words = [type(message).__name__]
    name = getattr(message, "name", None)
    if name is not None:
        words.append(repr(name))
    candidate = getattr(message, "candidate", None) or getattr(
        getattr(message, "lease", None), "candidate", None
    )
    if candidate is not None:
        words.append(f"#{candidate.attempt}")
    for field, introduction in SHOWN_FIELDS.items():
        value = getattr(message, field, None)
        if value:
            words.append(f"{introduction}{value.name.lower() if isinstance(value, enum.Enum) else value}")
    occupant = getattr(message, "occupant", None)
    if occupant is not None:
        words.append(f"by {occupant.label}#{occupant.candidate.attempt}")
    words += [flag for flag in ("holds", "chosen", "released") if getattr(message, flag, False)]
    return " ".join(words)


def _cleaned(text: str) -> str:
    """The text of a value without what only a debugger wants."""
    record = re.match(r"NodeRecord\(.*?(incarnation=\d+, ceiling=\d+).*?<Membership\.(\w+)", text)
    if record:
        return f"{record[1]}, {record[2].lower()}"
    text = re.sub(r"Candidate\(session=b(['\"]).*?\1, attempt=(\d+)\)", r"#\2", text)
    return re.sub(r"<\w+\.(\w+): [^>]*>", lambda found: found[1].lower(), text)


# The summary


def _summary(held: Sequence[HeldSpan], moments: Sequence[Moment]) -> Iterator[str]:
    if not held:
        yield "nobody held anything"
        return
    yield ""
    columns = (max(4, *(len(repr(one.name)) for one in held)), max(6, *(len(one.holder) for one in held)))
    head = f"{'name':{columns[0]}}  {'token':>8}  {'holder':{columns[1]}}"
    yield f"{head}  {'from ms':>11}  {'to ms':>11}  why it ended"
    for one in held:
        yield (
            f"{one.name!r:{columns[0]}}  {one.token:8}  {one.holder:{columns[1]}}  "
            f"{one.since * 1000.0:11.3f}  {one.until * 1000.0:11.3f}  {one.why}"
        )
    yield ""
    last = max(moments[-1].true, 1e-9)
    yield (
        f"who held from 0 to {last * 1000.0:.3f} ms, {last * 1000.0 / BAR_COLUMNS:.3f} ms a column: "
        "last digit of the token, . nobody, ! two"
    )
    by_name = sorted(held, key=lambda one: one.name)
    for name, group in groupby(by_name, key=lambda one: one.name):
        yield f"{_bar(list(group), last)}  {name!r}"


def _bar(held: Sequence[HeldSpan], last: float) -> str:
    """One name's tenures, to scale. A column that two share is marked only if they overlap in time."""
    columns = ["."] * BAR_COLUMNS

    def fill(since: float, until: float, mark: str) -> None:
        first = min(BAR_COLUMNS - 1, int(since / last * BAR_COLUMNS))
        end = min(BAR_COLUMNS, max(first + 1, int(until / last * BAR_COLUMNS)))
        columns[first:end] = mark * (end - first)

    for one in held:
        fill(one.since, one.until, str(one.token % 10))
    for one, other in combinations(held, 2):
        both = (max(one.since, other.since), min(one.until, other.until))
        if both[0] < both[1]:
            fill(*both, "!")
    return "".join(columns)
