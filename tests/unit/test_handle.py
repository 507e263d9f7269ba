"""Handles: one word for one grant."""

from __future__ import annotations

import base64
import re
from typing import Any, cast

import cbor2
import pytest

from paxlock import LeaseLost, NotAcquired, State
from paxlock.client.detached import renewing
from paxlock.client.handle import Handle, format_handle, parse_handle
from paxlock.core.lease import TERM_MAX
from paxlock.core.session.events import Answered, HandleOutcome
from paxlock.core.session.judgement import Judgement
from paxlock.errors import ConfigError

CELL = bytes(range(16))
SESSION = bytes(range(16, 32))
SECRET = bytes(range(32, 48))
HANDLE = Handle(CELL, "jobs/nightly", SESSION, 7, 12, SECRET)
TEXT = "pl1.hlAAAQIDBAUGBwgJCgsMDQ4PbGpvYnMvbmlnaHRseVAQERITFBUWFxgZGhscHR4fBwxQICEiIyQlJicoKSorLC0uLw"


def word(*fields: object) -> str:
    return "pl1." + base64.urlsafe_b64encode(cbor2.dumps(list(fields))).decode().rstrip("=")


def test_golden() -> None:
    assert format_handle(HANDLE) == TEXT
    assert parse_handle(TEXT) == HANDLE
    assert parse_handle(f" {TEXT}\n") == HANDLE


@pytest.mark.parametrize("name", ["n", "n" * 255, "\N{GREEK SMALL LETTER ALPHA}" * 127, "a b\n'$"])
def test_round_trip_and_shell_safe(name: str) -> None:
    handle = Handle(CELL, name, SESSION, 1 << 62, TERM_MAX, SECRET)
    text = format_handle(handle)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", text)
    assert parse_handle(text) == handle


def test_short_form_is_no_secret() -> None:
    assert HANDLE.short == TEXT[:12]
    for secret in (SESSION, CELL, SECRET):
        assert str(secret) not in repr(HANDLE)


def test_a_handle_without_a_secret_is_refused_with_a_sentence_of_its_own() -> None:
    packed = cbor2.dumps([CELL, "jobs/nightly", SESSION, 7, 12])
    old = "pl1." + base64.urlsafe_b64encode(packed).decode().rstrip("=")
    with pytest.raises(ConfigError, match=r"older version.*acquire the name anew") as caught:
        parse_handle(old)
    assert old[12:] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pl1.",
        "jobs",
        "pl2" + TEXT[3:],
        TEXT[:-1],
        TEXT + "A",
        TEXT + "=",
        TEXT[:-1] + "x",
        "pl1.\N{GREEK SMALL LETTER ALPHA}",
        "pl1.!!!!",
        "pl1." + "A" * 5000,
        word(CELL, "n", SESSION, 7, 12, 1),
        word(CELL, "n", SESSION, 7, 12, SECRET, 1),
        word(CELL, "n", SESSION, 7, 12, SECRET[1:]),
        word(CELL, "n", SESSION, 7, 12, b""),
        word(CELL[:15], "n", SESSION, 7, 12, SECRET),
        word(CELL, "", SESSION, 7, 12, SECRET),
        word(CELL, "n" * 256, SESSION, 7, 12, SECRET),
        word(CELL, "n", SESSION[:8], 7, 12, SECRET),
        word(CELL, "n", SESSION, True, 12, SECRET),
        word(CELL, "n", SESSION, -1, 12, SECRET),
        word(CELL, "n", SESSION, 7, TERM_MAX + 1, SECRET),
        word(CELL, "n", SESSION, 7, 1.0, SECRET),
        "pl1." + base64.urlsafe_b64encode(cbor2.dumps({1: 2})).decode().rstrip("="),
    ],
)
def test_anything_else_is_not_a_handle(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a handle"):
        parse_handle(text)


def test_the_whole_word_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_handle(TEXT + "A")
    assert TEXT[:12] in str(caught.value) and TEXT[:14] not in str(caught.value)


class Desk:
    """What the script asks of a desk; nothing is sent."""

    def __init__(self) -> None:
        self.time = 0.0

    session = property(lambda self: self)

    def shortfall(self, now: float) -> str:
        return "1 of 3 nodes answered, 2 needed"

    def grant(self, handle: str) -> Handle:
        return parse_handle(handle)

    def now(self) -> float:
        return self.time

    def renew_detached(self, grant: Handle, wait: float | None, receiver: object) -> int:
        raise AssertionError("asked by whoever plays the script")

    def poll(self, name: str, receiver: object, *, line: bool) -> int:
        raise AssertionError("asked by whoever plays the script")


def renewed(wait: float | None = None) -> tuple[Any, Desk, Any]:
    """A script whose renewal has been done, its desk, and what it asks next."""
    desk = Desk()
    script = renewing(cast(Any, desk), TEXT, wait)
    next(script)
    return script, desk, script.send(HandleOutcome(1, done=True, over=False))


def answered(state: State, term: int = 12, remaining: float = 0.0) -> Answered:
    return Answered(2, Judgement(state, term, None, remaining), (), 2)


def left(script: Any, answer: Answered) -> float:
    """What the script gives for this answer."""
    with pytest.raises(StopIteration) as end:
        script.send(answer)
    return cast(float, end.value.value)


def test_what_is_left_of_a_renewed_grant_is_what_a_quorum_holds() -> None:
    script, _, ask = renewed()
    assert ask.keywords == {"line": False}
    assert left(script, answered(State.LED, remaining=9.5)) == 9.5


@pytest.mark.parametrize("first", [answered(State.LED), answered(State.UNKNOWN)])
def test_it_is_asked_again_of_all_nodes_where_too_few_have_told(first: Answered) -> None:
    """Of the two that have answered one does not hold it, and the third was not asked."""
    script, _, _ = renewed()
    assert script.send(first).keywords == {"line": True}
    assert left(script, answered(State.LED)) == 0.0  # nobody knows more


def test_without_a_quorum_it_is_asked_until_the_time_is_over() -> None:
    script, desk, _ = renewed(wait=2.0)
    script.send(answered(State.UNKNOWN))
    desk.time = 2.0
    with pytest.raises(NotAcquired, match=r"not renewed: no quorum \(1 of 3 nodes answered, 2 needed\)$"):
        script.send(answered(State.UNKNOWN))


@pytest.mark.parametrize("over", [answered(State.FREE), answered(State.LED, term=13)])
def test_a_grant_that_has_ended_since_is_lost(over: Answered) -> None:
    script, _, _ = renewed()
    with pytest.raises(LeaseLost):
        script.send(over)
