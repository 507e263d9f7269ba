"""protocol.md section 7: a node in synchronous mode, after a crash of its machine."""

from __future__ import annotations

import pytest
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
from starts import SITS_OUT, mode_of, prepare_from, serve

from paxlock.core.durable import Durability, Kept
from paxlock.core.messages import Accept, NodeMode, RefusalReason, Release
from paxlock.core.node.keeping import replay
from paxlock.core.node.starts import Start

BOOT_LATER = 3.0  #: the boot clock of another boot says nothing of the one before


def held_by_athens(term: int = 5) -> HandReplica:
    """A node that serves, and has accepted at 1.0."""
    node = HandReplica(replica_of("a", "abc"))
    (answer,) = node.receive(Accept(1, NAME, term, lease_of(ATHENS), 1, 0, 0), ATHENS.session, 1.0)
    assert accepted(answer).term == term
    return node


def start_after(
    kept: Kept | None, ran: Durability = Durability.SYNC, *, wanted: Durability = Durability.SYNC
) -> Start:
    """What it knows that starts after its machine has crashed."""
    record = member_record("a", durability=ran)
    return start_of("a", record, durability=wanted, kept=kept, rebooted=True, now=BOOT_LATER)


def again(node: HandReplica) -> HandReplica:
    found = serve(start_after(replay(node.kept)), now=BOOT_LATER)
    assert mode_of(found.machine) is NodeMode.SERVING
    return found


def test_it_serves_at_once_and_excludes_for_a_whole_ttl() -> None:
    node = again(held_by_athens())
    late = BOOT_LATER + TTL - 0.1
    (answer,) = node.receive(prepare_from(BYBLOS.session), BYBLOS.session, late)
    assert refusal(answer) is RefusalReason.HELD


def test_after_that_ttl_the_name_is_free_and_its_term_closed() -> None:
    node = again(held_by_athens(term=5))
    (answer,) = node.receive(prepare_from(BYBLOS.session), BYBLOS.session, BOOT_LATER + TTL + 0.1)
    assert promise(answer).term > 5


def test_what_was_released_is_free_at_once() -> None:
    before = held_by_athens()
    before.receive(Release(2, NAME, ATHENS, 5), ATHENS.session, 2.0)
    (answer,) = again(before).receive(prepare_from(BYBLOS.session), BYBLOS.session, BOOT_LATER)
    assert promise(answer).term > 5


def test_the_floor_is_read_and_not_the_ceiling() -> None:
    start = start_after(replay(held_by_athens(term=5).kept))
    assert start.floor < start.record.ceiling == member_record("a").ceiling
    assert start.sits_out == 0.0


@pytest.mark.parametrize("wanted", [Durability.RECORD, Durability.SYNC])
def test_the_mode_counts_in_which_it_ran(wanted: Durability) -> None:
    kept = replay(held_by_athens().kept)
    assert start_after(kept, Durability.SYNC, wanted=wanted).sits_out == 0.0
    unclean = start_after(kept, Durability.RECORD, wanted=wanted)
    assert unclean.sits_out == pytest.approx(SITS_OUT)
    assert unclean.snapshot is None
    assert unclean.floor == member_record("a").ceiling
    for ran in (Durability.RECORD, Durability.SYNC):
        assert start_after(kept, ran, wanted=wanted).record.durability is wanted


def test_who_was_sitting_out_sits_out_anew_and_whole() -> None:
    """Nobody knows how much of its time had passed."""
    first = start_of("a", member_record("a", durability=Durability.SYNC), durability=Durability.SYNC)
    assert first.sits_out == pytest.approx(SITS_OUT)
    node = serve(first)
    assert mode_of(node.machine) is NodeMode.RECOVERING
    kept = replay(node.kept)
    assert kept is not None
    second = start_after(kept)
    assert second.sits_out == pytest.approx(SITS_OUT)


def test_a_crash_before_another_has_confirmed_the_memory_forgets_nothing() -> None:
    """The node has read what it knew, and asks whether that is the newest: it is not sitting out."""
    record = member_record("a", durability=Durability.SYNC)
    kept = replay(held_by_athens(term=8).kept)
    first = serve(
        start_of("a", record, durability=Durability.SYNC, kept=kept, now=2.0), now=2.0, confirmed=False
    )
    assert mode_of(first.machine) is NodeMode.STARTING
    node = again(first)
    (answer,) = node.receive(prepare_from(BYBLOS.session), BYBLOS.session, BOOT_LATER)
    assert refusal(answer) is RefusalReason.HELD
    (answer,) = node.receive(prepare_from(BYBLOS.session), BYBLOS.session, BOOT_LATER + TTL + 0.1)
    assert promise(answer).term > 8


def test_names_in_the_file_of_one_that_was_sitting_out_are_below_its_floor() -> None:
    """It is not to have any; whoever wrote that file saw to it that none of them counts."""
    kept = replay(held_by_athens(term=5).kept)
    assert kept is not None
    start = start_after(kept._replace(serves_at=1.0))
    assert start.sits_out == pytest.approx(SITS_OUT)
    assert start.floor == member_record("a").ceiling < start.record.ceiling


def test_who_has_sat_out_and_serves_does_not_sit_out_again() -> None:
    """Though it was asked for nothing: the file tells that it serves."""
    first = start_of("a", member_record("a", durability=Durability.SYNC), durability=Durability.SYNC)
    node = serve(first)
    node.tick(MAX_TTL * 1.5)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert start_after(replay(node.kept)).sits_out == 0.0


def test_without_a_whole_file_it_sits_out() -> None:
    assert start_after(None).sits_out == pytest.approx(SITS_OUT)
