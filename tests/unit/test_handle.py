"""Handles: one word for one grant."""

from __future__ import annotations

import base64
import re

import cbor2
import pytest

from paxlock import LeaseLost, NotAcquired, State
from paxlock.client.handle import Handle, format_handle, left_of, parse_handle
from paxlock.client.standing import Standing
from paxlock.core.lease import TERM_MAX
from paxlock.errors import ConfigError

CELL = bytes(range(16))
SESSION = bytes(range(16, 32))
HANDLE = Handle(CELL, "jobs/nightly", SESSION, 7, 12)
TEXT = "pl1.hVAAAQIDBAUGBwgJCgsMDQ4PbGpvYnMvbmlnaHRseVAQERITFBUWFxgZGhscHR4fBww"


def word(*fields: object) -> str:
    return "pl1." + base64.urlsafe_b64encode(cbor2.dumps(list(fields))).decode().rstrip("=")


def test_golden() -> None:
    assert format_handle(HANDLE) == TEXT
    assert parse_handle(TEXT) == HANDLE
    assert parse_handle(f" {TEXT}\n") == HANDLE


@pytest.mark.parametrize("name", ["n", "n" * 255, "\N{GREEK SMALL LETTER ALPHA}" * 127, "a b\n'$"])
def test_round_trip_and_shell_safe(name: str) -> None:
    handle = Handle(CELL, name, SESSION, 1 << 62, TERM_MAX)
    text = format_handle(handle)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", text)
    assert parse_handle(text) == handle


def test_short_form_is_no_secret() -> None:
    assert HANDLE.short == TEXT[:12]
    assert str(SESSION) not in repr(HANDLE) and str(CELL) not in repr(HANDLE)


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
        word(CELL, "n", SESSION, 7),
        word(CELL, "n", SESSION, 7, 12, 1),
        word(CELL[:15], "n", SESSION, 7, 12),
        word(CELL, "", SESSION, 7, 12),
        word(CELL, "n" * 256, SESSION, 7, 12),
        word(CELL, "n", SESSION[:8], 7, 12),
        word(CELL, "n", SESSION, True, 12),
        word(CELL, "n", SESSION, -1, 12),
        word(CELL, "n", SESSION, 7, TERM_MAX + 1),
        word(CELL, "n", SESSION, 7, 1.0),
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


def standing(state: State, term: int = 12, remaining: float = 0.0) -> Standing:
    return Standing("jobs/nightly", state, term, remaining=remaining)


def test_what_is_left_of_a_renewed_grant_is_asked_for_until_it_is_known() -> None:
    held_by_one = standing(State.LED)  # of the two that answered, and a third was not asked
    assert left_of(HANDLE, standing(State.LED, remaining=9.5), asked_all=False, asked_enough=False) == 9.5
    assert left_of(HANDLE, held_by_one, asked_all=False, asked_enough=False) is None
    assert left_of(HANDLE, held_by_one, asked_all=True, asked_enough=False) == 0.0
    assert left_of(HANDLE, standing(State.UNKNOWN), asked_all=True, asked_enough=False) is None
    with pytest.raises(NotAcquired):
        left_of(HANDLE, standing(State.UNKNOWN), asked_all=True, asked_enough=True)
    for over in (standing(State.FREE), standing(State.LED, term=13)):
        with pytest.raises(LeaseLost):
            left_of(HANDLE, over, asked_all=False, asked_enough=False)
