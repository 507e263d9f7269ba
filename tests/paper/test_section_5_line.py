"""protocol.md section 5: waiting in line."""

from __future__ import annotations

import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CYRENE,
    GRACE,
    NAME,
    TTL,
    HandAcceptor,
    HandSession,
    accepted,
    candidate,
    occupant,
    promise,
    refusal,
)
from hand_cell import HandCell

from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Message,
    Occupancy,
    Prepare,
    Promise,
    RefusalReason,
    Refused,
    StandingPrepare,
    Waiting,
)
from paxlock.core.node.line import LAPSE_REFRESHES, LINE_MAX_ENTRIES
from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.events import Failed, Granted
from paxlock.errors import Reason

REFRESH = 1.0


def line_of(node: HandAcceptor, now: float) -> list[Candidate]:
    answer = node.acceptor.waiters(Waiting(1, NAME, 0), now)
    assert answer.total == len(answer.entries)
    return [waiter.candidate for waiter in answer.entries]


def held_by_athens() -> HandAcceptor:
    node = HandAcceptor()
    accepted(node.accept(ATHENS, 1, 1, now=0.0))
    return node


def test_the_line_is_ordered_by_receipt_less_stated_age() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, age=0.5, refresh=REFRESH)
    node.prepare(CYRENE, now=1.1, age=0.9, refresh=REFRESH)
    node.prepare(candidate("delphi"), now=1.2, age=0.1, refresh=REFRESH)
    assert line_of(node, 1.3) == [CYRENE, BYBLOS, candidate("delphi")]


def test_of_equal_age_the_smaller_candidate_comes_first() -> None:
    node = held_by_athens()
    for who in (candidate("delphi"), CYRENE, BYBLOS, candidate("argos")):
        node.prepare(who, now=1.0, age=0.5, refresh=REFRESH)
    assert line_of(node, 1.0) == [candidate("argos"), BYBLOS, CYRENE, candidate("delphi")]


def test_the_place_is_that_of_the_first_entry() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, age=0.5, refresh=REFRESH)
    node.prepare(CYRENE, now=1.0, age=0.4, refresh=REFRESH)
    node.prepare(CYRENE, now=1.5, age=100.0, refresh=REFRESH)
    node.prepare(BYBLOS, now=1.6, age=0.0, refresh=REFRESH)
    assert line_of(node, 1.6) == [BYBLOS, CYRENE]


def test_an_entry_lapses_after_three_refreshes() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, refresh=0.2)
    node.prepare(CYRENE, now=1.0, refresh=0.5)
    assert line_of(node, 1.0 + LAPSE_REFRESHES * 0.2 - 0.001) == [BYBLOS, CYRENE]
    assert line_of(node, 1.0 + LAPSE_REFRESHES * 0.2) == [CYRENE]
    node.release(ATHENS, 1, now=2.0)
    assert [message.candidate for message in node.pushed()] == [CYRENE]
    assert LAPSE_REFRESHES == 3


def test_one_that_does_not_wait_never_stands_in_line() -> None:
    node = held_by_athens()
    assert refusal(node.prepare(BYBLOS, now=1.0)) is RefusalReason.HELD
    assert line_of(node, 1.0) == []


def test_the_line_is_bounded_and_drops_the_youngest() -> None:
    node = held_by_athens()
    for number in range(LINE_MAX_ENTRIES):
        node.prepare(candidate(f"many{number:04}"), now=1.0, age=0.5, refresh=REFRESH)
    node.prepare(CYRENE, now=1.0, age=0.1, refresh=REFRESH)
    node.prepare(BYBLOS, now=1.0, age=0.9, refresh=REFRESH)
    line = node.record.line
    assert line is not None and len(line) == LINE_MAX_ENTRIES
    waiting = [entry.candidate for entry in line.entries(1.0)]
    assert waiting[0] == BYBLOS
    assert CYRENE not in waiting
    assert candidate(f"many{LINE_MAX_ENTRIES - 1:04}") not in waiting


def test_when_the_lease_ends_the_head_is_promised_the_next_term_and_told_at_once() -> None:
    node = held_by_athens()
    node.prepare(CYRENE, now=1.0, age=0.2, refresh=REFRESH)
    node.prepare(BYBLOS, now=1.0, age=0.4, refresh=REFRESH)
    node.release(ATHENS, 1, now=2.0)
    (pushed,) = node.pushed()
    assert (pushed.candidate, pushed.term, pushed.request) == (BYBLOS, 2, 0)
    assert node.shows() == (2, "byblos", False)
    assert accepted(node.accept(BYBLOS, 2, 1, now=2.0 + GRACE / 2)).term == 2


def test_the_same_at_the_deadline_of_the_lease() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=TTL - 0.5, refresh=REFRESH)
    node.run_out(TTL - 0.001)
    assert node.pushed() == []
    node.run_out(TTL)
    assert [(m.candidate, m.term) for m in node.pushed()] == [(BYBLOS, 2)]


def test_the_head_is_promised_no_less_than_it_asked_for() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, at_least=40, refresh=REFRESH)
    node.release(ATHENS, 1, now=1.5)
    assert [m.term for m in node.pushed()] == [40]


def test_a_head_that_does_not_follow_up_is_passed_over_and_its_term_closed() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, age=0.4, refresh=REFRESH)
    node.prepare(CYRENE, now=1.0, age=0.2, refresh=REFRESH)
    node.release(ATHENS, 1, now=2.0)
    node.run_out(2.0 + GRACE)
    assert [(m.candidate, m.term) for m in node.pushed()] == [(BYBLOS, 2), (CYRENE, 3)]
    assert refusal(node.accept(BYBLOS, 2, 1, now=2.0 + GRACE)) is RefusalReason.STALE


def test_promises_to_the_line_wait_for_the_ceiling() -> None:
    node = HandAcceptor(ceiling=1)
    node.accept(ATHENS, 1, 1, now=0.0)
    node.prepare(BYBLOS, now=1.0, age=0.5, refresh=REFRESH)
    node.release(ATHENS, 1, now=1.1)
    assert node.pushed() == []
    # Free, but others stand in line before it: a newcomer queues behind them.
    answer = node.prepare(CYRENE, now=1.2, refresh=REFRESH)
    assert isinstance(answer, Refused)
    assert answer.reason is RefusalReason.QUEUED
    assert answer.occupant is not None
    assert (answer.occupant.candidate, answer.occupant.occupancy) == (BYBLOS, Occupancy.HEAD)
    node.acceptor.raised(1000, now=1.3)
    assert [(m.candidate, m.term) for m in node.pushed()] == [(BYBLOS, 2)]
    assert line_of(node, 1.3) == [CYRENE]


def test_a_promise_takes_the_candidate_out_of_the_line() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, refresh=REFRESH)
    node.release(ATHENS, 1, now=1.5)
    assert line_of(node, 1.5) == []
    assert promise(node.prepare(BYBLOS, now=1.51, refresh=REFRESH)).term == 2


def test_a_lease_taken_without_a_promise_leaves_the_line() -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0)
    node.prepare(BYBLOS, now=0.0, refresh=REFRESH)
    accepted(node.accept(BYBLOS, 7, 1, now=0.01))
    assert line_of(node, 0.01) == []


@pytest.mark.parametrize("held", [True, False])
def test_every_refusal_names_the_occupant_with_age_label_and_time(held: bool) -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0, age=3.0)
    if held:
        node.accept(ATHENS, 1, 1, now=0.0, age=3.0)
    answer = node.prepare(BYBLOS, now=0.04)
    assert isinstance(answer, Refused)
    found = answer.occupant
    assert found is not None
    assert (found.candidate, found.label, found.age_ms) == (ATHENS, "athens", 3040)
    if held:
        assert (found.occupancy, found.ttl_ms) == (Occupancy.HELD, 10_000)
        assert found.remaining_ms == pytest.approx(9960, abs=1)
    else:
        assert (found.occupancy, found.remaining_ms) == (Occupancy.PROMISED, 10)


# What a waiting candidate does


def test_the_refresh_is_a_twentieth_of_the_holders_ttl_and_at_most_a_second() -> None:
    for ttl, at_most in ((4.0, 200), (30.0, 1000)):
        session = HandSession("byblos")
        session.campaign(now=0.0)
        asked = session.sent_to_all(Prepare)
        for node in "abc":
            session.refused(
                node, asked, RefusalReason.HELD, now=0.0, occupant=occupant(ATHENS, age=1.0, ttl=ttl)
            )
        session.run_until(3.0)
        repeated = [message.refresh_ms for _, message in session.sent(Prepare)]
        assert repeated and max(repeated) <= at_most


def test_a_refusal_tells_how_many_came_before() -> None:
    node = held_by_athens()
    told = []
    for number, who in enumerate((BYBLOS, CYRENE, candidate("delphi"))):
        answer = node.prepare(who, now=1.0, age=0.5 - number / 10, refresh=REFRESH)
        assert isinstance(answer, Refused)
        told.append(answer.place)
    assert told == [0, 1, 2]
    answer = node.prepare(candidate("argos"), now=1.0, age=0.9)  # it does not stand in line
    assert isinstance(answer, Refused) and answer.place == 0


def test_who_is_far_back_and_dies_does_not_stand_in_the_way_for_long() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, age=0.5, refresh=8.0)
    node.prepare(CYRENE, now=1.0, refresh=60.0)  # nobody keeps a place for longer than that of the rarest
    assert line_of(node, 11.999) == [BYBLOS, CYRENE]
    assert line_of(node, 12.0) == [CYRENE]
    assert line_of(node, 14.0) == []


@pytest.mark.parametrize(
    ("places", "interval_ms"),
    [
        *(((8, 8, 8), 500), ((12, 12, 12), 750), ((40, 40, 40), 2500), ((900, 900, 900), 10_000)),
        *(((0, 900, 900), 10_000), ((900, 0, 0), 500)),
    ],
)
def test_who_is_far_back_by_the_word_of_a_quorum_asks_rarely(
    places: tuple[int, int, int], interval_ms: int
) -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    now, asked = 0.0, session.sent_to_all(Prepare)
    intervals = []
    for _ in range(4):
        for node, place in zip("abc", places, strict=True):
            holder = occupant(ATHENS, age=1.0, ttl=10.0)
            session.refused(node, asked, RefusalReason.HELD, now=now, occupant=holder, place=place)
        began = now
        while not (repeated := session.sent(Prepare)):
            now = session.machine.deadline()
            session.tick(now)
        asked = repeated[0][1]
        intervals.append(now - began)
    assert asked.refresh_ms == interval_ms
    assert intervals[0] <= 0.1  # before the place lapses by what was stated at first
    assert 0.5 * interval_ms / 1000 < intervals[-1] <= interval_ms / 1000


def test_who_is_far_back_keeps_its_place() -> None:
    """A crowd: nobody's place lapses between two of its refreshes, and all have their turn in order."""
    names = [f"who{number:02}" for number in range(30)]
    cell = HandCell("abc", ["athens", *names])
    held = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.5)
    for name in names:
        cell.sessions[name].campaign(NAME, ttl=TTL, now=cell.now)
        cell.run(0.05)
    for _ in range(30):
        cell.run(1.0)
        for node in "abc":
            waiting = cell.replicas[node]._acceptor.waiters(Waiting(1, NAME, 0), cell.now)
            assert waiting.total == len(names)
    holder = "athens"
    for name in names:
        cell.sessions[holder].release(held, cell.now)
        cell.run(0.1)
        (granted,) = cell.told(name, Granted)
        holder, held = name, granted.ticket


def test_a_place_in_line_is_refreshed_before_it_lapses() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.5)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    for _ in range(60):
        cell.run(0.5)
        for node in "abc":
            answer = cell.replicas[node]._acceptor.waiters(Waiting(1, NAME, 0), cell.now)
            assert [waiter.candidate for waiter in answer.entries] == [BYBLOS]


def test_a_lease_is_handed_over_to_the_oldest_in_one_trip_each() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.5)
    cell.sessions["cyrene"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.5)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(1.0)
    released_at = cell.now
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(GRACE / 10)
    assert cell.told("byblos", Granted) == []
    (granted,) = cell.told("cyrene", Granted)
    assert granted.deadline > released_at + TTL / 2


def test_a_waiter_that_dies_at_the_head_costs_the_grace_where_it_does_not_stand() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene"], plain=True)
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.5)
    cell.sessions["cyrene"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.5)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(1.0)
    cell.dies("cyrene")
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(0.99 * GRACE)
    assert cell.told("byblos", Granted) == []
    cell.run(0.1 * GRACE)
    assert len(cell.told("byblos", Granted)) == 1


def test_lost_pushes_are_made_up_for_by_asking() -> None:
    cell = HandCell("abc", ["athens", "byblos"], plain=True)
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.5)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(1.0)
    cell.sessions["athens"].release(ticket, cell.now)

    def pushes(_sender: str, to: str, message: Message) -> bool:
        return to == "byblos" and isinstance(message, Promise) and message.request == 0

    cell.run(1.5, lost=pushes)
    assert len(cell.told("byblos", Granted)) == 1


def test_one_attempt_without_waiting_gives_up_once_the_holder_is_known() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="the holder")
    cell.run(0.5)
    ticket = cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
    cell.run(0.0)
    (failed,) = cell.told("byblos", Failed)
    assert (failed.ticket, failed.reason, failed.holder) == (ticket, Reason.HELD, "the holder")
    cell.run(0.5)
    for node in "abc":
        assert cell.replicas[node]._acceptor.waiters(Waiting(1, NAME, 0), cell.now).total == 0


def test_who_took_its_turn_in_line_tells_nothing_of_the_round_trip() -> None:
    """The node took the lease when the name fell free, by the number that had waited there, and what it
    pushed was lost. The answer to the next question names that number, which was sent long before.
    """
    session, trips = HandSession(), RoundTrips(("a", "b", "c"))
    session.machine._pacing.round_trips = trips
    for node in "abc":
        trips.measured(node, 0.01)
    session.campaign(now=1.0)
    asked = session.sent_to_all(StandingPrepare)
    for node in "abc":
        session.refused(node, asked, RefusalReason.HELD, now=1.01, occupant=occupant(BYBLOS))
    session.run_until(2.5)
    again = dict(session.sent(StandingPrepare))["a"]
    assert again.seq > asked.seq
    for _ in range(3):  # copies of the answer, too
        session.took("a", again, 2, now=2.51, seq=asked.seq)
    assert trips.usual("a", 0.0) == pytest.approx(0.01)
    told = trips.of("b")
    assert told is not None
    answers = told.answers
    session.took("b", again, 2, now=2.51)
    assert told.answers == answers + 1  # the newest number tells it
