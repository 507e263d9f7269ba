"""Another address for a node, written into the text of a cell file; everything else stays as it is."""

from __future__ import annotations

import re
import tomllib

from paxlock.config.cell import Cell
from paxlock.config.cell_file import parse_cell_file, toml_string
from paxlock.config.syntax import check_address
from paxlock.errors import ConfigError

__all__ = ["moved"]

_TABLE = re.compile(r"\{[^{}]*\}")
_VALUE = r'("(?:[^"\\]|\\.)*"|\'[^\']*\')'
_ID, _ADDRESS = (re.compile(rf"\b{key}\s*=\s*{_VALUE}") for key in ("id", "address"))


def moved(text: str, node_id: str, address: str) -> str:
    """The text of a cell file in which this node has another address. Comments and order stay.

    Raises ConfigError for an address that is none or that another node has, a node that is not in it, and a
    text that is written in a way that this does not understand.
    """
    check_address(address)
    before = parse_cell_file(text)
    wanted = [
        {**node, "address": address} if node["id"] == node_id else dict(node) for node in before["nodes"]
    ]
    if all(node["id"] != node_id for node in before["nodes"]):
        known = ", ".join(node["id"] for node in before["nodes"])
        raise ConfigError(f"{node_id!r} is not a node of this cell: its nodes are {known}")
    after = _TABLE.sub(lambda found: _with_address(found[0], node_id, address), text)
    if parse_cell_file(after) != {**before, "nodes": wanted}:
        raise ConfigError(
            "the cell file is not written as 'paxlock init' writes it: "
            f"change the address of {node_id} by hand"
        )
    Cell.check_text(after)
    return after


def _with_address(table: str, node_id: str, address: str) -> str:
    """A table of a node in braces, with the address if it is that node's."""
    found = _ID.search(table)
    if found is None or tomllib.loads(f"id = {found[1]}")["id"] != node_id:
        return table
    return _ADDRESS.sub(lambda _: f"address = {toml_string(address)}", table, count=1)
