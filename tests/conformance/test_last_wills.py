"""Last wills, as far as no process has to be killed: the guardian that is beside this process, and its end.

Holders that are killed are in tests/wills.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings

import anyio
import anyio.to_thread
import pytest

import paxlock
from paxlock import InternalError
from paxlock.host import guardian
from paxlock.testing import VirtualCell, run_virtual
from tests.blocking.cells import until
from tests.conformance.faces import Face, conforms
from tests.wills.processes import alive, guardian_of, guardians_of

linux = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="no last wills without pidfd"
)


async def guardian_here() -> int:
    return await anyio.to_thread.run_sync(guardian_of, os.getpid())


@linux
@conforms
async def test_one_guardian_for_all_clients_ends_with_the_last(face: Face, name: str) -> None:
    async with face.open(last_will=True) as one:
        assert guardians_of(os.getpid()) == []  # nobody has wanted anything so far
        async with face.open(last_will=True) as other, one.lock(name), other.lock(f"{name} too"):
            pid = await guardian_here()
        assert alive(pid)
        async with one.lock(name):
            assert await guardian_here() == pid
    assert not alive(pid)
    assert guardians_of(os.getpid()) == []


@linux
@conforms
async def test_without_the_wish_there_is_no_guardian(face: Face, name: str) -> None:
    async with face.open() as client, client.lock(name):
        assert guardians_of(os.getpid()) == []


@linux
@conforms
async def test_a_guardian_that_does_not_answer_is_dead_before_the_handle_is_shown(
    face: Face, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "SYNC_S", 0.05)
    async with face.open(last_will=True) as client:
        held = await client.acquire(name)
        pid = await guardian_here()
        os.kill(pid, signal.SIGSTOP)
        assert held.handle.startswith("pl1.")
        assert not alive(pid)
        held.check()  # a holder that has lost its guardian goes on
        await held.release()


@linux
@conforms
async def test_a_handle_is_not_shown_where_the_will_cannot_be_withdrawn(
    face: Face, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "SYNC_S", 0.05)
    async with face.open(last_will=True) as client:
        held = await client.acquire(name)
        pid = await guardian_here()
        os.kill(pid, signal.SIGSTOP)
        with monkeypatch.context() as patched:
            patched.setattr(guardian, "_kill", lambda pid, started: False)
            with pytest.raises(InternalError, match="cannot be ended"):
                _ = held.handle
            with pytest.raises(InternalError, match="cannot be ended"):
                _ = held.handle  # nor the second time
        assert held.handle.startswith("pl1.")
        assert not alive(pid)
        await held.release()


@linux
@conforms
async def test_a_guardian_that_has_gone_is_no_hindrance(face: Face, name: str) -> None:
    async with face.open(last_will=True) as client:
        held = await client.acquire(name)
        pid = await guardian_here()
        os.kill(pid, signal.SIGKILL)
        await anyio.to_thread.run_sync(until, lambda: not alive(pid), "it is dead")
        assert held.handle.startswith("pl1.")
        held.detach()
        await client.release_handle(held.handle)
        async with client.lock(f"{name} too"):
            pass


@linux
@conforms
async def test_where_no_guardian_can_be_started_the_program_goes_on(
    face: Face, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guardian, "_interpreter", lambda: "/no/such/python")
    async with face.open(last_will=True) as client:
        held = await client.acquire(name)
        assert held.handle.startswith("pl1.")
        await held.release()
    assert [record.getMessage()[:32] for record in caplog.records if record.name == "paxlock"] == [
        "no guardian can be started, so t"
    ]


@linux
@conforms
async def test_a_detached_lease_is_out_of_the_will(face: Face, name: str) -> None:
    async with face.open(last_will=True) as client:
        held = await client.acquire(name)
        held.detach()
        assert await client.renew_handle(held.handle) > 0
        await client.release_handle(held.handle)


@conforms
async def test_without_pidfd_there_is_a_warning_and_no_will(
    face: Face, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "unavailable", lambda: "this system has no pidfd")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with face.open(last_will=True) as client, client.lock(name):
            assert guardians_of(os.getpid()) == []
    [warning] = [str(one.message) for one in told if one.category is RuntimeWarning]
    assert warning.startswith("last_will=True has no effect: this system has no pidfd; leases of a killed")


def test_in_a_virtual_cell_it_is_taken_and_has_no_effect() -> None:
    async def main(cell: VirtualCell) -> None:
        async with paxlock.open_client(cell.cell, last_will=True) as client, client.lock("virtual"):
            assert guardians_of(os.getpid()) == []

    run_virtual(main)
