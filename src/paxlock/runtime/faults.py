"""The errors of a closed and of a busy thing, as trio programs know them and as paxlock does."""

from __future__ import annotations

import trio

from paxlock.errors import BusyError, ClosedError

__all__ = ["TrioBusyError", "TrioClosedError"]


class TrioClosedError(ClosedError, trio.ClosedResourceError):
    """A ClosedError of a trio program."""


class TrioBusyError(BusyError, trio.BusyResourceError):
    """A BusyError of a trio program."""
