"""Ending somebody else's tenure by name and term: what the script asks, and what it makes of the answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from paxlock import State
from paxlock.client.administration import revoking
from paxlock.core.lease import Candidate, Lease
from paxlock.core.session.events import Answered, HandleOutcome
from paxlock.core.session.judgement import Judgement

HELD = Lease(Candidate(bytes(16), 1), 20_000, "who", b"")


class Desk:
    """What the script asks of a desk; nothing is sent."""

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}

    allowed = property(lambda self: self)

    def check(self, verb: object, name: str) -> None:
        pass

    def check_open(self) -> None:
        pass

    def now(self) -> float:
        return 0.0

    def poll(self, name: str, receiver: object, **how: object) -> int:
        self.asked = how
        return 1


def answered(remaining: float) -> Answered:
    return Answered(1, Judgement(State.LED, 12, HELD, remaining), (), 2)


def test_what_is_left_after_a_forced_end_is_asked_of_all_where_too_few_have_told() -> None:
    """Of the two that have answered one does not hold it, and the third was not asked."""
    desk = Desk()
    script: Any = revoking(cast(Any, desk), "jobs", 12, force=True, wait=5.0)

    def asks(ask: Any) -> dict[str, object]:
        ask(None)
        return desk.asked

    assert asks(next(script)) == {"line": False}
    script.send(answered(0.0))
    assert asks(script.send(HandleOutcome(2, done=True, over=False))) == {"line": False}
    assert asks(script.send(answered(0.0))) == {"line": True}
    with pytest.raises(StopIteration) as end:
        script.send(answered(9.5))
    assert end.value.value == 9.5
