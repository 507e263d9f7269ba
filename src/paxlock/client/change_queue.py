"""What a watch has told and nobody has taken yet, without an event loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Self

import attrs

from paxlock.client.desk import Desk
from paxlock.client.standing import Change
from paxlock.core.session.events import Changed

__all__ = ["ChangeQueue"]


class ChangeQueue(ABC):
    """The newest change of each name: it never grows without bound, and always arrives at the last state."""

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._name = name
        self._ticket: int | None = None
        self._pending: OrderedDict[str, Change] = OrderedDict()
        self._closed = False

    def take(self, event: object) -> Self:
        """For the client: a change has come."""
        assert isinstance(event, Changed)
        change = Change(event.name, event.state, event.term, event.label, event.data)
        if not self._closed:
            replaced = self._pending.pop(change.name, None)
            if replaced is not None:
                change = attrs.evolve(change, skipped=replaced.skipped + 1)
            self._pending[change.name] = change
            self._wake()
        return self

    def close(self, why: str = "") -> None:
        """End the watch. Changes not yet taken are dropped."""
        if self._ticket is not None and not self._closed:
            self._desk.unwatch(self._ticket)
        self._closed = True
        self._pending.clear()
        self._wake()

    def _open(self) -> None:
        if self._ticket is not None:
            raise RuntimeError("a watch is entered once: call watch() again for another")
        self._ticket = self._desk.watch(self._name, self)

    def _next(self) -> Change | None:
        """The next change, taken out; None if there is none. Raises the closed error when closed."""
        self._desk.check_process()
        if self._closed:
            raise self._desk.errors.closed("this watch is closed")
        if self._ticket is None:  # nothing would ever come
            raise RuntimeError("a watch is used within a block: async with client.watch(name) as changes")
        return self._pending.popitem(last=False)[1] if self._pending else None

    @abstractmethod
    def _wake(self) -> None:
        """There is something to take, or nothing ever again."""
