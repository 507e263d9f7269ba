"""The learner of one node: views, subscriptions, and what is forgotten."""

from __future__ import annotations

from random import Random

import attrs

from paxlock.core.durable import SnapshotName
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Accept, Commit, Inquire, Release, Seen, Unwatch, Watch, WatchEvent
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.learner import INQUIRIES_PER_TURN, Learner
from paxlock.core.node.subscriptions import EVENTS_IN_FLIGHT
from paxlock.core.timers import Timers

ATHENS = Candidate(b"athens".ljust(16, b"."), 1)
BYBLOS = Candidate(b"byblos".ljust(16, b"."), 1)
DELPHI = b"delphi".ljust(16, b".")


class Node:
    """An acceptor and its learner, told of each other's changes as a replica does."""

    def __init__(self) -> None:
        timers = self.timers = Timers()
        self.acceptor = Acceptor(
            floor=0, ceiling=1 << 40, max_ttl=30.0, grace=0.05, timers=timers, wall_offset=0.0
        )
        self.learner = Learner(
            node_id="a",
            others=("b", "c"),
            acceptor=self.acceptor,
            timers=timers,
            rng=Random(1),
            first_version=100,
        )

    def settle(self, now: float) -> list[WatchEvent]:
        touched, self.acceptor.touched = self.acceptor.touched, set()
        for name in sorted(touched):
            self.learner.changed(name, now)
        sent = list(self.learner.sends)
        self.learner.sends.clear()
        return [message for _, message in sent if isinstance(message, WatchEvent)]

    def accept(self, name: str, who: Candidate, term: int, now: float = 0.0) -> list[WatchEvent]:
        self.acceptor.accept(Accept(1, name, term, Lease(who, 10_000, "", b""), 1, 0), now)
        return self.settle(now)

    def release(self, name: str, who: Candidate, now: float) -> list[WatchEvent]:
        self.acceptor.release(Release(1, name, who, 1), who.session, now, who)
        self.learner.released(name, who, now)
        return self.settle(now)


def test_a_busy_node_does_not_wake_for_each_lease_that_may_have_gone_unheard() -> None:
    """A hundred, a millisecond apart, all released at once: it looks for them every 50 ms."""
    node, woken, now = Node(), 0, 0.0
    for number in range(100):
        now = number / 1000.0
        node.accept(f"n{number}", ATHENS._replace(attempt=number + 1), 4, now)
        node.release(f"n{number}", ATHENS._replace(attempt=number + 1), now)
    while (now := node.timers.deadline()) < 1.0:
        woken += any(action == node.learner.look_for_unheard for action, *_ in node.timers._at)
        node.timers.run(now)
    assert 1 <= woken <= 3
    assert not any(isinstance(message, Inquire) for _, message in node.learner.sends)


def test_of_very_many_leases_that_went_unheard_a_few_are_asked_about_in_a_turn() -> None:
    """As after a start from the state file: all of them are overdue at one moment."""
    node, names, turns = Node(), [f"n{number:04}" for number in range(1000)], 0
    for number, name in enumerate(names):
        node.accept(name, ATHENS._replace(attempt=number + 1), 4)
    asked: set[str] = set()
    while asked < set(names):
        now = node.timers.deadline()
        assert now < 2.0, f"{len(asked)} are asked about so far"
        node.timers.run(now)
        found = {m.name for _, m in node.learner.sends if isinstance(m, Inquire)} - asked
        node.learner.sends.clear()
        assert len(found) <= INQUIRIES_PER_TURN
        turns += bool(found)
        asked |= found
    assert turns == 16


def commit(who: Candidate, term: int, name: str = "n") -> Commit:
    return Commit(name, term, Lease(who, 10_000, "", b"", term))


def test_a_name_never_heard_of_is_closed_at_the_floor() -> None:
    node = Node()
    node.acceptor.floor = 40
    view = node.learner.view("n", 0.0, request=9)
    assert (view.request, view.term, view.lease, view.holds, view.chosen) == (9, 40, None, False, False)


def test_an_older_commit_changes_nothing() -> None:
    node = Node()
    node.learner.commit(commit(BYBLOS, 6), 0.0)
    node.learner.commit(commit(ATHENS, 4), 0.1)
    view = node.learner.view("n", 0.1)
    assert view.lease is not None and view.lease.candidate == BYBLOS


def test_a_commit_after_the_release_shows_no_leader() -> None:
    node = Node()
    node.release("n", ATHENS, 0.0)
    node.learner.commit(commit(ATHENS, 4), 0.1)
    assert node.learner.view("n", 0.1).released


def test_the_token_of_the_commit_is_shown_with_the_lease_that_is_held() -> None:
    node = Node()
    node.accept("n", ATHENS, 4)
    assert node.learner.view("n", 0.0).chosen is False
    node.learner.commit(commit(ATHENS, 4), 0.1)
    view = node.learner.view("n", 1.0)
    assert view.lease is not None
    assert (view.lease.token, view.holds, view.chosen, view.remaining_ms) == (4, True, True, 9_000)


def found_out(who: Candidate, term: int) -> Commit:
    """The Commit of a node that asked the others: nobody has told it the token."""
    return Commit("n", term, Lease(who, 10_000, "", b""))


def test_the_token_is_learnt_from_the_holder_after_the_commit_of_somebody_else() -> None:
    node = Node()
    node.accept("n", ATHENS, 4)
    node.learner.commit(found_out(ATHENS, 4), 0.1)
    node.learner.commit(commit(ATHENS, 4), 0.2)
    view = node.learner.view("n", 0.2)
    assert view.lease is not None and view.lease.token == 4


def test_the_commit_of_somebody_else_does_not_hide_the_token() -> None:
    node = Node()
    node.accept("n", ATHENS, 4)
    node.learner.commit(commit(ATHENS, 4), 0.1)
    node.learner.commit(found_out(ATHENS, 6), 0.2)
    view = node.learner.view("n", 0.2)
    assert view.lease is not None
    assert (view.lease.token, view.lease_term) == (4, 6)


def test_a_lease_chosen_in_a_higher_term_than_it_is_held_in_is_shown_in_the_higher() -> None:
    node = Node()
    node.accept("n", ATHENS, 2)
    node.learner.commit(found_out(ATHENS, 4), 0.1)
    view = node.learner.view("n", 0.1)
    assert (view.lease_term, view.holds, view.chosen) == (4, True, True)


def test_a_lease_held_in_a_higher_term_than_it_was_chosen_in_is_not_shown_as_chosen_in_that() -> None:
    # A late standing Prepare of a candidate that has died since: the quorum holds for it in term 4.
    node = Node()
    node.accept("n", ATHENS, 7)
    node.learner.commit(found_out(ATHENS, 4), 0.1)
    view = node.learner.view("n", 0.1)
    assert (view.lease_term, view.holds, view.chosen) == (7, True, False)
    node.learner.commit(found_out(ATHENS, 7), 0.2)
    assert node.learner.view("n", 0.2).chosen


def test_a_lease_whose_token_is_known_is_shown_as_chosen_in_whatever_term_it_is_held() -> None:
    node = Node()
    node.accept("n", ATHENS, 7)
    node.learner.commit(commit(ATHENS, 4), 0.1)
    view = node.learner.view("n", 0.1)
    assert view.lease is not None
    assert (view.lease_term, view.holds, view.chosen, view.lease.token) == (7, True, True, 4)


def test_those_who_watch_are_told_that_a_commit_without_an_end_is_forgotten() -> None:
    node = Node()
    node.learner.subscriptions.watch(Watch(1, 7, "n", True, 3_500), DELPHI, 0.0)
    node.learner.commit(commit(ATHENS, 4), 0.0)
    (told,) = node.settle(0.0)
    assert told.view.chosen
    node.acceptor.sweep(64.0)
    (last,) = node.settle(64.0)
    assert (last.view.lease, last.view.chosen) == (None, False)
    assert last.version > told.version


def test_nothing_is_told_where_a_name_is_forgotten_whose_end_was_told() -> None:
    node = Node()
    node.learner.subscriptions.watch(Watch(1, 7, "n", True, 3_500), DELPHI, 0.0)
    node.accept("n", ATHENS, 4)
    node.learner.commit(commit(ATHENS, 4), 0.0)
    node.release("n", ATHENS, 0.1)
    node.acceptor.sweep(64.0)
    assert "n" not in node.acceptor.records
    assert node.settle(64.0) == []


def test_a_commit_of_another_lease_than_the_one_held_does_not_hide_it() -> None:
    """Unless it tells a higher token: then what is held here is no part of a tenure (section 6)."""
    node = Node()
    node.accept("n", ATHENS, 4)
    node.learner.commit(attrs.evolve(commit(BYBLOS, 6), lease=Lease(BYBLOS, 10_000, "", b"")), 0.1)
    view = node.learner.view("n", 0.1)
    assert view.lease is not None and view.lease.candidate == ATHENS
    assert (view.holds, view.chosen) == (True, False)


def test_knowledge_of_a_lease_that_ran_out_here_is_history() -> None:
    node = Node()
    node.accept("n", ATHENS, 4)
    node.learner.commit(commit(ATHENS, 4), 0.1)
    node.settle(0.1)
    node.acceptor.run_out_all(10.0)
    node.settle(10.0)
    view = node.learner.view("n", 10.0)
    assert (view.lease, view.holds, view.chosen) == (None, False, False)


def test_a_watch_of_many_names_is_told_a_bounded_number_at_a_time() -> None:
    node = Node()
    names = [f"n{number:03}" for number in range(EVENTS_IN_FLIGHT + 8)]
    for name in names:
        node.accept(name, Candidate(name.encode().ljust(16, b"."), 1), 4)
    node.learner.subscriptions.watch(Watch(1, 7, "n", True, 3_500), DELPHI, 0.0)
    first = node.settle(0.0)
    assert [event.view.name for event in first] == names[:EVENTS_IN_FLIGHT]
    seen = tuple((event.view.name, event.version) for event in first)
    node.learner.subscriptions.seen(Seen(7, seen), DELPHI, 0.1)
    assert [event.view.name for event in node.settle(0.1)] == names[EVENTS_IN_FLIGHT:]


def test_a_new_watch_of_very_many_names_looks_at_a_few_and_hears_of_all_in_the_end() -> None:
    node = Node()
    names = [f"n{number:04}" for number in range(1_000)]
    for name in names:
        node.accept(name, Candidate(name.encode().ljust(16, b"."), 1), 4)
    node.learner.subscriptions.watch(Watch(1, 7, "n", True, 3_500), DELPHI, 0.0)
    (subscription,) = node.learner.subscriptions._subscriptions.values()
    events, heard, now = node.settle(0.0), list[str](), 0.0
    while events:
        assert len(subscription.pending) <= EVENTS_IN_FLIGHT + 1
        heard += [event.view.name for event in events]
        now += 0.01
        changed = node.accept("n0000", ATHENS, 4 + len(heard), now) if len(heard) < 100 else []
        seen = tuple((event.view.name, event.version) for event in events)
        node.learner.subscriptions.seen(Seen(7, seen), DELPHI, now)
        events = changed + node.settle(now)
    assert heard == names
    assert subscription.pending == {}


def test_a_busy_prefix_does_not_keep_a_new_watch_from_the_names_that_are_quiet() -> None:
    node = Node()
    quiet = {f"quiet-{number:03}" for number in range(100)}
    busy = [f"busy-{number:03}" for number in range(2 * EVENTS_IN_FLIGHT)]
    for name in (*quiet, *busy):
        node.accept(name, ATHENS, 4)
    node.learner.subscriptions.watch(Watch(1, 7, "", True, 3_500), DELPHI, 0.0)
    heard: set[str] = set()
    events, term = node.settle(0.0), 4
    for number in range(20):
        now = number / 10
        heard |= {event.view.name for event in events}
        seen = tuple((event.view.name, event.version) for event in events)
        term += 1
        for name in busy:  # all of them change before anything is acknowledged
            node.accept(name, ATHENS, term, now)
        node.learner.subscriptions.seen(Seen(7, seen), DELPHI, now)
        node.learner.subscriptions.repeat(DELPHI, 7, now)
        events = node.settle(now)
    assert quiet <= heard


def test_a_name_that_nobody_watches_leaves_nothing_shown() -> None:
    node = Node()
    node.accept("n", ATHENS, 4)
    assert node.learner.subscriptions._shown == {}
    node.learner.subscriptions.watch(Watch(1, 7, "n", False, 3_500), DELPHI, 0.0)
    node.settle(0.0)
    node.accept("n", ATHENS, 5)
    assert set(node.learner.subscriptions._shown) == {"n"}
    node.learner.subscriptions.unwatch(Unwatch(1, 7), DELPHI)
    node.accept("n", ATHENS, 6)
    assert node.learner.subscriptions._shown == {}


def test_of_a_lease_that_is_held_the_commit_is_not_kept_a_second_time() -> None:
    node = Node()
    node.accept("n", ATHENS, 4)
    again = Candidate(bytes(bytearray(ATHENS.session)), ATHENS.attempt)
    node.learner.commit(commit(again, 4), 0.1)
    kept = node.learner._chosen["n"]
    assert kept.told == commit(ATHENS, 4).lease
    assert kept.lease is node.acceptor.records["n"].lease
    assert node.acceptor.records["n"].confirmed is ATHENS


def test_a_change_is_told_to_everybody_who_watches_and_to_nobody_else() -> None:
    node = Node()
    for watch, pattern, prefix in ((1, "n", False), (2, "n", True), (3, "m", False), (4, "nn", True)):
        node.learner.subscriptions.watch(Watch(1, watch, pattern, prefix, 3_500), DELPHI, 0.0)
    node.settle(0.0)
    assert sorted(event.watch for event in node.accept("n", ATHENS, 4)) == [1, 2]
    node.learner.subscriptions.unwatch(Unwatch(1, 2), DELPHI)
    assert [event.watch for event in node.release("n", ATHENS, 1.0)][-1:] == [1]


def test_versions_begin_where_they_are_told_and_grow() -> None:
    node = Node()
    node.learner.subscriptions.watch(Watch(1, 1, "n", False, 3_500), DELPHI, 0.0)
    versions = [event.version for event in node.settle(0.0)]
    versions += [event.version for event in node.accept("n", ATHENS, 4)]
    assert versions[0] > 100
    assert versions == sorted(set(versions))


def test_what_is_chosen_goes_into_the_snapshot_and_comes_back() -> None:
    node, other = Node(), Node()
    node.accept("n", ATHENS, 4)
    node.learner.commit(commit(ATHENS, 4), 0.1)
    node.accept("m", BYBLOS, 2)
    saved: dict[str, SnapshotName] = {
        name.name: node.learner.save(name) for name in node.acceptor.snapshot(1.0)
    }
    assert (saved["n"].chosen_term, saved["m"].chosen) == (4, None)
    for name in saved.values():
        other.learner.restore(name)
        other.acceptor.restore(name, 0.0, 0.0)
    assert other.learner.view("n", 0.0).chosen
    assert not other.learner.view("m", 0.0).chosen
