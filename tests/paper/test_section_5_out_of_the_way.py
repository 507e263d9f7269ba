"""protocol.md section 5: who waits keeps out of a holder's way (rule L3), and still gets what is free."""

from __future__ import annotations

import attrs
from by_hand import ATHENS, GRACE, NAME, TTL, HandSession, occupant
from hand_cell import HandCell

from paxlock.core.messages import (
    Message,
    Prepare,
    Promise,
    Recovering,
    RefusalReason,
    Release,
    StandingPrepare,
)
from paxlock.core.session.events import Granted, Lost
from paxlock.core.session.pacing import RETRY_MAX_S

SOON = 1.0
HOLDER = attrs.evolve(occupant(ATHENS), confirmed=True)


def held_at_a_alone(nodes: str, *sessions: str, plain: bool = False) -> HandCell:
    """athens has let go of the name and is gone; a missed its Release, and says that it holds."""
    cell = HandCell(nodes, ["athens", *sessions], plain=plain)
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, wait=None)
    cell.run(1.0)
    assert cell.told("athens", Granted)
    cell.sessions["athens"].release(ticket, cell.now)
    cell.collect()
    cell.deliver(Release, "athens", *nodes[1:])
    cell.dies("athens")
    cell.lose()
    return cell


def test_l3_a_lease_that_may_have_been_taken_is_given_back_though_the_answer_never_comes() -> None:
    """athens holds at a and b and lacks c, and b dies. byblos hears nothing of c, which has taken its lease:
    unless it says Release there, athens is without a quorum until that lease has run out.
    """
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, wait=None)
    cell.run(0.5, lost=lambda sender, to, message: "c" in (sender, to))
    assert cell.told("athens", Granted)
    cell.dies("b")
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=None)
    cell.collect()
    cell.deliver(StandingPrepare, "byblos", "c")
    cell.run(2 * TTL, lost=lambda sender, to, message: "b" in (sender, to) or (sender, to) == ("c", "byblos"))
    assert not cell.told("athens", Lost)


def waits_for_athens() -> tuple[HandSession, StandingPrepare]:
    """byblos has asked, and heard of all nodes at 1.01 s that athens holds."""
    session = HandSession("byblos")
    session.campaign(now=1.0)
    asked = session.sent_to_all(StandingPrepare)
    for node in "abc":
        session.refused(node, asked, RefusalReason.HELD, now=1.01, occupant=HOLDER)
    return session, asked


def test_l3_a_node_that_has_lost_its_memory_is_left_to_the_holder() -> None:
    """b held the lease of athens, as byblos heard, and sits out. What byblos sends there meanwhile may be
    what b hears first when it serves, and take b for itself.
    """
    session, asked = waits_for_athens()
    session.receive("b", Recovering(0, 2_000), now=1.1)
    session.forget_sent()
    session.run_until(3.1 + RETRY_MAX_S)
    assert {node for node, _ in session.sent(Prepare)} == {"a", "c"}
    for node in "ac":
        session.refused(node, asked, RefusalReason.HELD, now=3.1 + RETRY_MAX_S, occupant=HOLDER)
    session.run_until(6.0)
    to_b = [message for node, message in session.sent(Prepare) if node == "b"]
    assert to_b
    assert not any(isinstance(message, StandingPrepare) or message.refresh_ms for message in to_b)


def test_l3_a_promise_of_who_has_forgotten_does_not_say_that_the_holder_has_let_go() -> None:
    session, asked = waits_for_athens()
    session.receive("b", Recovering(0, 100), now=1.1)
    session.promised("b", asked, 1001, now=1.3)
    (attempt,) = session.machine._campaigns.candidates.attempts.values()
    assert attempt.proposer.refusals.where_held_at_quorum() == ["a", "c"]


def test_where_all_have_lost_their_memory_all_are_asked() -> None:
    session, _ = waits_for_athens()
    for node in "abc":
        session.receive(node, Recovering(0, 2_000), now=1.1)
    session.forget_sent()
    session.run_until(3.3)
    assert {node for node, _ in session.sent(StandingPrepare)} == set("abc")


def test_l3_a_node_is_asked_again_when_its_no_has_run_out() -> None:
    """c has promised to cyrene, which dies, and the promise that c then pushes to byblos is lost."""
    cell = held_at_a_alone("abc", "byblos", "cyrene", plain=True)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=None)
    cell.at(cell.now + 0.001)
    cell.sessions["cyrene"].campaign(NAME, ttl=TTL, now=cell.now, wait=None)
    cell.collect()
    cell.deliver(Prepare, "byblos", "b")
    cell.deliver(Prepare, "cyrene", "c")
    cell.deliver(Prepare, "byblos", "a", "c")
    cell.deliver(Prepare, "cyrene", "a", "b")
    cell.dies("cyrene")
    cell.run(2 * GRACE, lost=lambda sender, to, message: "cyrene" in (sender, to) or pushed(to, message))
    assert not cell.told("byblos", Granted)
    cell.run(SOON, lost=lambda sender, to, message: to == "cyrene")
    assert cell.told("byblos", Granted)


def pushed(to: str, message: Message) -> bool:
    return to == "byblos" and isinstance(message, Promise) and message.request == 0


def test_l3_of_two_that_have_said_that_they_hold_both_have_it_in_their_lines() -> None:
    """byblos cannot reach a and d, cyrene cannot reach e. byblos leaves b and c: cyrene is to be told."""
    cell = held_at_a_alone("abcde", "byblos", "cyrene")
    cut = [{"byblos", "a"}, {"byblos", "d"}, {"cyrene", "e"}]
    ticket = cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=None)
    cell.run(0.3, lost=lambda sender, to, message: {sender, to} in cut)
    assert cell.told("byblos", Granted)
    cell.sessions["cyrene"].campaign(NAME, ttl=TTL, now=cell.now, wait=None)
    cell.run(3.0, lost=lambda sender, to, message: {sender, to} in cut)
    cell.sessions["byblos"].release(ticket, cell.now)
    cell.run(SOON, lost=lambda sender, to, message: {sender, to} in cut)
    assert cell.told("cyrene", Granted)


def test_who_waits_asks_rarely_though_no_quorum_can_be_heard() -> None:
    """athens holds at a and b and lacks c, and b dies. c promises to byblos, and a says that athens holds: no
    candidate has a quorum by what byblos hears, for as long as b is dead.
    """
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, wait=None)
    cell.run(0.02, lost=lambda sender, to, message: "c" in (sender, to))
    assert cell.told("athens", Granted)
    cell.dies("b")
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=None)
    cell.run(2.0)
    asked: list[float] = []

    def counted(sender: str, to: str, message: Message) -> bool:
        if (sender, to) == ("byblos", "a") and isinstance(message, Prepare):
            asked.append(cell.now)
        return False

    cell.run(1.0, lost=counted)
    assert 0 < len(asked) <= 20 and not cell.told("athens", Lost)
    cell.dies("athens")
    cell.run(TTL + SOON)
    assert cell.told("byblos", Granted)
