"""The story of five nodes, message by message (the pattern "Paxos": athens, ephesus, cyrene).

Where the classical proposer overwrites or adopts a value that another one left behind, ours is refused, and
waits or learns. What sits on a quorum is found, told and never replaced while it lives; what sits on a
minority costs at most its ttl. (The candidates send plain Prepares here: both phases are seen.)

Each line of a table shows one node: (term, owner, held), with a star where a lease is held.
"""

from __future__ import annotations

import pytest
from by_hand import ATHENS, CYRENE, GRACE, NAME, TTL, candidate
from hand_cell import HandCell

from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Inquire,
    Message,
    Prepare,
    Promise,
    RefusalReason,
    Refused,
    View,
    Watch,
    WatchEvent,
)
from paxlock.core.session.events import Changed, Granted
from paxlock.core.session.judgement import State

EPHESUS = candidate("ephesus")


def table(cell: HandCell) -> str:
    """The five nodes in order, as `term owner*`."""
    rows = (cell.shows(node) for node in cell.nodes)
    return " | ".join(f"{term} {owner}{'*' if held else ''}" for term, owner, held in rows)


def refusals(cell: HandCell, to: str, reason: RefusalReason) -> str:
    """Which nodes have a refusal of this kind on its way to this session."""
    found = {
        sender
        for sender, receiver, message in cell.mail
        if receiver == to and isinstance(message, Refused) and message.reason is reason
    }
    return "".join(sorted(found))


def campaign(cell: HandCell, who: str) -> None:
    cell.sessions[who].campaign(NAME, ttl=TTL, now=cell.now, label=who)
    cell.collect()


def answers(cell: HandCell, kind: type[Message], to: str, *nodes: str) -> None:
    """What these nodes answered arrives."""
    for node in nodes:
        cell.deliver(kind, node, to)


def told(cell: HandCell, who: str) -> list[tuple[State, int, str]]:
    return [(changed.state, changed.term, changed.label) for changed in cell.told(who, Changed)]


@pytest.fixture
def cell() -> HandCell:
    found = HandCell("abcde", ["athens", "ephesus", "cyrene", "delphi"], plain=True)
    found.lose()  # greetings
    return found


def athens_is_accepted_by_two(cell: HandCell) -> None:
    """Promised by a, b, c and accepted by a, b: the Accept to the others is held up by the network."""
    campaign(cell, "athens")
    cell.deliver(Prepare, "athens", "a", "b", "c")
    assert table(cell) == "1 athens | 1 athens | 1 athens | 0 - | 0 -"
    answers(cell, Promise, "athens", "a", "b", "c")
    cell.deliver(Accept, "athens", "a", "b")
    assert table(cell) == "1 athens* | 1 athens* | 1 athens | 0 - | 0 -"
    answers(cell, Accepted, "athens", "a", "b")


def ephesus_overtakes_and_dies(cell: HandCell) -> None:
    """After the grace at c, ephesus gets a later term there, is accepted by d and e, and dies."""
    cell.at(2 * GRACE)
    assert table(cell) == "1 athens* | 1 athens* | 1 - | 0 - | 0 -"
    campaign(cell, "ephesus")
    cell.deliver(Prepare, "ephesus", "c", "d", "e")
    assert table(cell) == "1 athens* | 1 athens* | 2 ephesus | 1 ephesus | 1 ephesus"
    answers(cell, Promise, "ephesus", "c", "d", "e")
    cell.deliver(Accept, "ephesus", "d", "e")
    assert table(cell) == "1 athens* | 1 athens* | 2 ephesus | 2 ephesus* | 2 ephesus*"
    cell.dies("ephesus")


def athens_comes_back(cell: HandCell) -> None:
    """Its late Accept is stale at c and refused at d, e: the same candidate goes to a higher term."""
    cell.deliver(Accept, "athens", "c", "d", "e")
    assert table(cell) == "1 athens* | 1 athens* | 2 ephesus | 2 ephesus* | 2 ephesus*"
    assert refusals(cell, "athens", RefusalReason.STALE) == "c"
    assert refusals(cell, "athens", RefusalReason.HELD) == "de"
    answers(cell, Refused, "athens", "c", "d", "e")
    cell.lose()
    # The promise of c to ephesus, which will never follow it up, lapses meanwhile.
    cell.at(5 * GRACE)
    assert table(cell) == "1 athens* | 1 athens* | 2 - | 2 ephesus* | 2 ephesus*"
    cell.deliver(Prepare, "athens", "a", "b", "c", "d", "e")
    assert table(cell) == "3 athens* | 3 athens* | 3 athens | 2 ephesus* | 2 ephesus*"
    # d and e hold the lease of ephesus: they neither promise nor adopt.
    assert refusals(cell, "athens", RefusalReason.HELD) == "de"


def a_value_ends_up_on_a_quorum_unknown_to_all(cell: HandCell) -> None:
    """a, b and c accept in one term; athens dies before it hears of it."""
    answers(cell, Promise, "athens", "a", "b", "c")
    cell.deliver(Accept, "athens", "a", "b", "c", "d", "e")
    assert table(cell) == "3 athens* | 3 athens* | 3 athens* | 2 ephesus* | 2 ephesus*"
    cell.dies("athens")
    cell.lose()


def test_story_of_five_nodes(cell: HandCell) -> None:
    cell.sessions["delphi"].watch(NAME, False, cell.now)
    cell.collect()
    cell.deliver(Watch, "delphi", *"abcde")
    athens_is_accepted_by_two(cell)
    ephesus_overtakes_and_dies(cell)
    athens_comes_back(cell)
    a_value_ends_up_on_a_quorum_unknown_to_all(cell)
    everything = "3 athens* | 3 athens* | 3 athens* | 2 ephesus* | 2 ephesus*"

    # cyrene wants its own. The classical proposer would adopt one of the two; ours is refused, and waits.
    campaign(cell, "cyrene")
    cell.deliver(Prepare, "cyrene", *"abcde")
    assert refusals(cell, "cyrene", RefusalReason.HELD) == "abcde"
    answers(cell, Refused, "cyrene", *"abcde")
    assert table(cell) == everything
    assert not any(isinstance(message, Accept) for _, _, message in cell.mail)
    cell.lose()

    # Nobody has said Commit. a asks; b and c hold the same lease in the same term: a finds out, and tells.
    assert told(cell, "delphi") == []
    asked_at = cell.now
    while not any(sender == "a" and isinstance(m, Inquire) for sender, _, m in cell.mail):
        cell.lose()
        cell.at(cell.now + GRACE / 5)
    assert cell.now - asked_at < 1.0
    cell.mail = [
        envelope for envelope in cell.mail if envelope[0] == "a" and isinstance(envelope[2], Inquire)
    ]
    cell.deliver(Inquire, "a", "b", "c", "d", "e")
    answers(cell, View, "a", "d", "e")
    assert not any(isinstance(message, Commit) for _, _, message in cell.mail)
    answers(cell, View, "a", "b")
    assert not any(isinstance(message, Commit) for _, _, message in cell.mail)
    answers(cell, View, "a", "c")
    commits = [(sender, to) for sender, to, message in cell.mail if isinstance(message, Commit)]
    assert commits == [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")]
    cell.deliver(Commit, "a", "b", "c", "d", "e")
    # A Commit informs; it changes nothing that is held: d and e still hold what excludes athens there.
    assert table(cell) == everything

    # The watcher learns that athens leads, though athens itself never knew.
    answers(cell, WatchEvent, "delphi", "a", "b", "c")
    assert told(cell, "delphi") == [(State.LED, 3, "athens")]

    # What sits on a minority costs at most its ttl; what sits on the quorum is not replaced while it lives.
    ends_of_ephesus = 2 * GRACE + TTL
    cell.run(ends_of_ephesus - 0.001 - cell.now)
    assert table(cell) == everything
    cell.run(0.002)
    # While athens holds at a quorum nobody stands in line for the others.
    assert table(cell) == "3 athens* | 3 athens* | 3 athens* | 2 - | 2 -"
    assert cell.told("cyrene", Granted) == []

    # The lease of athens runs out at a, b and c; the head of the line is promised and takes the name.
    cell.run(GRACE * 4 + TTL - cell.now)
    assert table(cell).startswith("3 athens* | 3 athens* | 3 athens*")
    cell.run(4 * GRACE)
    (granted,) = cell.told("cyrene", Granted)
    assert granted.candidate == CYRENE
    assert granted.term > 3
    assert [(owner, held) for _, owner, held in map(cell.shows, "abcde")] == [("cyrene", True)] * 5
    assert {term for term, _, _ in map(cell.shows, "abcde")} == {granted.term}
    shown = told(cell, "delphi")
    assert shown[-1] == (State.LED, granted.term, "cyrene")
    assert (State.LED, 2, "ephesus") not in shown


def test_story_a_minority_is_never_committed_and_never_told(cell: HandCell) -> None:
    """The same beginning, but athens does not come back: two and two of five."""
    cell.sessions["delphi"].watch(NAME, False, cell.now)
    athens_is_accepted_by_two(cell)
    ephesus_overtakes_and_dies(cell)
    cell.dies("athens")
    cell.lose()
    campaign(cell, "cyrene")
    cell.run(TTL - GRACE - cell.now)
    assert [cell.shows(node)[1:] for node in "ab"] == [("athens", True)] * 2
    assert [cell.shows(node)[1:] for node in "de"] == [("ephesus", True)] * 2
    assert cell.told("cyrene", Granted) == []
    # Both were on a minority: the name is led again soon after the ttl of the second of them.
    cell.run(2 * GRACE + TTL + 1.0 - cell.now)
    (granted,) = cell.told("cyrene", Granted)
    assert granted.candidate.session == CYRENE.session
    assert [label for state, _, label in told(cell, "delphi") if state is State.LED] == ["cyrene"]


def test_story_the_one_that_is_alive_and_chosen_learns_of_it_itself(cell: HandCell) -> None:
    """Had athens not died, the same three answers would have made it the holder, and ephesus cost nothing."""
    athens_is_accepted_by_two(cell)
    ephesus_overtakes_and_dies(cell)
    athens_comes_back(cell)
    answers(cell, Promise, "athens", "a", "b", "c")
    cell.deliver(Accept, "athens", "a", "b", "c")
    answers(cell, Accepted, "athens", "a", "b")
    assert cell.told("athens", Granted) == []
    answers(cell, Accepted, "athens", "c")
    (granted,) = cell.told("athens", Granted)
    assert (granted.candidate, granted.term) == (ATHENS, 3)
    cell.run(3 * TTL)
    assert [(owner, held) for _, owner, held in map(cell.shows, "abcde")] == [("athens", True)] * 5
    view = cell.replicas["d"]._learner.view(NAME, cell.now)
    assert view.lease is not None and view.lease.token == 3
