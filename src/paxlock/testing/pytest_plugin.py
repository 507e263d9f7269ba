"""The pytest plugin: a virtual cell as a fixture.

    async def test_the_report_stops(paxlock_cell): ...

    @pytest.mark.paxlock(nodes=5, max_ttl=10.0)
    async def test_with_five_nodes(paxlock_cell): ...

With pytest-trio the fixture is one of its own, and the test gets its marker. Without it the plugin runs the
tests that take these fixtures itself. Loaded in every run of pytest, so it imports nothing until it is used.
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
OTHER_RUNNERS = ("anyio", "asyncio")


def pytest_configure(config: pytest.Config) -> None:
    """Make known the marker, and the fixture that fits to how async tests are run here."""
    config.addinivalue_line(
        "markers",
        "paxlock(nodes=3, max_ttl=30.0, ...): the settings of the test's virtual cell, "
        "those of paxlock.testing.open_virtual_cell",
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
        and not any(map(item.get_closest_marker, OTHER_RUNNERS))
    ):
        # The nearest marker counts, also before those of the test and of the trio mode.
        item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Without pytest-trio: run the async tests that take our fixtures."""
    if FIXTURES.isdisjoint(pyfuncitem.fixturenames) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None

    async def main() -> None:
        arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
        promised = arguments.get("paxlock_cell")
        if not isinstance(promised, PromisedCell):
            await pyfuncitem.obj(**arguments)
            return
        async with promised.open() as cell:
            await pyfuncitem.obj(**arguments | {"paxlock_cell": cell})

    run_in_virtual_time(main)
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
            "paxlock_cell is there only within an async test that pytest-trio or the plugin of paxlock runs; "
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
    known = inspect.signature(open_virtual_cell).parameters
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
    return partial(open_virtual_cell, **settings)
