"""The keys of a cell as text, and the number by which a key is found. Needs no cryptography."""

from __future__ import annotations

import base64
import binascii
import secrets
from hashlib import blake2b

from paxlock.errors import ConfigError
from paxlock.limits import KEY_BYTES, KEY_ID_MAX

__all__ = ["check_key", "format_key", "key_id", "new_key", "parse_key"]

_KEY_PREFIX = "paxlock-key-1:"
_KEY_ID_PERSON = b"paxlock key id"


def new_key() -> bytes:
    """A fresh random key of a cell."""
    return secrets.token_bytes(KEY_BYTES)


def format_key(key: bytes) -> str:
    """The key as one line of text, without the end of the line. Raises ConfigError for a wrong length."""
    check_key(key)
    return _KEY_PREFIX + base64.urlsafe_b64encode(key).decode().rstrip("=")


def parse_key(text: str) -> bytes:
    """Read what `format_key` wrote; white space around it is ignored.

    Raises ConfigError, which never shows the text: it may be a key with a slip in it.
    """
    line = text.strip()
    try:
        if not line.startswith(_KEY_PREFIX):
            raise ValueError
        encoded = line.removeprefix(_KEY_PREFIX).encode("ascii")
        key = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        check_key(key)
        if format_key(key) != line:
            raise ValueError
    except (ValueError, binascii.Error):
        # Without its cause: a UnicodeEncodeError carries the text.
        raise ConfigError(
            f"the key must be one line that begins with {_KEY_PREFIX!r}, as `paxlock init` writes it: "
            "copy the key file of another node of the cell"
        ) from None
    return key


def key_id(key: bytes) -> int:
    """The number under which a key is found, 1 to 255: derived from it, so that all nodes agree."""
    return 1 + int.from_bytes(blake2b(key, digest_size=8, person=_KEY_ID_PERSON).digest()) % KEY_ID_MAX


def check_key(key: bytes) -> None:
    """Raise ConfigError unless the key has the right length."""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"a key must have {KEY_BYTES} bytes, not {len(key)}: make one with `paxlock init`")
