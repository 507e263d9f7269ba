"""What an acceptor does where others want something of a holder, or the holder has other data (protocol.md
section 12). Nothing here moves a deadline, or lets go of a lease.
"""

from __future__ import annotations

from collections.abc import Callable

from paxlock.core.durable import KeptStone
from paxlock.core.messages import RefusalReason, Refused, View
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.steering import LetGo, Publish, Published, Revoke, RevokeAnswer

__all__ = ["Steering"]


class Steering:
    """Revoke and Publish at one node."""

    def __init__(self, acceptor: Acceptor, view: Callable[[str, float], View]) -> None:
        self._acceptor = acceptor
        self._view = view

    def revoke(self, message: Revoke, now: float) -> RevokeAnswer:
        """End one grant: by asking its holder, or by force. The lease stays where it is, as it is."""
        name, candidate = message.name, message.candidate
        if self._is_another(message, now):
            return RevokeAnswer(message.request, name, candidate, taken=False, held=True)
        acceptor = self._acceptor
        acceptor.remember(name, now)
        record = acceptor.records[name]
        if message.force:
            acceptor.sweeper.set_tombstone(record, candidate, now, forced=True)
            acceptor.stones.append(KeptStone(name, *candidate, forced=True))
            acceptor.touched.add(name)
            acceptor.journal.revoked(record, candidate, now)
        put_first = False
        if record.line is not None:
            if message.force:
                record.line.remove(candidate)
            if message.successor is not None:
                put_first = record.line.put_first(message.successor)
        # Of a hand-over the holder is told once it is asked for again: by then the other nodes know of it.
        if record.holds(candidate) and (message.force or not put_first):
            told: Refused | LetGo = LetGo(0, name, candidate)
            if message.force:
                told = record.told_over(candidate, RefusalReason.REVOKED, acceptor.floor)
            acceptor.pushes.append((candidate.session, told))
        held = record.holds(candidate)
        return RevokeAnswer(message.request, name, candidate, taken=True, held=held)

    def _is_another(self, message: Revoke, now: float) -> bool:
        """Whether this is not the grant that is meant, by what is known here of its candidate."""
        view = self._view(message.name, now)
        lease = view.lease
        if lease is None or lease.candidate != message.candidate:
            return False
        if lease.token:
            return lease.token != message.term
        return view.holds and view.lease_term < message.term  # no token is above the term of its lease

    def publish(self, message: Publish, now: float) -> Published:
        """Other data for a lease that is held here, unless newer ones are there."""
        candidate = message.candidate
        record = self._acceptor.records.get(message.name)
        lease = record.lease if record is not None else None
        if record is None or lease is None or lease.candidate != candidate or record.ended(candidate):
            return Published(message.request, message.name, candidate, 0)
        if message.edition > lease.edition:
            lease = record.lease = lease.with_data(message.data, message.edition)
            self._acceptor.touched.add(record.name)
        return Published(message.request, message.name, candidate, lease.edition)
