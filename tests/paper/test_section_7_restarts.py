"""protocol.md section 7: restarts, without a disk write per lease."""

from __future__ import annotations

import attrs
import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CELL_ID,
    DRIFT,
    GRACE,
    MAX_TTL,
    NAME,
    TTL,
    HandReplica,
    accepted,
    lease_of,
    member_record,
    refusal,
    replica_of,
    session_id,
    start_of,
)
from starts import NO_RUN, SECOND, SITS_OUT, first_promise, greet, greeted, mode_of, prepare_from, serve

from paxlock.core.durable import Membership, SeenNode, Snapshot
from paxlock.core.messages import (
    Accept,
    Commit,
    Greet,
    Greeted,
    Hello,
    Inquire,
    Message,
    NodeMode,
    Poll,
    Prepare,
    Recovering,
    RefusalReason,
    Release,
    Renew,
    View,
    Watch,
    Welcome,
)
from paxlock.core.node.replica import MemoryLost, ModeChanged, Unconfirmed
from paxlock.errors import ConfigError, StoreError
from paxlock.store.folder import RECORD_MAX_BYTES
from paxlock.store.format import encode_record

# Creating a cell


def test_a_word_that_does_not_fit_the_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="already"):
        start_of("a", member_record("a"), nodes=1, create=True)
    with pytest.raises(ConfigError, match="cannot be joined"):
        start_of("a", None, nodes=1, join=True)


def test_create_is_an_ordinary_start_once_there_is_a_record() -> None:
    assert start_of("a", member_record("a"), create=True) == start_of("a", member_record("a"))


@pytest.mark.parametrize("change", [{"cell_id": b"x" * 16}, {"node_id": "b"}, {"epoch": 2}])
def test_the_record_must_be_this_nodes(change: dict[str, object]) -> None:
    with pytest.raises(StoreError):
        start_of("a", member_record("a", **change))
    assert member_record("a").cell_id == CELL_ID


@pytest.mark.parametrize(("nodes", "needed"), [("a", 0), ("abc", 2), ("abcde", 3), ("abcdefg", 4)])
def test_create_serves_once_enough_others_never_saw_it(nodes: str, needed: int) -> None:
    node = serve(start_of("a", None, nodes=len(nodes), create=True), nodes)
    for count, other in enumerate(nodes[1:]):
        assert (mode_of(node.machine) is NodeMode.SERVING) is (count >= needed)
        node.receive(greeted(mode=NodeMode.STARTING), other, 0.1)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert node.disk.membership is Membership.MEMBER
    assert first_promise(node, 0.2).term == 1


def test_s10_one_node_that_answers_twice_is_one_answer() -> None:
    node = serve(start_of("a", None, create=True))
    for _ in range(3):
        node.receive(greeted(), "b", 0.1)
    node.receive(greeted(), "x", 0.1)
    assert mode_of(node.machine) is NodeMode.STARTING
    assert node.receive(prepare_from(BYBLOS.session), BYBLOS.session, 0.2) == [Recovering(1, 0)]


def test_it_is_a_member_durably_before_it_serves() -> None:
    machine = replica_of("a", "abc", start_of("a", None, create=True), run="second")
    machine.take_effects()
    machine.receive(greeted(), "b", 0.1)
    machine.receive(greeted(), "c", 0.1)
    effects = machine.take_effects()
    assert effects.persist is not None and effects.persist.membership is Membership.MEMBER
    assert mode_of(machine) is NodeMode.STARTING
    machine.persisted(effects.persist, 0.2)
    assert mode_of(machine) is NodeMode.SERVING


@pytest.mark.parametrize("seen", [(1, session_id("first")), (4, session_id("first")), (4, SECOND)])
def test_a_second_create_must_join(seen: tuple[int, bytes]) -> None:
    node = serve(start_of("a", None, create=True))
    node.receive(greeted(seen=seen), "b", 0.1)
    node.receive(greeted(), "c", 0.2)
    (lost,) = [notice for notice in node.notices if isinstance(notice, MemoryLost)]
    assert "--join" in lost.explanation
    node.tick(2 * SITS_OUT)
    assert mode_of(node.machine) is NodeMode.STARTING


def test_a_second_create_that_was_refused_does_not_pass_at_the_next_start() -> None:
    refused = start_of("a", None, create=True, run="second")
    again = start_of("a", refused.record, run="third")
    node = HandReplica(replica_of("a", "abc", again, run="third"))
    third = (2, session_id("third"))
    for other in "bc":
        node.receive(greeted(to=third, seen=(1, session_id("first"))), other, 0.1)
    assert any(isinstance(notice, MemoryLost) for notice in node.notices)
    assert mode_of(node.machine) is NodeMode.STARTING


def test_a_restart_while_the_cell_is_being_created_is_no_lost_memory() -> None:
    begun = start_of("a", None, create=True, run="second")
    again = start_of("a", begun.record, run="third")
    node = HandReplica(replica_of("a", "abc", again, run="third"))
    third = (2, session_id("third"))
    node.receive(greeted(to=third, seen=(1, SECOND)), "b", 0.1)
    node.receive(greeted(to=third, seen=third), "c", 0.1)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_its_own_greeting_remembered_is_no_lost_memory() -> None:
    node = serve(start_of("a", None, create=True))
    for other in "bc":
        node.receive(greeted(seen=(1, SECOND)), other, 0.1)
    assert mode_of(node.machine) is NodeMode.SERVING


def restored(*, confirmed: bool = False) -> HandReplica:
    """A node that starts from the snapshot of a clean stop, or from a backup of it."""
    previous = member_record("a", incarnation=3, clean=True)
    return serve(start_of("a", previous, Snapshot(3, 0, ())), confirmed=confirmed)


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_restored_backup_is_found_out(confirmed: bool) -> None:
    node = restored(confirmed=confirmed)
    assert mode_of(node.machine) is (NodeMode.SERVING if confirmed else NodeMode.STARTING)
    node.receive(greeted(to=(4, SECOND), seen=(9, session_id("first"))), "c", 0.1)
    assert any(isinstance(notice, MemoryLost) for notice in node.notices)


def test_a_restored_backup_does_not_serve_before_it_is_found_out() -> None:
    node = restored()
    node.receive(greeted(to=(4, SECOND), seen=(9, session_id("first"))), "b", 0.1)
    node.receive(greeted(to=(4, SECOND), seen=(3, session_id("first"))), "c", 0.2)
    node.tick(100.0)
    assert mode_of(node.machine) is NodeMode.STARTING


def test_a_clean_restart_serves_once_another_member_has_answered() -> None:
    node = restored()
    assert node.receive(prepare_from(BYBLOS.session), BYBLOS.session, 0.2) == [Recovering(1, 0)]
    node.receive(greeted(to=(4, SECOND), seen=(3, session_id("first"))), "c", 0.3)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert not any(isinstance(notice, Unconfirmed) for notice in node.notices)


def test_a_clean_restart_that_nobody_answers_serves_after_a_while_and_says_so() -> None:
    node = restored()
    node.tick(0.999)
    assert mode_of(node.machine) is NodeMode.STARTING
    node.tick(1.001)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert sum(isinstance(notice, Unconfirmed) for notice in node.notices) == 1


def test_the_only_node_of_its_cell_has_nobody_to_wait_for() -> None:
    previous = member_record("a", incarnation=3, clean=True)
    node = serve(start_of("a", previous, Snapshot(3, 0, ()), nodes=1), "a", confirmed=False)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert not any(isinstance(notice, Unconfirmed) for notice in node.notices)


def test_however_often_a_new_cell_is_started_the_record_can_be_written() -> None:
    start = start_of("a", None, create=True, run="run 0")
    for number in range(1, 1000):
        start = start_of("a", start.record, run=f"run {number}")
    assert len(encode_record(start.record)) < RECORD_MAX_BYTES // 4
    node = HandReplica(replica_of("a", "abc", start, run="run 999"))
    life = (1000, session_id("run 999"))
    node.receive(greeted(to=life, seen=(990, session_id("run 989"))), "b", 0.1)
    node.receive(greeted(to=life, seen=life), "c", 0.1)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_nodes_greet_at_start_until_all_have_answered() -> None:
    node = serve(start_of("a", None, create=True))
    node.tick(0.0)
    sent = node.sent(Greet)
    assert {(to, m.incarnation, m.run) for to, m in sent} == {("b", 1, SECOND), ("c", 1, SECOND)}
    node.receive(greeted(), "b", 0.01)
    node.tick(2.0)
    assert {to for to, _ in node.sent(Greet)} == {"c"}
    node.receive(greeted(), "c", 2.1)
    node.tick(10.0)
    assert node.sent(Greet) == []


def test_a_node_that_has_only_now_come_up_is_greeted_at_once() -> None:
    node = serve(start_of("a", None, create=True))
    node.tick(0.0)
    node.receive(greeted(), "c", 0.01)
    node.sent(Greet)

    def greets(sender: str, run: str, now: float) -> list[object]:
        node.receive(Greet(1, 1, session_id(run)), sender, now)
        return [to for to, _ in node.sent(Greet)]

    assert greets("b", "b-run", 0.011) == ["b"]
    assert greets("b", "b-run", 0.012) == []  # not on and on
    assert greets("c", "c-run", 0.013) == []  # it has answered
    assert greets("b", "b-again", 0.014) == ["b"]
    node.receive(Greet(1, 1, session_id("x-run")), "x", 0.015)
    assert node.sent(Greet) == []


def test_greetings_are_answered_even_before_serving_and_only_once_remembered() -> None:
    machine = replica_of("a", "abc", start_of("a", None, create=True), run="second")
    machine.take_effects()
    machine.receive(Greet(1, 3, session_id("b-run")), "b", 0.0)
    effects = machine.take_effects()
    assert [m for _, m in effects.sends if isinstance(m, Greeted)] == []
    assert effects.persist is not None
    assert effects.persist.seen == (SeenNode("b", 3, session_id("b-run")),)
    machine.persisted(effects.persist, 0.1)
    ((to, answer),) = [(to, m) for to, m in machine.take_effects().sends if isinstance(m, Greeted)]
    assert to == "b"
    assert (answer.seen_incarnation, answer.seen_run, answer.mode) == (0, NO_RUN, NodeMode.STARTING)


def test_an_earlier_life_of_another_member_does_not_replace_a_later_one() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Greet(1, 5, session_id("later")), "b", 0.0)
    for incarnation in (4, 5):
        answer = greet(node, "b", incarnation, session_id("earlier"), 0.1)
        assert (answer.seen_incarnation, answer.seen_run) == (5, session_id("later"))
    assert node.disk.seen == (SeenNode("b", 5, session_id("later")),)


# Clean stop


def stopped_cleanly(at: float = 4.0) -> tuple[HandReplica, Snapshot]:
    """A node that holds a lease of athens since 0, in term 7, renewed at 1; byblos has ended."""
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Release(1, NAME, BYBLOS, 1), BYBLOS.session, 0.0)
    node.receive(Accept(1, NAME, 7, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    node.receive(Renew(2, ATHENS.session, 5, (1,)), ATHENS.session, 1.0)
    node.receive(Commit(NAME, 7, lease_of(ATHENS, token=7)), ATHENS.session, 1.0)
    snapshot = node.machine.stop(at)
    assert snapshot is not None
    return node, snapshot


def test_l8_after_a_clean_stop_each_lease_goes_on_with_the_time_that_was_left() -> None:
    old, snapshot = stopped_cleanly(at=4.0)
    clean = attrs.evolve(old.machine.record, clean=True)
    later = 1000.0
    node = serve(start_of("a", clean, snapshot), now=later)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert node.shows() == (7, "athens", True)
    left = 1.0 + TTL - 4.0
    node.tick(later + left - 0.001)
    assert node.shows() == (7, "athens", True)
    node.tick(later + left)
    assert node.shows() == (7, "-", False)


def test_l8_clean_restarts_more_frequent_than_the_ttl_do_not_keep_a_dead_lease() -> None:
    node, snapshot = stopped_cleanly(at=4.0)
    now = 4.0
    for _ in range(3):
        clean = attrs.evolve(node.machine.record, clean=True)
        node = serve(start_of("a", clean, snapshot), now=now)
        now += 3.0
        stopped = node.machine.stop(now)
        assert stopped is not None
        snapshot = stopped
    assert [name.lease for name in snapshot.names] == [None]


def test_the_time_left_is_rounded_up() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Accept(1, NAME, 7, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    snapshot = node.machine.stop(4.0004)
    assert snapshot is not None
    assert snapshot.names[0].remaining_ms == 6000


def test_a_clean_stop_keeps_terms_numbers_tombstones_and_what_is_chosen() -> None:
    old, snapshot = stopped_cleanly()
    clean = attrs.evolve(old.machine.record, clean=True)
    node = serve(start_of("a", clean, snapshot))
    (repeated,) = node.receive(Renew(3, ATHENS.session, 5, (1,)), ATHENS.session, 0.1)
    assert getattr(repeated, "held", None) == ((1, 7),)
    assert node.machine._acceptor.records[NAME].deadline == pytest.approx(7.0)
    (late,) = node.receive(Accept(4, NAME, 9, lease_of(BYBLOS), 1, 0), BYBLOS.session, 0.2)
    assert refusal(late) is RefusalReason.ENDED
    (view,) = node.receive(Poll(5, NAME), BYBLOS.session, 0.3)
    assert isinstance(view, View)
    assert (view.chosen, view.lease is not None and view.lease.token) == (True, 7)


def test_a_clean_stop_keeps_the_floor() -> None:
    old, _ = stopped_cleanly()
    clean = attrs.evolve(old.machine.record, clean=True)
    node = serve(start_of("a", clean, Snapshot(1, 300, ())))
    assert first_promise(node, 0.0).term == 301


def test_a_promise_without_a_lease_is_closed_by_a_clean_stop() -> None:
    old = HandReplica(replica_of("a", "abc"))
    old.receive(Prepare(1, NAME, 5, ATHENS, 0, 0, 0, ""), ATHENS.session, 0.0)
    snapshot = old.machine.stop(GRACE / 2)
    assert snapshot is not None
    node = serve(start_of("a", attrs.evolve(old.machine.record, clean=True), snapshot))
    assert node.shows() == (5, "-", False)
    (late,) = node.receive(Accept(2, NAME, 5, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    assert refusal(late) is RefusalReason.STALE


def test_s12_the_next_start_is_unmarked_before_it_answers_anything() -> None:
    old, snapshot = stopped_cleanly()
    clean = attrs.evolve(old.machine.record, clean=True)
    start = start_of("a", clean, snapshot)
    assert not start.record.clean
    assert start.record.incarnation == clean.incarnation + 1
    # That record is durable before there is a machine: if this life ends badly, the snapshot is void.
    crashed = start_of("a", start.record, snapshot)
    assert crashed.snapshot is None
    assert crashed.sits_out == pytest.approx(SITS_OUT)
    assert crashed.floor == start.record.ceiling


@pytest.mark.parametrize("incarnation", [0, 2, 7])
def test_s12_a_snapshot_counts_only_for_the_incarnation_that_stopped(incarnation: int) -> None:
    clean = member_record("a", incarnation=1, clean=True)
    start = start_of("a", clean, Snapshot(incarnation, 0, ()))
    assert start.snapshot is None
    assert start.sits_out == pytest.approx(SITS_OUT)


def test_s12_a_stop_that_did_not_come_to_its_mark_is_unclean() -> None:
    previous = member_record("a", incarnation=3, clean=False)
    start = start_of("a", previous, Snapshot(3, 0, ()))
    assert start.snapshot is None
    assert start.sits_out == pytest.approx(SITS_OUT)


def test_s12_marked_clean_without_a_snapshot_is_unclean() -> None:
    assert start_of("a", member_record("a", clean=True), None).sits_out == pytest.approx(SITS_OUT)


def test_a_clean_stop_while_still_sitting_out_does_not_count_as_clean() -> None:
    node = serve(start_of("a", member_record("a")))
    assert node.machine.stop(SITS_OUT / 2) is None
    again = start_of("a", node.machine.record)
    assert again.sits_out == pytest.approx(SITS_OUT)


def test_a_clean_stop_while_still_creating_does_not_count_as_clean() -> None:
    node = serve(start_of("a", None, create=True))
    assert node.machine.stop(1.0) is None


# Unclean stop


def test_after_an_unclean_stop_the_node_sits_out_and_starts_above_its_old_ceiling() -> None:
    previous = member_record("a", incarnation=3, ceiling=5000)
    start = start_of("a", previous)
    assert start.floor == 5000
    assert start.sits_out == pytest.approx(SITS_OUT)
    assert start.record.ceiling > 5000
    assert start.record.incarnation == 4
    node = serve(start)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    node.tick(SITS_OUT - 0.001)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    node.tick(SITS_OUT)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, SITS_OUT).term == 5001


def test_while_sitting_out_it_answers_recovering_and_nothing_else() -> None:
    node = serve(start_of("a", member_record("a")))
    requests: list[Message] = [
        Prepare(9, NAME, 1, ATHENS, 0, 50, 0, ""),
        Accept(9, NAME, 5, lease_of(ATHENS), 1, 0),
        Renew(9, ATHENS.session, 1, (1,)),
        Release(9, NAME, ATHENS, 5),
        Poll(9, NAME),
        Watch(9, 1, NAME, False, 3000),
    ]
    for request in requests:
        (answer,) = node.receive(request, ATHENS.session, 10.0)
        assert answer == Recovering(9, int((SITS_OUT - 10.0) * 1000))
    for told in (Commit(NAME, 5, lease_of(ATHENS)), Inquire(0, NAME)):
        assert node.receive(told, "b", 10.0) == []
    assert NAME not in node.machine._acceptor.records


def test_while_sitting_out_it_says_hello_and_greets() -> None:
    node = serve(start_of("a", member_record("a")))
    (welcome,) = node.receive(Hello(1), ATHENS.session, 10.0)
    assert isinstance(welcome, Welcome)
    assert (welcome.mode, welcome.remaining_ms) == (NodeMode.RECOVERING, int((SITS_OUT - 10.0) * 1000))
    answer = greet(node, "b", 2, SECOND, 10.0)
    assert answer.mode is NodeMode.RECOVERING


def test_the_mode_is_published_with_the_time_it_sits_out() -> None:
    node = serve(start_of("a", member_record("a")))
    node.tick(SITS_OUT)
    modes = [notice for notice in node.notices if isinstance(notice, ModeChanged)]
    assert [change.mode for change in modes] == [NodeMode.RECOVERING, NodeMode.SERVING]
    assert [change.sits_out for change in modes] == pytest.approx([SITS_OUT, 0.0])


def test_a_lowered_max_ttl_counts_only_once_the_old_one_has_passed() -> None:
    lowered = 5.0
    start = start_of("a", member_record("a"), max_ttl=lowered)
    assert start.sits_out == pytest.approx(SITS_OUT)
    assert start.record.max_ttl_ms == round(MAX_TTL * 1000)
    node = serve(start, max_ttl=lowered)
    node.tick(SITS_OUT - 0.001)
    assert node.disk.max_ttl_ms == round(MAX_TTL * 1000)
    node.tick(SITS_OUT)
    assert node.disk.max_ttl_ms == round(lowered * 1000)
    again = start_of("a", node.disk, max_ttl=lowered)
    assert again.sits_out == pytest.approx(lowered * (1 + DRIFT) / (1 - DRIFT))


def test_a_lowered_max_ttl_is_not_forgotten_by_a_clean_restart() -> None:
    start = start_of("a", member_record("a", clean=True), Snapshot(1, 0, ()), max_ttl=5.0)
    assert start.sits_out == 0.0
    assert start.record.max_ttl_ms == round(MAX_TTL * 1000)


def test_a_raised_max_ttl_counts_at_once() -> None:
    start = start_of("a", member_record("a", max_ttl_ms=5000), max_ttl=MAX_TTL)
    assert start.sits_out == pytest.approx(SITS_OUT)
    assert start.record.max_ttl_ms == round(MAX_TTL * 1000)


def test_restarts_never_give_a_term_twice() -> None:
    """A node promises, crashes, sits out, promises, stops cleanly, promises: terms only grow."""
    node = HandReplica(replica_of("a", "abc"))
    terms = [first_promise(node, 0.0).term]
    for life in range(4):
        if life % 2:
            snapshot = node.machine.stop(2 * SITS_OUT)
            assert snapshot is not None
            start = start_of("a", attrs.evolve(node.machine.record, clean=True), snapshot)
        else:
            start = start_of("a", node.disk)
        node = serve(start)
        node.tick(1.5 * SITS_OUT)
        (answer,) = node.receive(
            Accept(1, NAME, terms[-1], lease_of(ATHENS), 1, 0), ATHENS.session, 1.5 * SITS_OUT
        )
        assert refusal(answer) is RefusalReason.STALE
        terms.append(first_promise(node, 1.6 * SITS_OUT).term)
    assert terms == sorted(set(terms))


def test_the_ceiling_is_raised_ahead_of_need() -> None:
    node = HandReplica(replica_of("a", "abc"))
    before = node.disk.ceiling
    (answer,) = node.receive(Accept(1, NAME, before - 1, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    assert accepted(answer).term == before - 1
    assert node.disk.ceiling > before
