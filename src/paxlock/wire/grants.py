"""What a client's key may do, as the bytes that its datagrams carry (protocol.md section 8).

A grant is a CBOR array of the key's id, verbs, patterns, longest ttl in ms, expiry in unix seconds,
generation.
It is read only after the seal has opened, by a key that only the root key can make from exactly these bytes.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from hashlib import blake2b

from paxlock.core.rights import ROOT, Rights, Verb
from paxlock.limits import GRANT_MAX_BYTES, SESSION_BYTES
from paxlock.wire.codec import Malformed, pack, unpack_untrusted

__all__ = ["draw_session", "grant_of", "owned", "rights_of", "session_of"]

OWNER_BYTES = 6
GRANTS_REMEMBERED = 1024
SESSIONS_REMEMBERED = 8192
_OWNER_PERSON = b"paxlock session"
_TOLD_PERSON = b"paxlock told"
_ALL_VERBS = int(Verb.OBSERVE | Verb.ACQUIRE | Verb.ADMINISTER)


def draw_session() -> bytes:
    """What a session draws, never drawn before."""
    return secrets.token_bytes(SESSION_BYTES)


@lru_cache(maxsize=SESSIONS_REMEMBERED)
def session_of(drawn: bytes, grant: bytes) -> bytes:
    """The session that has drawn this, with a key that has this grant: what everybody else calls it. With a
    grant its last bytes are a mark of the key's id: whatever a key draws, it cannot speak in the name of a
    session of another, and what one session has acquired another of the same key may renew and release by
    its handle. A client whose key is made anew, under the same id, goes on. Raises Malformed.
    """
    session = blake2b(drawn, digest_size=SESSION_BYTES, person=_TOLD_PERSON).digest()
    return _marked(session, rights_of(grant).key) if grant else session


def _marked(session: bytes, key: str) -> bytes:
    start = session[:-OWNER_BYTES]
    return start + _owner(start, key)


def owned(session: bytes, key: str) -> bool:
    """Is this a session of the key with this id?"""
    start = session[:-OWNER_BYTES]
    return session[-OWNER_BYTES:] == _owner(start, key)


def _owner(start: bytes, key: str) -> bytes:
    return blake2b(start + key.encode(), digest_size=OWNER_BYTES, person=_OWNER_PERSON).digest()


def grant_of(rights: Rights) -> bytes:
    """The bytes of a grant. Raises ValueError for one that is too long."""
    grant = pack(
        (
            rights.key,
            int(rights.verbs),
            rights.patterns,
            rights.ttl_max_ms,
            rights.expires,
            rights.generation,
        )
    )
    if len(grant) > GRANT_MAX_BYTES:
        raise ValueError(f"the names are too many or too long: a key has room for {GRANT_MAX_BYTES} bytes")
    return grant


@lru_cache(maxsize=GRANTS_REMEMBERED)
def rights_of(grant: bytes) -> Rights:
    """What a grant allows; raise Malformed where it cannot be read. Without a grant: everything."""
    if not grant:
        return ROOT
    values = unpack_untrusted(grant)
    if [type(each) for each in values] != [str, int, list, int, int, int]:
        raise Malformed("not a grant")
    key, verbs, patterns, ttl_max_ms, expires, generation = values
    if not key or not all(type(pattern) is str for pattern in patterns) or verbs & ~_ALL_VERBS:
        raise Malformed("not a grant")
    return Rights(
        key, verbs, tuple(patterns), ttl_max_ms, expires, generation, lambda session: owned(session, key)
    )
