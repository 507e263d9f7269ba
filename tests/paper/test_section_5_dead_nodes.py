"""protocol.md section 5: a minority of nodes that die keeps nobody waiting.

Messages take no time here, so what takes any is a pause that the session makes.
"""

from __future__ import annotations

import pytest
from by_hand import NAME, TTL
from hand_cell import HandCell

from paxlock.core.messages import Accepted, Message, Release, StandingPrepare
from paxlock.core.session.events import Ended, Granted
from paxlock.core.session.pacing import RETRY_MIN_S
from paxlock.core.session.releases import RELEASE_PATIENCE_S

PAIRS_EVERY_S = 0.01
LONGEST_WAIT_S = 0.5
PAIRS_OF_ONE_DEAD = 50
MEASURED = 8  #: so many pairs, and the session knows how fast its nodes are

DEAD = [("abc", "a"), ("abc", "b"), ("abc", "c"), ("abcde", "ab"), ("abcde", "be"), ("abcde", "de")]


def until(cell: HandCell, kind: type[Granted | Ended]) -> float:
    """How long it takes until the session is told so."""
    begun, end = cell.now, cell.now + LONGEST_WAIT_S
    cell.run(0.0)
    while not (told := cell.told("athens", kind)):
        cell.at(min(machine.deadline() for machine in cell._machines()))
        assert cell.now < end
        cell.run(0.0)
    assert len(told) == 1
    return cell.now - begun


def pair(cell: HandCell) -> float:
    """Acquire and release; how long the longer one of the two takes. The next pair comes a little later."""
    session, begun = cell.sessions["athens"], cell.now
    ticket = session.campaign(NAME, ttl=TTL, now=cell.now)
    took = until(cell, Granted)
    session.release(ticket, cell.now)
    took = max(took, until(cell, Ended))
    cell.run(max(0.0, begun + PAIRS_EVERY_S - cell.now))
    return took


def pairs_after_a_kill(cell: HandCell, dead: str) -> list[float]:
    """What each pair takes, from the kill until what was owed first is owed no more, and beyond."""
    for _ in range(MEASURED):
        pair(cell)
    for node in dead:
        cell.dies(node)
    return [pair(cell) for _ in range(round(1.25 * RELEASE_PATIENCE_S / PAIRS_EVERY_S))]


@pytest.mark.parametrize(("nodes", "dead"), DEAD)
def test_no_pair_waits_for_the_dead(nodes: str, dead: str) -> None:
    """Whatever Releases are owed to them, and however often these are repeated."""
    cell = HandCell(nodes, ["athens"])
    assert max(pairs_after_a_kill(cell, dead)) == 0.0


@pytest.mark.parametrize(("nodes", "dead"), DEAD)
def test_with_a_quorum_asked_first_one_pair_waits_for_one_hedge(nodes: str, dead: str) -> None:
    """Where the dead are of that quorum; the pairs after it ask all."""
    cell = HandCell(nodes, ["athens"], thrifty=["athens"])
    asked = cell.sessions["athens"]._shared.thrift.quorum_of(NAME)
    waited = [took for took in pairs_after_a_kill(cell, dead) if took > 0.0]
    assert len(waited) == bool(set(dead) & set(asked))
    assert max(waited, default=0.0) <= 5 * RETRY_MIN_S


def test_what_is_owed_to_the_dead_is_forgotten() -> None:
    cell = HandCell("abc", ["athens"])
    pairs_after_a_kill(cell, "c")
    releases = cell.sessions["athens"]._campaigns.candidates.releases
    assert len(releases) > 0
    cell.run(1.25 * RELEASE_PATIENCE_S)
    assert len(releases) == 0


@pytest.mark.parametrize("before", [MEASURED, 0], ids=["that died", "that were never heard"])
def test_the_dead_are_told_rarely(before: int) -> None:
    """Each pair owes them a Release: one that is repeated like an unanswered question would cost the session
    more than the nodes that live do.
    """
    cell, said = HandCell("abc", ["athens"]), 0

    def count(_: str, to: str, message: Message) -> bool:
        nonlocal said
        said += to == "c" and isinstance(message, Release)
        return to == "c"

    for _ in range(before):
        pair(cell)
    cell.run(1.0, lost=count)
    said = 0
    for _ in range(PAIRS_OF_ONE_DEAD):
        session = cell.sessions["athens"]
        ticket = session.campaign(NAME, ttl=TTL, now=cell.now)
        cell.run(0.0, lost=count)
        session.release(ticket, cell.now)
        cell.run(PAIRS_EVERY_S, lost=count)
    cell.run(1.25 * RELEASE_PATIENCE_S, lost=count)
    assert PAIRS_OF_ONE_DEAD <= said <= 5.5 * PAIRS_OF_ONE_DEAD


def test_a_node_that_speaks_again_for_what_is_over_hears_so_at_once() -> None:
    """It kept silent for so long that it is told rarely."""
    cell, late = HandCell("abc", ["athens"]), list[Accepted]()

    def kept(sender: str, to: str, message: Message) -> bool:
        if sender == "c" and isinstance(message, Accepted):
            late.append(message)
        return sender == "c" or (to == "c" and not isinstance(message, StandingPrepare))

    for _ in range(MEASURED):
        pair(cell)
    session = cell.sessions["athens"]
    for _ in range(MEASURED):
        ticket = session.campaign(NAME, ttl=TTL, now=cell.now)
        cell.run(0.0, lost=kept)
        session.release(ticket, cell.now)
        cell.run(PAIRS_EVERY_S, lost=kept)
    cell.run(0.1, lost=kept)
    cell.lose()
    session.receive(late[-1], "c", cell.now, cell.lives["c"])
    cell.collect()
    assert [to for _, to, message in cell.mail if isinstance(message, Release)] == ["c"]
