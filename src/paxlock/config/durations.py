"""Durations as people write them: ``250ms``, ``15s``, ``1m30s``, ``2h`` (contract.md section 3)."""

from __future__ import annotations

import datetime as dt
import math
import re
from numbers import Real

from paxlock.errors import ConfigError

__all__ = [
    "DURATION_MAX_S",
    "abbreviate",
    "check_at_least",
    "check_seconds",
    "check_wait",
    "format_duration",
    "parse_duration",
]

DURATION_MAX_S = 366 * 24 * 3600.0
TEXT_SHOWN_MAX_CHARS = 40
MICROS_PER_S = 1_000_000

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")
_UNITS_S = (3600.0, 60.0, 1.0, 0.001)


def parse_duration(text: str) -> float:
    """Read a duration and return it in seconds.

    Hours, minutes, seconds and milliseconds in this order, each at most once: ``250ms``, ``1.5s``, ``1m30s``,
    ``2h``. Only ``0`` may stand without a unit. Raises ConfigError for anything else, a negative duration,
    and one above DURATION_MAX_S.
    """
    if not isinstance(text, str):
        raise ConfigError(f'a duration is a text such as "250ms" or "15s", not {abbreviate(text)}')
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ConfigError(f"{abbreviate(text)} is not a duration: {_advice(text)}")
    parts = zip(match.groups(), _UNITS_S, strict=True)
    seconds = math.fsum(float(number) * unit for number, unit in parts if number is not None)
    if not seconds <= DURATION_MAX_S:
        raise ConfigError(
            f"the duration {abbreviate(text)} is too long: give at most {DURATION_MAX_S / 3600:.0f}h"
        )
    return seconds


def check_seconds(what: str, seconds: float) -> float:
    """Return a number of seconds; raise TypeError for anything else. Its range is another check."""
    if isinstance(seconds, float | int):
        return seconds
    if isinstance(seconds, Real):
        return float(seconds)
    advice = ""
    if isinstance(seconds, dt.timedelta):
        advice = ": give its total_seconds()"
    elif isinstance(seconds, str):
        advice = ": only the command line takes a text such as 250ms or 15s"
    raise TypeError(f"{what} must be seconds as a number, such as 10.0, not {abbreviate(seconds)}{advice}")


def check_wait(wait: float | None) -> None:
    """Raise TypeError or ConfigError for what is no time to wait: None, for ever, or 0 or more seconds."""
    if wait is not None and not check_seconds("wait", wait) >= 0:
        raise ConfigError(f"wait must be None, 0 or more seconds, not {wait!r}")


def check_at_least(at_least: float) -> None:
    """Raise TypeError or ConfigError for what is no time that a lease could be kept."""
    if not 0.0 <= check_seconds("at_least", at_least) < math.inf:
        raise ConfigError(f"at_least must be 0 or more seconds, and finite, not {at_least!r}")


def format_duration(seconds: float) -> str:
    """Write a duration so that parse_duration reads it back, to the microsecond.

    Raises ConfigError for a negative one, one above DURATION_MAX_S, and for what is no number.
    """
    if not 0 <= seconds <= DURATION_MAX_S:
        raise ConfigError(f"a duration is from 0 to {DURATION_MAX_S:.0f} seconds, not {seconds!r}")
    micros = round(seconds * MICROS_PER_S)
    if micros == 0:
        return "0"
    if micros < MICROS_PER_S:
        return _decimal(micros, 3) + "ms"
    minutes, micros = divmod(micros, 60 * MICROS_PER_S)
    hours, minutes = divmod(minutes, 60)
    return (
        (f"{hours}h" if hours else "")
        + (f"{minutes}m" if minutes else "")
        + (f"{_decimal(micros, 6)}s" if micros else "")
    )


def _decimal(number: int, places: int) -> str:
    whole, rest = divmod(number, 10**places)
    return f"{whole}.{rest:0{places}d}".rstrip("0").rstrip(".")


def _advice(text: str) -> str:
    if text.startswith("-"):
        return "it must not be negative"
    if re.fullmatch(_NUMBER, text):
        return f'give it a unit, such as "{text[:TEXT_SHOWN_MAX_CHARS]}s"'
    return "write it like 250ms, 15s, 1m30s or 2h"


def abbreviate(value: object) -> str:
    """The value as shown in an error message: its repr, cut to a bounded length."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number with more than some thousand digits
        return "a number with very many digits"
    return text if len(text) <= TEXT_SHOWN_MAX_CHARS else text[: TEXT_SHOWN_MAX_CHARS - 3] + "..."
