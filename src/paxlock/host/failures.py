"""How errors of background work come out, and what they say of each other."""

from __future__ import annotations

from paxlock.errors import InternalError, PaxlockError

__all__ = ["add_context", "as_ours"]


def as_ours(error: Exception) -> PaxlockError:
    """An error of background work as it comes out: one of ours as it is, any other as InternalError."""
    if isinstance(error, PaxlockError):
        return error
    found = InternalError("a bug in paxlock stopped its background work")
    found.__cause__ = error
    return found


def add_context(error: BaseException, context: BaseException) -> None:
    """Make ``context`` the first cause in the error's chain of contexts, unless it is in there already."""
    seen = {id(error)}
    while error is not context:
        following = error.__context__
        if following is None or id(following) in seen:
            error.__context__ = context
            return
        seen.add(id(following))
        error = following
