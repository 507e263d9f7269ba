"""Datagrams <-> (sender, messages), without a socket and without a clock (protocol.md section 8).

One endpoint speaks for one sender: a session, or one run of a node. The layout of a datagram is drawn in
header.py; what cookies prove, and what is answered without them, is told in cookies.py; what nodes say of
lives in lives.py. Whoever decides with other members is dropped, and told so by an empty datagram.

What comes from the network is dropped and counted, one reason for each datagram, before anything looks at
it; nothing about a sender is remembered, its number neither, until its datagram has passed every check.
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from paxlock.core.durable import incarnation_max
from paxlock.core.lives import Lives
from paxlock.core.messages import Greet, Hello, Message, Peer, Welcome
from paxlock.core.rights import ROOT
from paxlock.forks import Life
from paxlock.limits import SEEDS_MAX
from paxlock.wire.codec import Malformed, decode_untrusted, encode, join
from paxlock.wire.cookies import Cookies
from paxlock.wire.grants import rights_of
from paxlock.wire.header import (
    DATAGRAM_MAX_BYTES,
    LENGTH,
    NO_CELL,
    NO_EPOCH,
    VERSION,
    Dropped,
    Header,
    NodeSender,
    Sender,
    SessionSender,
    parse_untrusted,
)
from paxlock.wire.lanes import Lanes
from paxlock.wire.lives import LifeTable, Said
from paxlock.wire.packing import PendingMessages, batches, hello_only_untrusted
from paxlock.wire.peers import SESSIONS_MAX, Greeters, KnownNode, KnownSession, KnownSessions
from paxlock.wire.received import Received, from_node, from_session
from paxlock.wire.sealing import ANY_NODE, Sealing
from paxlock.wire.strangers import STRANGERS_MAX, Stranger, other_members, other_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paxlock.core.rights import Rights
    from paxlock.wire.keyring import Keyring
    from paxlock.wire.transport import Address

__all__ = [
    "CHALLENGES_MAX",
    "DATAGRAM_MAX_BYTES",
    "SESSIONS_MAX",
    "Endpoint",
    "NodeSender",
    "Received",
    "SessionSender",
]

CHALLENGES_MAX = 1024
NOWHERE = ("", 0)


class Endpoint:
    """The datagrams of one sender. Make no second endpoint for the same session or run: the sequence numbers
    are nonces, and would repeat. So in the child of a fork nothing is sealed by what it inherits.

    ``cell_id`` may be None only for a session that knows nothing but addresses (`greet_seeds`, `configure`).
    ``members`` are the addresses of each node, the preferred one first. ``wall_offset`` is unix time minus
    the clock of `age`; without it incarnations are not bounded. ``secret`` is for tests.
    """

    def __init__(
        self,
        sender: Sender,
        keyring: Keyring,
        *,
        cell_id: bytes | None = None,
        epoch: int = NO_EPOCH,
        members: Mapping[str, Sequence[Address]] | None = None,
        wall_offset: float | None = None,
        secret: bytes | None = None,
    ) -> None:
        if cell_id is None and isinstance(sender, NodeSender):
            raise ValueError("the endpoint of a node needs the cell id")
        self._node_id = sender.node_id if isinstance(sender, NodeSender) else None
        self._keyring = keyring
        self._sealing = Sealing(sender, keyring)
        #: Called with the id of a node that is heard from elsewhere (True), or not at all for a while.
        self.look_up: Callable[[str, bool], None] | None = None
        self._now = 0.0
        self._cookies = Cookies(secret)
        self._session_issue = self._cookies.of(NOWHERE) if self._node_id is None else 0
        self._wall_offset = wall_offset
        self._incarnation_max = incarnation_max(0.0)
        self._cell_id, self._epoch, self._configured, self._table = NO_CELL, NO_EPOCH, False, LifeTable()
        self.strangers: list[Stranger] = []  #: newly heard of; whoever looks takes them out
        self._nodes: dict[str, KnownNode] = {}
        self._sessions = KnownSessions()
        self._greeters = Greeters()
        self._seeds: set[Address] = set()
        self._seed_cookies: dict[tuple[bytes, str], int] = {}
        self._outboxes: dict[Peer, PendingMessages] = {}
        self._ready: list[tuple[bytes, Address]] = []
        self._lanes = Lanes()
        self._counts: Counter[str] = Counter()
        self._life = Life()
        self.key_changes = 0  #: how often (rekeying.py)
        self.refused = ""  #: why the last datagram that was dropped was; whoever looks empties it
        if cell_id is not None:
            self.configure(cell_id, epoch, members or {})

    def statistics(self) -> Mapping[str, int]:
        """A frozen copy of the counters. ``received`` = ``passed`` + ``challenged`` + all ``dropped_...``."""
        return MappingProxyType(dict(self._counts))

    def age(self, now: float) -> None:
        """It is ``now``: before each datagram, and before `flush`, by a clock that does not step back.
        Cookies run out, and with them the sessions that have sent none back for so long.
        """
        self._now = now
        if self._wall_offset is not None:
            self._incarnation_max = incarnation_max(now + self._wall_offset)
        if not self._cookies.age(now):
            return
        self._lanes.clear()
        oldest = self._cookies.generation - 1
        for session in [key for key, state in self._sessions.items() if state.proved < oldest]:
            self._sessions.forget(session)

    def configure(self, cell_id: bytes, epoch: int, members: Mapping[str, Sequence[Address]]) -> None:
        """Fix the configuration, or its addresses anew; what is known of the nodes that stay is kept."""
        known = self._nodes if cell_id == self._cell_id else {}
        self._cell_id, self._epoch, self._configured = cell_id, epoch, True
        self._table = LifeTable({*members, self._node_id} if self._node_id is not None else members)
        self._sealing.configure(cell_id, epoch, self._table)
        self._lanes.clear()
        self._nodes = {}
        for node_id, addresses in members.items():
            if node_id == self._node_id or not addresses:
                continue
            node = known.get(node_id)
            if node is None:
                node = KnownNode((), addresses[0], self._seed_cookies.get((cell_id, node_id), 0))
            node.addresses = tuple(addresses)
            if node.address not in node.addresses:
                node.move(addresses[0])
            self._nodes[node_id] = node
        self._seeds, self._seed_cookies = set(), {}

    @property
    def sender(self) -> Sender:
        """Who speaks here, in its present life."""
        return self._sealing.sender

    @property
    def room(self) -> int:
        """How many bytes an encoded message may have."""
        return self._sealing.room

    def live(self, lives: Lives) -> None:
        """Say of lives, from now on, what this node knows; in another life of its own, where it says so."""
        self._sealing.live(lives)

    # Sending.

    def queue(self, peer: Peer, message: Message) -> None:
        """Put a message into the next datagram for this peer; without an address for it, count and drop it.

        Raises ValueError for a message that does not fit into a datagram.
        """
        encoded = self._sealing.encode(message)
        outbox = self._outboxes.get(peer)
        if outbox is None:
            if peer not in self._nodes and peer not in self._sessions and peer not in self._greeters:
                self._counts["unknown_peer"] += 1
                return
            outbox = self._outboxes[peer] = PendingMessages()
        outbox.messages.append(encoded)
        if type(message) is Hello:
            outbox.padded = True

    def greet_seeds(self, addresses: Iterable[Address], request: int) -> None:
        """Queue a padded Hello to each of these addresses, whoever may be there (at most SEEDS_MAX).

        Answers from them are taken until `configure`. Raises ValueError for more addresses than that.
        """
        hello = join([encode(Hello(request))])
        if self._life.over:
            return
        for address in dict.fromkeys(addresses):
            if address not in self._seeds and len(self._seeds) >= SEEDS_MAX:
                raise ValueError(f"at most {SEEDS_MAX} seed addresses can be asked")
            self._seeds.add(address)
            datagram = self._sealing.seal(hello, self._cookie(address), 0, padded=True, unconfigured=True)
            self._ready.append((datagram, address))

    def flush(self) -> list[tuple[bytes, Address]]:
        """All datagrams that are due, with their addresses: challenges, then what was queued, in order."""
        datagrams, self._ready = self._ready, []
        if (datagrams or self._outboxes) and self._life.over:
            datagrams, self._outboxes = [], {}
        if self._outboxes:
            outboxes, self._outboxes = self._outboxes, {}
            for peer, outbox in outboxes.items():
                self._pack(peer, outbox, datagrams)
        if datagrams:
            self._counts["sent"] += len(datagrams)
        return datagrams

    def _pack(self, peer: Peer, outbox: PendingMessages, datagrams: list[tuple[bytes, Address]]) -> None:
        receiver: SessionSender | str
        if isinstance(peer, str):
            node = self._nodes.get(peer)
            if node is None:  # left the configuration since
                self._counts["unknown_peer"] += len(outbox.messages)
                return
            if node.sent(self._now) and self.look_up is not None:
                self.look_up(peer, False)
            address, issue, echo = node.address, self._issued(node), node.echo
            receiver, key_id = peer if self._node_id is not None else ANY_NODE, self._keyring.first
            node.last = outbox
        else:
            if (session := self._sessions.get(peer)) is not None:
                address, issue, echo = session.address, self._issued(session), session.echo
                receiver, key_id = session.sender, session.key_id
            else:
                greeter = self._greeters.pop(peer)  # one answer to one Hello
                if greeter is None:
                    self._counts["unknown_peer"] += len(outbox.messages)
                    return
                address, echo, receiver, key_id = greeter
                issue = self._cookie(address)
        for batch in batches(outbox.messages, self.room):
            cookies = issue, echo
            sealed = self._sealing.seal(join(batch), *cookies, receiver, key_id=key_id, padded=outbox.padded)
            datagrams.append((sealed, address))

    # Receiving.

    def receive_untrusted(self, datagram: bytes, address: Address) -> Received | None:
        """The messages of a datagram from the network, or None where nothing is to be passed up.

        Raises nothing. Afterwards call `flush`: there may be a challenge to send, or a repetition.
        """
        self._counts["received"] += 1
        usual = self._by_lane(datagram, address)
        if usual is not None:
            self._counts["passed"] += 1
            return usual
        try:
            header = parse_untrusted(datagram)
            self._check_cell(header)
            if not self._keyring.knows(header.key_id):
                raise Dropped("key")
            sender = header.sender
            if header.members != self._table.digest and self._configured and header.cell_id != NO_CELL:
                self._from_other_members(datagram, header, address)
            if isinstance(sender, NodeSender):
                received = self._from_node(datagram, header, sender, address)
            else:
                received = self._from_session(datagram, header, sender, address)
        except (Dropped, Malformed) as error:
            self.refused = error.reason
            self._counts[f"dropped_{self.refused}"] += 1
            if self.refused == "older_version":
                self._strange(other_version(datagram[0], VERSION, address))
            return None
        self._counts["passed" if received is not None else "challenged"] += 1
        return received

    def _check_cell(self, header: Header) -> None:
        if not self._configured:
            return
        if header.cell_id == self._cell_id:
            if header.epoch != self._epoch:
                raise Dropped("epoch")
        elif self._node_id is None or header.cell_id != NO_CELL:
            raise Dropped("cell")
        elif header.epoch != NO_EPOCH:
            raise Dropped("epoch")

    def _from_other_members(self, datagram: bytes, header: Header, address: Address) -> NoReturn:
        """From a configuration with other nodes: both sides are to know, and nothing else follows from it."""
        plaintext = self._sealing.plaintext_untrusted(datagram, header)
        if self._node_id is None and header.echo != self._session_issue:
            raise Dropped("echo")
        self._strange(other_members(header.sender, address))
        if self._node_id is not None and not plaintext.endswith(LENGTH.pack(1) + join([])):
            self._answer_empty(datagram, header, address)
        raise Dropped("members")

    def _strange(self, stranger: Stranger) -> None:
        if len(self.strangers) < STRANGERS_MAX and stranger not in self.strangers:
            self.strangers.append(stranger)

    def _by_lane(self, datagram: bytes, address: Address) -> Received | None:
        """The usual case: one more datagram of a peer that has proved itself. None: take the long way."""
        found = self._lanes.open_untrusted(datagram, address)
        if found is None:
            return None
        lane, payload, number = found
        peer = lane.peer
        known = self._nodes.get(peer) if isinstance(peer, str) else self._sessions.get(peer)
        if known is not lane.state:
            return None
        try:
            messages = decode_untrusted(payload)
        except Malformed:
            return None
        if not messages or not known.window.take(number):
            return None
        if isinstance(peer, str):
            self._nodes[peer].unheard = 0
        else:
            self._sessions.move_to_end(peer)
        return Received(
            peer, lane.sender, messages, address, self._cell_id, self._epoch, lane.said.lives, lane.rights
        )

    def _keep_lane(
        self,
        address: Address,
        datagram: bytes,
        header: Header,
        state: KnownNode | KnownSession,
        said: Said,
        rights: Rights = ROOT,
    ) -> None:
        opener = self._keyring.opener(header.key_id, self._sealing.channel_from(header.sender))
        self._lanes.keep(address, datagram, header, state, said, opener, rights)

    def _from_session(
        self, datagram: bytes, header: Header, sender: SessionSender, address: Address
    ) -> Received:
        if self._node_id is None:
            raise Dropped("sender")
        payload, said = self._sealing.open_untrusted(datagram, header)
        rights = rights_of(sender.grant)
        session = self._sessions.get(sender.session)
        if session is not None and session.seen(address, header.sequence):
            raise Dropped("replay")
        proved = self._cookies.proves(address, header.echo)
        unconfigured = header.cell_id == NO_CELL
        if proved is None or unconfigured:
            messages = hello_only_untrusted(datagram, payload)
            # A session that lives elsewhere proves its new address before anything is sent there.
            if not messages or (session is not None and session.address != address):
                self._challenge(datagram, header, address, payload)
            if session is None:
                self._greeters.remember(sender, address, header.issue, header.key_id)
            return from_session(sender, messages, address, header, rights)
        messages = decode_untrusted(payload)
        if not messages:
            raise Dropped("empty")
        if session is None:
            session = self._sessions.admit(KnownSession(address, sender, header.key_id), rights.key)
            self._greeters.pop(sender.session)
        else:
            self._sessions.move_to_end(sender.session)
        session.prove(address, proved, header)
        self._keep_lane(address, datagram, header, session, said, rights)
        return from_session(sender, messages, address, header, rights)

    def _from_node(
        self, datagram: bytes, header: Header, sender: NodeSender, address: Address
    ) -> Received | None:
        if sender.node_id == self._node_id or header.cell_id == NO_CELL:
            raise Dropped("sender")
        if not self._configured:
            return self._from_seed(datagram, header, sender, address)
        if sender.incarnation > self._incarnation_max:
            raise Dropped("future")
        node = self._nodes.get(sender.node_id)
        if node is None or address not in node.addresses:
            if node is not None and self.look_up is not None:
                # Nobody without the key makes us look anything up.
                self._sealing.open_untrusted(datagram, header)
                self.look_up(sender.node_id, True)
            raise Dropped("address")
        payload, said = self._sealing.open_untrusted(datagram, header)
        current = sender.incarnation == node.incarnation and sender.run == node.run
        if current and not node.window.is_new(header.sequence):
            raise Dropped("replay")
        proved = self._proves(address, header.echo)
        if proved is None:
            if self._node_id is None:
                raise Dropped("echo")
            messages = hello_only_untrusted(datagram, payload)
            if not messages:
                self._challenge(datagram, header, address, payload)
            return from_node(sender, messages, address, header, said)
        if node.outdated(sender):
            return self._from_outdated(node, header, sender, address, payload, said, proved)
        messages = decode_untrusted(payload)
        node.adopt(sender)
        node.unheard = 0
        node.window.take(header.sequence)
        node.move(address)
        # A datagram that was overtaken may carry an older cookie.
        fresh = header.issue != node.echo and header.sequence == node.window.highest
        if fresh:
            node.echo = header.issue
        if messages:
            if header.issue == node.echo:
                self._keep_lane(address, datagram, header, node, said)
            return from_node(sender, messages, address, header, said)
        if fresh:
            self._repeat(sender.node_id, node)
        return None

    def _from_outdated(
        self,
        node: KnownNode,
        header: Header,
        sender: NodeSender,
        address: Address,
        payload: bytes,
        said: Said,
        proved: int,
    ) -> Received:
        """Of an earlier run only a Greet is passed up: a node that lost its memory must be told so."""
        messages = tuple(message for message in decode_untrusted(payload) if type(message) is Greet)
        if not messages:
            raise Dropped("incarnation")
        if not node.take_outdated(sender, header.sequence, proved, self._cookies.generation - 1):
            raise Dropped("replay")
        # The answer goes to whoever is there now; the newer run, should it still live, corrects this.
        node.echo = header.issue
        return from_node(sender, messages, address, header, said)

    def _from_seed(self, datagram: bytes, header: Header, sender: NodeSender, address: Address) -> Received:
        """Before the configuration is known: a Welcome from an address that was asked, and nothing else."""
        if address not in self._seeds:
            raise Dropped("address")
        payload, said = self._sealing.open_untrusted(datagram, header)
        if header.echo != self._session_issue:
            raise Dropped("echo")
        messages = tuple(message for message in decode_untrusted(payload) if type(message) is Welcome)
        if not messages:
            raise Dropped("unconfigured")
        if len(self._seed_cookies) < SEEDS_MAX:
            self._seed_cookies[header.cell_id, sender.node_id] = header.issue
        return from_node(sender, messages, address, header, said)

    # Cookies.

    def _cookie(self, address: Address) -> int:
        """What is issued to this address, whoever is there."""
        return self._session_issue or self._cookies.of(address)

    def _issued(self, state: KnownSession | KnownNode) -> int:
        return self._session_issue or self._cookies.issued(state)

    def _proves(self, address: Address, echo: int) -> int | None:
        """The generation of the cookie that comes back from this address, or None where it is not ours."""
        if self._session_issue:
            return 0 if echo == self._session_issue else None
        return self._cookies.proves(address, echo)

    def _challenge(self, datagram: bytes, header: Header, address: Address, payload: bytes) -> NoReturn:
        """Drop a datagram without proof; answer with the cookie, unless it was empty itself."""
        if header.cell_id == NO_CELL:
            raise Dropped("cell")
        if payload == join([]):
            raise Dropped("empty")
        if not self._answer_empty(datagram, header, address):
            raise Dropped("unproved_unanswered")
        self._counts["challenges_sent"] += 1
        raise Dropped("unproved")

    def _answer_empty(self, datagram: bytes, header: Header, address: Address) -> bool:
        """Answer with an empty datagram; False where that would be longer than this one, or one too many."""
        too_short = len(datagram) < self._table.challenge_bytes + self._sealing.overhead
        if too_short or len(self._ready) >= CHALLENGES_MAX or self._life.over:
            return False
        sender, issue = header.sender, self._cookie(address)
        receiver = sender if isinstance(sender, SessionSender) else sender.node_id
        empty = self._sealing.seal(join([]), issue, header.issue, receiver, key_id=header.key_id)
        self._ready.append((empty, address))
        return True

    def _repeat(self, node_id: str, node: KnownNode) -> None:
        """Queue once more, before anything newer, what was last sent to this node."""
        last, node.last = node.last, None
        if last is None:
            return
        self._counts["repeated"] += len(last.messages)
        waiting = self._outboxes.setdefault(node_id, PendingMessages())
        waiting.messages[:0] = last.messages
        waiting.padded |= last.padded
