"""Log lines: one each, whatever is in them; and whoever logs never waits for who reads."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from paxlock.observe.logs import QUEUE_MAX, JsonFormatter, LineWriter, TextFormatter, log
from paxlock.observe.noticing import Level, LogLine

NASTY = "node b\n\x1b[31m is\u202e"


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    logger, handler = logging.getLogger("paxlock.test_logs"), Keep()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # pytest would send what it caught to another process, as UTF-8
    yield found
    logger.propagate = True
    logger.removeHandler(handler)


def logged(records: list[logging.LogRecord], sentence: str, **fields: object) -> logging.LogRecord:
    log(logging.getLogger("paxlock.test_logs"), LogLine(Level.WARNING, "peer_down", sentence, fields), "a")
    return records[-1]


def test_text_has_time_level_and_node_in_one_line(records: list[logging.LogRecord]) -> None:
    line = TextFormatter().format(logged(records, "node b does not answer for 3.6 s", peer="b"))
    time, level, rest = line.split(" ", 2)
    assert time.endswith("Z") and len(time) == len("2026-01-31T12:00:00.000Z")
    assert (level, rest) == ("WARNING", "[a] node b does not answer for 3.6 s")


def test_json_has_time_level_node_and_peer_as_fields(records: list[logging.LogRecord]) -> None:
    found = json.loads(JsonFormatter().format(logged(records, "gone", peer="b", seconds=3.6, message="x")))
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "warning",
        "logger": "paxlock.test_logs",
        "message": "gone",
        "node": "a",
        "event": "peer_down",
        "peer": "b",
        "seconds": 3.6,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_nothing_breaks_a_line_or_steers_a_terminal(
    records: list[logging.LogRecord], formatter: logging.Formatter
) -> None:
    line = formatter.format(logged(records, NASTY, peer=NASTY))
    assert "\n" not in line and "\x1b" not in line and "\u202e" not in line
    line.encode("ascii", "backslashreplace")


def test_who_logs_does_not_wait_for_a_reader_that_has_stopped() -> None:
    written: list[bytes] = []
    reading, began = threading.Event(), threading.Event()

    def write(line: bytes) -> None:
        began.set()
        assert reading.wait(30)
        written.append(line)

    handler = LineWriter(write)
    handler.setFormatter(TextFormatter())

    def emit(sentence: str) -> None:
        handler.handle(logging.LogRecord("paxlock", logging.INFO, "", 0, sentence, None, None))

    emit("first")
    assert began.wait(30)
    for number in range(QUEUE_MAX + 50):
        emit(f"line {number}")
    assert handler.lost == 50
    reading.set()
    while handler._lines.qsize() > QUEUE_MAX // 2:
        began.wait(0.01)
    emit("last")
    handler.close()
    assert written[0].endswith(b" first\n") and written[-1].endswith(b" last\n")
    assert b"50 lines of this log were lost" in written[-2]
    assert handler.lost == 0


def test_a_library_says_nothing_by_itself() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("paxlock").handlers)
