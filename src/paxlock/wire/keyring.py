"""The cell's keys: sealing, opening, rotation; and the replay window (protocol.md section 8).

Every datagram is sealed for its receiver, by a key that is derived for one *channel*: who speaks, in which
direction, and to whom. A process numbers its datagrams over all its channels, and no other process speaks in
them, so the number serves as the nonce of AES-GCM and no pair of key and nonce is ever used twice.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from paxlock.config.keys import check_key, client_key, key_id
from paxlock.errors import ConfigError
from paxlock.limits import GRANT_MAX_BYTES, KEY_BYTES, KEY_ID_MAX
from paxlock.wire.channels import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "REPLAY_WINDOW_DATAGRAMS",
    "SEAL_BYTES",
    "SUBKEYS_MAX",
    "UNSEALED_KEY_ID",
    "Keyring",
    "ReplayWindow",
    "Sealer",
]

SEAL_BYTES = 16
UNSEALED_KEY_ID = 0
SUBKEYS_MAX = 65_536
REPLAY_WINDOW_DATAGRAMS = 1024

_SUBKEY_PERSON = b"paxlock sender"
_NONCE_BYTES = 12
_NONCE_START = bytes(_NONCE_BYTES - 8)  #: before a sequence number as it stands in the header


def _nonce(sequence: int) -> bytes:
    return sequence.to_bytes(_NONCE_BYTES)


@attrs.frozen(eq=False)
class Sealer:
    """Seals the datagrams of one channel. ``key_id`` goes into the header, ``overhead`` is in bytes."""

    key_id: int
    overhead: int
    _cipher: AESGCM | None = attrs.field(repr=False)

    def seal(self, sequence: int, plaintext: bytes, header: bytes) -> bytes:
        """Encrypt the plaintext and authenticate it and the header. A sequence number is used only once."""
        if self._cipher is None:
            return plaintext
        return self._cipher.encrypt(sequence.to_bytes(_NONCE_BYTES), plaintext, header)


def _copy(keys: Mapping[int, bytes]) -> dict[int, bytes]:
    return dict(keys)


@attrs.define(eq=False)
class Keyring:
    """The keys of a cell by key id: the first seals, all open, so that keys can be changed one by one.

    Takes keys of KEY_BYTES by ids from 1 to 255; raises ConfigError for anything else. ``sealed`` is false
    only for `Keyring.unsealed`. With a ``grant`` it is the ring of a client that has no root key: the one key
    is the client's own, and opens and seals nothing but what this client sends and gets.
    """

    _keys: Mapping[int, bytes] = attrs.field(converter=_copy, repr=False)
    grant: bytes = attrs.field(default=b"", kw_only=True)
    sealed: bool = attrs.field(default=True, kw_only=True)
    _ciphers: OrderedDict[tuple[int, Channel], AESGCM] = attrs.field(
        init=False, factory=OrderedDict, repr=False
    )

    def __attrs_post_init__(self) -> None:
        if self.sealed and not self._keys:
            raise ConfigError("a cell needs a key: make one with `paxlock init`")
        if not self.sealed and self._keys:
            raise ConfigError("an unsealed cell has no keys: leave them out")
        for number, key in self._keys.items():
            if not 1 <= number <= KEY_ID_MAX:
                raise ConfigError(f"a key id must be from 1 to {KEY_ID_MAX}, not {number}")
            check_key(key)
        if len(self.grant) > GRANT_MAX_BYTES or (self.grant and len(self._keys) != 1):
            raise ConfigError("a client's key is one key, with the text that `paxlock grant` gave it")

    @property
    def first(self) -> int:
        """The id of the key that seals what nobody has asked for."""
        return next(iter(self._keys), UNSEALED_KEY_ID)

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> Keyring:
        """A keyring of these keys under their own ids (`key_id`); the first one seals."""
        by_id = {key_id(key): key for key in keys}
        if len(by_id) != len(keys):
            raise ConfigError("two of the keys share a key id: make a new key in place of the newer one")
        return cls(by_id)

    @classmethod
    def unsealed(cls) -> Keyring:
        """No key and no seal, key id 0: for cells on loopback only."""
        return cls({}, sealed=False)

    def knows(self, number: int) -> bool:
        """Is there a key with this id (or no seal, for key id 0)?"""
        return number in self._keys if self.sealed else number == UNSEALED_KEY_ID

    def sealer(self, channel: Channel, number: int | None = None) -> Sealer:
        """What seals in one channel, by this key or by the first. Raises ConfigError for a channel in which
        the holder of these keys does not speak.
        """
        if not self.sealed:
            return Sealer(UNSEALED_KEY_ID, 0, None)
        if number is None or number not in self._keys:
            number = self.first
        cipher = self._derive(number, channel)
        if cipher is None:
            raise ConfigError("a client's key cannot speak for a node, nor for another client")
        return Sealer(number, SEAL_BYTES, cipher)

    def open_untrusted(
        self, number: int, channel: Channel, sequence: int, sealed: bytes, header: bytes
    ) -> bytes | None:
        """The plaintext, or None where the seal is not that of this channel, number and header.

        Derived keys are remembered, at most SUBKEYS_MAX, and only once they have opened something: whoever
        has no key of the cell cannot fill this memory.
        """
        if not self.sealed:
            return sealed if number == UNSEALED_KEY_ID else None
        if number not in self._keys:
            return None
        place = (number, channel)
        cipher = self._ciphers.get(place)
        fresh = cipher is None
        if cipher is None:
            cipher = self._derive(number, channel)
            if cipher is None:
                return None
        try:
            plaintext = cipher.decrypt(_nonce(sequence), sealed, header)
        except InvalidTag:
            return None
        if fresh:
            self._ciphers[place] = cipher
            if len(self._ciphers) > SUBKEYS_MAX:
                self._ciphers.popitem(last=False)
        else:
            self._ciphers.move_to_end(place)
        return plaintext

    def opener(self, number: int, channel: Channel) -> Callable[[bytes, bytes, bytes], bytes | None]:
        """As `open_untrusted`, for a channel and key that have opened something: takes the 8 bytes of the
        sequence number, what is sealed, and the header.
        """
        if not self.sealed:
            return lambda sequence, sealed, header: sealed
        cipher = self._ciphers.get((number, channel)) or self._derive(number, channel)
        assert cipher is not None
        decrypt = cipher.decrypt

        def open_untrusted(sequence: bytes, sealed: bytes, header: bytes) -> bytes | None:
            try:
                return decrypt(_NONCE_START + sequence, sealed, header)
            except InvalidTag:
                return None

        return open_untrusted

    def _derive(self, number: int, channel: Channel) -> AESGCM | None:
        key, grant = self._keys[number], channel.grant
        if self.grant:
            if grant != self.grant:
                return None
        elif grant is not None:
            key = client_key(key, grant)
        subkey = blake2b(channel.text, key=key, digest_size=KEY_BYTES, person=_SUBKEY_PERSON)
        return AESGCM(subkey.digest())


_WINDOW_MASK = (1 << REPLAY_WINDOW_DATAGRAMS) - 1


@attrs.define(eq=False)
class ReplayWindow:
    """Which sequence numbers of one sender were taken: each is taken once, in any order within the window.

    Bit i of ``seen`` stands for ``highest - i``. Numbers begin with 1.
    """

    highest: int = 0
    seen: int = 0

    def is_new(self, sequence: int) -> bool:
        """Whether `take` would take this number. Before its sender has proved itself nothing is taken: a
        number far ahead would lock out all that follow.
        """
        back = self.highest - sequence
        return back < 0 or (sequence >= 1 and back < REPLAY_WINDOW_DATAGRAMS and not self.seen >> back & 1)

    def take(self, sequence: int) -> bool:
        """Take a number; False where it was taken before, or is too old to tell."""
        ahead = sequence - self.highest
        if ahead > 0:
            # A shift by more than the window would cost memory and leave nothing.
            self.seen = ((self.seen << ahead) | 1) & _WINDOW_MASK if ahead < REPLAY_WINDOW_DATAGRAMS else 1
            self.highest = sequence
            return True
        if sequence < 1 or -ahead >= REPLAY_WINDOW_DATAGRAMS or self.seen >> -ahead & 1:
            return False
        self.seen |= 1 << -ahead
        return True
