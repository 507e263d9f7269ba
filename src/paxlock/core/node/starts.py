"""How a node begins: from what was found on its disk, and the word it was told (protocol.md section 7)."""

from __future__ import annotations

import attrs

from paxlock.core.durable import Durability, Kept, Membership, NodeRecord, SeenNode, Snapshot, StartWord
from paxlock.core.lease import TERM_MAX, quarantine
from paxlock.core.node.acceptor import CEILING_STEP_TERMS
from paxlock.core.node.keeping import rearmed, recovered
from paxlock.core.value import value
from paxlock.errors import ConfigError, StoreError

__all__ = ["CLOCK_EXTRA_S", "Start", "begin"]

CLOCK_EXTRA_S = 1.0  #: clocks right to within max_ttl at starts are not enough by one of their whole seconds
CREATING_RUNS_MAX = 64


@value
class Start:
    """How a node begins: the record to make durable before anything is answered, and what follows from
    the last stop. ``sits_out`` is 0 where the memory is whole or there never was any. ``as_of`` is when, on
    the boot clock, what is left was read from a state file; None: it counts from the start of the machine.
    ``by_clock``: where it has no memory, it does not wait for members that are gone for good.
    """

    record: NodeRecord
    floor: int
    sits_out: float
    snapshot: Snapshot | None
    as_of: float | None = None
    by_clock: bool = False


def begin(
    previous: NodeRecord | None,
    snapshot: Snapshot | None,
    *,
    cell_id: bytes,
    epoch: int,
    node_id: str,
    nodes: int,
    max_ttl_ms: int,
    drift: float,
    durability: Durability,
    unix_seconds: int,
    sit_out_ms: int = 0,
    run: bytes = b"",
    word: StartWord = StartWord.AUTO,
    kept: Kept | None = None,
    rebooted: bool = False,
    now: float = 0.0,
) -> Start:
    """Decide from what was found on disk; raise ConfigError or StoreError where the node must not start.

    ``sit_out_ms`` is how long a node without memory sits out, where that is longer than ``max_ttl_ms``.
    ``kept``: what a state file of the last run says, read at ``now`` by the boot clock; ``rebooted``: the
    machine has crashed since, so that it counts only if it was on the disk before anything was told.
    """
    fresh = NodeRecord(
        cell_id=cell_id,
        epoch=epoch,
        node_id=node_id,
        incarnation=1,
        ceiling=CEILING_STEP_TERMS,
        durability=durability,
        membership=Membership.CREATING,
        max_ttl_ms=max_ttl_ms,
        clean=False,
    )
    sits_out = quarantine(max(max_ttl_ms, sit_out_ms) / 1000.0, drift) + CLOCK_EXTRA_S
    if durability is Durability.MEMORY:
        # The run number stands for the incarnation; unix seconds only make it grow.
        record = attrs.evolve(
            fresh, incarnation=unix_seconds, membership=Membership.JOINING, ceiling=TERM_MAX
        )
        return Start(record, 0, sits_out, None)
    if previous is not None:
        _check_identity(previous, fresh)
    if word is StartWord.JOIN:
        return _join_anew(previous, fresh, nodes, drift, unix_seconds)
    if previous is not None:
        if word is StartWord.CREATE and nodes == 1:
            raise ConfigError(
                f"node {node_id!r} has a record in its data folder already: start it without --create, which "
                "would begin the cell anew, and forget every lease, if that folder were lost"
            )
        if rebooted and kept is not None:
            kept = _after_a_crash(previous, kept, max_ttl_ms, drift, now)
        return _restart(previous, fresh, snapshot, drift, run, sits_out, kept, now, word)
    if word is StartWord.CREATE:
        return Start(_creating(fresh, run), 0, 0.0, None)
    blank = attrs.evolve(fresh, incarnation=unix_seconds, membership=Membership.BLANK)
    return Start(blank, 0, sits_out, None, by_clock=word is StartWord.BY_CLOCK)


def _join_anew(
    previous: NodeRecord | None, fresh: NodeRecord, nodes: int, drift: float, unix_seconds: int
) -> Start:
    if nodes == 1:
        raise ConfigError("a cell of one node cannot be joined: there is nobody to ask; make a new cell")
    old = previous.incarnation if previous is not None else 0
    ttl = max(previous.max_ttl_ms if previous is not None else 0, fresh.max_ttl_ms)
    # The lost memory had an incarnation that only the others know: unix seconds are above every counted one,
    # unless a clock was ahead when an earlier life joined. Then those who answer name a higher one.
    record = attrs.evolve(
        fresh, incarnation=max(old + 1, unix_seconds), membership=Membership.JOINING, max_ttl_ms=ttl
    )
    return Start(record, 0, quarantine(ttl / 1000.0, drift), None)


def _creating(record: NodeRecord, run: bytes) -> NodeRecord:
    """Remember this run on disk before it greets anybody: who has seen it has seen this memory.

    Only the last CREATING_RUNS_MAX, so that the record can be written however often the node is started.
    """
    mine = SeenNode(record.node_id, record.incarnation, run)
    return attrs.evolve(record, creating_runs=(*record.creating_runs, mine)[-CREATING_RUNS_MAX:])


def _check_identity(previous: NodeRecord, wanted: NodeRecord) -> None:
    if previous.cell_id != wanted.cell_id:
        raise StoreError("the data folder belongs to another cell: give every cell a data folder of its own")
    if previous.node_id != wanted.node_id:
        raise StoreError(f"the data folder belongs to node {previous.node_id!r}, not to {wanted.node_id!r}")
    if previous.epoch != wanted.epoch:
        raise StoreError(f"the data folder is of epoch {previous.epoch}, the cell file of {wanted.epoch}")


def _after_a_crash(
    previous: NodeRecord, kept: Kept, max_ttl_ms: int, drift: float, now: float
) -> Kept | None:
    """What a state file tells after a crash of the machine: all, if it was on the disk before it was sent."""
    if previous.durability is not Durability.SYNC:
        return None
    ttl_ms = max(previous.max_ttl_ms, max_ttl_ms)
    return rearmed(kept, now, quarantine(ttl_ms / 1000.0, drift))


def _restart(
    previous: NodeRecord,
    fresh: NodeRecord,
    snapshot: Snapshot | None,
    drift: float,
    run: bytes,
    sits_out_blank: float,
    kept: Kept | None,
    now: float,
    word: StartWord,
) -> Start:
    # A lowered max_ttl counts only once the old one has passed (section 7): the larger stays in the record.
    ttl = max(previous.max_ttl_ms, fresh.max_ttl_ms)
    record = attrs.evolve(previous, incarnation=previous.incarnation + 1, clean=False, max_ttl_ms=ttl)
    record = attrs.evolve(record, durability=fresh.durability)
    sits_out = quarantine(ttl / 1000.0, drift)
    if previous.membership is Membership.CREATING:
        return Start(_creating(record, run), 0, 0.0, None)  # nothing was ever answered for a name
    if previous.membership is Membership.JOINING:
        return Start(record, 0, sits_out, None)
    if previous.membership is Membership.BLANK:
        longest = max(sits_out + CLOCK_EXTRA_S, sits_out_blank)
        return Start(record, 0, longest, None, by_clock=word is StartWord.BY_CLOCK)
    if previous.clean and snapshot is not None and snapshot.incarnation == previous.incarnation:
        return Start(record, snapshot.floor, 0.0, snapshot)
    unclean = attrs.evolve(record, ceiling=min(previous.ceiling + CEILING_STEP_TERMS, TERM_MAX))
    if kept is not None and kept.serves_at > now:  # it was sitting out, until then
        if kept.names:  # they are not taken up, so they must be below the floor
            return Start(unclean, previous.ceiling, kept.serves_at - now, None, now)
        return Start(record, kept.floor, kept.serves_at - now, None, now)
    if kept is not None:
        return Start(record, kept.floor, 0.0, recovered(kept, previous.incarnation, now), now)
    return Start(unclean, previous.ceiling, sits_out, None)
