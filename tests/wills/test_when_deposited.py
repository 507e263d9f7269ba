"""When a lease comes into the will: before the program knows that it holds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from paxlock import Cell
from paxlock.client.desk import Desk, FaceErrors
from paxlock.core.lease import Candidate
from paxlock.core.session.events import Granted
from paxlock.errors import BusyError, ClosedError

CELL = Cell.new({node: f"127.0.0.1:{port}" for port, node in enumerate("abc", 7001)})


class Told:
    """Notes in which order the will and the program are told."""

    def __init__(self, gives_up: bool = False) -> None:
        self.order: list[str] = []
        self._gives_up = gives_up

    def hold(self, *lease: object) -> None:
        self.order.append("named")

    def settle_turn(self) -> None:
        self.order.append("deposited")

    def drop(self, ticket: int) -> None:
        self.order.append("dropped")

    def take(self, event: object) -> Told | None:
        self.order.append("told")
        return None if self._gives_up else self


def granted(told: Told, at_least: float = 0.0) -> list[str]:
    campaign = SimpleNamespace(name="jobs", timing=SimpleNamespace(at_least=at_least))
    session = cast(Any, SimpleNamespace(campaign_of=lambda ticket: campaign))
    errors = FaceErrors(closed=ClosedError, busy=BusyError)
    desk = Desk(CELL, session, now=lambda: 0.0, poke=lambda: None, errors=errors)
    desk.wills = cast(Any, told)
    desk.expect(1, cast(Any, told))
    desk.publish(Granted(1, Candidate(bytes(16), 1), 7, 10.0))
    return told.order


def test_it_is_deposited_before_the_program_is_told() -> None:
    assert granted(Told()) == ["named", "deposited", "told"]


def test_it_is_dropped_where_nobody_wants_it_any_more() -> None:
    assert granted(Told(gives_up=True)) == ["named", "deposited", "told", "dropped"]


@pytest.mark.parametrize("at_least", [0.5, 60.0])
def test_one_that_is_wanted_for_longer_than_the_work_is_not_in_it(at_least: float) -> None:
    assert granted(Told(), at_least) == ["told"]
