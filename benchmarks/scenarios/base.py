"""What a scenario is: how it measures one peer in one round, and how its figures are shown."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.peers.base import Peer

Measure = Callable[[Bench, Peer], Figures]


@attrs.frozen
class Column:
    """One figure of a table. ``unit`` is one of report.UNITS; figures are kept in seconds and bytes."""

    key: str
    heading: str
    unit: str
    compared: bool = True  #: shown with its ratio to paxlock's


def columns(unit: str, *, compared: bool = True, **headings: str) -> tuple[Column, ...]:
    """Columns of one unit, by their keys."""
    return tuple(Column(key, heading, unit, compared) for key, heading in headings.items())


@attrs.frozen
class Table:
    title: str
    columns: tuple[Column, ...]


@attrs.frozen
class Scenario:
    """``others`` are measured at the beginning of each round, by name: the floor, or the project itself."""

    key: str
    title: str
    tables: tuple[Table, ...]
    measure: Measure | None = None
    others: tuple[tuple[str, Callable[[Bench], Figures]], ...] = ()
