"""What people write: the cell file, handles, keys, durations, names and addresses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from paxlock.client.handle import Handle, format_handle, parse_handle
from paxlock.config.cell import Cell
from paxlock.config.cell_file import parse_cell_file
from paxlock.config.cell_text import cell_text
from paxlock.config.durations import format_duration, parse_duration
from paxlock.config.keys import format_key, parse_key
from paxlock.config.sources import Source
from paxlock.config.syntax import check_label, check_name, check_node_id, normal_address, split_address
from paxlock.errors import ConfigError

from .engine import Broken, Target, check
from .traffic import CELL_ID, MEMBERS

__all__ = ["CONFIG"]

INPUT_MAX_BYTES = 2_000

Read = TypeVar("Read")


def reread(read: Callable[[str], Read], text: str) -> Read:
    """Read what was written by ourselves: that must not fail."""
    try:
        return read(text)
    except ConfigError as error:
        raise Broken(f"what was written is not read: {error}") from error


def cell_of(text: str) -> Cell:
    table = parse_cell_file(text)
    table.pop("key_file", None)  # another file, of another form
    return Cell._from_table(table | {"insecure": True}, Path(), ((), b""), Source())


def cell_file(text: str) -> None:
    cell = cell_of(text)
    check(reread(cell_of, cell_text(cell, "")) == cell, "a cell file reads back differently")


def handle(text: str) -> None:
    check(format_handle(parse_handle(text)) == text.strip(), "one grant has two handles")


def key(text: str) -> None:
    check(format_key(parse_key(text)) == text.strip(), "one key has two forms")


def duration(text: str) -> None:
    seconds = parse_duration(text)
    again = reread(parse_duration, format_duration(seconds))
    check(abs(again - seconds) <= 1e-6, "a duration reads back differently")


def address(text: str) -> None:
    host, port = split_address(text)
    check(host and 1 <= port <= 65_535, "an address without a host or a port")
    host, port = normal_address(text)
    written = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    check(reread(normal_address, written) == (host, port), "the normal form of an address is not normal")


READERS: tuple[Callable[[str], object], ...] = (
    *(cell_file, handle, key, duration, address),
    *(check_name, check_label, check_node_id),
)


def run(data: bytes) -> None:
    """ConfigError, or a value that reads back the same."""
    if not data:
        return
    text = data[1:].decode("utf-8", "surrogateescape")
    try:
        READERS[data[0] % len(READERS)](text)
    except ConfigError as error:
        check(str(error), "an error without a word")


def change(data: bytes, rng: Random, change_bytes: Callable[[bytes], bytes]) -> bytes:
    if rng.random() < 0.02:
        return bytes((rng.randrange(len(READERS)),)) + data[1:]
    return data[:1] + change_bytes(data[1:])


def seeds() -> list[bytes]:
    cell = Cell(cell_id=CELL_ID, epoch=3, members=MEMBERS, insecure=True, unsealed=True)
    texts: dict[Callable[[str], object], list[str]] = {
        cell_file: [
            cell_text(cell, "cell.key"),
            '[cell]\nid="00112233445566778899aabbccddeeff"\nepoch=1\nnodes=[{id="a",address="h:1"}]\n',
        ],
        handle: [format_handle(Handle(CELL_ID, "n", b"S" * 16, 1, 7, b"s" * 16))],
        key: [format_key(bytes(range(32)))],
        duration: ["0", "250ms", "1m30s", "1.5h", "2h0.25s"],
        address: ["10.0.0.7:7400", "[fd00::7]:7400", "host.example.:1", "localhost:65535"],
        check_name: ["n", "m/1", "é" * 127],
        check_label: ["", "host:12"],
        check_node_id: ["a", "node-1"],
    }
    return [
        bytes((number,)) + text.encode() for number, reader in enumerate(READERS) for text in texts[reader]
    ]


CONFIG = Target("config", run, change, seeds, INPUT_MAX_BYTES)
