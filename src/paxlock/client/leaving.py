"""What a client that goes leaves behind: leases that are wanted for longer (``at_least``)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from paxlock.core.session.events import HandleOutcome, Left

__all__ = ["LastRenewal", "tell_left_early"]

log = logging.getLogger("paxlock")


class LastRenewal:
    """Takes what has become of the last renewal of a lease that is left behind."""

    def __init__(self, left: Left, left_early: Callable[[str, float], None]) -> None:
        self._left = left
        self._left_early = left_early

    def take(self, event: object) -> None:
        assert isinstance(event, HandleOutcome)
        if not event.done:
            self._left_early(self._left.name, self._left.missing)

    def close(self, why: str) -> None:
        self._left_early(self._left.name, self._left.missing)


def tell_left_early(name: str, missing: float) -> None:
    """What programs are told; the command line has its own words."""
    log.warning(
        "the lease of %r could not be renewed when its client was closed: "
        "it may run out up to %.1f s before at_least has passed",
        name,
        missing,
    )
