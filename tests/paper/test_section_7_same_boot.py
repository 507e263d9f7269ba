"""protocol.md section 7: a node that is killed, and starts again on the same boot."""

from __future__ import annotations

from by_hand import (
    ATHENS,
    BYBLOS,
    MAX_TTL,
    NAME,
    TTL,
    HandReplica,
    accepted,
    lease_of,
    member_record,
    promise,
    refusal,
    replica_of,
    start_of,
)
from starts import SITS_OUT, first_promise, mode_of, prepare_from, serve

from paxlock.core.durable import Durability, Kept, KeptName, Membership
from paxlock.core.messages import Accept, Accepted, NodeMode, RefusalReason, Release, Renew, Renewed
from paxlock.core.node.forgetting import TOMBSTONE_S
from paxlock.core.node.keeping import replay
from paxlock.core.node.starts import Start


def accept(term: int = 5, seq: int = 1) -> Accept:
    return Accept(1, NAME, term, lease_of(ATHENS), seq, 0, 0)


def held_by_athens(term: int = 5) -> HandReplica:
    """A node that serves, and has accepted at 1.0."""
    node = HandReplica(replica_of("a", "abc"))
    (answer,) = node.receive(accept(term), ATHENS.session, 1.0)
    assert accepted(answer).term == term
    return node


def start_after(node: HandReplica, now: float, **changes: object) -> Start:
    """What it knows that starts at ``now``, after this node was killed."""
    return start_of("a", member_record("a", **changes), kept=replay(node.kept), now=now)


def again(node: HandReplica, now: float) -> HandReplica:
    found = serve(start_after(node, now), now=now)
    assert mode_of(found.machine) is NodeMode.SERVING
    return found


def test_l1_what_was_released_at_a_node_that_knew_nothing_of_it_stays_released() -> None:
    """Its Release overtook its Prepare, and nothing else was ever heard of the name."""
    before = HandReplica(replica_of("a", "abc"))
    before.receive(Release(1, NAME, BYBLOS, 0), BYBLOS.session, 1.0)
    (answer,) = again(before, 2.0).receive(prepare_from(BYBLOS.session), BYBLOS.session, 2.0)
    assert refusal(answer) is RefusalReason.ENDED


def test_it_serves_at_once_and_excludes_as_before() -> None:
    node = again(held_by_athens(), 2.0)
    (answer,) = node.receive(prepare_from(BYBLOS.session), BYBLOS.session, 2.0)
    assert refusal(answer) is RefusalReason.HELD
    assert node.machine.record.incarnation == member_record("a").incarnation + 1


def test_a_lease_ends_at_its_deadline_on_the_boot_clock() -> None:
    late = 1.0 + TTL - 0.25
    node = again(held_by_athens(), late)
    (answer,) = node.receive(prepare_from(BYBLOS.session), BYBLOS.session, late)
    assert refusal(answer) is RefusalReason.HELD
    node.tick(1.0 + TTL + 0.002)
    assert first_promise(node, 1.0 + TTL + 0.002).term == 6


def test_what_ran_out_meanwhile_is_gone_and_its_term_closed() -> None:
    node = again(held_by_athens(), 1.0 + TTL)
    late = node.receive(accept(), ATHENS.session, 1.0 + TTL)
    assert refusal(late[0]) is RefusalReason.STALE
    assert first_promise(node, 1.0 + TTL).term == 6


def test_what_was_renewed_goes_on_until_then() -> None:
    node = held_by_athens()
    answers = node.receive(Renew(2, ATHENS.session, 7, (ATHENS.attempt,)), ATHENS.session, 1.0 + TTL / 2)
    assert any(isinstance(answer, Renewed) for answer in answers)
    found = again(node, 1.0 + TTL + 0.1)
    (answer,) = found.receive(prepare_from(BYBLOS.session), BYBLOS.session, 1.0 + TTL + 0.1)
    assert refusal(answer) is RefusalReason.HELD
    record = found.machine._acceptor.records[NAME]
    assert (record.sender, record.seq) == (ATHENS.session, 7)


def test_the_own_term_is_at_least_that_of_the_lease() -> None:
    node = held_by_athens(term=700)
    node.receive(Release(2, NAME, ATHENS, 700), ATHENS.session, 1.5)
    assert first_promise(again(node, 2.0), 2.0).term == 701


def test_a_promise_is_gone() -> None:
    node = HandReplica(replica_of("a", "abc"))
    promise(node.receive(prepare_from(ATHENS.session), ATHENS.session, 1.0)[0])
    assert refusal(node.receive(prepare_from(BYBLOS.session), BYBLOS.session, 1.0)[0]) is (
        RefusalReason.PROMISED
    )
    first_promise(again(node, 1.0), 1.0)


def test_l1_what_was_released_stays_released() -> None:
    node = held_by_athens()
    node.receive(Release(2, NAME, ATHENS, 5), ATHENS.session, 1.5)
    (answer,) = again(node, 2.0).receive(accept(9), ATHENS.session, 2.0)
    assert refusal(answer) is RefusalReason.ENDED


def test_what_is_dropped_is_below_the_floor_of_the_same_entry() -> None:
    node = held_by_athens(term=700)
    node.receive(Release(2, NAME, ATHENS, 700), ATHENS.session, 1.5)
    for step in range(1, 40):
        node.tick(1.5 + step * TOMBSTONE_S / 10)
    assert NAME not in node.machine._acceptor.records
    (entry,) = [entry for entry in node.kept if entry.dropped]
    assert (entry.dropped, entry.floor) == ((NAME,), 700)
    assert first_promise(again(node, 300.0), 300.0).term == 701


def test_every_entry_comes_with_the_effects_of_its_turn() -> None:
    """What is accepted and re-armed is in the file before the answer leaves: they come together."""
    machine = replica_of("a", "abc")
    machine.take_effects()
    machine.receive(accept(), ATHENS.session, 1.0)
    effects = machine.take_effects()
    assert effects.keep is not None
    (name,) = effects.keep.names
    assert (name.name, name.term, name.lease_term, name.deadline) == (NAME, 5, 5, 1.0 + TTL)
    assert [kind for _, kind in effects.sends if isinstance(kind, Accepted)] != []
    machine.receive(Renew(2, ATHENS.session, 7, (ATHENS.attempt,)), ATHENS.session, 2.0)
    effects = machine.take_effects()
    assert effects.keep is not None
    (renewal,) = effects.keep.renewals
    assert (renewal.attempts, renewal.seq, renewal.at) == ((ATHENS.attempt,), 7, 2.0)
    assert [kind for _, kind in effects.sends if isinstance(kind, Renewed)] != []


def test_who_was_sitting_out_sits_on_until_the_same_end() -> None:
    node = serve(start_of("a", member_record("a", ceiling=4_000)), now=10.0)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    start = start_after(node, 10.0 + SITS_OUT / 2, ceiling=5_000)
    found = HandReplica(replica_of("a", "abc", start, now=10.0 + SITS_OUT / 2 + 1.0, run="third"))
    found.tick(10.0 + SITS_OUT - 0.01)
    assert mode_of(found.machine) is NodeMode.RECOVERING
    found.tick(10.0 + SITS_OUT + 0.001)
    assert mode_of(found.machine) is NodeMode.SERVING
    assert first_promise(found, 10.0 + SITS_OUT + 0.001).term == 4_001


def test_without_a_whole_file_it_sits_out() -> None:
    found = serve(start_of("a", member_record("a"), kept=None, now=2.0), now=2.0)
    assert mode_of(found.machine) is NodeMode.RECOVERING


def test_who_joins_keeps_nothing_before_it_serves() -> None:
    """What it does not know yet it must not be taken to know."""
    node = HandReplica(replica_of("a", "abc", start_of("a", None, join=True)))
    assert mode_of(node.machine) is NodeMode.STARTING
    assert node.kept == []


def test_who_yet_has_to_join_does_so_whatever_a_file_says() -> None:
    kept = Kept(True, 3, 0.0, (), (KeptName(NAME, 3),))
    start = start_of("a", member_record("a", membership=Membership.JOINING), kept=kept, now=5.0)
    assert (start.snapshot, start.sits_out) == (None, SITS_OUT)


def test_in_memory_mode_nothing_is_kept_and_nothing_counts() -> None:
    kept = Kept(True, 3, 0.0, (), (KeptName(NAME, 3),))
    start = start_of("a", None, durability=Durability.MEMORY, kept=kept, now=5.0)
    assert start.snapshot is None
    assert start.sits_out > MAX_TTL
    assert HandReplica(replica_of("a", "abc", start)).kept == []
