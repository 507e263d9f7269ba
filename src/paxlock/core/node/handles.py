"""Renew and Release: what another session than the candidate's must show of a handle, and what follows
(protocol.md sections 2 and 3).
"""

from __future__ import annotations

from paxlock.core.handles import Stone, lock_of, lock_stone
from paxlock.core.lease import Candidate
from paxlock.core.messages import Forbidden, Refused, Release, Released, Renew, Renewed
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.learner import Learner
from paxlock.core.reasons import Barrier

__all__ = ["Handles"]


class Handles:
    """Asked before the acceptor, which believes what it is told. The lock of a lease is known where it is
    held here, or was told with a Commit.
    """

    def __init__(self, acceptor: Acceptor, learner: Learner) -> None:
        self._acceptor = acceptor
        self._learner = learner

    def renew(self, message: Renew, sender: bytes, now: float) -> Renewed | Forbidden:
        """Renew what is named, unless another session does not show the secrets for it."""
        if sender != message.session and not self._opens_all(message):
            return Forbidden(message.request, Barrier.SECRET)
        return self._acceptor.renew(message, sender, now)

    def _opens_all(self, message: Renew) -> bool:
        """Whether this shows the secret of every lease that it names and that is held here."""
        session, held = message.session, self._acceptor.held
        shown = dict(zip(message.attempts, message.secrets, strict=False))
        return all(
            record.lock == lock_of(Candidate(session, attempt), shown.get(attempt, b""))
            for attempt in message.attempts
            if (record := held.get((session, attempt))) is not None
        )

    def release(self, message: Release, sender: bytes, now: float) -> Released | Refused | Forbidden | None:
        """End a candidate where that is of right. Where nobody can tell, nothing is shown as released."""
        stone = self.stone_for(message, sender)
        if stone is None:
            return Forbidden(message.request, Barrier.SECRET)
        answer = self._acceptor.release(message, sender, now, stone)
        if isinstance(answer, Released) and stone == message.candidate:
            self._learner.released(message.name, message.candidate, now)
        return answer

    def stone_for(self, message: Release, sender: bytes) -> Stone | None:
        """Against whom the tombstone of a Release is. Of the candidate's own session: the candidate. Of
        another one: the same where it opens the lock of the lease, None where it does not, and where that is
        not known here, whoever comes with the lock that it opens.
        """
        candidate = message.candidate
        if sender == candidate.session:
            return candidate
        opened = lock_of(candidate, message.secret)
        record = self._acceptor.records.get(message.name)
        if record is not None and record.holds(candidate):
            lock = record.lock
        else:
            lock = self._learner.lock_told(message.name, candidate)
            if not lock:
                return lock_stone(opened)
        return candidate if opened == lock else None
