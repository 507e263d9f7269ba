"""What belongs to the process that made it: it is not pickled, for a pool of processes, say."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Staying"]


class Staying:
    """Refuses to be pickled or copied, with a sentence."""

    _kind = "client"
    _instead = "open one there"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {self._kind} cannot be sent to another process: {self._instead}")
