"""The secret in a handle, and the lock that a lease carries for it (protocol.md section 3, "Handles").

A session draws one secret of its own. From it follows that of each attempt, and from that the lock, which
the nodes are told with the lease. Whoever shows the secret of an attempt may renew and release its lease;
from a lock nobody finds a secret, nor from one attempt's secret another's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeAlias

from paxlock.core.lease import Candidate

__all__ = ["SECRET_BYTES", "Stone", "lock_of", "lock_stone", "secret_of"]

SECRET_BYTES = 16
ATTEMPT_BYTES = 8
_LOCK = b"lock"

#: Against whom a tombstone is: the attempts of this session up to this one, or a lock (`lock_stone`).
Stone: TypeAlias = tuple[bytes, int]


def secret_of(session_secret: bytes, attempt: int) -> bytes:
    """The secret of one attempt: what its handle shows."""
    number = attempt.to_bytes(ATTEMPT_BYTES)
    return blake2b(number, digest_size=SECRET_BYTES, key=session_secret, person=b"paxlock secret").digest()


def lock_of(candidate: Candidate, secret: bytes) -> bytes:
    """The lock that this secret opens, on a lease of this candidate and of no other."""
    session, attempt = candidate
    about = session + attempt.to_bytes(ATTEMPT_BYTES)
    return blake2b(about, digest_size=SECRET_BYTES, key=secret, person=b"paxlock lock").digest()


def lock_stone(lock: bytes) -> Stone:
    """The tombstone that is against the lease with this lock only. What stands in the place of a session is
    longer than one, so it is none.
    """
    return _LOCK + lock, 1
