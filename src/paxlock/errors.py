"""The whole exception tree of paxlock, on one screen.

Each class stands for one decision of the caller, and carries data rather than prose.
"""

from __future__ import annotations

import enum

__all__ = [
    "BusyError",
    "ClosedError",
    "ConfigError",
    "InternalError",
    "LeaseLost",
    "LossReason",
    "NotAcquired",
    "NotAllowed",
    "PaxlockError",
    "Reason",
    "StaleToken",
    "StoreError",
]


class Reason(enum.Enum):
    """Why a lease was not acquired in the time given."""

    HELD = "held"  #: somebody else holds the name
    NO_QUORUM = "no quorum"  #: too few nodes answered, or serve
    CONTENDED = "contended"  #: others want the name as well, and nobody is known to hold it: try again


class LossReason(enum.Enum):
    """Why a lease that was valid is valid no longer."""

    EXPIRED = "expired"  #: no quorum acknowledged a renewal before the holder's own deadline
    RELEASED = "released"  #: somebody released it by its handle
    CLOSED = "closed"  #: the client, or the node it lives in, was closed underneath the lease
    REVOKED = "revoked"  #: somebody who may administer the name wants it back (`paxlock revoke`)
    CLOCK_JUMPED = "clock jumped"  #: the machine slept past the deadline


class PaxlockError(Exception):
    """Base of everything that paxlock raises on its own account."""


class LeaseLost(PaxlockError):
    """The lease ended, by the holder's own clock, before the holder let go of it."""

    def __init__(self, name: str, term: int, reason: LossReason) -> None:
        super().__init__(f"the lease of {name!r} (term {term}) was lost: {reason.value}")
        self.name = name
        self.term = term
        self.reason = reason

    def __reduce__(self) -> tuple[type[LeaseLost], tuple[str, int, LossReason]]:
        return type(self), (self.name, self.term, self.reason)


class NotAcquired(PaxlockError):
    """The time given by ``wait`` ended before the lease was acquired; or released or renewed by its handle,
    revoked, or handed over: ``what`` says which.

    ``holder`` is the label of whoever held the name, where the reason is HELD.
    """

    def __init__(
        self,
        name: str,
        reason: Reason,
        holder: str | None = None,
        detail: str = "",
        what: str = "acquired",
    ) -> None:
        who = f" by {holder!r}" if holder and reason is Reason.HELD else ""
        more = f" ({detail})" if detail else ""
        super().__init__(f"{name!r} was not {what}: {reason.value}{who}{more}")
        self.name = name
        self.reason = reason
        self.holder = holder
        self.detail = detail
        self.what = what

    def __reduce__(self) -> tuple[type[NotAcquired], tuple[str, Reason, str | None, str, str]]:
        return type(self), (self.name, self.reason, self.holder, self.detail, self.what)


class NotAllowed(PaxlockError):
    """The key of this client does not allow this, or the cell does not take the key any more."""


class ConfigError(PaxlockError, ValueError):
    """A setting or an argument is missing, malformed, contradicts another or names what is not there; the
    message says which and what to do.
    """


class StaleToken(PaxlockError):
    """A guard refused this fencing token: a later holder has been seen there (paxlock.fencing).

    ``highest`` is the term that the guard has seen. Stop working: the lease is somebody else's.
    """

    def __init__(self, name: str, term: int, highest: int) -> None:
        super().__init__(f"term {term} of {name!r} is stale: a holder with term {highest} has been seen")
        self.name = name
        self.term = term
        self.highest = highest

    def __reduce__(self) -> tuple[type[StaleToken], tuple[str, int, int]]:
        return type(self), (self.name, self.term, self.highest)


class StoreError(PaxlockError):
    """A node's data folder cannot be used: unreadable, damaged, locked, or not this node's."""


class ClosedError(PaxlockError):
    """What was called is closed, or belongs to the parent of a forked process.

    In trio programs it is a ``trio.ClosedResourceError`` as well.
    """


class BusyError(PaxlockError):
    """Another task is using it, or the name was detached by this client.

    In trio programs it is a ``trio.BusyResourceError`` as well.
    """


class InternalError(PaxlockError):
    """A bug in paxlock stopped its background work; the cause is attached."""
