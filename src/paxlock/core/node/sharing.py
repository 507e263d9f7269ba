"""What many leases have in common, kept once.

Every message is decoded into objects of its own. A node that keeps a hundred thousand leases of one session
would keep its identity, its label and its ttl as often.
"""

from __future__ import annotations

from paxlock.core.lease import Candidate, Lease
from paxlock.core.round_trips import bounded_window

__all__ = ["Sharing"]

KNOWN_MAX = 1024  #: of each kind; then all are forgotten, and found anew: it is about memory alone


class Sharing:
    """The sessions, with a label and a ttl each, whose leases were last accepted, and the windows that were
    last stated.
    """

    __slots__ = ("_known", "_windows")

    def __init__(self) -> None:
        self._windows: dict[int, float] = {}
        self._known: dict[tuple[bytes, str, int], tuple[bytes, str, int]] = {}

    def shared(self, lease: Lease) -> Lease:
        """An equal lease, made of the same objects as those before it of the same session."""
        session, attempt = lease.candidate
        new = session, lease.label, lease.ttl_ms
        first = self._known.get(new)
        if first is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[new] = new
            return lease
        session, label, ttl_ms = first
        return Lease(Candidate(session, attempt), ttl_ms, label, lease.data, lease.token, lease.edition)

    def window(self, stated_ms: int) -> float:
        """The window that a candidate states, in seconds, within bounds."""
        found = self._windows.get(stated_ms)
        if found is None:
            if len(self._windows) >= KNOWN_MAX:
                self._windows.clear()
            found = self._windows[stated_ms] = bounded_window(stated_ms / 1000.0)
        return found
