"""A task or a thread that would wait for itself is told so."""

# A block within a block is what is tested.
# ruff: noqa: SIM117

from __future__ import annotations

import contextlib
import math

import anyio
import pytest

import paxlock.blocking
from paxlock import Cell, LeaseLost, LossReason, NotAcquired
from tests.conformance.faces import Face, conforms, in_thread

TOLD = "would wait for itself"


def play_in_thread(cell: Cell, name: str) -> None:
    """What the other faces play with tasks."""
    with paxlock.blocking.open_client(cell) as client:
        with client.lock(name):
            with pytest.raises(RuntimeError, match=TOLD), client.lock(name):
                pytest.fail("two held it")
            with pytest.raises(NotAcquired), client.lock(name, wait=0.0):
                pytest.fail("two held it")
            with client.lock(name + " too"):
                pass
        with client.lock(name) as held:
            held.release()
            with client.lock(name):
                pass
        # Revoked politely, it is renewed until this block ends.
        with contextlib.suppress(LeaseLost), client.lock(name) as held:
            with contextlib.suppress(NotAcquired):  # it is not let go of within that time
                client.revoke(name, held.term, wait=0.1)
            assert held.wait_lost() is LossReason.REVOKED
            with pytest.raises(RuntimeError, match=TOLD), client.lock(name, wait=math.inf):
                pytest.fail("two held it")


@conforms
async def test_a_block_within_a_block_of_the_same_name_is_refused(face: Face, name: str) -> None:
    if face.kind == "blocking":
        await in_thread(play_in_thread, face.cell, name)
        return
    async with face.open() as client:
        async with client.lock(name):
            with pytest.raises(RuntimeError, match=TOLD):
                async with client.lock(name):
                    pytest.fail("two held it")
            with pytest.raises(NotAcquired):
                async with client.lock(name, wait=0.0):
                    pytest.fail("two held it")
            async with client.lock(name + " too"):
                pass
        async with client.lock(name) as held:
            await held.release()
            async with client.lock(name):
                pass


@conforms
async def test_two_spellings_of_one_name_are_one(face: Face, name: str) -> None:
    def play(cell: Cell) -> None:
        with paxlock.blocking.open_client(cell) as client, client.lock(name + "é"):
            with pytest.raises(RuntimeError, match=TOLD), client.lock(name + "e\u0301"):
                pytest.fail("two held it")

    if face.kind == "blocking":
        await in_thread(play, face.cell)
        return
    async with face.open() as client, client.lock(name + "é"):
        with pytest.raises(RuntimeError, match=TOLD):
            async with client.lock(name + "e\u0301"):
                pytest.fail("two held it")


@conforms
async def test_who_waits_for_another_task_is_left_alone(face: Face, name: str) -> None:
    """Of the blocking face each block is entered by a thread of a pool, which serves both in turn."""
    async with face.open() as client:
        inside = anyio.Event()
        done: list[int] = []

        async def second() -> None:
            await inside.wait()
            async with client.lock(name):
                done.append(2)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            async with client.lock(name):
                inside.set()
                while client.statistics().session.campaigns != 2:  # noqa: ASYNC110 - no event tells
                    await anyio.sleep(0.001)
                done.append(1)
        assert done == [1, 2]
