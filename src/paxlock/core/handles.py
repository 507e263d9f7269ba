"""The secret in a handle, and the lock that a lease carries for it (protocol.md section 3, "Handles").

A session draws one secret of its own. From it follows that of each attempt, and from that the lock, which
the nodes are told with the lease. Whoever shows the secret of an attempt may renew and release its lease;
from a lock nobody finds a secret, nor from one attempt's secret another's.
"""

from __future__ import annotations

from hashlib import blake2b

from paxlock.core.lease import Candidate

__all__ = ["SECRET_BYTES", "lock_of", "secret_of", "stone_of"]

SECRET_BYTES = 16
ATTEMPT_BYTES = 8
_STONE = b"lock"


def secret_of(session_secret: bytes, attempt: int) -> bytes:
    """The secret of one attempt: what its handle shows."""
    number = attempt.to_bytes(ATTEMPT_BYTES)
    return blake2b(number, digest_size=SECRET_BYTES, key=session_secret, person=b"paxlock secret").digest()


def lock_of(candidate: Candidate, secret: bytes) -> bytes:
    """The lock that this secret opens, on a lease of this candidate and of no other."""
    session, attempt = candidate
    about = session + attempt.to_bytes(ATTEMPT_BYTES)
    return blake2b(about, digest_size=SECRET_BYTES, key=secret, person=b"paxlock lock").digest()


def stone_of(lock: bytes) -> Candidate:
    """Who stands in a tombstone that is against the lease with this lock only, instead of a candidate. It is
    longer than a session, so it is none.
    """
    return Candidate(_STONE + lock, 1)
