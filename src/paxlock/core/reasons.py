"""Why a node says no (protocol.md sections 2 and 8)."""

from __future__ import annotations

import enum

__all__ = ["Barrier", "RefusalReason"]


class RefusalReason(enum.IntEnum):
    """Why an acceptor said no. (Sitting out is answered with Recovering.)"""

    ENDED = 1  #: this attempt was released: its tombstone stands
    HELD = 2  #: another candidate's lease is held
    PROMISED = 3  #: promised to another candidate within the grace
    QUEUED = 4  #: free, but others stand in line before it
    STALE = 5  #: the term was overtaken
    TTL = 6  #: ttl above max_ttl
    TERM = 7  #: a term too far ahead
    REVOKED = 8  #: this attempt was ended by force; where its lease is held, it is until its deadline


class Barrier(enum.IntEnum):
    """What of a key, or of a handle, stands in the way of a request."""

    KEY = 1  #: the key as a whole: it has expired, was revoked, or is of an older generation
    RIGHTS = 2  #: it does not allow this
    QUOTA = 3  #: it has as much here as one key may have
    SECRET = 4  #: no key, but the handle: its secret is not that of the lease
