"""What an endpoint remembers of those it talks to; filled only by datagrams that passed every check."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from paxlock.limits import SESSIONS_PER_KEY
from paxlock.wire.header import SessionSender
from paxlock.wire.keyring import ReplayWindow

if TYPE_CHECKING:
    from paxlock.wire.header import Header, NodeSender
    from paxlock.wire.packing import PendingMessages
    from paxlock.wire.transport import Address

__all__ = [
    "OUTDATED_RUNS_MAX",
    "RETIRED_RUNS_MAX",
    "SESSIONS_MAX",
    "Greeters",
    "KnownNode",
    "KnownSession",
    "KnownSessions",
]

SESSIONS_MAX = 65_536

RETIRED_RUNS_MAX = 64
OUTDATED_RUNS_MAX = 16
GREETERS_MAX = 1024
SILENT_DATAGRAMS = 4
SILENT_S = 1.0
PLACES_MAX = 4  #: of one session, whose numbers are remembered

_NEVER = -(1 << 62)


@attrs.define(eq=False)
class KnownSession:
    """What a node keeps of a session that has proved its address, at most for as long as a cookie is good.

    A cookie is bound to an address, and so are the numbers that were taken: whoever proves another address
    in the name of a session does not use up the numbers of the session itself. ``proved`` is the generation
    of the newest cookie that came back, ``key_id`` the key by which it was sealed: so the answers are.
    """

    address: Address
    sender: SessionSender
    key_id: int
    echo: int = 0
    proved: int = _NEVER
    window: ReplayWindow = attrs.field(factory=ReplayWindow)
    issue: int = 0
    issued_in: int = _NEVER
    key: str = ""
    _elsewhere: dict[Address, ReplayWindow] = attrs.field(factory=dict)

    def seen(self, address: Address, sequence: int) -> bool:
        """Whether this number was taken from this address, or may have been."""
        window = self.window if address == self.address else self._elsewhere.get(address)
        return window is not None and not window.is_new(sequence)

    def prove(self, address: Address, generation: int, header: Header) -> None:
        """A right echo came from this address, with a number that was not seen there. The key may be another
        one than before, and so may the grant, of the same client.
        """
        assert isinstance(header.sender, SessionSender)
        if address != self.address:
            self._elsewhere[self.address] = self.window
            self.window = self._elsewhere.pop(address) if address in self._elsewhere else ReplayWindow()
            if len(self._elsewhere) >= PLACES_MAX:
                del self._elsewhere[next(iter(self._elsewhere))]
            self.address, self.issued_in = address, _NEVER
        self.proved = max(self.proved, generation)
        self.sender, self.key_id, self.echo = header.sender, header.key_id, header.issue
        self.window.take(header.sequence)


class KnownSessions(OrderedDict[bytes, KnownSession]):
    """The sessions that have proved their addresses, the one heard last at the end: at most SESSIONS_MAX, and
    of one key of a client SESSIONS_PER_KEY, of which the first to come goes first. One that was forgotten
    need only prove its address again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_key: dict[str, dict[bytes, None]] = {}

    def admit(self, state: KnownSession, key: str) -> KnownSession:
        """One that has just proved its address, of the key with this id (none: the root key)."""
        session, state.key = state.sender.session, key
        if key:
            mine = self._of_key.setdefault(key, {})
            if len(mine) >= SESSIONS_PER_KEY:
                self.forget(next(iter(mine)))
            self._of_key.setdefault(key, mine)[session] = None
        self[session] = state
        if len(self) > SESSIONS_MAX:
            self.forget(next(iter(self)))
        return state

    def forget(self, session: bytes) -> None:
        """It is known no longer."""
        key = self.pop(session).key
        if key:
            mine = self._of_key[key]
            del mine[session]
            if not mine:
                del self._of_key[key]


class Greeters:
    """Sessions that said Hello and have not proved their address: where each gets its one answer."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, tuple[Address, int, SessionSender, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, session: object) -> bool:
        return session in self._found

    def remember(self, sender: SessionSender, address: Address, issue: int, key_id: int) -> None:
        """The newest GREETERS_MAX are kept; ``issue`` is the cookie that the session sent along."""
        self._found[sender.session] = address, issue, sender, key_id
        self._found.move_to_end(sender.session)
        if len(self._found) > GREETERS_MAX:
            self._found.popitem(last=False)

    def pop(self, session: bytes) -> tuple[Address, int, SessionSender, int] | None:
        """Take out where the answer goes, the cookie to send back, for whom and by which key to seal."""
        return self._found.pop(session, None)


@attrs.define(eq=False)
class KnownNode:
    """What is kept of a node: its addresses, its newest run, and the newest cookie it issued to us."""

    addresses: tuple[Address, ...]
    address: Address
    echo: int = 0
    issue: int = 0
    issued_in: int = _NEVER
    incarnation: int = 0
    run: bytes = b""
    retired: tuple[bytes, ...] = ()
    window: ReplayWindow = attrs.field(factory=ReplayWindow)
    last: PendingMessages | None = None
    unheard: int = 0  #: how many datagrams were sent to it since it was last heard
    _unheard_since: float = 0.0
    _outdated: dict[tuple[int, bytes], tuple[int, ReplayWindow]] = attrs.field(factory=dict)

    def move(self, address: Address) -> None:
        """It is at this one of its addresses."""
        if address != self.address:
            self.address, self.issued_in = address, _NEVER

    def sent(self, now: float) -> bool:
        """A datagram goes to it. True where it has been silent for a while, although asked several times:
        then the next of its addresses is tried.
        """
        if not self.unheard:
            self._unheard_since = now
        self.unheard += 1
        if self.unheard < SILENT_DATAGRAMS or now < self._unheard_since + SILENT_S:
            return False
        self.unheard = 0
        at = self.addresses.index(self.address)
        self.move(self.addresses[(at + 1) % len(self.addresses)])
        return True

    def take_outdated(self, sender: NodeSender, sequence: int, proved: int, oldest: int) -> bool:
        """Take a number of an earlier run, once, as of any other. ``proved`` is the generation of its cookie,
        ``oldest`` that of the oldest cookie that is still good: until then a run is remembered. Of more than
        OUTDATED_RUNS_MAX nothing is taken.
        """
        known = {run: kept for run, kept in self._outdated.items() if kept[0] >= oldest}
        self._outdated = known
        run = sender.incarnation, sender.run
        before, window = known.get(run, (proved, ReplayWindow()))
        if run not in known and len(known) >= OUTDATED_RUNS_MAX:
            return False
        known[run] = max(before, proved), window
        return window.take(sequence)

    def outdated(self, sender: NodeSender) -> bool:
        """Is this an earlier run than the newest one known?"""
        return sender.incarnation < self.incarnation or sender.run in self.retired

    def adopt(self, sender: NodeSender) -> None:
        """Take over a run that has proved itself; numbers begin anew with it."""
        if sender.incarnation == self.incarnation and sender.run == self.run:
            return
        # Of two runs with one incarnation (nodes without a disk), the one that was replaced stays replaced.
        same = sender.incarnation == self.incarnation
        self.retired = (*self.retired, self.run)[-RETIRED_RUNS_MAX:] if same and self.run else ()
        self.incarnation, self.run = sender.incarnation, sender.run
        self.window = ReplayWindow()
