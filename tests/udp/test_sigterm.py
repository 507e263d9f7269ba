"""A trio program with a node in it, at SIGTERM: a clean stop, where the program has left the signal alone."""

# An await is what a signal arrives at, within a block that it ends.
# ruff: noqa: PT012

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from processes import free_ports

from paxlock import Cell, NodeConfig, open_node
from paxlock.runtime.sigterm import ending_at_sigterm

pytestmark = pytest.mark.processes

PATIENCE_S = 60.0

LEADING = """
import sys, trio
from paxlock import NodeConfig, open_node

async def work(held):
    try:
        print("leads", held.term, flush=True)
        await trio.sleep_forever()
    finally:
        print("unwound", flush=True)

async def main():
    config = NodeConfig(sys.argv[1], "a", sys.argv[2])
    async with open_node(config, create="create" in sys.argv) as node:
        await node.wait_serving()
        print("serves", flush=True)
        await node.lead("primary", work)

trio.run(main)
"""


def cell_of_one(folder: Path) -> Cell:
    cell = Cell.new({"a": f"127.0.0.1:{free_ports(1)[0]}"}, max_ttl=10.0)
    cell.save(folder / "cell.toml")
    return cell


@contextmanager
def leading(folder: Path, word: str) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A program that leads, and how long that has taken once its node served."""
    command = [sys.executable, "-c", LEADING, str(folder / "cell.toml"), str(folder / "data"), word]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serves\n"
        began = time.monotonic()
        assert process.stdout.readline().startswith("leads")
        try:
            yield process, time.monotonic() - began
        finally:
            process.kill()


def test_the_body_unwinds_the_lease_is_released_and_the_exit_code_is_143(tmp_path: Path) -> None:
    cell_of_one(tmp_path)
    for word in ("create", ""):  # the second start need not sit out: the first has ended cleanly
        with leading(tmp_path, word) as (process, took):
            assert took < 5.0, "the lease of the run before was released, and did not run out"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE_S)
            assert (out, err, process.returncode) == ("unwound\n", "", 143)


async def test_the_handler_is_there_for_the_block_only(tmp_path: Path) -> None:
    config = NodeConfig(cell_of_one(tmp_path), "a", tmp_path / "a")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(SystemExit) as caught:
        async with open_node(config, create=True):
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_program_that_handles_the_signal_is_left_alone(tmp_path: Path) -> None:
    config = NodeConfig(cell_of_one(tmp_path), "a", tmp_path / "a")
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with open_node(config, create=True):
            os.kill(os.getpid(), signal.SIGTERM)
            assert await anext(signals) == signal.SIGTERM
            await trio.lowlevel.checkpoint()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_of_nested_blocks_the_outer_one_ends() -> None:
    ended = []
    with pytest.raises(SystemExit), ending_at_sigterm():
        with ending_at_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await trio.sleep_forever()
            finally:
                ended.append("inner")
        ended.append("not reached")
    assert ended == ["inner"]


async def test_an_error_of_the_body_comes_out_bare() -> None:
    with pytest.raises(KeyError) as caught, ending_at_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("the body's own")
    context: BaseException | None = caught.value
    while context is not None and not isinstance(context, SystemExit):
        context = context.__context__
    assert isinstance(context, SystemExit)


async def test_a_handler_that_the_body_has_set_stays() -> None:
    def own(*_: object) -> None:
        """The program's own handler."""

    try:
        with ending_at_sigterm():
            signal.signal(signal.SIGTERM, own)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


async def test_another_thread_is_left_alone() -> None:
    async def look() -> object:
        with ending_at_sigterm():
            return signal.getsignal(signal.SIGTERM)

    found = await trio.to_thread.run_sync(lambda: trio.run(look))
    assert found is signal.SIG_DFL


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # other tests have used threads
async def test_the_child_of_a_fork_is_killed_by_the_signal_as_ever() -> None:
    with ending_at_sigterm():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        _, status = await trio.to_thread.run_sync(os.waitpid, child, 0)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
