"""What must be in the state file of a node before what follows from it is sent, and how a start reads it
again (protocol.md section 7, "The same boot").

The acceptor notes what has changed in a turn; ``Keeping.take`` makes one entry of it, which the shell writes
before it sends anything of that turn. A start on the same boot replays the entries (``replay``) and goes on
from there (``recovered``). Where the file is not whole the shell hands over nothing, and the stop was
unclean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Protocol

from paxlock.core.durable import Kept, KeptName, KeptStone, Snapshot, SnapshotName
from paxlock.core.lease import Candidate, Lease
from paxlock.core.node.acceptor import Acceptor

__all__ = ["Keeping", "rearmed", "recovered", "replay"]


class Remembering(Protocol):
    """What is asked of the way of a node to serving (recovery.py)."""

    @property
    def remembers_all(self) -> bool: ...
    @property
    def kept_serve_at(self) -> float: ...


class Keeping:
    """Makes the entries of one run. Nothing is kept before the node has a memory that counts, and nothing in
    memory mode. ``unkept`` are the names that have changed.
    """

    def __init__(self, *, none: bool) -> None:
        self._none = none
        self._begun = False
        self._serves_at = 0.0  #: as the file says
        self.unkept: set[str] = set()

    def take(self, acceptor: Acceptor, recovery: Remembering) -> Kept | None:
        """What the file must know now, or None; the first entry has everything."""
        if self._none or not recovery.remembers_all:
            self.forget(acceptor)
            return None
        serves_at = recovery.kept_serve_at
        if not self._begun:
            self._begun = True
            return self.whole(acceptor, serves_at)
        if not self.unkept and not acceptor.renewals and not acceptor.stones and serves_at == self._serves_at:
            return None
        self._serves_at = serves_at
        records, unkept = acceptor.records, self.unkept
        entry = Kept(
            False,
            acceptor.floor,
            serves_at,
            tuple(acceptor.renewals),
            tuple([records[name].kept() for name in unkept if name in records]),
            tuple(acceptor.stones),
            tuple([name for name in unkept if name not in records]),
        )
        self.forget(acceptor)
        return entry

    def whole(self, acceptor: Acceptor, serves_at: float) -> Kept:
        """Everything that the file must know: what a file begins with."""
        self.forget(acceptor)
        self._serves_at = serves_at
        stones = [
            KeptStone(record.name, session, attempt, record.revoked == (session, attempt))
            for record in acceptor.records.values()
            for session, (attempt, _) in (record.tombstones or {}).items()
        ]
        names = tuple(record.kept() for record in acceptor.records.values())
        return Kept(True, acceptor.floor, serves_at, (), names, tuple(stones))

    def forget(self, acceptor: Acceptor) -> None:
        """What was noted is kept, or need not be."""
        self.unkept.clear()
        acceptor.stones.clear()
        acceptor.renewals.clear()


def replay(entries: Iterable[Kept]) -> Kept | None:
    """One entry that is whole, and says the same as these in their order; None if none of them is whole."""
    names: dict[str, KeptName] = {}
    renewed: dict[str, tuple[bytes, int, float]] = {}  #: since: sender, number, the latest receipt
    held: dict[tuple[bytes, int], str] = {}
    stones: dict[tuple[str, bytes], tuple[int, bool]] = {}
    last: Kept | None = None
    for entry in entries:
        if entry.whole:
            names, renewed, held, stones = {}, {}, {}, {}
        elif last is None:
            return None
        for session, attempts, sender, seq, at in entry.renewals:
            renewal = (sender, seq, at)
            for attempt in attempts:  # there may be millions
                name = held.get((session, attempt))
                if name is not None:
                    latest = renewed.get(name, renewal)[2]
                    renewed[name] = renewal if latest <= at else (sender, seq, latest)
        for kept in entry.names:
            before = names.get(kept.name)
            if before is not None and held.get((before.session, before.attempt)) == kept.name:
                del held[before.session, before.attempt]
            names[kept.name] = kept
            renewed.pop(kept.name, None)
            if kept.session:
                held[kept.session, kept.attempt] = kept.name
        for name, session, attempt, forced in entry.stones:
            if attempt >= stones.get((name, session), (0, False))[0]:
                stones[name, session] = attempt, forced
        for name in entry.dropped:
            names.pop(name, None)
            renewed.pop(name, None)
        last = entry._replace(renewals=(), names=(), stones=(), dropped=())
    if last is None:
        return None
    for name, renewal in renewed.items():
        if name in names:
            names[name] = _rearm(names[name], *renewal)
    left = tuple(KeptStone(n, session, *stone) for (n, session), stone in stones.items() if n in names)
    return Kept(True, last.floor, last.serves_at, (), tuple(names.values()), left)


def _rearm(kept: KeptName, sender: bytes, seq: int, at: float) -> KeptName:
    deadline = max(kept.deadline, at + kept.ttl_ms / 1000.0)
    return kept._replace(sender=sender, seq=seq, deadline=deadline)


def rearmed(kept: Kept, now: float, sits_out: float) -> Kept:
    """The same after the machine has crashed: nobody knows for how long it was off, so every lease has its
    whole ttl again, and what was sitting out begins anew.
    """
    names = tuple(
        name._replace(deadline=now + name.ttl_ms / 1000.0) if name.session else name for name in kept.names
    )
    return kept._replace(serves_at=now + sits_out if kept.serves_at else 0.0, names=names)


def recovered(kept: Kept, incarnation: int, now: float) -> Snapshot:
    """What a node takes up that was killed on this boot: leases with the time that is left until their
    deadline on the boot clock. Those past it are gone, and their terms closed; so is whatever was promised,
    and the line.
    """
    stones: dict[str, list[KeptStone]] = {}
    for stone in kept.stones:
        stones.setdefault(stone.name, []).append(stone)
    names = tuple([_restored(name, stones.get(name.name, ()), now) for name in kept.names])
    return Snapshot(incarnation, kept.floor, names)


def _restored(kept: KeptName, stones: Sequence[KeptStone], now: float) -> SnapshotName:
    left = ceil((kept.deadline - now) * 1000.0) if kept.session else 0  # rounded up, as in a snapshot
    lease = None
    if left > 0:
        candidate = Candidate(kept.session, kept.attempt)
        lease = Lease(candidate, kept.ttl_ms, kept.label, kept.data, kept.token, kept.edition)
    return SnapshotName(
        name=kept.name,
        term=kept.term,
        lease=lease,
        lease_term=kept.lease_term if lease else 0,
        sender=kept.sender if lease else b"",
        seq=kept.seq if lease else 0,
        remaining_ms=max(0, left),
        tombstones=tuple([Candidate(stone.session, stone.attempt) for stone in stones]),
        chosen=None,
        chosen_term=0,
        released=False,
        revoked=next((Candidate(s.session, s.attempt) for s in stones if s.forced), None) if stones else None,
        lock=kept.lock if lease else b"",
    )
