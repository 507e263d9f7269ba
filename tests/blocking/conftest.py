"""One cell for all tests that leave its nodes in peace: each has names of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paxlock import Cell
from paxlock.blocking import Client, open_client
from tests.blocking.cells import Script, scripts, thread_cell


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with thread_cell() as found:
        yield found.cell


@pytest.fixture
def client(cell: Cell) -> Iterator[Client]:
    with open_client(cell) as found:
        yield found


@pytest.fixture
def other(cell: Cell) -> Iterator[Client]:
    with open_client(cell, label="other") as found:
        yield found


@pytest.fixture
def path(cell: Cell, tmp_path: Path) -> str:
    """The file of the cell, for other processes."""
    cell.save(tmp_path / "cell.toml")
    return str(tmp_path / "cell.toml")


@pytest.fixture
def run() -> Iterator[Callable[..., Script]]:
    with scripts() as start:
        yield start
