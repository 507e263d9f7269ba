"""What is wrong with a file of the data folder."""

from __future__ import annotations

__all__ = ["DamagedError"]


class DamagedError(ValueError):
    """What was read is not what a store writes."""
