from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import paxlock
from paxlock.config import cell_file as cellfile
from paxlock.config.cell import (
    Cell,
    ClientSettings,
    Member,
    NodeConfig,
    check_address,
    check_data,
    check_label,
    check_name,
    check_node_id,
    client_settings,
    format_duration,
    node_settings,
    parse_duration,
    split_address,
)
from paxlock.config.cell_file import read_key_file
from paxlock.config.keys import format_key, key_id
from paxlock.core.durable import Durability
from paxlock.errors import ConfigError

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
THREE = {"a": "10.0.0.7:7400", "b": "10.0.0.8:7400", "c": "10.0.0.9:7400"}
LOCAL = {"a": "127.0.0.1:7400", "b": "localhost:7401", "c": "[::1]:7402"}
LOCAL_TEXT = (
    '[cell]\nid = "000102030405060708090a0b0c0d0e0f"\nepoch = 1\n'
    'nodes = [{id = "a", address = "127.0.0.1:7400"}]\n'
)


def unsealed(members: dict[str, str] = LOCAL, **settings: Any) -> Cell:
    listed = [Member(node_id, address) for node_id, address in members.items()]
    return Cell(cell_id=bytes(16), epoch=1, members=listed, unsealed=True, **settings)


@pytest.fixture
def cell_path(tmp_path: Path) -> Path:
    path = tmp_path / "cell.toml"
    Cell.new(THREE, key=KEY).save(path)
    return path


@pytest.fixture
def other_key_path(tmp_path: Path) -> Path:
    path = tmp_path / "other.key"
    path.touch(0o600)
    path.write_text(format_key(OTHER_KEY) + "\n")
    return path


# --- durations ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("250ms", 0.25),
        ("15s", 15.0),
        ("1.5s", 1.5),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("1h1m1s1ms", 3661.001),
        ("5m", 300.0),
        ("90s", 90.0),
        ("8784h", 366 * 86400.0),
    ],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a duration: write it like 250ms, 15s, 1m30s or 2h"),
        ("15", 'is not a duration: give it a unit, such as "15s"'),
        ("1.5", 'such as "1.5s"'),
        ("00", "give it a unit"),
        ("-5s", "must not be negative"),
        ("5 s", "write it like"),
        (" 5s", "write it like"),
        ("5s\n", "write it like"),
        ("30s1m", "write it like"),
        ("1s1s", "write it like"),
        ("5d", "write it like"),
        (".5s", "write it like"),
        ("1e3s", "write it like"),
        ("٣s", "write it like"),
        ("infs", "write it like"),
        ("8785h", "is too long: give at most 8784h"),
        ("9" * 500 + "s", r"\.\.\. is too long"),
    ],
)
def test_what_is_not_a_duration(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_duration(text)
    assert len(str(caught.value)) < 200


def test_a_duration_is_a_text() -> None:
    with pytest.raises(ConfigError, match="a duration is a text"):
        parse_duration(15)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (0.25, "250ms"),
        (0.0005, "0.5ms"),
        (15, "15s"),
        (1.5, "1.5s"),
        (60, "1m"),
        (59.9999999, "1m"),
        (90, "1m30s"),
        (7200, "2h"),
        (86400, "24h"),
        (3605.25, "1h5.25s"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e9])
def test_what_cannot_be_formatted(seconds: float) -> None:
    with pytest.raises(ConfigError, match="a duration is from 0 to"):
        format_duration(seconds)


@given(st.floats(0, 366 * 86400.0))
def test_durations_come_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1.1e-6)


@given(st.text("0123456789.hms ", max_size=12))
def test_any_text_is_a_duration_or_a_config_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ConfigError:
        return
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1.1e-6)


# --- names, labels, data, node ids, addresses ---


@pytest.mark.parametrize("name", ["x", "nightly report", "é" * 127, "a/b:c", "*x", "漢字"])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a name must not be empty"),
        ("x" * 256, "a name must be at most 255 bytes of UTF-8, not 256"),
        ("é" * 128, "not 256"),
        ("a\0b", "must not contain control characters"),
        ("a\n", "control characters"),
        ("a\x7f", "control characters"),
        ("a\x85", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\u202eb", r"must not contain U\+202E, which nobody can see: leave it out"),
        ("a\u200bb", r"must not contain U\+200B"),
        ("\ufeffa", r"must not contain U\+FEFF"),
        ("\udcff", "is not valid UTF-8"),
        ("jobs/*", "must not end in '\\*'"),
        (b"x", "a name must be text, not bytes"),
    ],
)
def test_bad_names(name: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_name(name)


def test_two_spellings_of_a_letter_are_one() -> None:
    assert check_name("cafe\u0301") == check_name("caf\u00e9") == "caf\u00e9"
    assert check_label("cafe\u0301") == "caf\u00e9"
    assert check_name("e\u0301" * 127) == "\u00e9" * 127  # the limit is that of what is kept


def test_labels() -> None:
    assert check_label("") == ""
    assert check_label("x" * 64) == "x" * 64
    assert check_label("star*") == "star*"
    with pytest.raises(ConfigError, match="a label must be at most 64 bytes of UTF-8, not 65"):
        check_label("x" * 65)
    with pytest.raises(ConfigError, match=r"the label .* must not contain control characters"):
        check_label("tab\t")
    with pytest.raises(ConfigError, match=r"the label .* must not contain U\+202E"):
        check_label("a\u202eb")


def test_data() -> None:
    assert check_data(b"\0" * 512) == b"\0" * 512
    with pytest.raises(ConfigError, match="data must be at most 512 bytes, not 513"):
        check_data(bytes(513))
    with pytest.raises(ConfigError, match="data must be bytes, not str: encode it first"):
        check_data("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("node_id", ["", "x" * 17, "a b", "é", "a.b", "a\n", None])
def test_bad_node_ids(node_id: Any) -> None:
    with pytest.raises(ConfigError, match="is not a node id: use 1 to 16 ASCII letters"):
        check_node_id(node_id)
    assert check_node_id("A-z_" + "0" * 12) == "A-z_" + "0" * 12


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.0.7:7400", "10.0.0.7", 7400),
        ("node-1.example.org:1", "node-1.example.org", 1),
        ("localhost:65535", "localhost", 65535),
        ("my_host.:80", "my_host.", 80),
        ("[::1]:7400", "::1", 7400),
        ("[fe80::1%eth0]:7400", "fe80::1%eth0", 7400),
    ],
)
def test_good_addresses(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "host",
            "host:",
            ":7400",
            "host:0",
            "host:65536",
            "host:123456",
            "host:-1",
            "::1:7400",
            "[::1]",
        ),
        *(
            "[::1]7400",
            "[10.0.0.1]:1",
            "[host]:1",
            "10.0.0.256:1",
            "10.0.0:1",
            "a b:1",
            "-a:1",
            "a-:1",
            "a..b:1",
        ),
        *("hé:1", "a:\uff11", None, "a" * 64 + ":1", ".".join(["a" * 60] * 5) + ":1", "a:1\n", "user@host:1"),
    ],
)
def test_bad_addresses(address: Any) -> None:
    with pytest.raises(ConfigError, match=r"is not an address: write host:port or \[v6\]:port"):
        check_address(address)


# --- the cell ---


def test_a_new_cell() -> None:
    cell = Cell.new(THREE)
    assert cell.members == (
        Member("a", "10.0.0.7:7400"),
        Member("b", "10.0.0.8:7400"),
        Member("c", "10.0.0.9:7400"),
    )
    assert (cell.epoch, cell.quorum, cell.node_ids) == (1, 2, ("a", "b", "c"))
    assert (cell.max_ttl_ms, cell.configuration.drift_ppm, cell.grace_ms) == (30_000, 10_000, 200)
    assert not cell.unsealed
    [(number, key)] = cell.keys
    assert len(cell.cell_id) == 16 and len(key) == 32 and number == key_id(key)
    other = Cell.new(cell.members)
    assert other.members == cell.members
    assert other.cell_id != cell.cell_id and other.keys != cell.keys
    assert cell.address_of("b") == "10.0.0.8:7400"


@pytest.mark.parametrize(("count", "quorum"), [(1, 1), (3, 2), (5, 3), (7, 4)])
def test_the_sizes_of_a_cell(count: int, quorum: int) -> None:
    cell = Cell.new({f"n{i}": f"10.0.0.{i}:7400" for i in range(count)}, key=KEY)
    assert cell.quorum == quorum


@pytest.mark.parametrize(
    ("count", "why"), [(0, "not 0$"), (2, "even"), (4, "even"), (6, "even"), (8, "not 8$")]
)
def test_other_sizes_are_refused(count: int, why: str) -> None:
    with pytest.raises(ConfigError, match=f"nodes: a cell has 1, 3, 5 or 7 nodes, not {count}") as caught:
        Cell.new({f"n{i}": f"10.0.0.{i}:7400" for i in range(count)}, key=KEY)
    assert re.search(why, str(caught.value))


def test_a_key_is_never_shown(cell_path: Path) -> None:
    cell = Cell.load(cell_path)
    shown = repr(cell) + repr(client_settings(cell, environ={})) + repr(NodeConfig(cell, "a", "data"))
    for form in (repr(KEY)[2:-1], KEY.hex(), format_key(KEY).split(":")[1]):
        assert form not in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell_id": b"short"}, "the cell id must be 16 bytes"),
        ({"epoch": 0}, "epoch must be an integer from 1"),
        ({"epoch": True}, "epoch must be an integer from 1"),
        ({"epoch": 1 << 32}, "epoch must be an integer from 1 to 4294967295"),
        ({"max_ttl": 0.1}, "max_ttl must be from 200ms to 24h, not 0.1 s"),
        ({"max_ttl": 86401}, "max_ttl must be from 200ms to 24h"),
        ({"max_ttl": float("nan")}, "max_ttl, grace and sit_out are numbers of seconds, not nan"),
        ({"max_ttl": "30s"}, "max_ttl, grace and sit_out are numbers of seconds, not '30s'"),
        ({"grace": 0.0004}, "grace must be at least 1ms and below max_ttl"),
        ({"grace": 30.0}, "grace must be at least 1ms and below max_ttl, not 30 s"),
        ({"drift": -0.01}, "drift must be from 0 to 0.1, not -0.01"),
        ({"drift": 0.11}, "drift must be from 0 to 0.1"),
        ({"drift": float("inf")}, "drift is a number from 0 to 0.1, not inf"),
        ({"drift": True}, "drift is a number"),
        ({"keys": ((1, b"short"),)}, "a key must be 32 bytes"),
        ({"keys": ((0, KEY),)}, "a key id must be from 1 to 255, not 0"),
        ({"keys": ((256, KEY),)}, "a key id must be from 1 to 255, not 256"),
        ({"keys": ((1, KEY), (1, OTHER_KEY))}, "every key needs a key id of its own"),
        ({"keys": ()}, "a cell needs a key: give one, or say unsealed"),
        ({"unsealed": True}, "a cell that has keys is sealed"),
        ({"members": [Member("a b", "h:1")]}, "'a b' is not a node id"),
        ({"members": [Member("a", "h")]}, "'h' is not an address"),
        ({"members": [Member("a", "0.0.0.0:7400")]}, "stands for all addresses of a host"),
        ({"members": [Member("a", "[::]:7400")]}, "stands for all addresses of a host"),
        ({"members": [Member("a", "[::ffff:0.0.0.0]:7400")]}, "stands for all addresses of a host"),
        ({"members": [Member("a", "224.0.0.1:7400")]}, "is not the address of one host"),
        ({"members": [Member("a", "255.255.255.255:7400")]}, "is not the address of one host"),
        (
            {"members": [Member("a", f"h:{port}") for port in (1, 2, 3)]},
            "an id of its own, but these are a, a, a",
        ),
        (
            {"members": [Member("a", "h:1"), Member("b", "H.:1"), Member("c", "h:2")]},
            "an address of its own, but these are h:1, H.:1, h:2",
        ),
        (
            {"members": [Member("a", "[::1]:1"), Member("b", "[0:0::1]:1"), Member("c", "h:2")]},
            "an address of its own",
        ),
    ],
)
def test_a_cell_is_checked_as_a_whole(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        attrs.evolve(Cell.new(THREE, key=KEY), **changes)


def test_the_bounds_themselves_are_allowed() -> None:
    cell = Cell.new(THREE, max_ttl=0.2, drift=0.1, grace=0.001, key=KEY)
    assert (cell.max_ttl_ms, cell.configuration.drift_ppm, cell.grace_ms) == (200, 100_000, 1)
    assert Cell.new(THREE, max_ttl=86400, drift=0, key=KEY).configuration.drift_ppm == 0


def test_a_short_key_is_refused_by_new() -> None:
    with pytest.raises(ConfigError, match="a key must be 32 bytes"):
        Cell.new(THREE, key=b"secret")


def test_an_unsealed_cell_is_for_loopback_or_the_insistent() -> None:
    assert unsealed().keys == ()
    with pytest.raises(ConfigError, match=r"without a key anybody who reaches 10\.0\.0\.7:7400 can speak"):
        unsealed(THREE)
    assert unsealed(THREE, insecure=True).unsealed
    with pytest.raises(ConfigError, match=r"localhost\.example\.org"):
        unsealed({"a": "localhost.example.org:1"})


# --- the cell file ---


def test_a_saved_cell_comes_back(tmp_path: Path) -> None:
    cell = Cell.new(THREE, max_ttl=90.5, drift=0.000001, grace=0.0123)
    cell.save(tmp_path / "my.cell.toml")
    assert Cell.load(tmp_path / "my.cell.toml") == cell
    key_path = tmp_path / "my.cell.key"
    assert key_path.stat().st_mode & 0o777 == 0o600
    assert key_path.read_text() == format_key(cell.keys[0][1]) + "\n"
    text = (tmp_path / "my.cell.toml").read_text()
    assert 'max_ttl = "1m30.5s"' in text and 'key_file = "my.cell.key"' in text
    assert format_key(cell.keys[0][1]) not in text


def test_a_cell_with_two_keys_and_one_without_come_back(tmp_path: Path) -> None:
    pairs = tuple((key_id(key), key) for key in (KEY, OTHER_KEY))
    for name, cell in {
        "two": attrs.evolve(Cell.new(THREE), keys=pairs),
        "none": unsealed(),
        "open": unsealed(THREE, insecure=True),
    }.items():
        cell.save(str(tmp_path / name))
        assert Cell.load(str(tmp_path / name)) == cell
    assert not (tmp_path / "none.key").exists()


def test_a_file_name_that_needs_quoting(tmp_path: Path) -> None:
    path = tmp_path / 'a "b"\\\x7f é.toml'
    cell = Cell.new(THREE)
    cell.save(path)
    assert Cell.load(path) == cell


def test_save_never_overwrites(tmp_path: Path) -> None:
    path, key_path = tmp_path / "cell.toml", tmp_path / "cell.key"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"cell\.toml exists and is never overwritten"):
        Cell.new(THREE).save(path)
    assert path.read_text() == "mine" and not key_path.exists()
    path.unlink()
    key_path.write_text("mine")
    with pytest.raises(ConfigError, match=r"cell\.key exists and is never overwritten"):
        Cell.new(THREE).save(path)
    assert key_path.read_text() == "mine" and not path.exists()


@pytest.mark.parametrize("path", ["", "cell.key"])
def test_save_needs_a_name_of_its_own(path: str) -> None:
    with pytest.raises(ConfigError, match=r"is no name for a cell file: give one like cell\.toml"):
        Cell.new(THREE).save(path)


@pytest.mark.parametrize("name", ["nowhere/cell.toml", "nul\0.toml", "x" * 300])
def test_save_where_nothing_can_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        Cell.new(THREE).save(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be written"):
        unsealed().save(tmp_path / name)


def test_a_save_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        Cell.new(THREE).save(tmp_path / "cell.toml")
    assert list(tmp_path.iterdir()) == []


def test_the_defaults_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cell.toml"
    path.write_text(LOCAL_TEXT)
    cell = Cell.load(path)
    assert (cell.max_ttl, cell.drift, cell.grace, cell.unsealed) == (30.0, 0.01, 0.2, True)
    assert cell.cell_id == bytes(range(16))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[cell]", "[cell", "this is not TOML"),
        ("[cell]", "[cel]", "unknown key 'cel' in the file; did you mean 'cell'?"),
        (LOCAL_TEXT, "", "cell is missing in the file"),
        (LOCAL_TEXT, "cell = 5", "cell in the file must be a table, not 5"),
        (LOCAL_TEXT, "x = " + "[" * 20_000, "this is not TOML"),
        ("epoch = 1\n", "", "epoch is missing in [cell]"),
        ("epoch = 1", "epoch = true", "epoch in [cell] must be an integer, not True"),
        ("epoch = 1", "epoch = 1.0", "epoch in [cell] must be an integer"),
        ("epoch = 1", "epoch = 0", "epoch must be an integer from 1"),
        (
            "epoch = 1",
            'epoch = 1\nmax_tll = "9s"',
            "unknown key 'max_tll' in [cell]; did you mean 'max_ttl'?",
        ),
        ("epoch = 1", "epoch = 1\nmax_ttl = 30", "max_ttl in [cell] must be a string, not 30"),
        (
            "epoch = 1",
            'epoch = 1\nmax_ttl = "30"',
            "max_ttl in [cell]: '30' is not a duration: give it a unit",
        ),
        ("epoch = 1", 'epoch = 1\ngrace = "x"', "grace in [cell]: 'x' is not a duration"),
        ("epoch = 1", 'epoch = 1\ndrift = "1%"', "drift in [cell] must be a number, not '1%'"),
        ("epoch = 1", "epoch = 1\ndrift = 0.5", "drift must be from 0 to 0.1, not 0.5"),
        ("epoch = 1", "epoch = 1\ninsecure = 1", "insecure in [cell] must be true or false, not 1"),
        ("000102", "00010", "id in [cell] must be 32 hexadecimal digits"),
        ("000102", "zz0102", "id in [cell] must be 32 hexadecimal digits"),
        ("nodes = [", "nodes = 5 #", "nodes in [cell] must be a list of {id = ..., address = ...}, not 5"),
        ("nodes = [{", 'nodes = ["a", {', "an entry of nodes must be a table, not 'a'"),
        ('id = "a", ', "", "id is missing in an entry of nodes"),
        ('address = "127.0.0.1:7400"', "", "address is missing in an entry of nodes"),
        ('id = "a"', 'ID = "a"', "unknown key 'ID' in an entry of nodes; did you mean 'id'?"),
        ('id = "a"', "id = 1", "id in an entry of nodes must be a string, not 1"),
        ("127.0.0.1:7400", "127.0.0.1", "'127.0.0.1' is not an address"),
        ("127.0.0.1:7400", "10.0.0.1:7400", "insist with insecure = true in the cell file"),
        ("epoch = 1", 'epoch = 1\nkey_file = "no.key"', "no.key: check the path"),
    ],
)
def test_a_wrong_cell_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "cell.toml"
    assert old in LOCAL_TEXT
    # An entry of nodes must stay valid TOML where its key is cut out.
    path.write_text(LOCAL_TEXT.replace(old, new).replace(", }", "}"))
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        Cell.load(path)
    assert str(caught.value).startswith(f"cell file {path}: ")


def test_a_cell_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no cell file .*: check the path, or make one with 'paxlock init'"
    ):
        Cell.load(tmp_path / "cell.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Cell.load(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError, match="is not a regular file"):
        Cell.load(fifo)
    with pytest.raises(ConfigError, match="cannot be read: embedded null byte"):
        Cell.load("nul\0byte")
    path = tmp_path / "cell.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        Cell.load(path)
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        Cell.load(path / "below")
    path.write_bytes(b"#" * (cellfile.FILE_MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="above 65536 bytes"):
        Cell.load(path)


# --- key files ---


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o620, 0o606, 0o777])
def test_a_key_file_open_to_others_is_refused(cell_path: Path, mode: int) -> None:
    key_path = cell_path.with_suffix(".key")
    key_path.chmod(mode)
    with pytest.raises(ConfigError, match=r"readable by its owner only: run chmod 600 .*cell\.key"):
        Cell.load(cell_path)
    key_path.chmod(0o400)
    assert Cell.load(cell_path).keys == ((key_id(KEY), KEY),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold 1 to 8 keys, one a line, not 0"),
        ("# only a comment\n\n", "not 0"),
        ("x\n" * 9, "not 9"),
        ("garbage-secret\n", "key file .*: "),
        (f"{format_key(KEY)}\n{format_key(KEY)}\n", "are the same or share a key id"),
    ],
)
def test_a_wrong_key_file(other_key_path: Path, text: str, message: str) -> None:
    other_key_path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_key_file(other_key_path)
    assert str(other_key_path) in str(caught.value)
    assert "garbage-secret" not in str(caught.value)


def test_a_key_file_may_hold_several_keys(other_key_path: Path) -> None:
    other_key_path.write_text(f"# new\n {format_key(OTHER_KEY)}\n\n# old\n{format_key(KEY)}\r\n")
    assert read_key_file(other_key_path)[0] == ((key_id(OTHER_KEY), OTHER_KEY), (key_id(KEY), KEY))


# --- a node ---


def test_node_config(cell_path: Path, tmp_path: Path) -> None:
    config = NodeConfig(str(cell_path), "b", str(tmp_path / "data"))
    assert config.cell == Cell.load(cell_path)
    assert (config.data_dir, config.durability, config.listen) == (tmp_path / "data", Durability.RECORD, None)
    assert config.bind_address == "10.0.0.8:7400"
    other = NodeConfig(config.cell, "b", None, "memory", listen="0.0.0.0:7400")
    assert (other.data_dir, other.durability, other.bind_address) == (None, Durability.MEMORY, "0.0.0.0:7400")
    assert NodeConfig(config.cell, "b", "d", Durability.RECORD).durability is Durability.RECORD


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "d"), "'x' is not a node of this cell: its nodes are a, b, c"),
        (("a", None), 'node a needs a folder for its record: give data_dir .* or durability "memory"'),
        (("a", ""), "needs a folder"),
        (
            ("a", None, "sync"),
            'node a needs a folder for its record: give data_dir .* or durability "memory"',
        ),
        (("a", "d", "none"), 'durability must be "record", "sync" or "memory", not \'none\''),
        (("a", "d", "record", "7400"), "'7400' is not an address"),
    ],
)
def test_a_wrong_node_config(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NodeConfig(Cell.new(THREE, key=KEY), *arguments)


def test_node_settings_flags_win_over_the_environment(cell_path: Path, other_key_path: Path) -> None:
    environ = {"PAXLOCK_CELL": str(cell_path), "PAXLOCK_NODE": "a", "PAXLOCK_DATA_DIR": "from-env"}
    config = node_settings(environ=environ)
    assert (config.node_id, config.data_dir, config.cell.keys[0][1]) == ("a", Path("from-env"), KEY)
    config = node_settings(node_id="b", data_dir="flag", key_file=other_key_path, environ=environ)
    assert (config.node_id, config.data_dir, config.cell.keys[0][1]) == ("b", Path("flag"), OTHER_KEY)
    config = node_settings(environ={**environ, "PAXLOCK_KEY_FILE": str(other_key_path)})
    assert config.cell.keys[0][1] == OTHER_KEY
    config = node_settings(durability="memory", listen="[::]:1", environ=environ)
    assert (config.data_dir, config.bind_address) == (Path("from-env"), "[::]:1")
    assert node_settings(Cell.new(LOCAL), environ=environ).cell.node_ids == ("a", "b", "c")


@pytest.mark.parametrize("empty", [{}, {"PAXLOCK_CELL": "", "PAXLOCK_NODE": "", "PAXLOCK_DATA_DIR": ""}])
def test_node_settings_say_what_is_missing(cell_path: Path, empty: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=r"which cell\? give --cell or PAXLOCK_CELL.*paxlock init.*paxlock dev"
    ):
        node_settings(environ=empty)
    with pytest.raises(ConfigError, match=r"give --node or PAXLOCK_NODE, one of a, b, c"):
        node_settings(cell_path, environ=empty)
    with pytest.raises(ConfigError, match="--data-dir or PAXLOCK_DATA_DIR"):
        node_settings(cell_path, "a", environ=empty)


# --- a client ---


def test_client_settings_from_a_cell_file(cell_path: Path, other_key_path: Path) -> None:
    for settings in (
        client_settings(cell_path, environ={}),
        client_settings(environ={"PAXLOCK_CELL": str(cell_path)}),
        client_settings(Cell.load(cell_path), environ={"PAXLOCK_CELL": "nowhere"}),
    ):
        assert settings.cell == Cell.load(cell_path)
        assert settings.seeds == tuple(THREE.values())
        assert (settings.key, settings.keys) == (KEY, ((key_id(KEY), KEY),))
    for settings in (
        client_settings(cell_path, key_file=other_key_path, environ={"PAXLOCK_KEY_FILE": "nowhere"}),
        client_settings(cell_path, environ={"PAXLOCK_KEY_FILE": str(other_key_path)}),
        client_settings(Cell.load(cell_path), key_file=other_key_path, environ={}),
    ):
        assert settings.key == OTHER_KEY
        assert settings.cell is not None and settings.cell.keys == settings.keys


def test_another_key_file_spares_the_one_of_the_cell_file(cell_path: Path, other_key_path: Path) -> None:
    cell_path.with_suffix(".key").unlink()
    assert client_settings(cell_path, key_file=other_key_path, environ={}).key == OTHER_KEY
    with pytest.raises(ConfigError, match=r"^key given by key= or PAXLOCK_KEY: the key must be one line"):
        client_settings(cell_path, environ={"PAXLOCK_KEY": "nonsense"})


def test_nodes_override_the_seeds_and_the_cell_is_still_checked(cell_path: Path) -> None:
    environ = {"PAXLOCK_CELL": str(cell_path), "PAXLOCK_NODES": "b.example:1, c.example:2,,b.example:1"}
    settings = client_settings(environ=environ)
    assert settings.seeds == ("b.example:1", "c.example:2")
    assert settings.cell == Cell.load(cell_path)
    assert client_settings(nodes=["x:1", "y:2,z:3"], environ=environ).seeds == ("x:1", "y:2", "z:3")
    assert client_settings(nodes=(), environ=environ).seeds == settings.seeds


def test_client_settings_from_addresses_alone(other_key_path: Path) -> None:
    settings = client_settings(nodes="10.0.0.7:7400", key_file=other_key_path, environ={})
    assert settings == ClientSettings(None, ("10.0.0.7:7400",), OTHER_KEY)
    assert settings.keys == ((key_id(OTHER_KEY), OTHER_KEY),)
    local = client_settings(environ={"PAXLOCK_NODES": "localhost:1,[::1]:2"})
    assert (local.cell, local.key, local.keys) == (None, None, ())


def test_an_insecure_cell_lets_its_clients_go_unsealed() -> None:
    cell = unsealed(THREE, insecure=True)
    assert client_settings(cell, "10.0.0.99:1", environ={}).key is None
    with pytest.raises(ConfigError, match="without a key"):
        client_settings(unsealed(), "10.0.0.99:1", environ={})


def test_what_is_wrong_with_client_settings(cell_path: Path) -> None:
    for environ in (
        {},
        {"PAXLOCK_CELL": "", "PAXLOCK_NODES": ""},
        {"PAXLOCK_KEY_FILE": "x", "PAXLOCK_NODES": ","},
    ):
        with pytest.raises(
            ConfigError, match=r"which cell\? give --cell .*--nodes.*'paxlock dev'.*'paxlock init'"
        ):
            client_settings(environ=environ)
    with pytest.raises(ConfigError, match=r"without a key anybody who reaches 10\.0\.0\.7:7400"):
        client_settings(nodes="10.0.0.7:7400", environ={})
    with pytest.raises(ConfigError, match="'nonsense' is not an address"):
        client_settings(cell_path, "nonsense", environ={})
    with pytest.raises(ConfigError, match="there is no key file"):
        client_settings(nodes="h:1", key_file="/nowhere/x.key", environ={})
    with pytest.raises(ConfigError, match="give 1 to 64 addresses, not 65"):
        client_settings(nodes=[f"127.0.0.1:{port}" for port in range(1, 66)], environ={})
    with pytest.raises(ConfigError, match="give 1 to 64 addresses, not 0"):
        ClientSettings(None, (), KEY)
    with pytest.raises(ConfigError, match="a key must be 32 bytes"):
        ClientSettings(None, ("h:1",), b"short")


def test_the_real_environment_is_the_default(cell_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAXLOCK_CELL", str(cell_path))
    monkeypatch.delenv("PAXLOCK_NODES", raising=False)
    monkeypatch.delenv("PAXLOCK_KEY_FILE", raising=False)
    assert client_settings().cell == Cell.load(cell_path)


def test_importing_the_configuration_loads_nothing_heavy() -> None:
    script = (
        "import sys, paxlock.config.cell\n"
        "print([name for name in ('trio', 'cryptography', 'cbor2') if name in sys.modules])"
    )
    source = str(Path(paxlock.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == "[]\n"


ME = 1000


@pytest.mark.parametrize(
    ("user", "mode", "read_only", "taken"),
    [
        (ME, 0o600, False, True),
        (ME, 0o400, False, True),
        (ME, 0o440, False, False),
        (0, 0o400, False, True),
        (0, 0o440, False, True),  # a secret that is mounted for a group
        (0, 0o460, False, False),
        (0, 0o444, False, False),
        (0, 0o444, True, True),
        (0, 0o666, True, False),
        (ME, 0o444, True, False),
        (ME + 1, 0o600, False, False),
        (ME + 1, 0o444, True, False),
    ],
)
def test_whose_key_files_are_taken(
    user: int, mode: int, read_only: bool, taken: bool, cell_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, flags = os.fstat, os.ST_RDONLY if read_only else 0

    def fstat(handle: int) -> os.stat_result:
        found = shipped(handle)
        changed = [(found.st_mode & ~0o777) | mode, *found[1:4], user, *found[5:]]
        return os.stat_result(changed)

    monkeypatch.setattr(os, "geteuid", lambda: ME)
    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "fstatvfs", lambda handle: SimpleNamespace(f_flag=flags))
    if taken:
        assert Cell.load(cell_path).keys
    else:
        with pytest.raises(ConfigError, match=r"belongs to another user|by its owner only"):
            Cell.load(cell_path)


@pytest.mark.parametrize("number", ["9" * 60_000, "0x" + "f" * 60_000, "-0b1" + "0" * 60_000])
@pytest.mark.parametrize("key", ["epoch", "generation", "drift"])
def test_a_number_with_very_many_digits_is_refused_like_any_other(
    tmp_path: Path, key: str, number: str
) -> None:
    path = tmp_path / "cell.toml"
    Cell.new({"a": "127.0.0.1:7400"}).save(path)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(key)]
    path.write_text("\n".join([*lines[:2], f"{key} = {number}", *lines[2:]]) + "\n")
    with pytest.raises(ConfigError) as caught:
        Cell.load(path)
    assert len(str(caught.value)) < 500
