"""The pictures of docs/how_it_works.md: which run each shows, and what of its trace.

One is of a golden script, the other of the simulator. Both leave the same kind of trace
(simulator/moments.py), so what becomes of a moment is written here once: messages become arrows, what is held
becomes a bar. Sentences beside the arrows explain a kind of message; terms, tokens and times are those of the
run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import dropwhile
from pathlib import Path

import attrs

from paxlock.core.messages import (
    Accept,
    Accepted,
    Message,
    Prepare,
    Promise,
    Refused,
    Release,
    StandingPrepare,
)
from paxlock.simulator import Scenario, Simulation
from paxlock.simulator.moments import Moment, What
from paxlock.simulator.plan import Fault, FaultKind
from tests.interaction.charts import Arrow, Bar, Chart, Lane, Remark, Row, spread
from tests.interaction.commands import Commands
from tests.interaction.script import play

__all__ = ["PICTURES", "killed_holder", "one_lock", "script_trace", "will_trace"]

ACQUISITION = Path(__file__).parent / "acquisition.txt"
WILL_SEED = 5
KILLED_AT_S = 0.4
GUARDIAN = "guardian"
NOT_TO_SCALE = "In the order of the run, from top to bottom. Not to scale. Repetitions are left out."
REPEATED = (Prepare, StandingPrepare, Refused, Release)  #: are said again and again: drawn once for each pair


@attrs.define
class _Story:
    """Rows are made of moments. ``shown`` are the kinds of messages that are drawn."""

    lanes: Mapping[str, Lane]
    clock: Callable[[float], str]
    shown: Container[str]
    captions: Mapping[str, Sequence[str]]
    rows: list[Row] = attrs.field(factory=list)
    _used: Counter[str] = attrs.field(factory=Counter)
    _drawn: set[tuple[type[Message], str, str]] = attrs.field(factory=set)
    _holding: dict[str, str] = attrs.field(factory=dict)
    _wills: set[str] = attrs.field(factory=set)  # whose guardian speaks for them

    def take(self, moment: Moment) -> None:
        who = moment.who
        match moment.what:
            case What.ARRIVED:
                for message in moment.messages:
                    self._arrives(moment, message)
            case What.SENT:
                for message in moment.messages:
                    if isinstance(message, Accepted):
                        self._holds(who, moment.other)
            case What.DEPOSITED if GUARDIAN in self.lanes:
                self._arrow(moment.true, Arrow(who, GUARDIAN), "Last will", who)
            case What.GRANTED:
                self._holds(who, who)
                self._remark(moment, f"{self.lanes[who].head} holds: fencing token {moment.term}")
            case What.ENDED:
                self._holds(who, None)
            case What.STOPPED:
                self._row(moment.true, "Killed", who)
                self._remark(moment, f"{self.lanes[who].head} is {moment.text}", ends=True)
                self._holds(who, None)
            case What.WILL_SENT:
                self._wills.add(who)

    def _arrives(self, moment: Moment, message: Message) -> None:
        sender, to, kind = moment.who, moment.other, type(message).__name__
        again = (type(message), sender, to)
        if not {sender, to} <= set(self.lanes) or (again in self._drawn and isinstance(message, REPEATED)):
            return
        self._drawn.add(again)
        if kind in self.shown:
            client = sender if self.lanes[sender].hue else to
            arrow = Arrow(GUARDIAN if sender in self._wills else sender, to)
            self._arrow(moment.true, arrow, _words(message), client)
        if isinstance(message, Release) and self._holding.get(to) == sender:
            self._holds(to, None)

    def _arrow(self, true: float, arrow: Arrow, words: str, client: str) -> None:
        hue = self.lanes[client].hue
        # The last of three answers may come after what the second has set off.
        row = next((row for row in self.rows[-2:] if (row.words, row.hue) == (words, hue)), None)
        (row or self._row(true, words, client)).items.append(arrow)

    def _row(self, true: float, words: str, client: str) -> Row:
        kind = words.partition(",")[0]
        captions = self.captions.get(kind, ())
        at = self._used[kind]
        self._used[kind] += 1
        caption = captions[at] if at < len(captions) else ""
        row = Row(self.clock(true), words, self.lanes[client].hue, caption)
        self.rows.append(row)
        return row

    def _holds(self, who: str, owner: str | None) -> None:
        if who not in self.lanes or (owner is not None and owner not in self.lanes):
            return
        if owner is None:
            self._holding.pop(who, None)
        else:
            self._holding[who] = owner
        self.rows[-1].items.append(Bar(who, owner))

    def _remark(self, moment: Moment, text: str, *, ends: bool = False) -> None:
        self.rows[-1].items.append(Remark(moment.who, text, ends))

    def told(self, moments: Iterable[Moment]) -> tuple[Row, ...]:
        for moment in moments:
            self.take(moment)
        return tuple(self.rows)


def _words(message: Message) -> str:
    if isinstance(message, StandingPrepare):
        return "Prepare with lease"
    kind = type(message).__name__
    return f"{kind}, term {message.term}" if isinstance(message, Promise | Accept | Accepted) else kind


# One lock, from a golden script

LOCK_CAPTIONS = {
    "Prepare": ("athens asks every node for a promise.", "byblos wants the same name."),
    "Promise": (
        "A quorum is enough: 2 of 3 nodes. The term is a number that only grows.",
        "Nobody waits for the ttl: the nodes promise to the next in line at once.",
    ),
    "Accept": ("athens sends its lease to every node.", "The same step for byblos."),
    "Accepted": ("Each node starts a timer of one ttl. A quorum is enough again.",),
    "Commit": ("The nodes tell those who watch the name.",),
    "Refused": ("Held by athens. byblos waits in line.",),
    "Renew": ("After every third of the ttl.",),
    "Renewed": ("A quorum moves the end of the lease.",),
    "Release": ("The work is done: athens lets go.",),
}


def script_trace(path: Path = ACQUISITION) -> list[Moment]:
    """What happens in a golden script, from the first wish on."""
    commands = Commands()
    play(path.read_text(encoding="utf-8"), commands.run)
    return _from_the_first_wish(commands.cell.trace)


def _from_the_first_wish(trace: Sequence[Moment]) -> list[Moment]:
    return list(dropwhile(lambda moment: moment.what is not What.WANTED, trace))


def one_lock(trace: Sequence[Moment] | None = None) -> Chart:
    """A lease is acquired, renewed and released, and the next in line has it: the golden script, or another
    ``trace``.
    """
    lanes = spread(
        [
            ("athens", "athens", "client", 1),
            ("a", "a", "node", 0),
            ("b", "b", "node", 0),
            ("c", "c", "node", 0),
            ("byblos", "byblos", "client", 2),
        ],
        gaps=(150, 56, 56, 150),
        first=92,
    )
    story = _Story(
        {lane.who: lane for lane in lanes}, lambda true: f"{true:.2f} s", set(LOCK_CAPTIONS), LOCK_CAPTIONS
    )
    return Chart(
        "One lock: athens acquires, renews and releases it, then byblos holds it",
        lanes,
        story.told(script_trace() if trace is None else trace),
        said_at=550,
        width=800,
        key=(
            "Full bar: the lease of athens, at each node and at athens. Hollow bar: the lease of byblos.",
            NOT_TO_SCALE,
            "In this run messages take no time.",
        ),
    )


# A killed holder, from the simulator

WILL_CAPTIONS = {
    "Last will": ("One sealed Release for each node, as soon as the lease is held.",),
    "Prepare with lease": (
        "On a free name one message is enough: the lease is in it.",
        "Another client wants the same name.",
    ),
    "Refused": ("The name is held. The client waits in line.",),
    "Killed": ("The kernel tells the guardian.",),
    "Release": ("The guardian sends what the holder sealed while it lived.",),
    "Accepted": ("A quorum is enough: 2 of 3 nodes.", "The nodes accept the next in line at once."),
}


def will_trace() -> list[Moment]:
    """A run of the simulator: two clients want a name, and the holder is killed. From the first wish on
    until the other one holds, and the rest of those messages has arrived.
    """
    scenario = Scenario(
        clients=2, wishes_max=1, hold_for_ever=1.0, once=0.0, limited=0.0, cancelled=0.0, detached=0.0,
        polls=0.0, wills=1.0, max_ttl_ms=2000, ttl_min_ms=2000, ttls=1, faulty_for=0.6, think=0.05,
        delay_min=0.0008, delay_max=0.001,
    )  # fmt: skip
    killed = Fault(KILLED_AT_S, FaultKind.CLIENT_CRASH, target=0, lasts=0.0)
    simulation = Simulation(WILL_SEED, scenario, faults=(killed,), trace=True)
    simulation.run()
    trace = simulation.timeline or []
    _, then = [at for at, moment in enumerate(trace) if moment.what is What.GRANTED][:2]
    seen = _from_the_first_wish(trace[: then + 1])
    rest = [
        moment
        for moment in trace[then + 1 :]
        if moment.true <= trace[then].true + scenario.delay_max and moment.what is What.ARRIVED
    ]
    return seen + rest


def killed_holder() -> Chart:
    """A holder is killed; its guardian releases what it held."""
    trace = will_trace()
    holder, other = [moment for moment in trace if moment.what is What.GRANTED]
    lanes = spread(
        [
            (holder.who, "holder", "client", 1),
            (GUARDIAN, "guardian", "beside it", 0),
            ("a", "a", "node", 0),
            ("b", "b", "node", 0),
            ("c", "c", "node", 0),
            (other.who, "next", "in line", 2),
        ],
        gaps=(95, 130, 50, 50, 170),
        first=104,
    )
    story = _Story(
        {lane.who: lane for lane in lanes},
        lambda true: f"{true * 1000.0:.1f} ms",
        {"StandingPrepare", "Refused", "Release", "Accepted"},
        WILL_CAPTIONS,
    )
    rows = story.told(trace)
    until = f"{holder.until * 1000.0:.0f} ms"
    return Chart(
        "A holder is killed, and its guardian releases the lease for the next in line",
        lanes,
        rows,
        said_at=640,
        width=900,
        key=(
            f"The lease was to last until {until}. Without the guardian the next one waits longer than that.",
            "Full bar: the lease of the holder, at each node and at the holder. Hollow bar: of the next one.",
            NOT_TO_SCALE,
        ),
    )


PICTURES: dict[str, Callable[[], Chart]] = {"one_lock.svg": one_lock, "killed_holder.svg": killed_holder}
