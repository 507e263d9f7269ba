"""Log lines on stderr: text for people, JSON for programs; written by a thread, so that a pipe which nobody
reads does not hold up the node.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from paxlock.observe.noticing import LogLine

__all__ = ["QUEUE_MAX", "JsonFormatter", "LineWriter", "TextFormatter", "log", "logging_to_stderr"]

QUEUE_MAX = 1000  #: lines that wait for stderr; what comes beyond is counted
LAST_WORDS_S = 1.0  #: how long the end waits for what is still to be written
LOGGER = "paxlock"
FACTS = "paxlock_facts"  #: the attribute of a log record with what its line is about

# A library says nothing on the stderr of a program that has not asked for it.
logging.getLogger(LOGGER).addHandler(logging.NullHandler())


def log(logger: logging.Logger, line: LogLine, node: str) -> None:
    """Hand one line to ``logging``; handlers find its facts in ``record.paxlock_facts``."""
    facts = {"node": node, "event": line.event, **line.fields}
    logger.log(int(line.level), "%s", line.sentence, extra={FACTS: facts})


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _sentence(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text}: {record.exc_info[1]!r}"
    return text


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z WARNING [a] node b does not answer for 3.6 s``: always one line."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, FACTS, {})
        node = f" [{facts['node']}]" if "node" in facts else ""
        return f"{_time(record)} {record.levelname}{node} {_printable(_sentence(record))}"


class JsonFormatter(logging.Formatter):
    """One object a line: ``time``, ``level``, ``logger``, ``message``, and the facts of the line."""

    def format(self, record: logging.LogRecord) -> str:
        own = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _sentence(record),
        }
        facts = {key: one for key, one in getattr(record, FACTS, {}).items() if key not in own}
        return json.dumps({**own, **facts}, separators=(",", ":"), ensure_ascii=True, default=str)


class LineWriter(logging.Handler):
    """Writes lines by a thread of its own, and never makes the one who logs wait; what finds no room is
    counted (``lost``), and told with the next line that finds some.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__()
        self.lost = 0
        self._write = write
        self._lines: queue.Queue[bytes | None] = queue.Queue(QUEUE_MAX)
        self._thread = threading.Thread(target=self._run, name="paxlock log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.lost and self._lines.qsize() < QUEUE_MAX - 1:
                number, self.lost = self.lost, 0
                sentence = f"{number} lines of this log were lost: what reads it is too slow"
                self._put(logging.LogRecord(LOGGER, logging.WARNING, "", 0, sentence, None, None))
            self._put(record)
        except Exception:  # noqa: BLE001 - a line that cannot be made must not stop who logs
            self.lost += 1

    def _put(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode("ascii", "backslashreplace")
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.lost += 1

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            with suppress(OSError, ValueError):
                self._write(line)

    def close(self) -> None:
        """Write what waits, for at most LAST_WORDS_S."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=LAST_WORDS_S)
        self._thread.join(LAST_WORDS_S)
        super().close()


def _write_stderr(line: bytes) -> None:
    # Past Python's buffer: its lock, held by a thread that cannot write, would stop the end of the process.
    while line:
        line = line[os.write(2, line) :]


@contextmanager
def logging_to_stderr(form: str | None, level: int) -> Iterator[None]:
    """Within the block paxlock's loggers write to stderr. ``form`` is ``text``, ``json``, or None: text on a
    terminal, JSON elsewhere.
    """
    if form is None:
        form = "text" if sys.stderr is not None and sys.stderr.isatty() else "json"
    handler = LineWriter(_write_stderr)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
    logger = logging.getLogger(LOGGER)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        handler.close()
