"""protocol.md section 7: joining, and nodes without a disk."""

from __future__ import annotations

import pytest
from by_hand import (
    BYBLOS,
    HandReplica,
    member_record,
    replica_of,
    start_of,
)
from starts import SECOND, SITS_OUT, first_promise, greet, greeted, mode_of, prepare_from, serve

from paxlock.core.durable import Durability, Membership
from paxlock.core.messages import (
    Greet,
    NodeMode,
)

# Joining


def joining(now: float = 0.0) -> HandReplica:
    return serve(start_of("a", None, join=True), now=now)


def test_s7_joining_sits_out_first_and_reads_the_ceilings_after_that() -> None:
    node = joining()
    assert mode_of(node.machine) is NodeMode.RECOVERING
    for other in "bc":  # too early: what they have in use may still grow
        node.receive(greeted(request=1, ceiling=9000), other, 1.0)
    node.tick(SITS_OUT + 5.0)
    assert mode_of(node.machine) is not NodeMode.SERVING
    asked = {to: m.request for to, m in node.sent(Greet)}
    assert set(asked) == {"b", "c"}
    for other, ceiling in (("b", 9000), ("c", 12_000)):
        node.receive(greeted(request=asked[other], ceiling=ceiling), other, SITS_OUT + 5.1)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, SITS_OUT + 6.0).term == 12_001


def late_request(node: HandReplica) -> int:
    node.tick(SITS_OUT + 0.5)
    return node.sent(Greet)[-1][1].request


def test_s7_joining_needs_enough_others_in_service() -> None:
    node = joining()
    request = late_request(node)
    node.receive(greeted(request=request, ceiling=9000), "b", SITS_OUT + 1.1)
    node.receive(greeted(request=request, ceiling=1, mode=NodeMode.RECOVERING), "c", SITS_OUT + 1.1)
    node.tick(SITS_OUT + 100.0)
    assert mode_of(node.machine) is not NodeMode.SERVING
    node.receive(greeted(request=request, ceiling=1), "c", SITS_OUT + 100.1)
    assert mode_of(node.machine) is NodeMode.SERVING


def test_s7_an_answer_to_a_greeting_of_before_does_not_count_after() -> None:
    node = joining()
    request = late_request(node)
    for other in "bc":
        node.receive(greeted(request=1, ceiling=1), other, SITS_OUT + 1.1)
    assert mode_of(node.machine) is not NodeMode.SERVING
    assert request != 1


def test_s7_the_joined_floor_is_durable_before_it_serves() -> None:
    machine = replica_of("a", "abc", start_of("a", None, join=True), run="second")
    node = HandReplica(machine)
    request = late_request(node)
    for other in "bc":
        machine.receive(greeted(request=request, ceiling=9000), other, SITS_OUT + 1.1)
    effects = machine.take_effects()
    assert effects.persist is not None
    assert effects.persist.ceiling >= 9000
    assert mode_of(machine) is not NodeMode.SERVING
    # Should it stop right now, it starts above that ceiling.
    assert start_of("a", effects.persist).floor >= 9000
    machine.persisted(effects.persist, SITS_OUT + 1.2)
    assert mode_of(machine) is NodeMode.SERVING


def test_s7_a_join_that_was_interrupted_begins_again() -> None:
    start = start_of("a", None, join=True)
    again = start_of("a", start.record)
    assert again.record.membership is Membership.JOINING
    assert again.sits_out == pytest.approx(SITS_OUT)


def test_s7_a_joining_node_is_above_any_earlier_incarnation() -> None:
    start = start_of("a", member_record("a", incarnation=40), join=True, unix_seconds=12)
    assert start.record.incarnation == 41
    assert start_of("a", None, join=True, unix_seconds=12).record.incarnation == 12


def test_s7_the_others_tell_their_durable_ceiling() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(prepare_from(BYBLOS.session, at_least=900), BYBLOS.session, 0.0)
    answer = greet(node, "b", 9, SECOND, 0.1)
    assert answer.ceiling == node.disk.ceiling >= 900


# Without a disk


def in_memory(
    *, now: float = 0.0, unix_seconds: int = 1_000, wall_offset: float | None = None
) -> HandReplica:
    start = start_of("a", None, durability=Durability.MEMORY, unix_seconds=unix_seconds)
    offset = unix_seconds - now if wall_offset is None else wall_offset
    return HandReplica(replica_of("a", "abc", start, now=now, run="second", wall_offset=offset))


def test_s7_without_a_disk_every_start_sits_out() -> None:
    node = in_memory()
    assert mode_of(node.machine) is NodeMode.RECOVERING
    node.tick(SITS_OUT - 0.001)
    assert mode_of(node.machine) is NodeMode.RECOVERING


@pytest.mark.parametrize("above", [True, False])
def test_s7_without_a_disk_the_floor_is_of_the_clock_and_of_the_others(above: bool) -> None:
    node = in_memory()
    request = late_request(node)
    by_clock = int(1_000 + SITS_OUT + 0.5) << 24
    ceiling = 2 * by_clock if above else 5
    for other in "bc":
        node.receive(greeted(request=request, ceiling=ceiling), other, SITS_OUT + 0.6)
    assert mode_of(node.machine) is NodeMode.SERVING
    term = first_promise(node, SITS_OUT + 0.6).term
    assert term == ceiling + 1 if above else term > by_clock - (1 << 24)


def test_s7_without_a_disk_and_without_the_others_the_clock_must_do() -> None:
    node = in_memory()
    node.tick(SITS_OUT + 10.0)
    assert mode_of(node.machine) is NodeMode.SERVING
    assert first_promise(node, SITS_OUT + 10.0).term > 1_000 << 24


def test_s7_a_node_without_a_disk_tells_the_floor_it_took() -> None:
    node = in_memory()
    node.tick(SITS_OUT + 10.0)
    floor = node.machine._acceptor.floor
    answer = greet(node, "b", 9, SECOND, SITS_OUT + 10.1)
    assert answer.ceiling >= floor > 0
