"""The checkers themselves: each of them fails on a bad history, and lets a good one pass."""

from __future__ import annotations

from random import Random

import pytest

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Membership, NodeRecord, Snapshot, StartWord
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Accept, Member, Message, Prepare, Release, Renew
from paxlock.core.node.acceptor import Acceptor, Record
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start, begin
from paxlock.core.session.judgement import State
from paxlock.simulator.checkers import (
    CheckFailed,
    Exclusion,
    NodeChecker,
    Progress,
    SessionChecker,
    WatchChecker,
)
from paxlock.simulator.machines import NodeMachine, SimulatedClock

A, B = b"a" * 16, b"b" * 16
FIRST, SECOND, OTHER = Candidate(A, 1), Candidate(A, 2), Candidate(B, 1)


def lease_of(candidate: Candidate) -> Lease:
    return Lease(candidate, 300, "", b"")


# Exclusion, tokens, validity


def test_two_holders_after_each_other_are_fine() -> None:
    exclusion = Exclusion()
    exclusion.granted("n", 1, FIRST, 2.0, 1.0)
    exclusion.extended(FIRST, 3.0, 1.5)
    exclusion.granted("n", 2, OTHER, 4.0, 3.0)
    exclusion.ended(OTHER, 3.1)
    exclusion.granted("n", 3, SECOND, 4.0, 3.1)
    exclusion.granted("other name", 1, Candidate(B, 2), 4.0, 3.1)
    assert exclusion.count == 4


def test_two_holders_at_once_are_seen() -> None:
    exclusion = Exclusion()
    exclusion.granted("n", 1, FIRST, 2.0, 1.0)
    with pytest.raises(CheckFailed, match="exclusion: 'n' was granted with token 2, but token 1 is valid"):
        exclusion.granted("n", 2, OTHER, 3.0, 1.9)


def test_a_handle_renewed_into_another_tenure_is_seen() -> None:
    exclusion = Exclusion()
    exclusion.granted("n", 1, FIRST, 2.0, 1.0)
    exclusion.granted("n", 2, OTHER, 3.0, 2.0)
    with pytest.raises(CheckFailed, match="exclusion: 'n': token 1 was renewed while 2 is valid"):
        exclusion.extended(FIRST, 3.0, 2.5, detached=True)


@pytest.mark.parametrize("token", [6, 7])
def test_a_token_that_does_not_grow_is_seen(token: int) -> None:
    exclusion = Exclusion()
    exclusion.granted("n", 7, FIRST, 2.0, 1.0)
    with pytest.raises(CheckFailed, match=f"token: 'n' was granted with token {token} after 7"):
        exclusion.granted("n", token, OTHER, 4.0, 3.0)


def test_a_revived_lease_is_seen() -> None:
    exclusion = Exclusion()
    exclusion.granted("n", 1, FIRST, 2.0, 1.0)
    with pytest.raises(CheckFailed, match="was revived"):
        exclusion.extended(FIRST, 3.0, 2.0)


def test_a_lease_that_goes_on_after_its_end_is_seen() -> None:
    exclusion = Exclusion()
    exclusion.granted("n", 1, FIRST, 2.0, 1.0)
    exclusion.ended(FIRST, 1.5)
    with pytest.raises(CheckFailed, match="goes on after its end"):
        exclusion.extended(FIRST, 3.0, 1.6, detached=True)


def test_a_grant_that_comes_too_late_is_seen() -> None:
    with pytest.raises(CheckFailed, match="after its deadline"):
        Exclusion().granted("n", 1, FIRST, 1.0, 1.0)


# Sessions


def prepare(candidate: Candidate) -> Message:
    return Prepare(1, "n", 1, candidate, 0, 0, 0, "")


def test_a_session_that_goes_on_after_release_is_seen() -> None:
    checker = SessionChecker()
    checker.sent(prepare(FIRST))
    assert checker.sent(Release(2, "n", FIRST, 1)) == FIRST
    checker.sent(prepare(SECOND))
    with pytest.raises(CheckFailed, match="S2: attempt 1 goes on"):
        checker.sent(Accept(3, "n", 1, lease_of(FIRST), 1, 0))
    with pytest.raises(CheckFailed, match="S2: attempt 1 is renewed"):
        checker.sent(Renew(4, A, 2, (1,)))


def test_a_node_that_is_not_sent_the_release_is_seen() -> None:
    checker = SessionChecker()
    for node in "ab":
        checker.sent(prepare(FIRST), node)
    checker.sent(Release(2, "n", FIRST, 1), "a")
    with pytest.raises(CheckFailed, match=r"L1: attempt 1 is not released at \{'b'\}"):
        checker.settled(A)
    checker.sent(Release(2, "n", FIRST, 1), "b")
    checker.settled(A)


def test_two_live_attempts_are_seen() -> None:
    checker = SessionChecker()
    checker.sent(prepare(FIRST))
    with pytest.raises(CheckFailed, match="L7"):
        checker.sent(prepare(SECOND))
    checker.detached("n", FIRST)
    with pytest.raises(CheckFailed, match="L1: attempt 2"):
        checker.sent(prepare(SECOND))


# Nodes


def a_node(ceiling: int = 100) -> NodeMachine:
    """A node of a cell of one, up and serving."""
    start = begin(
        None,
        None,
        cell_id=b"c" * 16,
        epoch=1,
        node_id="a",
        nodes=1,
        max_ttl_ms=300,
        drift=0.01,
        durability=Durability.RECORD,
        unix_seconds=1,
        run=b"r" * 16,
        word=StartWord.CREATE,
    )
    settings = ReplicaSettings("a", Configuration((Member("a", "127.0.0.1:1"),), 300, 10_000, 10), 0.0)
    node = NodeMachine("a", ("127.0.0.1", 1), SimulatedClock(0.0, 1.0), rng=Random(1))
    node.core = Replica(settings, start, run=b"r" * 16, now=0.0, rng=Random(1))
    node.disk.record = NodeRecord(
        b"c" * 16, 1, "a", 1, ceiling, Durability.RECORD, Membership.MEMBER, 300, clean=False
    )
    return node


def record_of(node: NodeMachine, term: int = 1, holder: Candidate | None = FIRST) -> Record:
    record = node.acceptor.records["n"] = Record("n", term)
    if holder is not None:
        record.owner, record.lease, record.lease_term = holder, lease_of(holder), term
        record.deadline, record.sender, record.seq = 1.0, holder.session, 5
    return record


CHECKER = NodeChecker(0.01)


def test_a_node_that_keeps_the_rules_is_fine() -> None:
    node = a_node()
    record = record_of(node)
    CHECKER.after(node, 0.5, {})
    record.deadline = 1.2
    CHECKER.after(node, 0.6, {})
    record.lease = record.owner = None
    CHECKER.after(node, 1.2, {})
    assert not node.held


def test_a_lease_granted_without_a_quorum_in_one_term_is_seen() -> None:
    checker, node = NodeChecker(0.01), a_node()
    record = record_of(node)
    checker.after(node, 0.5, {})
    record.term = record.lease_term = 2
    checker.after(node, 0.5, {})
    checker.granted("n", 1, FIRST, 1)
    with pytest.raises(CheckFailed, match=r"S3: 'n' was granted in term 2, but only \['a'\]"):
        checker.granted("n", 2, FIRST, 3)
    with pytest.raises(CheckFailed, match="S3"):
        checker.granted("n", 1, OTHER, 1)


def test_a_term_above_the_ceiling_is_seen() -> None:
    node = a_node()
    record_of(node, term=101)
    with pytest.raises(CheckFailed, match="ceiling: a uses term 101"):
        CHECKER.after(node, 0.5, {})
    node = a_node()
    node.acceptor.floor = 101
    with pytest.raises(CheckFailed, match="ceiling: the floor"):
        CHECKER.after(node, 0.5, {})


def test_a_released_attempt_that_comes_back_is_seen() -> None:
    node = a_node()
    record = record_of(node)
    CHECKER.released(node, Release(1, "n", FIRST, 1))
    with pytest.raises(CheckFailed, match="L1: a is promised"):
        CHECKER.after(node, 0.5, {})
    record.owner = None
    with pytest.raises(CheckFailed, match="L1: a holds"):
        CHECKER.after(node, 0.5, {})


def test_a_lease_thrown_out_is_seen() -> None:
    node = a_node()
    record_of(node)
    CHECKER.after(node, 0.5, {})
    record_of(node, term=2, holder=OTHER)
    with pytest.raises(CheckFailed, match=r"exclusion rule: a let go of 'n' 0\.4"):
        CHECKER.after(node, 0.6, {})


def test_a_promise_while_a_lease_is_held_is_seen() -> None:
    node = a_node()
    record_of(node).owner = OTHER
    with pytest.raises(CheckFailed, match="exclusion rule: a promises"):
        CHECKER.after(node, 0.5, {})


def test_a_lease_held_too_long_and_a_term_left_open_are_seen() -> None:
    node = a_node()
    record = record_of(node)
    with pytest.raises(CheckFailed, match="expiry: a holds 'n' past the deadline"):
        CHECKER.after(node, 1.0, {})
    CHECKER.after(node, 0.9, {})
    record.lease = None
    with pytest.raises(CheckFailed, match="expiry: a leaves term 1 open"):
        CHECKER.after(node, 1.0, {})


def test_a_deadline_that_moves_back_is_seen() -> None:
    node = a_node()
    record = record_of(node)
    CHECKER.after(node, 0.5, {})
    record.deadline = 0.9
    with pytest.raises(CheckFailed, match="S6"):
        CHECKER.after(node, 0.6, {})


def test_an_old_number_that_re_arms_is_seen() -> None:
    node = a_node()
    record = record_of(node)
    assert CHECKER.before(node, Renew(1, A, 6, (1,)), A, 0.5) == {}
    frozen = CHECKER.before(node, Renew(1, A, 5, (1,)), A, 0.5)
    CHECKER.after(node, 0.5, frozen)
    record.deadline = 1.1
    with pytest.raises(CheckFailed, match="S5"):
        CHECKER.after(node, 0.5, frozen)


def test_a_lease_that_has_run_out_and_is_taken_anew_may_have_a_lower_number() -> None:
    """A paused node takes a late StandingPrepare of the same candidate: expiry and lease are one turn."""
    node = a_node()
    record = record_of(node)
    CHECKER.after(node, 0.5, {})
    ran_out = record.deadline
    record.lease_term, record.seq, record.deadline = record.lease_term + 1, record.seq - 1, ran_out + 1.0
    with pytest.raises(CheckFailed, match="S5: the number stored at a went back"):
        CHECKER.after(node, ran_out - 0.01, {})
    CHECKER.after(node, ran_out, {})


def test_a_number_that_is_lowered_is_seen() -> None:
    node = a_node()
    record = record_of(node)
    CHECKER.after(node, 0.5, {})
    record.sender, record.seq = B, 1  # by its handle: another sender's numbers
    CHECKER.after(node, 0.5, {})
    record.seq = 0
    with pytest.raises(CheckFailed, match="S5: the number stored at a went back from 1 to 0"):
        CHECKER.after(node, 0.5, {})


def test_a_promise_kept_beyond_the_grace_is_seen() -> None:
    node = a_node()
    record_of(node, holder=None).owner = FIRST
    CHECKER.after(node, 0.5, {})
    CHECKER.after(node, 0.51, {})
    with pytest.raises(CheckFailed, match="L6"):
        CHECKER.after(node, 0.52, {})


def test_a_restart_with_full_timers_is_seen() -> None:
    node = a_node()
    record = record_of(node)
    assert node.disk.record is not None
    left = tuple(node.acceptor.snapshot(0.8))
    record.deadline = 1.3
    start = Start(node.disk.record, 0, 0.0, Snapshot(1, 0, left))
    CHECKER.restored(node, start, 1.1)
    record.deadline = 1.4
    with pytest.raises(CheckFailed, match=r"L8: a restarts a lease with 0\.1"):
        CHECKER.restored(node, start, 1.1)


def test_a_node_that_joins_below_a_granted_token_is_seen() -> None:
    node, exclusion = a_node(), Exclusion()
    exclusion.granted("n", 7, FIRST, 2.0, 1.0)
    node.acceptor.floor = 6
    CHECKER.serves(node, exclusion)  # it did not join
    node.asks_from = 1.0
    CHECKER.serves(node, exclusion)
    node.asks_from = 1.5
    with pytest.raises(CheckFailed, match="S7: a joins with floor 6 after token 7"):
        CHECKER.serves(node, exclusion)
    node.acceptor.floor = 7
    CHECKER.serves(node, exclusion)


# Watchers and progress


def test_a_watch_that_runs_backwards_is_seen() -> None:
    checker = WatchChecker()
    checker.changed(1, "n", State.LED, 5, Exclusion(), 1.0)
    checker.changed(1, "n", State.UNKNOWN, 5, Exclusion(), 1.0)
    checker.changed(2, "n", State.LED, 4, Exclusion(), 1.0)
    with pytest.raises(CheckFailed, match="shown at term 4 after 5"):
        checker.changed(1, "n", State.LED, 4, Exclusion(), 1.0)


def test_free_while_the_holder_is_valid_is_seen() -> None:
    checker, exclusion = WatchChecker(), Exclusion()
    exclusion.granted("n", 5, FIRST, 2.0, 1.0)
    checker.changed(1, "n", State.FREE, 4, exclusion, 1.0)  # old news
    with pytest.raises(CheckFailed, match="shown free while its term 5 is valid"):
        checker.changed(1, "n", State.FREE, 5, exclusion, 1.5)
    checker.changed(1, "n", State.FREE, 5, exclusion, 2.0)


def test_a_name_that_stays_without_a_holder_is_seen() -> None:
    progress = Progress(first_max=1.0, next_max=0.2)
    progress.look("n", waiting=True, held=False, true=0.0)
    progress.look("n", waiting=True, held=False, true=0.9)
    progress.look("n", waiting=True, held=True, true=1.0)
    progress.look("n", waiting=True, held=False, true=5.0)
    progress.look("n", waiting=False, held=False, true=5.1)
    progress.look("n", waiting=True, held=False, true=9.0)
    with pytest.raises(CheckFailed, match=r"progress: 'n' was without a holder for 0\.300 s"):
        progress.look("n", waiting=True, held=False, true=9.3)
    assert progress.longest >= 0.1


def test_while_dead_candidates_block_a_name_no_hand_off_is_expected_for_one_ttl() -> None:
    progress = Progress(first_max=1.0, next_max=0.2, dead_max=0.4)
    progress.look("n", waiting=True, held=True, true=0.0)
    progress.look("n", waiting=True, held=False, true=1.0)
    progress.look("n", waiting=True, held=False, true=1.1, blocked=True)
    progress.look("n", waiting=True, held=False, true=1.2, blocked=True)
    progress.look("n", waiting=True, held=False, true=1.4)
    progress.look("n", waiting=True, held=False, true=1.49)
    with pytest.raises(CheckFailed, match=r"for 0\.510 s; 0\.200 s is the most allowed, and 0\.300 s for"):
        progress.look("n", waiting=True, held=False, true=1.51)


def test_no_more_than_one_ttl_is_allowed_for_dead_candidates_and_none_twice() -> None:
    progress = Progress(first_max=1.0, next_max=0.2, dead_max=0.4)
    progress.look("n", waiting=True, held=True, true=0.0)
    progress.look("n", waiting=True, held=False, true=1.0, blocked=True)
    progress.look("n", waiting=True, held=True, true=1.4)
    progress.look("n", waiting=True, held=False, true=2.0)
    with pytest.raises(CheckFailed, match="without a holder for 0"):
        progress.look("n", waiting=True, held=False, true=2.21)
    progress.look("m", waiting=True, held=True, true=0.0)
    progress.look("m", waiting=True, held=False, true=1.0, blocked=True)
    with pytest.raises(CheckFailed, match="without a holder for 0"):
        progress.look("m", waiting=True, held=False, true=1.61, blocked=True)


def test_the_first_wait_counts_the_ttl_of_dead_candidates_itself() -> None:
    progress = Progress(first_max=1.0, next_max=0.2, dead_max=0.4)
    progress.look("n", waiting=True, held=False, true=0.0, blocked=True)
    with pytest.raises(CheckFailed, match="progress"):
        progress.look("n", waiting=True, held=False, true=1.1, blocked=True)


def test_the_first_wait_has_its_own_bound() -> None:
    progress = Progress(first_max=1.0, next_max=0.2)
    progress.look("n", waiting=True, held=False, true=0.0)
    with pytest.raises(CheckFailed, match="progress"):
        progress.look("n", waiting=True, held=False, true=1.1)


def test_acceptor_of_a_node_that_is_down_is_an_error() -> None:
    with pytest.raises(AssertionError):
        assert isinstance(
            NodeMachine("a", ("127.0.0.1", 1), SimulatedClock(0.0, 1.0), rng=Random(1)).acceptor, Acceptor
        )


# At the end of a run, polls, and what stands behind a valid lease


def test_a_watcher_at_the_last_state_is_fine() -> None:
    checker, exclusion = WatchChecker(), Exclusion()
    exclusion.granted("n", 4, FIRST, 1.0, 0.5)
    newest = exclusion.granted("n", 5, OTHER, 3.0, 1.0)
    checker.changed(1, "n", State.LED, 5, exclusion, 1.5)
    assert not checker.wrong(1, "n", newest, 2.0)
    assert "is shown State.LED (5), but is State.FREE (5)" in checker.wrong(1, "n", newest, 3.0)
    checker.changed(1, "n", State.FREE, 5, exclusion, 3.0)
    assert not checker.wrong(1, "n", newest, 3.5)


def test_a_watcher_may_skip_tenures_that_are_over_but_none_that_goes_on() -> None:
    checker, exclusion = WatchChecker(), Exclusion()
    newest = exclusion.granted("n", 5, FIRST, 3.0, 1.0)
    assert "is shown State.UNKNOWN (0), but is State.LED (5)" in checker.wrong(1, "n", newest, 2.0)
    assert not checker.wrong(1, "n", newest, 3.0)  # nobody holds, and nothing was ever said
    checker.changed(1, "n", State.FREE, 4, exclusion, 2.0)
    assert checker.wrong(1, "n", newest, 2.0)
    assert not checker.wrong(1, "n", newest, 3.0)


def test_a_watcher_that_has_lost_touch_at_the_end_is_seen() -> None:
    checker, exclusion = WatchChecker(), Exclusion()
    newest = exclusion.granted("n", 5, FIRST, 3.0, 1.0)
    checker.changed(1, "n", State.LED, 5, exclusion, 1.0)
    checker.changed(1, "n", State.UNKNOWN, 5, exclusion, 1.0)
    assert checker.wrong(1, "n", newest, 2.0)
    assert checker.wrong(1, "n", newest, 4.0)


def test_a_poll_that_says_free_while_one_was_valid_all_along_is_seen() -> None:
    exclusion = Exclusion()
    exclusion.granted("n", 5, FIRST, 3.0, 1.0)
    exclusion.polled("n", State.FREE, 0.9, 2.0)  # asked before it was granted
    exclusion.polled("n", State.LED, 1.0, 2.0)
    with pytest.raises(CheckFailed, match="poll: 'n' is said to be free while 5 is valid"):
        exclusion.polled("n", State.FREE, 1.0, 2.0)
    exclusion.polled("n", State.FREE, 1.0, 3.0)


def test_the_end_of_a_tenure_is_news_once() -> None:
    exclusion = Exclusion()
    tenure = exclusion.granted("n", 5, FIRST, 3.0, 1.0)
    assert exclusion.ended(None, 2.0) is None
    assert exclusion.ended(OTHER, 2.0) is None
    assert exclusion.ended(FIRST, 2.0) is tenure
    assert exclusion.ended(FIRST, 2.5) is None
    assert tenure.ended == 2.0


def test_a_holder_that_counts_on_more_than_a_quorum_holds_is_seen() -> None:
    checker, node = NodeChecker(0.01), a_node()
    record_of(node)
    checker.after(node, 0.5, {})
    checker.covered(FIRST, 1, 1.0, 1)
    for until, nodes in ((1.1, 1), (1.0, 3)):
        with pytest.raises(CheckFailed, match="section 4"):
            checker.covered(FIRST, 1, until, nodes)
    record_of(node).deadline = 1.1
    checker.after(node, 0.6, {})
    checker.covered(FIRST, 1, 1.1, 1)


def test_a_holder_that_counts_on_what_is_held_below_its_token_is_seen() -> None:
    checker, node = NodeChecker(0.01), a_node()
    record = record_of(node, term=4)
    checker.after(node, 0.5, {})
    checker.covered(FIRST, 4, 1.0, 1)
    with pytest.raises(CheckFailed, match=r"S3: .* valid for longer than .* in terms from its token 5 on"):
        checker.covered(FIRST, 5, 1.0, 1)
    record.term = record.lease_term = 5
    checker.after(node, 0.6, {})
    checker.covered(FIRST, 5, 1.0, 1)


def test_a_killed_node_that_has_forgotten_a_lease_is_seen() -> None:
    node = a_node()
    record_of(node)
    assert node.disk.record is not None
    CHECKER.after(node, 0.5, {})
    node.held_when_killed = dict(node.held)
    start = Start(node.disk.record, 0, 0.0, Snapshot(1, 0, ()), as_of=0.5)
    CHECKER.restored(node, start, 0.6)
    node.acceptor.records.clear()
    with pytest.raises(CheckFailed, match="same boot"):
        CHECKER.restored(node, start, 0.6)
