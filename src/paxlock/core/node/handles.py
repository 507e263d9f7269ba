"""Whether a handle opens a lease: what another session than the candidate's must show (protocol.md sections
2 and 3).
"""

from __future__ import annotations

from collections.abc import Mapping

from paxlock.core.handles import lock_of, stone_of
from paxlock.core.lease import Candidate
from paxlock.core.messages import Release, Renew
from paxlock.core.node.record import Record

__all__ = ["opens_all", "stone_for"]


def opens_all(message: Renew, held: Mapping[tuple[bytes, int], Record]) -> bool:
    """Whether this Renew shows the secret of every lease that it names and that is held here."""
    session = message.session
    shown = message.secrets or (b"",) * len(message.attempts)
    return all(
        record.lock == lock_of(Candidate(session, attempt), secret)
        for attempt, secret in zip(message.attempts, shown, strict=True)
        if (record := held.get((session, attempt))) is not None
    )


def stone_for(record: Record, message: Release) -> Candidate | None:
    """Against whom the tombstone of a Release by a handle is: against the candidate where its lease is held
    and opens, against whoever comes with the lock that opens where it is not held, and None where the lease
    that is held does not open.
    """
    lock = lock_of(message.candidate, message.secret)
    if not record.holds(message.candidate):
        return stone_of(lock)
    return message.candidate if record.lock == lock else None
