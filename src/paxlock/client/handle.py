"""A detached lease as one shell-safe word (contract.md section 3, "Handle").

A handle is a capability: whoever has the cell's key and the handle can renew and release the lease. It is
printed once, where the user asked for it; everything else shows `Handle.short`.
"""

from __future__ import annotations

import base64
import binascii

import attrs

from paxlock.core.lease import NAME_MAX_BYTES, TERM_MAX
from paxlock.core.value import value
from paxlock.errors import ConfigError
from paxlock.limits import CELL_ID_BYTES, SESSION_BYTES
from paxlock.wire.codec import Malformed, pack, unpack_untrusted

__all__ = ["Handle", "format_handle", "parse_handle"]

HANDLE_MAX_BYTES = 1024
SHORT_CHARACTERS = 12

_PREFIX = "pl1."
_SHAPE = (bytes, str, bytes, int, int)


@value
class Handle:
    """The grant that a handle names. ``term`` is its fencing token."""

    cell_id: bytes = attrs.field(repr=False)
    name: str
    session: bytes = attrs.field(repr=False)
    attempt: int
    term: int

    @property
    def short(self) -> str:
        """The first characters, for display: they name the cell at most, and renew nothing."""
        return format_handle(self)[:SHORT_CHARACTERS]


def format_handle(handle: Handle) -> str:
    """The whole handle, "pl1." and base64url without padding."""
    packed = pack((handle.cell_id, handle.name, handle.session, handle.attempt, handle.term))
    return _PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def parse_handle(text: str) -> Handle:
    """Read what `format_handle` wrote; white space around it is ignored.

    Raises ConfigError for anything else; its message shows only the first characters.
    """
    word = text.strip()
    handle = _parse(word) if len(word) <= HANDLE_MAX_BYTES else None
    if handle is None:
        shown = word if len(word) <= SHORT_CHARACTERS else word[:SHORT_CHARACTERS] + "..."
        raise ConfigError(
            f"{shown!r} is not a handle: give the word that `paxlock acquire` printed, unchanged"
        )
    return handle


def _parse(word: str) -> Handle | None:
    if not word.startswith(_PREFIX):
        return None
    try:
        encoded = word.removeprefix(_PREFIX).encode("ascii")
        packed = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        fields = unpack_untrusted(packed)
    except (UnicodeEncodeError, binascii.Error, Malformed):
        return None
    if tuple(map(type, fields)) != _SHAPE:
        return None
    handle = Handle(*fields)
    sound = (
        len(handle.cell_id) == CELL_ID_BYTES
        and 1 <= len(handle.name.encode()) <= NAME_MAX_BYTES
        and len(handle.session) == SESSION_BYTES
        and handle.term <= TERM_MAX
        # One grant has one handle: no padding, no stray bits in the last character.
        and format_handle(handle) == word
    )
    return handle if sound else None
