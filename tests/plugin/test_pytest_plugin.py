"""The pytest plugin, found by its entry point, in runs of pytest of their own: with pytest-trio in both of
its modes, and without it.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import paxlock.testing

pytest_plugins = "pytester"

TIME_LIMIT_S = 60
WAYS = {
    "by the marker": [],
    "in trio mode": ["-o", "trio_mode=true"],
    "without pytest-trio": ["-p", "no:trio"],
}


def run(folder: pytest.Pytester, *options: str) -> pytest.RunResult:
    return folder.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers", *options)


@pytest.mark.parametrize("way", WAYS)
def test_a_cell_for_an_async_test(folder: pytest.Pytester, way: str) -> None:
    folder.makepyfile(
        """
        import paxlock, pytest, trio

        pytestmark = pytest.mark.paxlock(max_ttl=20.0, nodes=1)

        @pytest.fixture
        def number():
            return 7

        async def test_cell(paxlock_cell, number):
            assert len(paxlock_cell.cell.node_ids) == 1
            assert number == 7
            async with paxlock.open_client(paxlock_cell.cell) as client, client.lock("x") as held:
                await trio.sleep(60.0)
                held.check()

        @pytest.mark.paxlock(nodes=5)
        class TestMarkers:
            @pytest.mark.paxlock(latency=0.002)
            async def test_nearest(self, paxlock_cell):
                assert len(paxlock_cell.cell.node_ids) == 5
                assert paxlock_cell.cell.max_ttl == 20.0
                assert paxlock_cell.latency == (0.002, 0.002)

        async def test_opened(open_paxlock_cell):
            async with open_paxlock_cell(nodes=3) as one, open_paxlock_cell() as two:
                assert [len(cell.cell.node_ids) for cell in (one, two)] == [3, 1]
                assert one.cell.max_ttl == 20.0

        @pytest.mark.parametrize("value", [1, 2])
        async def test_both(paxlock_cell, open_paxlock_cell, value):
            async with open_paxlock_cell() as other:
                assert other.cell.cell_id != paxlock_cell.cell.cell_id

        @pytest.mark.xfail(strict=True)
        async def test_error(paxlock_cell):
            1 / 0
        """
    )
    run(folder, *WAYS[way]).assert_outcomes(passed=5, xfailed=1)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_wrong_is_told_in_a_sentence(folder: pytest.Pytester, way: str) -> None:
    folder.makepyfile(
        """
        import pytest, trio

        @pytest.mark.paxlock(node=5)
        async def test_unknown(paxlock_cell):
            pass

        @pytest.mark.paxlock(5)
        async def test_positional(open_paxlock_cell):
            pass

        @pytest.mark.paxlock(nodes=4)
        async def test_even(paxlock_cell):
            pass

        def test_sync(paxlock_cell):
            pass

        @pytest.mark.paxlock(time_limit=50.0)
        async def test_endless(paxlock_cell):
            await trio.sleep_forever()
        """
    )
    result = run(folder, *WAYS[way])
    result.assert_outcomes(errors=3, failed=2)
    for sentence in (
        "*the marker paxlock does not take node: its settings, each by its name, are nodes, max_ttl,*",
        "*the marker paxlock does not take 5: its settings*",
        "*a cell has 1, 3, 5 or 7 nodes, not 4*",
        "*the virtual cell is for async tests: test_sync can use paxlock.testing.run_virtual*",
        "*TimeLimitReached: 50 s of virtual time have passed*",
    ):
        result.stdout.fnmatch_lines_random(sentence)


def test_a_clock_of_the_tests_own_is_used(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pytest, trio
        from trio.testing import MockClock

        @pytest.fixture
        def patient_clock():
            return MockClock(autojump_threshold=0.001)

        async def test_own(paxlock_cell, patient_clock):
            assert trio.lowlevel.current_clock() is patient_clock

        async def test_same(paxlock_cell, autojump_clock):
            await trio.sleep(100.0)
            assert trio.lowlevel.current_clock() is autojump_clock
        """
    )
    run(folder).assert_outcomes(passed=2)


def test_who_does_not_use_it_does_not_notice(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import unittest, pytest
        from paxlock.testing import run_virtual

        def test_plain():
            pass

        @pytest.mark.trio
        async def test_trio():
            pass

        class Case(unittest.TestCase):
            def test_case(self):
                async def scenario(cell):
                    return len(cell.cell.node_ids)
                self.assertEqual(run_virtual(scenario), 3)
        """
    )
    for options in ([], ["-p", "no:paxlock"]):
        run(folder, *options).assert_outcomes(passed=3)
    run(folder, "--fixtures").stdout.fnmatch_lines(["paxlock_cell*", "*virtual time*"])
    run(folder, "--markers").stdout.fnmatch_lines(
        ["@pytest.mark.paxlock(loop='trio', nodes=3, max_ttl=30.0, ...)*"]
    )


def test_blocked_it_is_not_there(folder: pytest.Pytester) -> None:
    folder.makepyfile("def test_cell(paxlock_cell): pass")
    result = run(folder, "-p", "no:paxlock")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'paxlock_cell' not found*"])


@pytest.mark.processes
@pytest.mark.slow
def test_in_workers_of_xdist(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        async def test_cell(paxlock_cell, number):
            async with paxlock_cell.open_client() as client, client.lock("x"):
                pass
        """
    )
    folder.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:benchmark", "-n2").assert_outcomes(
        passed=4
    )


def test_starting_pytest_imports_nothing_heavy(folder: pytest.Pytester) -> None:
    folder.makepyfile("def test_plain(): pass")
    folder.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            found = [name for name in ("trio", "attrs", "cbor2", "cryptography") if name in sys.modules]
            ours = sorted(name for name in sys.modules if name.startswith("paxlock"))
            print("loaded:", found, ours)
        """
    )
    result = folder.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "no:trio", "-p", "no:hypothesispytest", "-p", "no:anyio")
    )
    result.assert_outcomes(passed=1)
    ours = ["paxlock", "paxlock.errors", "paxlock.testing", "paxlock.testing.pytest_plugin"]
    assert f"loaded: [] {ours}" in result.outlines


def test_the_package_needs_no_pytest() -> None:
    program = """
        import sys
        sys.modules["pytest"] = sys.modules["pytest_trio"] = None
        import paxlock.testing
        from paxlock.testing import *
        assert "trio" in sys.modules and "VirtualCell" in dir(paxlock.testing)
        assert sorted(n for n in dir() if n in paxlock.testing.__all__) == sorted(paxlock.testing.__all__)

        async def scenario(cell):
            async with cell.open_client() as client, client.lock("x") as held:
                return held.term

        print(run_virtual(scenario))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
        cwd=Path(paxlock.__file__).parent.parent,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"module 'paxlock\.testing' has no attribute 'nothing'"):
        getattr(paxlock.testing, "nothing")  # noqa: B009 - the name is not known to the type checker


def test_the_entry_point_is_declared() -> None:
    project = (Path(__file__).parent.parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\npaxlock = "paxlock.testing.pytest_plugin"\n' in project


# Tests of asyncio

RUNNERS = {
    "with pytest-trio": [],
    "in trio mode": ["-o", "trio_mode=true"],
    "without any plugin": ["-p", "no:trio", "-p", "no:anyio"],
}
ASYNCIO = ["-o", "addopts=", "-o", "asyncio_default_fixture_loop_scope=function"]


@pytest.mark.parametrize("way", RUNNERS)
def test_a_cell_for_a_test_of_asyncio(folder: pytest.Pytester, way: str) -> None:
    folder.makepyfile(
        """
        import asyncio, paxlock.aio, pytest, trio

        pytestmark = pytest.mark.paxlock(loop="asyncio")

        async def work(cell):
            async with paxlock.aio.open_client(cell) as client, client.lock("x"):
                await asyncio.sleep(3600.0)

        @pytest.mark.paxlock(nodes=5)
        @pytest.mark.parametrize("seconds", [100.0])
        async def test_lost(paxlock_cell, seconds):
            assert len(paxlock_cell.cell.node_ids) == 5
            task = asyncio.create_task(work(paxlock_cell.cell))
            await paxlock_cell.wait_holder("x")
            await paxlock_cell.advance(seconds)
            await paxlock_cell.lose("x")
            with pytest.raises(paxlock.LeaseLost):
                await task

        class TestMethods:
            async def test_self(self, paxlock_cell):
                async with paxlock_cell.open_client("me") as client:
                    await client.acquire("x")
                    assert paxlock_cell.holder("x").label == "me"

        @pytest.mark.usefixtures("paxlock_cell")
        async def test_unseen():
            await asyncio.sleep(100.0)

        @pytest.mark.paxlock(loop="trio")
        async def test_the_nearest_loop_counts(paxlock_cell):
            await trio.sleep(100.0)

        @pytest.mark.xfail(strict=True, raises=ZeroDivisionError)
        async def test_error(paxlock_cell):
            1 / 0
        """
    )
    run(folder, *RUNNERS[way]).assert_outcomes(passed=4, xfailed=1)


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("trio", [[], ["-p", "no:trio"]], ids=["with pytest-trio", "without"])
def test_with_pytest_asyncio_too(folder: pytest.Pytester, mode: str, trio: list[str]) -> None:
    pytest.importorskip("pytest_asyncio")
    folder.makepyfile(
        """
        import asyncio, paxlock.aio, pytest

        @pytest.mark.asyncio
        async def test_marked(paxlock_cell):
            async with paxlock.aio.open_client(paxlock_cell.cell) as client, client.lock("x") as held:
                await asyncio.sleep(3600.0)
                held.check()

        @pytest.mark.paxlock(loop="asyncio")
        async def test_by_our_marker(paxlock_cell):
            await asyncio.sleep(3600.0)

        @pytest.mark.asyncio
        async def test_of_its_own():
            await asyncio.sleep(0)
        """
    )
    run(folder, *ASYNCIO, *trio, "-o", f"asyncio_mode={mode}").assert_outcomes(passed=3)


def test_with_pytest_asyncio_in_auto_mode_no_marker_is_needed(folder: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    folder.makepyfile(
        """
        import asyncio

        async def test_cell(paxlock_cell):
            await asyncio.sleep(3600.0)
        """
    )
    run(folder, *ASYNCIO, "-p", "no:trio", "-o", "asyncio_mode=auto").assert_outcomes(passed=1)


@pytest.mark.parametrize("trio", [[], ["-p", "no:trio"]], ids=["with pytest-trio", "without"])
def test_with_the_plugin_of_anyio_on_both_of_its_backends(folder: pytest.Pytester, trio: list[str]) -> None:
    folder.makepyfile(
        """
        import anyio, pytest, sniffio

        pytestmark = pytest.mark.anyio

        async def test_cell(paxlock_cell, anyio_backend_name):
            began = anyio.current_time()
            await anyio.sleep(3600.0)
            assert anyio.current_time() - began >= 3600.0
            assert sniffio.current_async_library() == anyio_backend_name
            assert hasattr(paxlock_cell, "_loop") == (anyio_backend_name == "asyncio")
        """
    )
    run(folder, *trio).assert_outcomes(passed=2)


def test_what_cannot_be_had_in_asyncio_is_told_in_a_sentence(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pytest

        @pytest.fixture
        async def database():
            yield 1

        pytestmark = pytest.mark.paxlock(loop="asyncio")

        async def test_opened(open_paxlock_cell):
            pass

        async def test_fixture(paxlock_cell, database):
            pass

        @pytest.mark.paxlock(loop="uvloop")
        async def test_loop(paxlock_cell):
            pass
        """
    )
    result = run(folder, "-p", "no:trio")
    result.assert_outcomes(errors=3)
    for sentence in (
        "*open_paxlock_cell opens cells in tests of trio: test_opened runs under asyncio*",
        "*the async fixture database would run in another loop than test_fixture*",
        "*the marker paxlock takes a loop that is trio or asyncio, not 'uvloop'*",
    ):
        result.stdout.fnmatch_lines_random(sentence)
