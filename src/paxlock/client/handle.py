"""A detached lease as one shell-safe word (contract.md section 3, "Handle").

A handle is a capability: whoever has the cell's key and the handle can renew and release the lease. It is
printed once, where the user asked for it; everything else shows `Handle.short`.
"""

from __future__ import annotations

import base64
import binascii

import attrs

from paxlock.client.standing import Standing
from paxlock.core.lease import NAME_MAX_BYTES, TERM_MAX
from paxlock.core.session.events import HandleOutcome
from paxlock.core.session.judgement import State
from paxlock.core.value import value
from paxlock.errors import ConfigError, LeaseLost, LossReason, NotAcquired, Reason
from paxlock.limits import CELL_ID_BYTES, SESSION_BYTES
from paxlock.wire.codec import Malformed, pack, unpack_untrusted

__all__ = ["Handle", "check_outcome", "format_handle", "left_of", "parse_handle"]

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


def check_outcome(grant: Handle, answer: object, *, renewed: bool) -> None:
    """What became of a detached lease. Raises LeaseLost where one that was to be renewed is over,
    NotAcquired (NO_QUORUM) where too few nodes have answered.
    """
    assert isinstance(answer, HandleOutcome)
    if renewed and answer.over:
        raise LeaseLost(grant.name, grant.term, LossReason.EXPIRED)
    if not answer.done:
        raise NotAcquired(grant.name, Reason.NO_QUORUM)


def left_of(grant: Handle, standing: Standing, *, asked_all: bool, asked_enough: bool) -> float | None:
    """The seconds that a grant has left which was renewed just now; None where it is to be asked for again:
    there was no quorum, or those who answered do not all hold it, and not all nodes were asked. Raises
    LeaseLost where the grant has ended meanwhile, NotAcquired (NO_QUORUM) where it was asked for often
    enough.
    """
    if standing.state is State.UNKNOWN:
        if asked_enough:
            raise NotAcquired(grant.name, Reason.NO_QUORUM)
        return None
    if (standing.state, standing.term) != (State.LED, grant.term):
        raise LeaseLost(grant.name, grant.term, LossReason.EXPIRED)
    return standing.remaining or (0.0 if asked_all else None)
