"""``paxlock ls`` of more names than can be told at once: how long it waits."""

from __future__ import annotations

from typing import cast

import pytest
import trio
from trio.testing import MockClock

from paxlock.cli.status import ANSWER_WAIT_S, _list_while_answers_come
from paxlock.client.client import Client
from paxlock.client.face import Statistics
from paxlock.client.standing import Standing, State
from paxlock.core.statistics import SessionStatistics
from paxlock.errors import NotAllowed

FOUND = [Standing("x", State.LED)]


class SlowClient:
    """What ``ls`` asks of a client: a list that takes ``seconds``, and until ``silent`` an answer in each."""

    def __init__(self, kind: str, seconds: float, silent: float) -> None:
        self._kind, self._seconds, self._silent = kind, seconds, silent

    async def list(self, prefix: str) -> list[Standing]:
        assert prefix == "p"
        await trio.sleep(self._seconds)
        return FOUND

    def statistics(self) -> Statistics:
        heard = int(min(trio.current_time(), self._silent))
        return Statistics(SessionStatistics(0, 0, 0, 0, 0, {self._kind: heard}), {}, {})


async def listed(kind: str, seconds: float, silent: float) -> list[Standing] | None:
    return await _list_while_answers_come(cast(Client, SlowClient(kind, seconds, silent)), "p")


@pytest.mark.parametrize("kind", ["names", "view"])
async def test_it_takes_as_long_as_answers_come(kind: str, autojump_clock: MockClock) -> None:
    assert await listed(kind, 1000.3, 1000.0) == FOUND


@pytest.mark.parametrize(("kind", "silent"), [("names", 0.0), ("names", 60.0), ("welcome", 1000.0)])
async def test_it_gives_up_when_nothing_has_come_for_some_time(
    kind: str, silent: float, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    assert await listed(kind, 1000.0, silent) is None
    last = silent if kind == "names" else 0.0
    assert last + ANSWER_WAIT_S <= trio.current_time() - began <= last + ANSWER_WAIT_S + 2.0


async def test_a_refusal_comes_out(autojump_clock: MockClock) -> None:
    class Refused(SlowClient):
        async def list(self, prefix: str) -> list[Standing]:
            raise NotAllowed("not this name")

    with pytest.raises(ExceptionGroup) as caught:
        await _list_while_answers_come(cast(Client, Refused("names", 0.0, 0.0)), "p")
    assert caught.group_contains(NotAllowed, match="not this name")
