"""Tokens for tests: what a lease would be."""

from __future__ import annotations

import math
import time

import attrs

CELL = "00112233445566778899aabbccddeeff"
OTHER_CELL = "ffeeddccbbaa99887766554433221100"


@attrs.frozen
class Held:
    """A lease that ends ``ttl`` seconds after it was made."""

    term: int
    name: str = "primary"
    cell: str = CELL
    ttl: float = 60.0
    made: float = attrs.field(factory=time.monotonic)

    def remaining(self) -> float:
        """Seconds left."""
        return math.inf if self.ttl == math.inf else max(0.0, self.made + self.ttl - time.monotonic())
