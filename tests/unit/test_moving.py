"""Another address for a node in the text of a cell file (config/moving.py)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from paxlock import Cell, ConfigError
from paxlock.config.moving import moved

TEXT = """\
# Ours, since 2026
[cell]
id = "000102030405060708090a0b0c0d0e0f"
epoch = 1   # the first
nodes = [
    {id = "a", address = "10.0.0.7:7400"},  # the old rack
    { address = '10.0.0.8:7400', id = 'b' },
    {id="c",address="host.example:7400"},
]
insecure = true
"""


@pytest.mark.parametrize("node", ["a", "b", "c"])
def test_nothing_else_changes(node: str) -> None:
    after = moved(TEXT, node, "[fd00::9]:7401")
    lines = [
        (one, other) for one, other in zip(TEXT.splitlines(), after.splitlines(), strict=True) if one != other
    ]
    assert len(lines) == 1
    assert "[fd00::9]:7401" in lines[0][1]
    found = {entry["id"]: entry["address"] for entry in tomllib.loads(after)["cell"]["nodes"]}
    before = {entry["id"]: entry["address"] for entry in tomllib.loads(TEXT)["cell"]["nodes"]}
    assert found == {**before, node: "[fd00::9]:7401"}


def test_the_same_address_changes_nothing() -> None:
    assert moved(TEXT, "a", "10.0.0.7:7400") == TEXT


def test_what_init_writes_can_be_changed(tmp_path: Path) -> None:
    cell = Cell.new({"a": "127.0.0.1:7400", "b": "127.0.0.1:7401", "c": "127.0.0.1:7402"})
    cell.save(tmp_path / "cell.toml")
    assert '"127.0.0.1:9999"' in moved((tmp_path / "cell.toml").read_text(), "b", "127.0.0.1:9999")


@pytest.mark.parametrize(
    ("node", "address", "message"),
    [
        ("d", "10.0.0.9:7400", "'d' is not a node of this cell: its nodes are a, b, c"),
        ("a", "10.0.0.9", "is not an address"),
        ("a", 'x"}, {id = "z', "is not an address"),
    ],
)
def test_what_is_refused(node: str, address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        moved(TEXT, node, address)


def test_a_file_that_is_written_otherwise_is_left_to_its_owner() -> None:
    text = TEXT[: TEXT.index("nodes")] + '[[cell.nodes]]\nid = "a"\naddress = "10.0.0.7:7400"\n'
    with pytest.raises(ConfigError, match="change the address of a by hand"):
        moved(text, "a", "10.0.0.9:7400")


def test_a_comment_that_looks_like_a_node_is_left_alone() -> None:
    """Or the change is refused: what a comment says must not become an address."""
    text = TEXT.replace("# Ours, since 2026", '# {id = "a", address = "10.0.0.1:7400"} was the first')
    after = moved(text, "a", "10.0.0.9:7400")
    assert tomllib.loads(after)["cell"]["nodes"][0]["address"] == "10.0.0.9:7400"
