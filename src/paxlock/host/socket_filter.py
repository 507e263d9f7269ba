"""Junk that the kernel drops before a node hears of it: a classic BPF program on its sockets (Linux).

A datagram from anywhere costs a node some microseconds of Python, also if it is random bytes. The program
looks at what stands in the clear in every header (wire/header.py): version, length, kind of sender, cell. It
lets pass whatever the node could take, and all of an older version, of which operators are told. Of what
cannot be taken it lets a share pass, drawn by chance, so that the node still counts it by its reason and says
what comes from where. It keeps nobody out who knows the cell's id: for that there are seals.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys

from paxlock.wire.header import SESSION_BYTES_MIN, VERSION

__all__ = ["FOREIGN_SHARE", "JUNK_SHARE", "attach", "keep_junk_away", "kernel_drops", "node_program"]

JUNK_SHARE = 64  #: one in so many datagrams passes that are none of ours at all
FOREIGN_SHARE = 8  #: and of those that are well formed, and for another cell: a few tell who is lost

_SO_ATTACH_FILTER = 26
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_DROPS = 8  #: the place of the drops in it
_UDP_HEADER = 8  #: stands before what was sent

# The instructions in use: <linux/filter.h>.
_LENGTH = 0x80  # A = length
_WORD, _BYTE = 0x20, 0x30  # A = what is at k, big-endian
_EQUAL, _ATLEAST, _AND = 0x15, 0x35, 0x54
_RETURN = 0x06
_RANDOM = 0xFFFFF000 + 56  # as if it were at this place
_PASS, _DROP = 0xFFFFFFFF, 0

log = logging.getLogger("paxlock")
_Instruction = tuple[int, int, int, int]


def node_program(cell_id: bytes) -> bytes:
    """The program for the node of this cell, as the kernel reads it."""
    at = _UDP_HEADER
    words = struct.unpack(">4I", cell_id)
    lines: list[_Instruction | tuple[int, str, str, int] | str] = [
        (_BYTE, 0, 0, at),
        (_EQUAL, "ours", "older", VERSION),
        "older",
        (_ATLEAST, "junk", "not newer", VERSION),
        "not newer",
        (_ATLEAST, "pass", "junk", 1),
        "ours",
        (_LENGTH, 0, 0, 0),
        (_ATLEAST, "kind", "junk", at + SESSION_BYTES_MIN),
        "kind",
        (_BYTE, 0, 0, at + 2),
        (_EQUAL, "cell", "kind 2", 1),
        "kind 2",
        (_EQUAL, "cell", "junk", 2),
        "cell",
    ]
    for place, word in enumerate(words):
        lines += [
            (_WORD, 0, 0, at + 3 + 4 * place),
            (_EQUAL, f"cell {place + 1}", "any cell", word),
            f"cell {place + 1}",
        ]
    lines += [(_RETURN, 0, 0, _PASS), "any cell"]
    for place in range(4):  # of who does not know his cell yet
        lines += [
            (_WORD, 0, 0, at + 3 + 4 * place),
            (_EQUAL, f"no cell {place + 1}", "foreign", 0),
            f"no cell {place + 1}",
        ]
    lines += [(_RETURN, 0, 0, _PASS)]
    for label, share in (("foreign", FOREIGN_SHARE), ("junk", JUNK_SHARE)):
        lines += [
            label,
            (_WORD, 0, 0, _RANDOM),
            (_AND, 0, 0, share - 1),
            (_EQUAL, "pass", f"drop {label}", 0),
            f"drop {label}",
            (_RETURN, 0, 0, _DROP),
        ]
    lines += ["pass", (_RETURN, 0, 0, _PASS)]
    return _assembled(lines)


def _assembled(lines: list[_Instruction | tuple[int, str, str, int] | str]) -> bytes:
    """With labels turned into distances: jumps go forward only, so every program ends."""
    places: dict[str, int] = {}
    code: list[_Instruction | tuple[int, str, str, int]] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(code)
        else:
            code.append(line)
    packed = b""
    for at, (operation, then, otherwise, k) in enumerate(code):
        jumps = [places[to] - at - 1 if isinstance(to, str) else to for to in (then, otherwise)]
        packed += struct.pack("HBBI", operation, *jumps, k)
    return packed


def attach(sock: socket.socket, program: bytes) -> bool:
    """Have the kernel run it on everything that comes; False where there is no such thing."""
    if sys.platform != "linux":
        return False
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError as error:
        log.debug("the kernel does not take a filter for junk: %s", error)
        return False
    return True


def keep_junk_away(transport: object, cell_id: bytes) -> bool:
    """The same on the sockets of a node; False where they are none of the kernel's, or it cannot."""
    put = getattr(transport, "filter", None)
    return bool(put is not None and put(node_program(cell_id)))


def kernel_drops(sock: socket.socket) -> int:
    """How many datagrams the kernel has dropped here, by the filter or since the buffer was full."""
    if sys.platform != "linux":
        return 0
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return 0
    return int(_MEMINFO.unpack(found)[_DROPS]) if len(found) == _MEMINFO.size else 0
