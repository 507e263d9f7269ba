"""A holder that is stopped between its guard and its effect, and goes on after its successor: what each kind
of storage makes of it. In real processes, by the libraries of `steps`.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

import pytest

from tests.fencing.holders import Holder
from tests.fencing.rules import Storage
from tests.fencing.tokens import Held

TIME_LIMIT_S = 15.0
TTL_S = 2.0

# How the libraries tell that the server has ended the transaction, or the connection with it.
ENDED = {
    "AdminShutdown",
    "ConnectionDoesNotExistError",
    "DBAPIError",
    "IdleInTransactionSessionTimeout",
    "IdleInTransactionSessionTimeoutError",
    "InterfaceError",
    "InternalError",
    "OperationalError",
}


class Recorded(Storage, Protocol):
    """A storage that keeps every value, and the place where a holder of another process finds it."""

    kind: str
    where: str

    def values(self) -> list[str]:
        """All that was written, in order."""


class Last:
    """The last value, of all."""

    def value(self: Recorded) -> str | None:
        return next(reversed(self.values()), None)


def ended_by_the_server(storage: Recorded) -> None:
    """The successor waits until the lease of the stopped one would have ended, and no longer."""
    storage.claim(Held(7))
    with Holder(storage.kind, storage.where, Held(7, ttl=TTL_S)) as old:
        old.expect("inside")
        old.stop()
        # Where the server does not end the transaction, the end of the process does: too late, but no hang.
        watchdog = threading.Timer(TIME_LIMIT_S, old.kill)
        watchdog.start()
        try:
            began = time.monotonic()
            storage.claim(Held(8))  # waits for the server to end the old transaction
            waited = time.monotonic() - began
        finally:
            watchdog.cancel()
        print(f"{storage.kind}: the claim waited {waited:.2f} s for a lease of {TTL_S} s")
        assert waited < TIME_LIMIT_S
        storage.write(Held(8), "new")
        old.go_on()
        assert old.hear() in ENDED
        old.go_on()
        old.expect("StaleToken 7 8")
    assert storage.values() == ["new"]


def blocks_its_successor(storage: Recorded, locked: type[Exception]) -> None:
    """Within its transaction a stopped one keeps everybody out, so it is not stale yet; before it, it is."""
    storage.claim(Held(7))
    with Holder(storage.kind, storage.where, Held(7)) as old:
        old.expect("inside")
        old.stop()
        with pytest.raises(locked, match="locked"):
            storage.claim(Held(8))
        old.go_on()  # the claim was not made: what the old one does is in order
        old.expect("committed")
        old.stop()
        storage.claim(Held(8))
        storage.write(Held(8), "new")
        old.go_on()
        old.expect("StaleToken 7 8")
    assert storage.values() == ["inside", "new"]


def passed_by_its_successor(kind: str, where: str, storage: Storage) -> None:
    """There is nothing to wait for: the successor works, and the write of the stopped one comes after it."""
    storage.claim(Held(7))
    with Holder(kind, where, Held(7)) as old:
        old.expect("inside")
        old.stop()
        storage.claim(Held(8))
        storage.write(Held(8), "new")
        old.go_on()
        old.expect("StaleToken 7 8")
        old.go_on()
        old.expect("StaleToken 7 8")
    assert storage.value() == "new"
