"""protocol.md section 5: over a path that loses much, what an exchange hangs on is sent more than once."""

from __future__ import annotations

import itertools

import pytest
from by_hand import GRACE, MARGIN, NAME, SPAN, TTL, HandSession
from hand_cell import HandCell

from paxlock.core.messages import Accept, Accepted, Message, Release, Renew, StandingPrepare
from paxlock.core.session.events import Extended, Granted
from paxlock.core.session.session import Session

ROUND_TRIP = GRACE / 4.0
SPACING = ROUND_TRIP / 8.0


def losing(session: Session) -> None:
    """The session has seen much lost to every node."""
    for path in session._shared.exchanges._paths.values():
        for _ in range(6):
            path._judge(1.0)


def test_what_is_asked_is_sent_three_times_within_a_round_trip() -> None:
    session = HandSession()
    losing(session.machine)
    session.campaign(now=1.0)
    (first,) = {message for _, message in session.sent(StandingPrepare)}
    for at in (1.0 + SPACING, 1.0 + 2 * SPACING):
        session.tick(at)
        assert session.sent(StandingPrepare) == [(node, first) for node in "abc"]
    session.tick(1.0 + ROUND_TRIP)
    assert session.sent(StandingPrepare) == []


def test_a_node_that_has_answered_gets_no_copy() -> None:
    session = HandSession()
    losing(session.machine)
    session.campaign(now=1.0)
    asked = session.sent_to_all(StandingPrepare)
    session.took("a", asked, 1, now=1.0 + SPACING / 2)
    session.tick(1.0 + SPACING)
    assert [node for node, _ in session.sent(StandingPrepare)] == ["b", "c"]


def test_s4_what_a_copy_arms_counts_from_the_first_sending() -> None:
    session = HandSession()
    session.to_grant(now=0.0)
    losing(session.machine)
    session.told(Extended)
    session.run_until(TTL / 3.0 - 0.01)
    sent_at, renewals = 0.0, list[tuple[str, Renew]]()
    while not renewals:
        sent_at = session.machine.deadline()
        session.tick(sent_at)
        renewals = session.sent(Renew)
    session.tick(sent_at + SPACING)
    copies = dict(session.sent(Renew))
    assert copies.items() <= dict(renewals).items()
    for node in "ab":
        session.renewed(node, copies[node], [(1, 1)], now=sent_at + ROUND_TRIP)
    extended = session.told(Extended)[-1]
    assert extended.deadline == pytest.approx(sent_at + SPAN - MARGIN, abs=SPACING / 4)


def test_a_hand_over_outlives_the_loss_of_what_is_sent_first() -> None:
    """The first Release to each node is lost, and the first push of each: the next has the name in two
    round trips all the same.
    """
    cell = HandCell("abc", ["athens", "byblos"])
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, wait=None)
    cell.run(0.5)
    for session in cell.sessions.values():
        losing(session)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=None)
    cell.run(0.1)
    met: set[tuple[str, str, type[Message]]] = set()

    def lost(sender: str, to: str, message: Message) -> bool:
        one = (sender, to, type(message))
        first = one not in met and (sender == "athens" or to == "byblos")
        met.add(one)
        return first

    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(2 * ROUND_TRIP, lost=lost)
    assert {("athens", "a", Release), ("a", "byblos", Accepted)} <= met
    assert cell.told("byblos", Granted)


@pytest.mark.parametrize("much_is_lost", [True, False])
def test_phase_2_keeps_its_pace_where_much_is_lost(much_is_lost: bool) -> None:
    """It is silence that makes an interval longer, and what is lost is not silent."""
    session = HandSession()
    session.campaign(now=1.0)
    asked = session.sent_to_all(StandingPrepare)
    for node in "ab":
        session.promised(node, asked, 3, now=1.0)
    seen = {message.seq for _, message in session.sent(Accept)}
    if much_is_lost:
        losing(session.machine)
    sent, now = [1.0], 1.0
    while len(sent) < 5:
        now = session.machine.deadline()
        session.tick(now)
        numbers = {message.seq for _, message in session.sent(Accept)}
        if numbers - seen:  # a repetition, and not a copy
            seen |= numbers
            sent.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert (max(gaps) < 2.0 * min(gaps)) == much_is_lost
