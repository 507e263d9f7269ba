"""The key file of a client that runs: read anew when it has changed, so that keys are changed without a
restart of those who use them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from paxlock.config.cell import Cell
from paxlock.config.cell_file import Keys
from paxlock.config.sources import signature
from paxlock.errors import ConfigError
from paxlock.host.whereabouts import keyring_of
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.rekeying import rekey

__all__ = ["KeyFollower"]

LOOK_S = 0.5  #: between two looks; less than a call waits for a quorum at least

log = logging.getLogger("paxlock")


class KeyFollower:
    """Follows the key file of one client: `look` is called before anything is sent, `look_now` where nodes do
    not take the key any more. ``taken`` gets the grant of each key that is taken.
    """

    def __init__(self, cell: Cell, endpoint: Endpoint, *, now: float, taken: Callable[[bytes], None]) -> None:
        self._source = cell.source
        self._keys: Keys = (cell.keys, cell.grant)
        self._endpoint = endpoint
        self._taken = taken
        self._next = now + LOOK_S
        self._seen: tuple[int, ...] | None = None

    def look(self, now: float) -> None:
        """Look at the file, at most once in LOOK_S."""
        if now >= self._next:
            self._next = now + LOOK_S
            self.look_now()

    def look_now(self) -> bool:
        """Whether there was another key, which is taken now. A file that cannot be used is told once."""
        source = self._source
        found = signature(source.key_file) if source is not None and source.key_file is not None else None
        if source is None or found is None or found == self._seen:
            return False
        self._seen = found
        try:
            return self.take(source.keys())
        except ConfigError as error:
            log.warning("the key file has changed, and this client goes on with the key it has: %s", error)
            return False

    def take(self, keys: Keys) -> bool:
        """Go on with these keys; False where they are the same. Raises ConfigError for those of another
        client.
        """
        if keys == self._keys:
            return False
        rekey(self._endpoint, keyring_of(*keys))
        self._keys = keys
        self._taken(keys[1])
        log.info("this client goes on with the key that its key file has now")
        return True
