"""How the datagrams of one sender are made: what all of them have in common, numbers, seals (section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from paxlock.core.lives import UNKNOWN, Lives
from paxlock.wire.channels import Channel, channel_of
from paxlock.wire.header import (
    DATAGRAM_MAX_BYTES,
    LENGTH,
    NO_CELL,
    NO_EPOCH,
    Dropped,
    Header,
    NodeSender,
    Sender,
    SessionSender,
    end_header,
    head_bytes,
    payload_of_untrusted,
)
from paxlock.wire.keyring import SEAL_BYTES
from paxlock.wire.lives import NO_MEMBERS, LifeTable, Said
from paxlock.wire.packing import Encoder

if TYPE_CHECKING:
    from paxlock.wire.keyring import Keyring, Sealer

__all__ = ["SEALERS_MAX", "Sealing"]

SEALERS_MAX = 65_536
ANY_NODE = ""  #: a session speaks to all nodes in one channel
_ARRAY_HEADER_MAX_BYTES = 2


class Sealing:
    """Seals for one sender, and opens what others have sealed. Sequence numbers are nonces: no number is used
    twice, so there is one Sealing for each sender. ``room`` is how many bytes an encoded message may have,
    ``overhead`` those of the seal.
    """

    def __init__(self, sender: Sender, keyring: Keyring) -> None:
        sender.check()
        self.sender = sender
        self._keyring = keyring
        self._sealers: dict[tuple[SessionSender | str, int], tuple[Sealer, bytes]] = {}
        self.overhead = SEAL_BYTES if keyring.sealed else 0
        self._sequence = 0
        self._cell_id, self._epoch = NO_CELL, NO_EPOCH
        self._lives: Lives = UNKNOWN
        self._table = LifeTable()
        self._settle()

    def configure(self, cell_id: bytes, epoch: int, table: LifeTable) -> None:
        """Speak in this cell from now on."""
        self._cell_id, self._epoch, self._table = cell_id, epoch, table
        self._settle()

    def live(self, lives: Lives) -> None:
        """Say of lives, from now on, what this node knows; in another life of its own, where it says so."""
        sender = self.sender
        assert isinstance(sender, NodeSender)
        incarnation = lives[sender.node_id]
        if incarnation != sender.incarnation:
            self.sender = attrs.evolve(sender, incarnation=incarnation)
            self.sender.check()
        self._lives = lives
        self._settle()

    def rekey(self, sender: Sender, keyring: Keyring) -> None:
        """Seal and open by other keys; the numbers go on. The sender is the same, but for its grant."""
        sender.check()
        self.sender, self._keyring = sender, keyring
        self._settle()

    def _settle(self) -> None:
        sender, table = self.sender, self._table
        self._sealers.clear()
        self._prefix = table.write(sender, self._lives)
        self._plaintext_max = DATAGRAM_MAX_BYTES - head_bytes(sender) - self.overhead
        self.room = self._plaintext_max - len(self._prefix) - LENGTH.size - _ARRAY_HEADER_MAX_BYTES
        #: See `Encoder.encode`.
        self.encode = Encoder(self.room).encode
        # A request is never shorter than the challenge that may answer it.
        self._plaintext_min = table.challenge_bytes - head_bytes(sender)

    def _sealer(self, receiver: SessionSender | str, key_id: int) -> tuple[Sealer, bytes]:
        """What seals for this receiver, and how the header begins: derived once, for SEALERS_MAX of them."""
        found = self._sealers.get((receiver, key_id))
        if found is None:
            if len(self._sealers) >= SEALERS_MAX:
                self._sealers.clear()
            assert receiver or isinstance(self.sender, SessionSender), "a node seals for one receiver"
            sealer = self._keyring.sealer(channel_of(self.sender, receiver), key_id)
            start = self.sender.start_header(sealer.key_id, self._cell_id, self._epoch, self._table.digest)
            found = self._sealers[receiver, key_id] = sealer, start
        return found

    def seal(
        self,
        payload: bytes,
        issue: int,
        echo: int,
        receiver: SessionSender | str = ANY_NODE,
        *,
        key_id: int = 0,
        padded: bool = False,
        unconfigured: bool = False,
    ) -> bytes:
        """The next datagram, for this receiver, by this key (0: the first). ``padded``: to the greatest
        length; ``unconfigured``: for a cell not known yet.
        """
        self._sequence += 1
        return self.seal_at(
            self._sequence,
            payload,
            issue,
            echo,
            receiver,
            key_id=key_id,
            padded=padded,
            unconfigured=unconfigured,
        )

    def seal_at(
        self,
        number: int,
        payload: bytes,
        issue: int,
        echo: int,
        receiver: SessionSender | str = ANY_NODE,
        *,
        key_id: int = 0,
        padded: bool = False,
        unconfigured: bool = False,
    ) -> bytes:
        """A datagram with a number that was set aside for it: whoever sets numbers aside uses each once."""
        sealer, start = self._sealer(receiver, key_id)
        if unconfigured:
            start = self.sender.start_header(sealer.key_id, NO_CELL, NO_EPOCH, NO_MEMBERS)
        header = start + end_header(number, issue, echo)
        plaintext = self._prefix + LENGTH.pack(len(payload)) + payload
        least = self._plaintext_max if padded else self._plaintext_min
        if len(plaintext) < least:
            plaintext = plaintext.ljust(least, b"\0")
        datagram = header + sealer.seal(number, plaintext, header)
        assert len(datagram) <= DATAGRAM_MAX_BYTES
        return datagram

    def open_untrusted(self, datagram: bytes, header: Header) -> tuple[bytes, Said]:
        """The payload, what the seal holds without lives, length and padding; and what it says of lives.
        Raises Dropped.
        """
        plaintext = self.plaintext_untrusted(datagram, header)
        said = self._table.read_untrusted(header.sender, plaintext)
        return payload_of_untrusted(plaintext, len(said.prefix)), said

    def channel_from(self, sender: Sender) -> Channel:
        """The channel in which this sender speaks to us."""
        mine = self.sender
        return channel_of(sender, mine if isinstance(mine, SessionSender) else mine.node_id)

    def plaintext_untrusted(self, datagram: bytes, header: Header) -> bytes:
        """All that the seal holds. Raises Dropped."""
        plaintext = self._keyring.open_untrusted(
            header.key_id,
            self.channel_from(header.sender),
            header.sequence,
            datagram[header.size :],
            datagram[: header.size],
        )
        if plaintext is None:
            raise Dropped("seal")
        return plaintext
