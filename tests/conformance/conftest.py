"""A cell for all tests of a module that leave its nodes in peace, and one for each that silences it.

Its nodes run in a loop of trio; in the slow tests they are processes of `paxlock serve`, each with a thread.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import paxlock.blocking
from benchmarks.holding import node_processes
from paxlock import Cell, NodeMode
from tests.blocking.cells import ThreadCell, thread_cell, until
from tests.conformance.faces import KINDS, Face


def wait_until_all_serve(cell: Cell) -> None:
    with paxlock.blocking.open_client(cell) as client:
        until(
            lambda: [node.mode for node in client.survey()] == [NodeMode.SERVING] * 3,
            "all nodes serve",
        )


@pytest.fixture(
    scope="module",
    params=["loop", pytest.param("serve", marks=[pytest.mark.slow, pytest.mark.processes])],
)
def cell(request: pytest.FixtureRequest) -> Iterator[Cell]:
    if request.param == "serve":
        with node_processes() as (served, _):
            wait_until_all_serve(served)
            yield served
        return
    with thread_cell() as found:
        yield found.cell


@pytest.fixture(params=KINDS)
def face(request: pytest.FixtureRequest, cell: Cell) -> Face:
    return Face(request.param, cell)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test takes."""
    return str(request.node.name)


@pytest.fixture
def mortal() -> Iterator[ThreadCell]:
    """A cell of this test's own, which it may silence."""
    with thread_cell() as found:
        yield found
