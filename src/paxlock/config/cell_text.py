"""The text of a cell file (contract.md section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paxlock.config.cell_file import format_moment, toml_string
from paxlock.config.durations import format_duration

if TYPE_CHECKING:
    from paxlock.config.cell import Cell

__all__ = ["cell_text"]


def cell_text(cell: Cell, key_name: str) -> str:
    """What `Cell.save` writes; ``key_name`` is the path of the key file."""
    nodes = (
        f"    {{id = {toml_string(member.node_id)}, address = {toml_string(member.address)}}},\n"
        for member in cell.members
    )
    key_line = f"key_file = {toml_string(key_name)}\n" if cell.keys else ""
    return (
        "# One cell of paxlock: the same file on every node and client.\n"
        "[cell]\n"
        f'id = "{cell.cell_id.hex()}"\n'
        f"epoch = {cell.epoch}\n"
        + (f"created = {format_moment(cell.created)}\n" if cell.created else "")
        + f'max_ttl = "{format_duration(cell.max_ttl)}"\n'
        + (f'sit_out = "{format_duration(cell.sit_out)}"\n' if cell.sit_out else "")
        + f"drift = {cell.drift!r}\n"
        f'grace = "{format_duration(cell.grace)}"\n'
        + key_line
        + ("insecure = true\n" if cell.insecure else "")
        + (f"generation = {cell.generation}\n" if cell.generation else "")
        + (f"denied = [{', '.join(map(toml_string, cell.denied))}]\n" if cell.denied else "")
        + f"nodes = [\n{''.join(nodes)}]\n"
    )
