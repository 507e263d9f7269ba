"""The explorer: small spaces are exhausted without a violation, and planted bugs are found."""

from __future__ import annotations

import copy
from random import Random

import attrs
import pytest

from paxlock.core.effects import NOTHING
from paxlock.core.messages import Accepted, Message, Promise
from paxlock.simulator.checkers import CheckFailed
from tests.exploration import BOUNDS, Bounds, Exploration, explore
from tests.exploration import check as checking
from tests.exploration.__main__ import main
from tests.exploration.automaton import BROKEN, INNER
from tests.exploration.cell import NODES, OutOfBounds
from tests.exploration.check import SPACES, Space, classes_hide, dropping_hides
from tests.exploration.classes import Classes
from tests.exploration.nodes import ExploredNode, NodeEvent
from tests.exploration.planted import AMONG_CLASSES, FOUND_IN, FOUND_IN_LIVES, find
from tests.exploration.quotient import Quotient
from tests.exploration.sessions import ExploredSession, SessionEvent
from tests.exploration.tables import StepFailed
from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS

pytestmark = pytest.mark.slow

BUGS = {mutation.name: mutation for mutation in PLANTED_BUGS}
SMALL = ("small", "commit", "crash")  #: ``python -m tests.exploration --planted`` finds the others too
TINY = Bounds("tiny", max_term=1, phases=2)
WIDE = Bounds("wide", max_term=2, sendings=2, crashes=True)
LONG = Bounds("long", max_term=1, sendings=2, resends=True, renews=True, crashes=True)
IN_LINE = Bounds("in line", max_term=2, standing=True, resends=True, renews=True, crashes=True)


@pytest.fixture(scope="module", params=[WIDE, LONG, IN_LINE], ids=lambda bounds: bounds.name)
def tables(request: pytest.FixtureRequest) -> Exploration:
    """All situations within these bounds; no search."""
    return Exploration(request.param)


@pytest.mark.parametrize("space", [space for space in SPACES if space.quick], ids=str)
def test_a_space_is_exhausted_without_a_violation(space: Space) -> None:
    assert space.fault(minutes=2.0) == ""


def test_what_is_wrong_with_a_space_is_told() -> None:
    small = BOUNDS["small"].name
    assert Space(small, 1).fault() == "596 states, and not 1"
    assert Space(small, 596).fault(minutes=0.0) == "not exhausted in 0.0 minutes"
    with planted(BUGS["term-left-open"]):
        assert Space(small, 596).fault().startswith("VIOLATION: expiry: ")


def test_the_check_of_all_spaces_fails_where_one_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checking, "SPACES", (Space("small", 596), Space("small", 597)))
    monkeypatch.setattr(checking, "COMPARED", dict.fromkeys(checking.COMPARED, ()))
    assert main(["--check"]) == 1
    told = "small, classes: 596 states", "small, classes: 596 states, and not 597"
    assert capsys.readouterr().out.splitlines() == list(told)


@pytest.mark.parametrize("name", [name for name, bounds in FOUND_IN.items() if bounds in SMALL])
def test_a_planted_bug_is_found(name: str) -> None:
    report = find(name, minutes=1.0)
    assert report.violation, f"not found in {report}"
    assert len(report.script) > 1


@pytest.mark.parametrize("name", [name for name in AMONG_CLASSES if FOUND_IN[name] in SMALL])
def test_a_planted_bug_is_found_among_classes(name: str) -> None:
    report = find(name, minutes=1.0, condensed=True)
    assert report.violation
    assert len(report.script) > 1, "the way there is told by the search of every state"


def test_the_search_for_planted_bugs_fails_where_one_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.exploration.__main__.FOUND_IN", {"floor-forgotten": "crash"})
    monkeypatch.setattr("tests.exploration.__main__.AMONG_CLASSES", ())
    monkeypatch.setattr("tests.exploration.__main__.FOUND_IN_LIVES", {})
    assert main(["--planted"]) == 0
    assert "term: a term went back from 1 to 0 (3 steps, 4 states)" in capsys.readouterr().out
    assert main(["--planted", "--minutes", "0"]) == 1
    assert capsys.readouterr().out == "floor-forgotten in crash: NOT FOUND\n"


def test_every_name_in_the_table_is_a_planted_bug() -> None:
    assert FOUND_IN.keys() | FOUND_IN_LIVES.keys() <= {mutation.name for mutation in PLANTED_BUGS}


def test_the_shortest_way_is_told_in_words() -> None:
    script = find("no-tombstone", minutes=1.0).script
    assert script[0] == "sessions 1 and 2 send Prepare, to every node or to the same quorum"
    assert any("takes from session" in line and "Release" in line for line in script)
    assert "Prepare" in script[-1]


def test_dropping_messages_hides_nothing() -> None:
    assert dropping_hides("small") == ""


@pytest.mark.parametrize("name", ["small", "standing"])
def test_classes_hide_nothing(name: str) -> None:
    assert classes_hide(name) == ""


@pytest.mark.parametrize("name", ["crash", "standing-crash", "hand-off"])
def test_what_happens_to_a_column_happens_to_what_covers_it(name: str) -> None:
    """By the edges that were left, step by step, for every column and every class that covers it."""
    columns = Exploration(BOUNDS[name], condensed=True).columns
    assert isinstance(columns, Classes)
    automaton, quotient = columns.automaton, columns.quotient
    checked = 0
    by_views: dict[object, list[int]] = {}
    for number in range(1, len(columns)):
        by_views.setdefault((columns.views[0][number], columns.views[1][number]), []).append(number)
    for vertex, edges in enumerate(automaton.edges):
        mine = quotient.of_vertex[vertex]
        others = by_views[automaton.views(vertex)] if vertex != BROKEN else []
        for other in others:
            if not quotient.covers(other, mine):
                assert other != mine
                continue
            held, holds = automaton.keeps(vertex), columns.holder[other]
            assert holds is None or (held is not None and holds[0] == held[0] and holds[1] <= held[1])
            for label, to in edges:
                wanted = quotient.of_vertex[to]
                ends = _ends(quotient, other, automaton.labels, label)
                assert any(end == wanted or (wanted and quotient.covers(end, wanted)) for end in ends)
                checked += 1
    assert checked > sum(map(len, automaton.edges)) * 0.9


def _ends(quotient: Quotient, start: int, labels: list[tuple[str, tuple[int, ...]]], label: int) -> set[int]:
    """Where a class comes to by this label, after steps of its own; without it, where it need not be seen."""
    inner, stack = {start}, [start]
    while stack:
        for other, to in quotient.edges[stack.pop()]:
            if other == INNER and to not in inner:
                inner.add(to)
                stack.append(to)
    kind, guard = labels[label]
    found = set(inner) if kind in ("inner", "lapsed") else set()
    for number in inner:
        for other, to in quotient.edges[number]:
            what, before = labels[other]
            earlier = not before or (len(guard) == 2 and before[0] == guard[0] and before[1] <= guard[1])
            if other == label or (what == kind and kind in ("lapsed", "fails") and earlier):
                found.add(to)
    return found


def test_a_rule_broken_in_a_session_is_told_whenever_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The situations are all run beforehand; the search asks for them again."""
    happens = ExploredSession.happens

    def breaks(session: ExploredSession, event: SessionEvent) -> list[tuple[str, Message]]:
        if event is SessionEvent.ENDS:
            raise CheckFailed("over", "as if")
        return happens(session, event)

    monkeypatch.setattr(ExploredSession, "happens", breaks)
    for condensed in (False, True):
        exploration = Exploration(TINY, condensed=condensed)
        failing = [key for key, found in exploration.sessions.known_events() if isinstance(found, StepFailed)]
        assert failing
        for common, views in failing:
            with pytest.raises(StepFailed):
                exploration.sessions.events(common, *views)
        assert exploration.run(minutes=1.0).violation == "over: as if"


def test_a_key_of_a_node_says_all(tables: Exploration) -> None:
    """A node that came another way to a situation does what the one did that is kept for it."""
    rng = Random(1)
    table, known = tables.nodes, tables.messages.known
    requests = [number for number, sent in enumerate(known) if sent.to_node]
    for _ in range(150):
        node = ExploredNode.fresh(tables.bounds)
        for _ in range(12):
            events: list[NodeEvent | int] = [*node.events(), *rng.choices(requests, k=6)]
            event = rng.choice(events)
            try:
                expected = table.after(table.keys.index(node.key()), event)
            except CheckFailed:
                break  # what no session can have sent: an Accept of one number in two terms
            if expected is None:
                continue
            if isinstance(event, int):
                sent = node.takes(known[event].message, known[event].session)
            else:
                sent = node.happens(event)
            numbers = {tables.messages.number(m, session, to_node=False) for session, m in sent}
            assert node.key() == table.keys[expected[0]], event
            assert sum(1 << number for number in numbers) == expected[1], event


def test_a_key_of_a_session_says_all(tables: Exploration) -> None:
    """A session that came another way to a situation does what the one did that is kept for it."""
    rng = Random(1)
    table, known = tables.sessions, tables.messages.known
    answers = [number for number in range(0, len(known), 2) if not known[number].to_node]
    for _ in range(150):
        session, _ = ExploredSession.fresh(0, tables.bounds)
        for _ in range(14):
            common, views = table.situation(session)
            ordered = [views[node] for node in NODES]
            node = rng.choice(NODES)
            outcomes = {outcome.event: outcome for outcome in table.events(common, *ordered)}
            event = rng.choice([*outcomes, *rng.choices(answers, k=6)])
            if isinstance(event, SessionEvent):
                expected = outcomes[event]
                session.happens(event)
            else:
                taken = table.taken(common, tuple(sorted(ordered)), views[node], event)
                if taken is None:
                    continue
                expected = taken
                session.takes(known[event].message, node)
            assert table.situation(session)[0] == expected.common, event


def _in_one_turn(session: ExploredSession, message: Message, node: str) -> list[tuple[str, Message]]:
    """The session takes an answer, and its program, told of the grant, ends its candidate before anything of
    that turn is sent.
    """
    take = session.session.take_effects
    session.session.take_effects = lambda: NOTHING  # type: ignore[method-assign]
    session.takes(message, node)
    session.session.take_effects = take  # type: ignore[method-assign]
    assert session.valid
    return session.happens(SessionEvent.ENDS)


def test_what_a_program_does_in_the_turn_of_its_grant_is_among_what_is_explored(tables: Exploration) -> None:
    """The shell tells before it sends: what the session comes to, and sends, is what it does where the first
    messages are sent and lost.
    """
    rng, grants = Random(1), 0
    answers = [sent.message for sent in tables.messages.known if isinstance(sent.message, Promise | Accepted)]
    for _ in range(200):
        session, _ = ExploredSession.fresh(0, tables.bounds)
        for _ in range(20):
            attempt = session.attempt
            me = attempt.candidate if attempt is not None else None
            asked = attempt.proposer.request if attempt is not None else 0
            takes = [
                answer
                for answer in answers
                if answer.candidate == me and (asked == answer.request or isinstance(answer, Accepted))
            ]
            if not session.events():
                break
            before, was_valid = copy.deepcopy(session), session.valid
            try:
                if not takes or rng.random() < 0.1:
                    session.happens(rng.choice(session.events()))
                    continue
                answer, node = rng.choice(takes), rng.choice(NODES)
                sent = session.takes(answer, node)
            except OutOfBounds:
                session = before
                continue
            if session.valid and not was_valid:
                grants += 1
                sent += session.happens(SessionEvent.ENDS)
                at_once = _in_one_turn(before, answer, node)
                assert before.key() == session.key()
                assert all(envelope in sent for envelope in at_once)
                break
    assert grants > 20


def test_it_stops_when_time_or_memory_is_over() -> None:
    late = explore(BOUNDS["small"], minutes=0.0)
    full = explore(BOUNDS["small"], memory_mib=0.0)
    assert not late.exhausted
    assert not full.exhausted


def test_more_of_everything_is_more_states() -> None:
    few = explore(attrs.evolve(TINY, phases=1), minutes=1.0)
    many = explore(TINY, minutes=1.0)
    assert few.exhausted
    assert few.states < many.states


def test_the_command_prints_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bounds", "small", "--minutes", "1"]) == 0
    assert "exhausted" in capsys.readouterr().out
