"""A cell for all tests of a module that leave its nodes in peace, and one for each that silences it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paxlock import Cell
from tests.blocking.cells import ThreadCell, thread_cell
from tests.conformance.faces import KINDS, Face


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
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
