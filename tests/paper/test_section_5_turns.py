"""A session has a bounded number of acquisitions and releases under way at once (protocol.md section 5)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest
from hand_cell import HandCell

from paxlock.core.messages import Message, Prepare, Release, StandingPrepare
from paxlock.core.session.events import Ended, Failed, Granted
from paxlock.core.session.turns import TURNS_FIRST, TURNS_MAX
from paxlock.errors import Reason

MANY = 500
PREPARES = (Prepare, StandingPrepare)


def names_in(mail: Iterable[tuple[str, str, Message]]) -> list[str]:
    """The names that are asked for, in order, each once."""
    return list(dict.fromkeys(m.name for _, _, m in mail if isinstance(m, PREPARES)))


def want(cell: HandCell, who: str, names: Iterable[str], wait: float | None = None) -> list[int]:
    session = cell.sessions[who]
    tickets = [session.campaign(name, ttl=5.0, now=cell.now, wait=wait) for name in names]
    cell.collect()
    return tickets


def acquire(cell: HandCell, who: str, names: Iterable[str]) -> list[int]:
    tickets = want(cell, who, names)
    cell.run(1.0)
    assert len(cell.told(who, Granted)) == len(tickets)
    return tickets


def numbered(count: int, prefix: str = "name") -> list[str]:
    return [f"{prefix}-{number:04d}" for number in range(count)]


def test_many_names_at_once_are_asked_for_in_turns_and_in_their_order() -> None:
    cell = HandCell("abc", ["me"])
    want(cell, "me", numbered(MANY))
    assert names_in(cell.mail) == numbered(MANY)[:TURNS_FIRST]
    cell.run(2.0)
    granted = [notice.ticket for notice in cell.told("me", Granted)]
    assert len(granted) == MANY
    assert granted == sorted(granted)


def test_without_an_answer_nobody_else_is_asked_for() -> None:
    cell = HandCell("abc", ["me"])
    want(cell, "me", numbered(MANY))
    asked: set[str] = set()

    def lost(sender: str, to: str, message: Message) -> bool:
        asked.update(names_in([(sender, to, message)]))
        return True

    cell.run(20.0, lost=lost)
    assert asked == set(numbered(MANY)[:TURNS_FIRST])
    cell.run(10.0)
    assert len(cell.told("me", Granted)) == MANY


def test_the_age_of_a_wish_counts_from_the_wish_and_not_from_its_turn() -> None:
    cell = HandCell("abc", ["me"])
    want(cell, "me", numbered(TURNS_FIRST + 1))
    cell.lose()
    cell.at(3.0)
    cell.lose()
    ages: list[int] = []

    def lost(sender: str, to: str, message: Message) -> bool:
        if isinstance(message, PREPARES) and message.name == numbered(TURNS_FIRST + 1)[-1]:
            ages.append(message.age_ms)
        return False

    cell.run(1.0, lost=lost)
    assert ages
    assert min(ages) >= 3000


def test_a_thousand_that_wait_for_held_names_leave_room_for_one_that_is_free() -> None:
    cell = HandCell("abc", ["holder", "me"])
    acquire(cell, "holder", numbered(1000))
    want(cell, "me", numbered(1000))
    cell.run(0.1)
    assert cell.told("me", Granted) == []
    want(cell, "me", ["free"])
    assert names_in(cell.mail) == ["free"], "at once"
    cell.run(0.1)
    assert len(cell.told("me", Granted)) == 1


def test_a_single_attempt_has_its_time_from_its_turn() -> None:
    cell = HandCell("abc", ["me"])
    want(cell, "me", numbered(MANY, "patient"))
    cell.lose()
    cell.run(0.9, lost=lambda *_: True)
    want(cell, "me", numbered(MANY), wait=0.0)
    cell.run(3.0)
    assert cell.told("me", Failed) == []
    assert len(cell.told("me", Granted)) == 2 * MANY


def test_single_attempts_do_not_stand_behind_those_that_have_time() -> None:
    cell = HandCell("abc", ["me"])
    want(cell, "me", numbered(MANY, "patient"))
    once = want(cell, "me", numbered(3), wait=0.0)
    cell.run(2.0)
    granted = [notice.ticket for notice in cell.told("me", Granted)]
    assert max(map(granted.index, once)) < 4 * TURNS_FIRST < MANY


def test_single_attempts_give_up_where_no_quorum_answers() -> None:
    cell = HandCell("abc", ["me"])
    want(cell, "me", numbered(MANY), wait=0.0)
    cell.lose()
    cell.run(1.1, lost=lambda *_: True)
    failed = cell.told("me", Failed)
    assert len(failed) == MANY
    assert {(notice.reason, notice.detail) for notice in failed} == {
        (Reason.NO_QUORUM, "0 of 3 nodes answered, 2 needed")
    }


def test_who_never_had_its_turn_says_so() -> None:
    cell = HandCell("abc", ["me"])
    acquire(cell, "me", ["heard"])
    tickets = want(cell, "me", numbered(MANY), wait=0.5)
    cell.run(0.6, lost=lambda *_: True)
    failed = {notice.ticket: notice for notice in cell.told("me", Failed)}
    assert set(failed) == set(tickets)
    last = failed[tickets[-1]]
    assert (last.reason, last.holder) == (Reason.NO_QUORUM, None)
    assert last.detail.startswith("not asked yet: ")


def test_what_ends_before_its_turn_tells_no_node() -> None:
    cell = HandCell("abc", ["me"])
    tickets = want(cell, "me", numbered(MANY))
    cell.lose()
    for ticket in tickets:
        cell.sessions["me"].release(ticket, cell.now)
    cell.collect()
    assert names_in(cell.mail) == [], "nothing is begun in order to be ended"
    heard: list[str] = []

    def lost(_sender: str, _to: str, message: Message) -> bool:
        heard.extend([message.name] if isinstance(message, Release) else [])
        return False

    cell.run(2.0, lost=lost)
    assert set(heard) == set(numbered(MANY)[:TURNS_FIRST])
    assert {notice.ticket for notice in cell.told("me", Ended)} == set(tickets)
    assert cell.sessions["me"].statistics().campaigns == 0
    assert cell.sessions["me"].statistics().releases == 0


def test_many_are_released_in_turns() -> None:
    cell = HandCell("abc", ["me"])
    tickets = acquire(cell, "me", numbered(2 * TURNS_MAX))
    for ticket in tickets:
        cell.sessions["me"].release(ticket, cell.now)
    cell.collect()
    assert len({m.name for _, _, m in cell.mail if isinstance(m, Release)}) == TURNS_FIRST
    assert cell.sessions["me"].releasing == len(tickets)
    cell.run(1.0)
    assert [notice.heard for notice in cell.told("me", Ended)] == [True] * len(tickets)
    assert cell.sessions["me"].releasing == 0


def test_l7_a_release_that_waits_for_its_turn_goes_before_another_attempt_at_the_name() -> None:
    """Of two attempts of one session at a name no node shall hear of the later one while the other lives."""
    cell = HandCell("abc", ["me"])
    names = numbered(MANY)
    for ticket in acquire(cell, "me", names):
        cell.sessions["me"].release(ticket, cell.now)
    cell.collect()
    last = names[-1]
    assert last not in {m.name for _, _, m in cell.mail if isinstance(m, Release)}, "it waits for its turn"
    (ticket,) = want(cell, "me", [last])
    about = [m for _, to, m in cell.mail if to == "a" and getattr(m, "name", "") == last]
    assert [type(message) for message in about] == [Release, StandingPrepare]
    cell.run(1.0)
    assert [notice.ticket for notice in cell.told("me", Granted)] == [ticket]
    assert cell.sessions["me"].releasing == 0


def _not_about(name: str, _sender: str, _to: str, message: Message) -> bool:
    return getattr(message, "name", "") not in (name, "")


@pytest.mark.parametrize("answers", [True, False])
def test_the_patience_of_a_release_lasts_while_others_are_heard(answers: bool) -> None:
    cell = HandCell("abc", ["me"])
    tickets = acquire(cell, "me", numbered(3 * TURNS_FIRST))
    for ticket in tickets:
        cell.sessions["me"].release(ticket, cell.now, patience=1.0)
    cell.collect()
    begun, last = cell.now, numbered(3 * TURNS_FIRST)[-1]
    while cell.now < begun + 1.5:  # one is heard every half second
        first = next(iter(cell.sessions["me"]._campaigns.candidates.releases._releases.values())).name
        cell.run(0.5, lost=partial(_not_about, first) if answers else lambda *_: True)
    told = {notice.ticket for notice in cell.told("me", Ended)}
    assert (tickets[-1] in told) is not answers
    assert last in {e.name for e in cell.sessions["me"]._campaigns.candidates.releases._releases.values()}
    cell.run(4.0)
    assert cell.sessions["me"].releasing == 0
