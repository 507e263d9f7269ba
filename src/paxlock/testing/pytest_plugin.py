"""The pytest plugin: a virtual cell as a fixture.

    async def test_the_report_stops(paxlock_cell): ...

    @pytest.mark.paxlock(nodes=5, max_ttl=10.0)
    async def test_with_five_nodes(paxlock_cell): ...

    @pytest.mark.paxlock(loop="asyncio")
    async def test_a_program_in_asyncio(paxlock_cell): ...

With pytest-trio the fixture is one of its own, and the test gets its marker. Without it the plugin runs the
tests that take these fixtures itself. Tests of asyncio, also those that are marked for pytest-asyncio or for
anyio, it always runs itself: a loop of theirs knows no virtual time. Loaded in every run of pytest, so it
imports nothing until it is used.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import NoReturn

    from trio.abc import Clock, Instrument

    from paxlock.testing.virtual_cell import VirtualCell

    Opener = Callable[..., AbstractAsyncContextManager[VirtualCell]]

T = TypeVar("T")

FIXTURES = frozenset({"paxlock_cell", "open_paxlock_cell"})
LOOPS = ("trio", "asyncio")


def pytest_configure(config: pytest.Config) -> None:
    """Make known the marker, and the fixture that fits to how async tests are run here."""
    config.addinivalue_line(
        "markers",
        "paxlock(loop='trio', nodes=3, max_ttl=30.0, ...): what the test runs under, trio or asyncio, and "
        "the settings of its virtual cell, those of paxlock.testing.open_virtual_cell",
    )
    fixtures = TrioFixtures() if config.pluginmanager.hasplugin("trio") else PlainFixtures()
    config.pluginmanager.register(fixtures, "paxlock-fixtures")


def pytest_itemcollected(item: pytest.Item) -> None:
    """With pytest-trio: have it run the async tests that take our fixtures, in virtual time."""
    if (
        isinstance(item, pytest.Function)
        and not FIXTURES.isdisjoint(item.fixturenames)
        and inspect.iscoroutinefunction(item.obj)
        and item.config.pluginmanager.hasplugin("trio")
        and _own_loop(item) is None
    ):
        # The nearest marker counts, also before those of the test and of the trio mode.
        item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run the tests of asyncio, whoever else would run them."""
    loop = _own_loop(item)
    if loop is not None:
        assert isinstance(item, pytest.Function)
        _check_fixtures(item, loop)
        item.runtest = partial(_run_by_ourselves, item, item.obj, loop)  # type: ignore[method-assign]


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: Any) -> object:
    """The cell of a test that we run ourselves, also where pytest-trio makes those of the others."""
    if fixturedef.argname != "paxlock_cell" or _own_loop(request.node) is None:
        return None
    promised = PromisedCell(_opener(request))
    fixturedef.cached_result = (promised, fixturedef.cache_key(request), None)
    return promised


def _own_loop(item: object) -> str | None:
    """The loop of an async test that we run ourselves although somebody else might; None for all others."""
    if not isinstance(item, pytest.Function) or FIXTURES.isdisjoint(item.fixturenames):
        return None
    if not inspect.iscoroutinefunction(item.obj):
        return None
    for marker in item.iter_markers("paxlock"):
        if "loop" in marker.kwargs:
            return "asyncio" if marker.kwargs["loop"] != "trio" else None
    if item.get_closest_marker("anyio") is not None:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        backend: Any = params.get("anyio_backend", "asyncio")
        return str(backend if isinstance(backend, str) else backend[0])
    marked = item.get_closest_marker("asyncio") is not None
    return "asyncio" if marked or _asyncio_takes_all(item.config) else None


def _asyncio_takes_all(config: pytest.Config) -> bool:
    """Whether pytest-asyncio runs whatever is async here."""
    if not config.pluginmanager.hasplugin("asyncio") or config.pluginmanager.hasplugin("trio"):
        return False
    return "auto" in (config.getoption("asyncio_mode", None), config.getini("asyncio_mode"))


def _check_fixtures(item: pytest.Function, loop: str) -> None:
    """Fail the test where something of it cannot be had in virtual time."""
    if loop == "asyncio" and "open_paxlock_cell" in inspect.signature(item.obj).parameters:
        pytest.fail(
            f"open_paxlock_cell opens cells in tests of trio: {item.name} runs under asyncio, and takes "
            "paxlock_cell instead",
            pytrace=False,
        )
    known = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 - pytest has no public way to them
    for name in set(known) - FIXTURES:
        function = known[name][-1].func
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            pytest.fail(
                f"the async fixture {name} would run in another loop than {item.name}, which runs in the "
                "virtual time of its cell: make it an async context manager, and enter it in the test",
                pytrace=False,
            )


def _run_by_ourselves(item: pytest.Function, test: Callable[..., Awaitable[object]], loop: str) -> None:
    """Run the test in virtual time, in a loop of this kind. In the trio mode of pytest-trio ``item.obj`` is
    another function by now.
    """
    arguments = {name: item.funcargs[name] for name in inspect.signature(test).parameters}
    promised = item.funcargs.get("paxlock_cell")

    async def main() -> None:
        if not isinstance(promised, PromisedCell):
            await test(**arguments)
            return
        async with promised.open() as cell:
            if loop == "asyncio":
                from paxlock.testing.virtual_asyncio import run_in_asyncio

                await run_in_asyncio(cell, call)
            else:
                await call(cell)

    async def call(cell: object) -> None:
        if "paxlock_cell" in arguments:
            arguments["paxlock_cell"] = cell
        await test(**arguments)

    run_in_virtual_time(main)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Without pytest-trio: run the async tests that take our fixtures."""
    if FIXTURES.isdisjoint(pyfuncitem.fixturenames) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None

    _run_by_ourselves(pyfuncitem, pyfuncitem.obj, "trio")
    return True


def run_in_virtual_time(
    async_fn: Callable[[], Awaitable[T]],
    *,
    clock: Clock | None = None,
    instruments: Sequence[Instrument] = (),
) -> T:
    """trio.run, with the mock clock unless the test has brought a clock of its own."""
    import trio
    from trio.testing import MockClock

    return trio.run(async_fn, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)


class PromisedCell:
    """What stands for the cell until the test runs, in virtual time."""

    def __init__(self, opener: Opener) -> None:
        self.open = opener

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(
            "paxlock_cell is there only within an async test, and not in its fixtures; "
            "elsewhere, use paxlock.testing.run_virtual"
        )


@pytest.fixture
def open_paxlock_cell(request: pytest.FixtureRequest) -> Opener:
    """Opens virtual cells: ``async with open_paxlock_cell(nodes=5) as cell``; see open_virtual_cell."""
    return _opener(request)


class PlainFixtures:
    """The cell without pytest-trio."""

    @pytest.fixture
    def paxlock_cell(self, open_paxlock_cell: Opener) -> PromisedCell:
        """A virtual cell that serves, in virtual time; its settings by the marker paxlock."""
        return PromisedCell(open_paxlock_cell)


class TrioFixtures:
    """The cell for pytest-trio, which looks at what kind of function a fixture is."""

    @pytest.fixture
    async def paxlock_cell(self, open_paxlock_cell: Opener) -> AsyncIterator[VirtualCell]:
        """A virtual cell that serves, in virtual time; its settings by the marker paxlock."""
        async with open_paxlock_cell() as cell:
            yield cell


def _opener(request: pytest.FixtureRequest) -> Opener:
    """open_virtual_cell with the settings that the markers of this test give, the nearest first."""
    from paxlock.testing.virtual_cell import open_virtual_cell

    if not inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        pytest.fail(
            f"the virtual cell is for async tests: {request.node.name} can use paxlock.testing.run_virtual",
            pytrace=False,
        )
    known = [*inspect.signature(open_virtual_cell).parameters, "loop"]
    settings: dict[str, Any] = {}
    for marker in request.node.iter_markers("paxlock"):
        unknown = [*map(repr, marker.args), *(name for name in marker.kwargs if name not in known)]
        if unknown:
            pytest.fail(
                f"the marker paxlock does not take {', '.join(unknown)}: "
                f"its settings, each by its name, are {', '.join(known)}",
                pytrace=False,
            )
        settings = {**marker.kwargs, **settings}
    loop = settings.pop("loop", "trio")
    if loop not in LOOPS:
        pytest.fail(
            f"the marker paxlock takes a loop that is {' or '.join(LOOPS)}, not {loop!r}", pytrace=False
        )
    return partial(open_virtual_cell, **settings)
