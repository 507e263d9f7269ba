"""The functions that programs hand to ``lead`` and ``watch_forever``: async ones in an event loop, plain ones
in blocking code.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["awaitable_of", "check_async", "check_plain", "plain"]

T = TypeVar("T")


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function))


def _bare(function: object) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_async(function: object) -> bool:
    function = _bare(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - of an object whose calls are asynchronous
    )


def _check_callable(verb: str, function: object) -> None:
    if inspect.iscoroutine(function):
        function.close()
        raise TypeError(f"{verb} takes a function and its arguments: {_name(function)} was called already")
    if not callable(function):
        raise TypeError(f"{verb} takes a function, not {function!r}")


def check_async(verb: str, function: object) -> None:
    """Raise TypeError where this is known not to be async. A plain function may return an awaitable."""
    _check_callable(verb, function)
    bare = _bare(function)
    if inspect.isasyncgenfunction(bare) or inspect.isgeneratorfunction(bare):
        raise TypeError(f"{verb} takes an async function, and {_name(bare)} is a generator")


def awaitable_of(verb: str, function: object, result: Awaitable[T]) -> Awaitable[T]:
    """What a call has given. Raises TypeError where nobody can await that."""
    if not inspect.isawaitable(result):
        raise TypeError(
            f"{verb} takes an async function: {_name(_bare(function))} is a plain one, and has run; "
            "in blocking code use paxlock.blocking"
        )
    return result


def check_plain(verb: str, function: Callable[..., object]) -> None:
    """Raise TypeError where this is not a plain function."""
    _check_callable(verb, function)
    if _is_async(function):
        raise _not_plain(verb, function)


def plain(verb: str, function: Callable[..., object], result: T) -> T:
    """What a call has given. Raises TypeError where that is a coroutine, which nobody would run."""
    if inspect.iscoroutine(result):
        result.close()
        raise _not_plain(verb, function)
    return result


def _not_plain(verb: str, function: object) -> TypeError:
    return TypeError(
        f"{verb} of a blocking client takes a plain function: {_name(_bare(function))} is an async one, for "
        "paxlock.aio or paxlock in trio"
    )
