"""What is wrong with a file of the data folder."""

from __future__ import annotations

__all__ = ["DamagedError", "LaterFormatError"]


class DamagedError(ValueError):
    """What was read is not what a store writes."""


class LaterFormatError(DamagedError):
    """A later version has written it."""
