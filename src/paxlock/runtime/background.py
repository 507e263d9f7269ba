"""Background work of a program's block: tasks beside the body, threads for the disk, forks of both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from paxlock.forks import told_in_child
from paxlock.host.failures import add_context, as_ours

__all__ = ["attended", "in_loop", "in_thread", "only_cancelled"]

T = TypeVar("T")


def in_loop(loop: trio.lowlevel.TrioToken | None) -> bool:
    """Whether this thread runs that loop: after a fork there may be none any more."""
    try:
        return loop is not None and trio.lowlevel.current_trio_token() is loop
    except RuntimeError:
        return False


class _Abandoned:
    """Work in a thread, which the child of a fork does not have: there nobody may wait for it."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._loop = trio.lowlevel.current_trio_token()
        told_in_child(self)

    def forked(self) -> None:
        if in_loop(self._loop):
            self._scope.cancel()


async def in_thread(work: Callable[[], T]) -> T:
    """Do in a thread what may wait for a disk, to its end, whatever is cancelled meanwhile. In the child of a
    fork it never ends, and can be cancelled.
    """
    with trio.CancelScope(shield=True) as scope:
        abandoned = _Abandoned(scope)
        done = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        del abandoned
        return done
    return await trio.sleep_forever()


def only_cancelled(error: BaseException) -> bool:
    """Whether there is nothing in it but trio's cancellation."""
    if isinstance(error, BaseExceptionGroup):
        return all(only_cancelled(inner) for inner in error.exceptions)
    return isinstance(error, trio.Cancelled)


@asynccontextmanager
async def attended(
    *tasks: Callable[[], Awaitable[None]],
    before_leaving: Callable[[], Awaitable[None]] | None = None,
    failed: Callable[[], None] | None = None,
) -> AsyncIterator[None]:
    """Run background tasks around a body without showing a nursery to it.

    An error of the body comes out bare. An error of a task cancels the body and comes out itself if it is
    one of ours, else as InternalError with its cause; if the body then ends with an error of its own, that
    one comes out, with the other in its chain of contexts. ``failed`` is called as soon as a task has failed,
    ``before_leaving`` runs, shielded, after the body and before the tasks are cancelled. Cancellation from
    outside reaches the body only: what the body does while it ends, such as a release, needs the tasks.
    """
    failures: list[Exception] = []
    body_error: BaseException | None = None
    scopes = [trio.CancelScope(shield=True) for _ in tasks]
    async with trio.open_nursery() as nursery:

        @trio.lowlevel.enable_ki_protection
        async def guarded(task: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
            try:
                with scope:
                    await task()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must come out below
                failures.append(error)
                nursery.cancel_scope.cancel()
                if failed is not None:
                    failed()

        for task, scope in zip(tasks, scopes, strict=True):
            nursery.start_soon(guarded, task, scope)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again below, outside the nursery
            body_error = error
        nursery.cancel_scope.shield = True
        try:
            if before_leaving is not None and not failures:
                await before_leaving()
        finally:
            # Also where a task failed meanwhile: the others are shielded from the nursery's cancellation.
            for scope in scopes:
                scope.cancel()
    failure = as_ours(failures[0]) if failures else None
    if body_error is None or (failure is not None and only_cancelled(body_error)):
        if failure is not None:
            raise failure
        return
    if failure is not None:
        add_context(body_error, failure)
    raise body_error
