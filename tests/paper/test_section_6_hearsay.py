"""protocol.md section 6: what a session says of itself is hearsay until enough nodes say the same.

*Rogue* has the key of the cell and tells of tenures that it never had.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CYRENE,
    NAME,
    TTL,
    HandReplica,
    candidate,
    lease_of,
    replica_of,
    session_id,
    start_of,
)
from hand_cell import HandCell

from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Inquire,
    Poll,
    Release,
    View,
    Watch,
    WatchEvent,
)
from paxlock.core.node.acceptor import TERM_JUMP_MAX
from paxlock.core.node.hearsay import CLAIMS_MAX, DOUBT_ROUNDS, DOUBTS_MAX
from paxlock.core.session.events import Answered, Changed, Granted
from paxlock.core.session.judgement import State, in_doubt, judge, over, reports_free
from paxlock.wire.codec import decode_untrusted, encode, join

ROGUE = candidate("rogue")
DELPHI = session_id("delphi")
FAR = 1 << 30
SOON = 0.1


def claims(node: HandReplica, who: Candidate, term: int, now: float, *, token: int | None = None) -> None:
    """This candidate tells that it was chosen, and has been valid since ``token``."""
    lease = lease_of(who, token=term if token is None else token)
    node.receive(Commit(NAME, term, lease), who.session, now)


def takes(node: HandReplica, who: Candidate, term: int, now: float, *, token: int = 0) -> None:
    node.receive(Accept(1, NAME, term, lease_of(who, token=token), 1, 0), who.session, now)


def view_of(node: HandReplica, now: float, name: str = NAME) -> View:
    node.receive(Poll(1, name), DELPHI, now)
    return node.sent(View)[-1][1]


def held_by(node: HandReplica, who: Candidate, term: int, now: float = 0.0) -> None:
    takes(node, who, term, now)
    claims(node, who, term, now)
    view = view_of(node, now)
    assert (view.lease, view.holds, view.chosen) == (lease_of(who, token=term), True, True)


def questions(node: HandReplica, now: float) -> int:
    """Let the node ask the others; the request of its questions, 0 where there are none."""
    node.tick(now)
    asked = [inquire.request for _, inquire in node.sent(Inquire) if inquire.request]
    return asked[-1] if asked else 0


def says(node: HandReplica, other: str, view: View, request: int, now: float) -> None:
    node.receive(attrs.evolve(view, request=request), other, now)


def holding(who: Candidate, term: int, *, token: int = 0) -> View:
    return View(0, NAME, term, lease_of(who, token=token), term, True, bool(token), False, 5_000)


def standing_at(term: int) -> View:
    """Nothing is held, and the node has closed this term."""
    return View(0, NAME, term, None, 0, False, False, False, 0)


def node_a(nodes: str = "abc") -> HandReplica:
    return HandReplica(replica_of("a", nodes))


# A node that holds nothing


def test_what_a_session_says_of_itself_is_shown_only_once_a_quorum_holds_it() -> None:
    node = node_a()
    claims(node, BYBLOS, 4, 0.0)
    assert view_of(node, 0.0) == View(1, NAME, 0, lease_of(BYBLOS), 4, False, False, False, 0)
    request = questions(node, SOON)
    says(node, "b", holding(BYBLOS, 4, token=4), request, 0.11)
    assert not view_of(node, 0.11).chosen
    says(node, "c", holding(BYBLOS, 4), request, 0.12)
    view = view_of(node, 0.12)
    assert (view.lease, view.lease_term, view.holds, view.chosen) == (
        lease_of(BYBLOS, token=4),
        4,
        False,
        True,
    )


@pytest.mark.parametrize(
    "views",
    [
        [holding(BYBLOS, 4), holding(BYBLOS, 5)],
        [holding(BYBLOS, 4), holding(CYRENE, 4)],
        [holding(BYBLOS, 4), standing_at(4)],
        [standing_at(4), View(0, NAME, 4, lease_of(BYBLOS, token=4), 4, False, True, False, 0)],
    ],
    ids=["two terms", "two leases", "one", "another's hearsay"],
)
def test_less_than_a_quorum_that_holds_in_one_term_confirms_nothing(views: list[View]) -> None:
    node = node_a()
    claims(node, BYBLOS, 4, 0.0)
    request = questions(node, SOON)
    for other, view in zip("bc", views, strict=True):
        says(node, other, view, request, 0.11)
    assert not view_of(node, 0.12).chosen


def test_the_same_node_twice_is_no_quorum() -> None:
    node = node_a("abcde")
    claims(node, BYBLOS, 4, 0.0)
    request = questions(node, SOON)
    for other in ("b", "b", "b", "c"):
        says(node, other, holding(BYBLOS, 4, token=4), request, 0.11)
    assert not view_of(node, 0.12).chosen
    says(node, "d", holding(BYBLOS, 4, token=4), request, 0.13)
    assert view_of(node, 0.13).chosen


def test_nodes_that_have_not_reached_the_term_refute_it_and_its_session_is_not_believed_again() -> None:
    node = node_a()
    claims(node, ROGUE, FAR, 0.0)
    says(node, "b", standing_at(7), questions(node, SOON), 0.11)
    claims(node, ROGUE._replace(attempt=2), FAR + 1, 0.2)
    assert questions(node, 1.0) == 0
    assert view_of(node, 1.0).lease is None


def test_nobody_is_asked_for_ever() -> None:
    node = node_a()
    claims(node, BYBLOS, 4, 0.0)
    node.tick(600.0)
    assert len(node.sent(Inquire)) == 2 * DOUBT_ROUNDS
    assert NAME not in node.machine._learner._hearsay


def test_a_commit_that_overtakes_its_accept_counts_as_soon_as_that_comes() -> None:
    node = node_a()
    claims(node, BYBLOS, 4, 0.0)
    takes(node, BYBLOS, 4, 0.01)
    view = view_of(node, 0.01)
    assert (view.lease, view.holds, view.chosen) == (lease_of(BYBLOS, token=4), True, True)
    assert questions(node, 5.0) == 0


def test_hearsay_is_not_in_the_snapshot() -> None:
    node = node_a()
    claims(node, ROGUE, FAR, 0.0)
    claims(node, BYBLOS, 4, 0.1)
    snapshot = node.machine.stop(0.2)
    assert snapshot is not None
    assert [saved.chosen for saved in snapshot.names] in ([], [None])


@pytest.mark.parametrize("nodes", ["a", "abc"])
def test_hearsay_beyond_the_gate_is_not_even_asked_about(nodes: str) -> None:
    """In a cell of one node there is nobody to ask: it holds what is chosen."""
    node = node_a(nodes)
    claims(node, ROGUE, 4 if nodes == "a" else TERM_JUMP_MAX + 1, 0.0)
    assert questions(node, 5.0) == 0
    assert view_of(node, 5.0).lease is None


def test_what_is_asked_about_is_bounded() -> None:
    node = node_a()
    for number in range(CLAIMS_MAX + 4):
        claims(node, candidate(f"rogue-{number}"), FAR, 0.0)
    hearsay = node.machine._learner._hearsay
    assert len(hearsay._doubts[NAME].claims) == CLAIMS_MAX
    for number in range(DOUBTS_MAX + 4):
        lease = lease_of(ROGUE, token=FAR)
        node.machine.receive(Commit(f"n{number}", FAR, lease), ROGUE.session, 0.0)
    assert len(hearsay._doubts) == DOUBTS_MAX
    assert len(node.machine._acceptor.records) == 0  # nothing is remembered of what is only heard


def test_of_whom_there_is_talk_is_not_said_to_be_over() -> None:
    """The others cannot confirm it: one of them has lost its disk. An old view of the third does not make an
    end of the tenure together with this node, which only does not know.
    """
    node = node_a()
    takes(node, CYRENE, 9, 0.0)
    node.receive(Release(1, NAME, CYRENE, 9), CYRENE.session, 0.1)
    for term in (4, 20):
        claims(node, BYBLOS, term, 0.2, token=4)
        node.tick(30.0)
        view = view_of(node, 30.0)
        assert (view.lease, view.chosen, view.holds, view.term) == (lease_of(BYBLOS), False, False, 9)
        assert reports_free(view)
        assert not over({"a": view, "b": standing_at(9)}, 3, BYBLOS, 4)
        assert over({"a": view, "b": standing_at(9)}, 3, ATHENS, 4)
    node.receive(Release(1, NAME, BYBLOS, 20), BYBLOS.session, 30.1)
    assert over({"a": view_of(node, 30.1), "b": standing_at(9)}, 3, BYBLOS, 4)


def test_what_ran_out_here_is_over_whatever_was_heard_of_it_before() -> None:
    node = node_a()
    claims(node, BYBLOS, 4, 0.0)
    takes(node, BYBLOS, 4, 0.1)
    node.tick(TTL + 1.0)
    assert over({"a": view_of(node, TTL + 1.0), "b": standing_at(9)}, 3, BYBLOS, 4)


# A node that holds the lease of another


def test_a_claim_of_another_leaves_what_is_held_and_known() -> None:
    node = node_a()
    held_by(node, ATHENS, 3)
    claims(node, ROGUE, 3, 0.1)
    claims(node, ROGUE, FAR, 0.1, token=2)
    view = view_of(node, 0.1)
    assert (view.lease, view.holds, view.chosen) == (lease_of(ATHENS, token=3), True, True)


def test_while_a_later_tenure_is_claimed_it_speaks_for_nobody_and_against_nobody() -> None:
    node = node_a()
    held_by(node, ATHENS, 3)
    claims(node, ROGUE, FAR, 0.1)
    view = view_of(node, 0.1)
    assert in_doubt(view)
    assert not reports_free(view)
    assert view.term == 3
    views = dict.fromkeys("abc", view)
    assert judge(views, 3).state is State.UNKNOWN
    assert not over(views, 3, ATHENS, 3)
    assert decode_untrusted(join([encode(view)])) == (view,)


def test_a_later_tenure_that_cannot_have_been_is_out_of_the_world_with_one_answer() -> None:
    node = node_a()
    held_by(node, ATHENS, 3)
    claims(node, ROGUE, FAR, 0.1)
    request = questions(node, 0.2)
    says(node, "b", holding(ATHENS, 3, token=3), request, 0.21)
    view = view_of(node, 0.21)
    assert (view.lease, view.holds, view.chosen) == (lease_of(ATHENS, token=3), True, True)
    assert questions(node, 5.0) == 0


def test_what_was_said_before_a_claim_does_not_refute_it() -> None:
    """b and c take byblos after they have answered: terms grow."""
    node = node_a()
    held_by(node, ATHENS, 3)
    claims(node, ROGUE, FAR, 0.1)
    request = questions(node, 0.2)
    claims(node, BYBLOS, 4, 0.205)
    says(node, "b", holding(ATHENS, 3, token=3), request, 0.21)
    assert in_doubt(view_of(node, 0.21))
    later = questions(node, 0.5)
    assert later > request
    for other in "bc":
        says(node, other, holding(BYBLOS, 4, token=4), later, 0.51)
    assert view_of(node, 0.51).lease == lease_of(BYBLOS, token=4)


def test_a_later_tenure_that_may_have_been_and_gone_silences_what_is_left_of_the_earlier_one() -> None:
    """The Release of athens was lost here. Another node, that missed it too, may take athens from its line:
    the two shall not make a quorum for a tenure of long ago.
    """
    node = node_a()
    held_by(node, ATHENS, 3)
    claims(node, BYBLOS, 4, 0.1)
    request = questions(node, 0.2)
    says(node, "b", holding(ATHENS, 5, token=3), request, 0.21)
    says(node, "c", standing_at(4), request, 0.21)
    for second in range(1, int(TTL)):
        node.tick(float(second))
        assert in_doubt(view_of(node, float(second)))
    node.tick(TTL + 1.0)
    view = view_of(node, TTL + 1.0)
    assert (view.chosen, view.holds) == (False, False)
    node.tick(60.0)
    assert NAME not in node.machine._learner._hearsay


def test_a_term_that_is_promised_may_have_been_accepted_before() -> None:
    """b holds in term 3, and has promised 9 to the same candidate: that it has not accepted 8 is not seen."""
    node = node_a()
    held_by(node, ATHENS, 3)
    claims(node, BYBLOS, 8, 0.1)
    request = questions(node, 0.2)
    says(node, "b", View(0, NAME, 9, lease_of(ATHENS, token=3), 3, True, True, False, 5_000), request, 0.21)
    assert in_doubt(view_of(node, 0.21))  # b may: the safe side
    says(node, "c", holding(ATHENS, 3, token=3), request, 0.22)
    assert view_of(node, 0.22).lease == lease_of(ATHENS, token=3)


def test_those_who_watch_a_node_are_told_of_its_doubt_and_of_its_end() -> None:
    node = node_a()
    held_by(node, ATHENS, 3)
    node.receive(Watch(1, 7, NAME, False, 3_500), DELPHI, 0.0)
    node.sent(WatchEvent)
    claims(node, ROGUE, FAR, 0.1)
    assert in_doubt(node.sent(WatchEvent)[-1][1].view)
    request = questions(node, 0.2)
    node.sent(WatchEvent)
    says(node, "b", holding(ATHENS, 3, token=3), request, 0.21)
    assert node.sent(WatchEvent)[-1][1].view.lease == lease_of(ATHENS, token=3)


# A node that holds the lease itself


def test_the_holder_is_believed_as_far_as_the_node_has_accepted() -> None:
    node = node_a()
    takes(node, ATHENS, 6, 0.0)
    claims(node, ATHENS, 9, 0.1, token=4)  # it went to a higher term, and keeps its token
    view = view_of(node, 0.1)
    assert (view.lease, view.lease_term, view.chosen) == (lease_of(ATHENS, token=4), 6, True)


def test_a_token_above_what_the_node_has_accepted_is_asked_about() -> None:
    """Chosen first in a term that this node has missed; or a lie, by which it would outrank everybody."""
    node = node_a()
    takes(node, ATHENS, 6, 0.0)
    claims(node, ATHENS, 9, 0.1, token=9)
    view = view_of(node, 0.1)
    assert (view.lease, view.lease_term, view.holds, view.chosen) == (lease_of(ATHENS), 6, True, False)
    request = questions(node, 0.2)
    for other in "bc":
        says(node, other, holding(ATHENS, 9, token=9), request, 0.21)
    view = view_of(node, 0.21)
    assert (view.lease, view.lease_term, view.chosen) == (lease_of(ATHENS, token=9), 9, True)


def test_no_token_is_above_its_term() -> None:
    node = node_a()
    takes(node, ROGUE, 4, 0.0, token=FAR)
    assert node.sent(Accepted) == []
    takes(node, ROGUE, 4, 0.0)
    claims(node, ROGUE, 4, 0.1, token=FAR)
    node.receive(Commit(NAME, 4, lease_of(ROGUE, token=FAR)), "b", 0.1)
    view = view_of(node, 0.2)
    assert (view.lease, view.holds, view.chosen) == (lease_of(ROGUE), True, False)
    assert node.machine.statistics().messages["token_above_its_term"] == 3


# All together


def everybody(cell: HandCell, message: Commit | Release, who: Candidate) -> None:
    for replica in cell.replicas.values():
        replica.receive(message, who.session, cell.now)
    cell.collect()


def lies(cell: HandCell, attempts: Iterable[int], release: bool = False) -> None:
    for attempt in attempts:
        rogue = ROGUE._replace(attempt=attempt)
        everybody(cell, Commit(NAME, FAR + attempt, lease_of(rogue, token=FAR + attempt)), rogue)
        if release:
            everybody(cell, Release(1, NAME, rogue, FAR + attempt), rogue)


def polled(cell: HandCell) -> Answered:
    cell.sessions["delphi"].poll(NAME, cell.now)
    cell.run(4.5)
    (answered,) = cell.told("delphi", Answered)
    return answered


@pytest.mark.parametrize("release", [False, True], ids=["committed", "committed and released"])
@pytest.mark.parametrize("nodes", ["abc", "abcde"])
def test_a_holder_is_led_whatever_a_rogue_commits(nodes: str, release: bool) -> None:
    cell = HandCell(nodes, ["athens", "delphi", "corinth"])
    cell.sessions["corinth"].watch(NAME, False, 0.0)
    cell.run(0.5)
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=cell.now, label="athens")
    cell.run(0.5)
    (granted,) = cell.told("athens", Granted)
    for round_ in range(4):
        lies(cell, range(3 * round_ + 1, 3 * round_ + 4), release)
        answered = polled(cell)
        assert answered.judgement.state is State.LED
        assert answered.judgement.term == granted.term
    cell.run(TTL)
    told = [(change.state, change.label) for change in cell.told("corinth", Changed)]
    assert told == [(State.FREE, ""), (State.LED, "athens")]


def test_a_name_that_nobody_holds_is_free_whatever_a_rogue_commits() -> None:
    cell = HandCell("abc", ["delphi", "corinth"])
    cell.sessions["corinth"].watch(NAME, False, 0.0)
    cell.run(0.5)
    lies(cell, [1, 2, 3])
    answered = polled(cell)
    assert answered.judgement.state is State.FREE
    cell.run(10.0)
    lies(cell, [4])
    cell.run(10.0)
    assert {change.state for change in cell.told("corinth", Changed)} == {State.FREE}


def test_a_rogue_that_holds_one_node_is_not_named_because_of_what_it_says() -> None:
    cell = HandCell("abc", ["athens", "delphi"])
    rogue = ROGUE
    cell.replicas["c"].receive(Accept(1, NAME, 90, lease_of(rogue, token=90), 1, 0), rogue.session, 0.0)
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="athens")
    cell.run(0.5)
    everybody(cell, Commit(NAME, 90, lease_of(rogue, token=90)), rogue)
    answered = polled(cell)
    lease = answered.judgement.lease
    assert answered.judgement.state is not State.FREE
    assert lease is None or lease.label == "athens"


def test_after_a_clean_restart_of_all_nodes_nothing_of_a_rogue_is_left() -> None:
    cell = HandCell("abc", ["athens", "delphi"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="athens")
    cell.run(0.5)
    lies(cell, [1, 2], release=True)
    for node, replica in cell.replicas.items():
        snapshot = replica.stop(cell.now)
        assert snapshot is not None
        record = attrs.evolve(replica.record, clean=True)
        start = start_of(node, record, snapshot, run="second")
        cell.replicas[node] = replica_of(node, "abc", start, now=cell.now, run="second")
    cell.run(0.5)  # they greet each other: the memory of none is an old one
    answered = polled(cell)
    assert answered.judgement.state is State.LED
    assert answered.judgement.lease is not None and answered.judgement.lease.label == "athens"


def test_right_after_an_acquisition_one_round_of_questions_is_enough() -> None:
    cell = HandCell("abc", ["athens", "delphi"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="athens")
    cell.run(0.001)
    assert cell.told("athens", Granted)
    cell.sessions["delphi"].poll(NAME, cell.now)
    cell.run(0.0)
    (answered,) = cell.told("delphi", Answered)
    assert (answered.judgement.state, answered.judgement.chosen) == (State.LED, True)
