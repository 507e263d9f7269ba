"""protocol.md section 3: a lease that is released by its handle, and one that is detached."""

from __future__ import annotations

from by_hand import ATHENS, NAME, TTL, HandSession, candidate, handle_of
from hand_cell import HandCell

from paxlock.core.messages import (
    Accept,
    Accepted,
    Message,
    Prepare,
    RefusalReason,
    Refused,
    Release,
    Released,
    Renew,
)
from paxlock.core.session.events import Barred, Ended, Granted, HandleOutcome, Lost
from paxlock.errors import LossReason

SOON_S = 0.001


def held_by_athens(*others: str) -> tuple[HandCell, Granted]:
    cell = HandCell("abc", ["athens", *others])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(1.0)
    (granted,) = cell.told("athens", Granted)
    return cell, granted


def released_by(who: str, cell: HandCell, granted: Granted) -> None:
    cell.sessions[who].release_detached(NAME, *handle_of(granted), cell.now, patience=1.0)
    cell.collect()


# Released by another session


def test_a_holder_is_told_at_once_that_another_has_released_its_lease() -> None:
    cell, granted = held_by_athens("byblos")
    released_by("byblos", cell, granted)
    cell.run(SOON_S)
    assert cell.told("athens", Lost) == [Lost(granted.ticket, LossReason.RELEASED)]
    assert [outcome.done for outcome in cell.told("byblos", HandleOutcome)] == [True]


def test_the_word_of_one_node_is_enough_and_reaches_the_others_by_the_holders_own_release() -> None:
    """The tombstone is there because somebody who has the handle wants the grant ended: the safe side."""
    cell, granted = held_by_athens("byblos")
    released_by("byblos", cell, granted)
    cell.deliver(Release, "byblos", "a")
    cell.deliver(Refused, "a", "athens")
    assert cell.told("athens", Lost) == [Lost(granted.ticket, LossReason.RELEASED)]
    cell.deliver(Release, "athens", "b", "c")
    assert [cell.shows(node)[2] for node in "abc"] == [False] * 3


def test_where_the_push_is_lost_the_next_renewal_tells_it() -> None:
    cell, granted = held_by_athens("byblos")

    def pushed(sender: str, to: str, message: Message) -> bool:
        return to == "athens" and isinstance(message, Refused) and message.request == 0

    told_at = cell.now
    released_by("byblos", cell, granted)
    while not cell.told("athens", Lost):
        cell.run(0.01, lost=pushed)
        assert cell.now < told_at + TTL / 3 + 0.02, "later than the next renewal"


def test_the_holder_does_not_go_to_a_higher_term_first() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    session.sent(Accept)
    session.renewed("b", renewals["b"], [], not_held=[1], now=TTL / 3)
    ((_, repair),) = session.sent(Accept)
    session.refused("b", repair, RefusalReason.ENDED, now=TTL / 3, term=4)
    assert [lost.reason for lost in session.told(Lost)] == [LossReason.RELEASED]
    assert session.sent(Prepare) == []
    assert {node for node, _ in session.sent(Release)} == set("abc")


def test_a_holder_that_tries_a_higher_term_hears_it_too() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    session.sent(Accept)
    session.renewed("c", renewals["c"], [], not_held=[1], now=4.0)
    ((_, repair),) = session.sent(Accept)
    session.refused("c", repair, RefusalReason.STALE, now=4.0, term=9)
    session.receive("a", Refused(0, NAME, ATHENS, RefusalReason.ENDED, 4, 0, None), 4.0)
    assert [lost.reason for lost in session.told(Lost)] == [LossReason.RELEASED]


def test_nobody_is_told_who_released_it_itself_and_nobody_who_does_not_hold_it() -> None:
    cell, granted = held_by_athens("byblos")
    cell.sessions["athens"].release(granted.ticket, cell.now)
    cell.collect()
    cell.deliver(Release, "athens", "a", "b", "c")
    released_by("byblos", cell, granted)  # over already
    cell.deliver(Release, "byblos", "a", "b", "c")
    answers = [message for _, _, message in cell.mail if isinstance(message, Refused)]
    assert answers == []


def test_a_push_to_one_that_holds_no_more_is_nothing() -> None:
    session = HandSession()
    session.receive("a", Refused(0, NAME, ATHENS, RefusalReason.ENDED, 4, 0, None), 0.1)
    assert session.told(Lost) == []
    other = candidate("byblos")
    session.to_grant(now=1.0, term=4)
    session.receive("a", Refused(0, NAME, other, RefusalReason.ENDED, 4, 0, None), 1.1)
    assert session.told(Lost) == []


# Released by the session that holds it


def test_s2_whoever_releases_its_own_lease_by_the_handle_holds_it_no_more_before_that_is_sent() -> None:
    cell, granted = held_by_athens()
    athens = cell.sessions["athens"]
    ticket = athens.release_detached(NAME, *handle_of(granted), cell.now, patience=1.0)
    effects = athens.take_effects()
    assert effects.published == (Lost(granted.ticket, LossReason.RELEASED),)
    assert {type(message) for _, message in effects.sends} == {Release}
    assert athens.campaign_of(granted.ticket) is None
    for node in "ab":
        for peer, message in effects.sends:
            if peer == node and isinstance(message, Release):
                answer = Released(message.request, NAME, granted.candidate, 0)
                athens.receive(answer, node, cell.now)
    (outcome,) = athens.take_effects().published
    assert outcome == HandleOutcome(ticket, done=True, over=False)


def test_s2_a_handle_with_another_name_in_it_ends_nothing_here() -> None:
    cell, granted = held_by_athens()
    athens = cell.sessions["athens"]
    athens.release_detached("other", *handle_of(granted), cell.now, patience=1.0)
    cell.collect()
    assert cell.told("athens", Lost) == []
    assert athens.campaign_of(granted.ticket) is not None


# Detached


def test_l1_those_who_wait_in_a_session_that_detaches_the_name_are_barred() -> None:
    """The end of a later attempt of the session would set a tombstone for the detached one as well."""
    cell, granted = held_by_athens("byblos")
    athens = cell.sessions["athens"]
    waiting = [athens.campaign(NAME, ttl=TTL, now=cell.now, wait=wait) for wait in (None, 5.0)]
    athens.detach(granted.ticket, cell.now)
    later = athens.campaign(NAME, ttl=TTL, now=cell.now)
    once = athens.campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
    cell.collect()
    barred = [notice.ticket for notice in cell.told("athens", Barred)]
    assert barred == [*waiting, later, once]
    assert not any(isinstance(message, Prepare) for _, _, message in cell.mail)
    cell.run(1.0)
    cell.sessions["byblos"].renew_detached(*handle_of(granted), cell.now, patience=1.0)
    cell.run(1.0)
    assert [outcome.done for outcome in cell.told("byblos", HandleOutcome)] == [True]
    assert [cell.shows(node) for node in "abc"] == [(granted.term, "athens", True)] * 3
    for ticket in barred:
        assert athens.campaign_of(ticket) is None
        athens.release(ticket, cell.now)  # the shell may still try
    cell.run(TTL)
    assert cell.told("athens", Ended) == []
    assert athens.campaign("another", ttl=TTL, now=cell.now)
    cell.run(1.0)
    assert cell.told("athens", Granted)


def test_detached_in_the_turn_of_its_grant_it_is_known_to_all_and_released_by_nobody() -> None:
    """The program may detach before the Commit has left."""
    session = HandSession()
    accept = session.to_accept(now=0.0, term=4)
    for node in "ab":
        session.accepted(node, accept, now=0.0)
    (granted,) = [n for n in session.machine.take_published() if isinstance(n, Granted)]
    session.machine.detach(granted.ticket, 0.0)
    effects = session.machine.take_effects()
    assert [type(message).__name__ for _, message in effects.sends] == ["Commit"] * 3
    session.receive("c", Accepted(accept.request, NAME, ATHENS, 4, accept.seq), 0.2)
    session.renewed("c", Renew(9, ATHENS.session, 9, (1,)), [], not_held=[1], now=0.3)
    session.run_until(TTL)
    assert session.sent(Release) == []
    assert session.sent(Renew) == []
