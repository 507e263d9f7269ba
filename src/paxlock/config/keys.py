"""The keys of a cell and of its clients as text, and the number by which a key is found. Needs no
cryptography.

A cell has a root key, on its nodes. A client's key is derived from it and from a grant, the text that says
what the client may do (protocol.md section 8): so nodes store nothing of clients.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from hashlib import blake2b

from paxlock.errors import ConfigError
from paxlock.limits import GRANT_MAX_BYTES, KEY_BYTES, KEY_ID_MAX

__all__ = [
    "CLIENT_PREFIX",
    "check_key",
    "client_key",
    "format_client_key",
    "format_key",
    "key_id",
    "new_key",
    "parse_client_key",
    "parse_key",
]

_KEY_PREFIX = "paxlock-key-1:"
_KEY_ID_PERSON = b"paxlock key id"
_CLIENT_PERSON = b"paxlock client"
CLIENT_PREFIX = "paxlock-client-1:"


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


def client_key(root: bytes, grant: bytes) -> bytes:
    """The key of the clients that have this grant; of those that have the root key the grant is empty."""
    return blake2b(grant, key=root, digest_size=KEY_BYTES, person=_CLIENT_PERSON).digest()


def format_client_key(number: int, grant: bytes, key: bytes) -> str:
    """The key of a client as one line of text: the id of its root key, its grant, the key."""
    check_key(key)
    parts = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (grant, key))
    return f"{CLIENT_PREFIX}{number}:{':'.join(parts)}"


def parse_client_key(text: str) -> tuple[int, bytes, bytes]:
    """Read what `format_client_key` wrote: the id of the root key, the grant, the key.

    Raises ConfigError, which never shows the text.
    """
    line = text.strip()
    try:
        number, *encoded = line.removeprefix(CLIENT_PREFIX).split(":")
        grant, key = (
            base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
            for part in encoded
        )
        check_key(key)
        if not 0 < len(grant) <= GRANT_MAX_BYTES or not 1 <= int(number[:4]) <= KEY_ID_MAX:
            raise ValueError
        if format_client_key(int(number[:4]), grant, key) != line:
            raise ValueError
    except (ValueError, binascii.Error):
        raise ConfigError(
            f"a client's key must be one line that begins with {CLIENT_PREFIX!r}, as `paxlock "
            f"grant` writes it: "
            "copy the file once more, or make another"
        ) from None
    return int(number), grant, key
