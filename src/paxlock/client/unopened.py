"""What the openers of the event loops give: a client that ``async with`` opens, in the loop it is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

__all__ = ["Unopened", "meant_for"]

C = TypeVar("C")

_PREFIXES = {"trio": "paxlock.", "asyncio": "paxlock.aio.", "blocking code": "paxlock.blocking."}
_ENTERED = {"trio": "async with in trio", "asyncio": "async with in asyncio", "blocking code": "a plain with"}


def meant_for(face: str, opener: str) -> str:
    """Which opener is for what, where the one of this face was used elsewhere."""
    others = ", ".join(f"in {other} {prefix}{opener}" for other, prefix in _PREFIXES.items() if other != face)
    return f"{_PREFIXES[face]}{opener} is for {_ENTERED[face]}: use {others}"


class Unopened(ABC, Generic[C]):
    """A client, or a node, before its block is entered."""

    face = ""  #: which it is for

    def __init__(self, opener: str) -> None:
        """``opener``: the function that gives it."""
        self._opener = opener

    @abstractmethod
    async def __aenter__(self) -> C:
        """Open it. Raises RuntimeError in the loop of another face."""

    @abstractmethod
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close it."""

    def _elsewhere(self) -> RuntimeError:
        return RuntimeError(meant_for(self.face, self._opener))

    if not TYPE_CHECKING:  # a type checker says so earlier

        def __enter__(self) -> NoReturn:
            raise TypeError(meant_for(self.face, self._opener))

        def __exit__(self, *_: object) -> None:
            """Python looks for it before it enters."""
