"""What an operator should mend before it matters: said once, at each start of a node.

None of it stops the node: files that others may write, a cell without a key beyond this host, a socket that
holds less than was asked for.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from paxlock.config.cell import Cell, NodeConfig
from paxlock.host.udp import RECEIVE_BUFFER_BYTES
from paxlock.observe.noticing import Level, LogLine
from paxlock.wire.transport import Transport

__all__ = ["warnings_at_start"]


def warnings_at_start(config: NodeConfig, transport: Transport) -> Iterator[LogLine]:
    """One line for each thing that is not as it should be."""
    cell = config.cell
    assert isinstance(cell, Cell)
    if cell.unsealed and cell.insecure:
        yield LogLine(
            Level.WARNING,
            "insecure",
            f"node {config.node_id} runs without a key (insecure = true): whoever reaches its port can take "
            "and release every lease; to end that, stop all nodes, run 'paxlock key new cell.key', name that "
            "file by key_file in the cell file, and take insecure out",
            {},
        )
    for what, path in _places(config, cell):
        who = _who_else_may_write(path, shared=what != "data folder")
        if who:
            yield LogLine(
                Level.WARNING,
                "writable",
                f"the {what} {path} can be changed by {who}, and with it what this node believes: run chmod "
                f"go-w {path}, or give it to the user of the node",
                {"path": str(path)},
            )
    granted = _receive_buffer(transport)
    if granted is not None and granted < RECEIVE_BUFFER_BYTES:
        yield LogLine(
            Level.WARNING,
            "small_buffer",
            f"the kernel holds {granted // 1024} KiB of datagrams for node {config.node_id}, not "
            f"{RECEIVE_BUFFER_BYTES // 1024} KiB, so more are lost in a burst: on this host run "
            f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}, and start the node again",
            {"bytes": granted, "wanted": RECEIVE_BUFFER_BYTES},
        )


def _places(config: NodeConfig, cell: Cell) -> Iterator[tuple[str, Path]]:
    source = cell.source
    if source is not None and source.cell_file is not None:
        yield "cell file", source.cell_file
    folders = [path.parent for path in (source.cell_file, source.key_file) if path] if source else []
    yield from (("folder", folder) for folder in dict.fromkeys(folders))
    if config.data_dir is not None:
        yield "data folder", config.data_dir


def _who_else_may_write(path: Path, *, shared: bool) -> str:
    """Who may change this file, or what is in this folder, besides root and the user of this process; "" for
    nobody. In a ``shared`` folder such as /tmp others may only add.
    """
    if not hasattr(os, "geteuid"):
        return ""
    try:
        found = path.stat()
    except OSError:
        return ""
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()):
        return f"the user {found.st_uid}"
    if shared and stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX:
        return ""
    if mode & stat.S_IWOTH:
        return "everybody"
    if mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
        return f"the group {found.st_gid}"
    return ""


def _receive_buffer(transport: Transport) -> int | None:
    """How many bytes may wait to be read; None where nobody can tell."""
    read = getattr(transport, "receive_buffer", None)
    return read() if read is not None and sys.platform == "linux" else None
