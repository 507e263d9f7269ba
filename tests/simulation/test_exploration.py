"""The explorer: small spaces are exhausted without a violation, and planted bugs are found."""

from __future__ import annotations

from random import Random

import attrs
import pytest

from paxlock.testing.checkers import CheckFailed
from paxlock.testing.exploration import BOUNDS, Bounds, Exploration, explore
from paxlock.testing.exploration.__main__ import main
from paxlock.testing.exploration.cell import NODES
from paxlock.testing.exploration.nodes import ExploredNode, NodeEvent
from paxlock.testing.exploration.planted import FOUND_IN, find
from paxlock.testing.exploration.sessions import ExploredSession, SessionEvent
from paxlock.testing.planted_bugs import PLANTED_BUGS

TINY = Bounds("tiny", max_term=1, phases=2)
WIDE = Bounds("wide", max_term=2, sendings=2, resends=True, renews=True, crashes=True)
IN_LINE = Bounds("in line", max_term=2, standing=True, resends=True, renews=True, crashes=True)


@pytest.fixture(scope="module", params=[WIDE, IN_LINE], ids=lambda bounds: bounds.name)
def tables(request: pytest.FixtureRequest) -> Exploration:
    """All situations within these bounds; no search."""
    return Exploration(request.param)


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("small", 8_605),
        ("crash", 58_924),
        ("commit", 8_605),
        ("renew", 132_729),
        ("standing", 11_156),
        ("standing-crash", 47_556),
    ],
)
def test_a_space_is_exhausted_without_a_violation(name: str, states: int) -> None:
    report = explore(BOUNDS[name], minutes=1.0)
    assert not report.violation, report
    assert report.exhausted
    # Fewer would mean that something is not explored any more; where the rules change, so does this.
    assert report.states == states


@pytest.mark.parametrize("name", [name for name, bounds in FOUND_IN.items() if bounds != "terms2"])
def test_a_planted_bug_is_found(name: str) -> None:
    report = find(name, minutes=1.0)
    assert report.violation, f"not found in {report}"
    assert len(report.script) > 1


def test_every_name_in_the_table_is_a_planted_bug() -> None:
    assert FOUND_IN.keys() <= {mutation.name for mutation in PLANTED_BUGS}


def test_the_shortest_way_is_told_in_words() -> None:
    script = find("no-tombstone", minutes=1.0).script
    assert script[0] == "sessions 1 and 2 send Prepare to every node"
    assert any("takes from session" in line and "Release" in line for line in script)
    assert "Prepare" in script[-1]


@pytest.mark.parametrize("name", ["crash", "standing"])
def test_dropping_messages_hides_nothing(name: str) -> None:
    """With every message kept, the same situations of nodes and sessions are met, together."""
    reduced, whole = Exploration(BOUNDS[name]), Exploration(BOUNDS[name], reduced=False)
    one, other = reduced.run(minutes=1.0), whole.run(minutes=1.0)
    assert one.exhausted
    assert other.exhausted
    assert not one.violation
    assert not other.violation
    assert other.states > one.states
    assert reduced.met() == whole.met()


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
