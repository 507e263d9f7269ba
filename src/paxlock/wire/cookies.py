"""Cookies: what proves that a sender receives at its address, and did so of late (protocol.md section 8).

A node issues a keyed hash of the address it writes to. The secret changes every COOKIE_S; the one before it
is still good, so whoever hears from a node at least that often never has a cookie that is not. A cookie is
good for twice that time at most, which is less than a tombstone stands: a datagram that was recorded is dead
before the end of its candidate is forgotten.

``issue`` is what the receiver shall put into ``echo`` of what it sends back. A node issues a
keyed hash of the address it writes to, under a secret that changes (cookies.py): a right echo proves that the
other side receives at its address, and that the datagram was made of late and not recorded long ago. Until
then a node acts on nothing but a Hello, which is padded so that no answer is larger. To everything else it
answers with an empty datagram, the challenge, which carries the cookie and is never longer than what it
answers; whoever gets one repeats, sealed anew, what it last sent. A session issues 8 random bytes, and so
drops answers that were meant for another process which had its port.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paxlock.wire.peers import KnownNode, KnownSession
    from paxlock.wire.transport import Address

__all__ = ["COOKIE_S", "Cookies"]

COOKIE_S = 25.0  #: twice this must be less than TOMBSTONE_S
COOKIE_BYTES = 8
SECRET_BYTES = 16

_SECRET_PERSON = b"paxlock cookies"


class Cookies:
    """The cookies of one node. It has no clock: ``age`` tells it the time. ``secret`` is for tests."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._root = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
        self.generation = 0
        self._secrets = (self._secret(0), self._secret(-1))

    def age(self, now: float) -> bool:
        """It is ``now``, in seconds of a clock that does not step back; True where the secret has changed."""
        generation = int(now // COOKIE_S)
        if generation == self.generation:
            return False
        self.generation = generation
        self._secrets = (self._secret(generation), self._secret(generation - 1))
        return True

    def of(self, address: Address) -> int:
        """What is issued to this address now; never 0, which stands for no cookie."""
        return _hash(self._secrets[0], address)

    def issued(self, state: KnownSession | KnownNode) -> int:
        """The same for somebody known, reckoned once for each secret."""
        if state.issued_in != self.generation:
            state.issue, state.issued_in = self.of(state.address), self.generation
        return state.issue

    def proves(self, address: Address, echo: int) -> int | None:
        """The generation of the cookie that was issued to this address and comes back, or None for none."""
        for back, secret in enumerate(self._secrets):
            if echo == _hash(secret, address):
                return self.generation - back
        return None

    def _secret(self, generation: int) -> bytes:
        text = generation.to_bytes(8, signed=True)
        return blake2b(text, key=self._root, digest_size=SECRET_BYTES, person=_SECRET_PERSON).digest()


def _hash(secret: bytes, address: Address) -> int:
    text = f"{address[0]}|{address[1]}".encode()
    return int.from_bytes(blake2b(text, key=secret, digest_size=COOKIE_BYTES).digest()) or 1
