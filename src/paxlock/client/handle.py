"""A detached lease as one shell-safe word (contract.md section 3, "Handle").

A handle is a capability: whoever has a key that may acquire the name, and the handle, can renew and release
the lease. What makes it one is a secret of the lease that is nowhere else. It is printed once, where the user
asked for it; everything else shows `Handle.short`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import attrs

from paxlock.core.handles import SECRET_BYTES
from paxlock.core.lease import NAME_MAX_BYTES, TERM_MAX, Candidate
from paxlock.core.value import value
from paxlock.errors import ConfigError, NotAllowed
from paxlock.limits import CELL_ID_BYTES, SESSION_BYTES
from paxlock.wire.codec import Malformed, pack, unpack_untrusted

__all__ = ["Handle", "format_handle", "parse_handle", "wrong_secret"]

HANDLE_MAX_BYTES = 1024
SHORT_CHARACTERS = 12

_PREFIX = "pl1."
_SHAPE = (bytes, str, bytes, int, int, bytes)
_OLD_SHAPE = _SHAPE[:-1]  #: of handles that had no secret


@value
class Handle:
    """The grant that a handle names. ``term`` is its fencing token, ``secret`` opens its lease's lock."""

    cell_id: bytes = attrs.field(repr=False)
    name: str
    session: bytes = attrs.field(repr=False)
    attempt: int
    term: int
    secret: bytes = attrs.field(repr=False)

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.session, self.attempt)

    @property
    def short(self) -> str:
        """The first characters, for display: they name the cell at most, and renew nothing."""
        return format_handle(self)[:SHORT_CHARACTERS]


def format_handle(handle: Handle) -> str:
    """The whole handle, "pl1." and base64url without padding."""
    packed = pack(attrs.astuple(handle))
    return _PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def parse_handle(text: str) -> Handle:
    """Read what `format_handle` wrote; white space around it is ignored.

    Raises ConfigError for anything else; its message shows only the first characters.
    """
    word = text.strip()
    fields = _fields(word) if len(word) <= HANDLE_MAX_BYTES else ()
    shape = tuple(map(type, fields))
    if shape == _OLD_SHAPE:
        raise ConfigError(
            "this handle is of an older version of paxlock, and renews or releases nothing any more: its "
            "lease runs out by itself, acquire the name anew"
        )
    handle = Handle(*fields) if shape == _SHAPE else None
    if handle is None or not _is_sound(handle, word):
        shown = word if len(word) <= SHORT_CHARACTERS else word[:SHORT_CHARACTERS] + "..."
        raise ConfigError(
            f"{shown!r} is not a handle: give the word that `paxlock acquire` printed, unchanged"
        )
    return handle


def wrong_secret(handle: Handle) -> NotAllowed:
    """The error for a handle whose secret is not that of the lease it names."""
    return NotAllowed(
        f"this handle does not open the lease of {handle.name!r} with term {handle.term}: give the word that "
        "`paxlock acquire` printed, unchanged; whoever administers the name may revoke the lease"
    )


def _fields(word: str) -> Sequence[Any]:
    """What the word holds; nothing where it is no handle."""
    if not word.startswith(_PREFIX):
        return ()
    try:
        encoded = word.removeprefix(_PREFIX).encode("ascii")
        packed = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        return unpack_untrusted(packed)
    except (UnicodeEncodeError, binascii.Error, Malformed):
        return ()


def _is_sound(handle: Handle, word: str) -> bool:
    return (
        len(handle.cell_id) == CELL_ID_BYTES
        and 1 <= len(handle.name.encode()) <= NAME_MAX_BYTES
        and len(handle.session) == SESSION_BYTES
        and len(handle.secret) == SECRET_BYTES
        and handle.term <= TERM_MAX
        # One grant has one handle: no padding, no stray bits in the last character.
        and format_handle(handle) == word
    )
