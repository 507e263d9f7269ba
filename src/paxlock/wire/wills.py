"""The last will of a session: sealed Releases of what it holds, for the time after its death (protocol.md
section 11).

A process that was killed says nothing any more. So while it lives it deposits with a guardian, outside of it,
the datagrams that end its leases, each sealed for one node with the cookie which that node has issued, under
a number that nothing else is sealed with. They are deposited anew when a cookie, an address or the key
changes, and when a lease comes or goes. What the guardian does with them is last_will.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.messages import Release
from paxlock.wire.codec import encode, join
from paxlock.wire.keyring import REPLAY_WINDOW_DATAGRAMS
from paxlock.wire.packing import batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paxlock.wire.endpoint import Endpoint
    from paxlock.wire.transport import Address

__all__ = ["LEASES_MAX", "Guardian", "Wills"]

#: Nothing else is sealed with numbers from here on: a session would have to send for ever to come so far.
#: They are above all others, so that a node takes them whatever the session has sent since.
FIRST_NUMBER = 1 << 63
NO_COOKIE = 0
LEASES_PER_PAGE = 16
PAGES_MAX = 16
LEASES_MAX = LEASES_PER_PAGE * PAGES_MAX  #: of one session that are in its will; others run out
#: A page whose numbers are so far behind is sealed anew: a node takes none that is a window behind.
BEHIND_MAX = REPLAY_WINDOW_DATAGRAMS // 2


class Guardian(Protocol):
    """Who keeps the will of one session. Never blocks and never raises: what cannot be deposited is not."""

    def expect(self) -> None:
        """A lease is wanted: there will be something to deposit soon."""

    def deposit(self, page: int, at: int, address: Address, datagrams: Sequence[bytes]) -> None:
        """From now on these, in the place of those of the same page and number ``at`` of a node; perhaps
        none. Where it stands still they wait for `catch_up`.
        """

    def catch_up(self) -> None:
        """Take over what had to wait, in its order."""

    def settle(self) -> None:
        """Return once all that was deposited has been taken over, or no will of the session can be sent any
        more.
        """

    def close(self) -> None:
        """The session ends: nothing of it is to be sent."""


@attrs.define(eq=False)
class _Page:
    """Some leases, which share datagrams. ``changed`` where what is deposited is not what is held."""

    held: dict[int, Release] = attrs.field(factory=dict)
    changed: bool = True
    newest: int = 0  #: number that it was sealed with


class Wills:
    """What one session deposits. ``settle_turn`` is called at the end of each of its turns, and before a
    program is told of a lease.
    """

    def __init__(self, endpoint: Endpoint, guardian: Guardian) -> None:
        self._endpoint = endpoint
        self._guardian = guardian
        self._pages: list[_Page] = []
        self._page_of: dict[int, int] = {}
        self._number = FIRST_NUMBER
        #: Address and cookie of each node, in an order that stays: deposits are numbered by it. A node that
        #: has no address any more keeps its place, without a cookie.
        self._places: dict[str, tuple[Address, int]] = {}
        self._known: dict[str, tuple[Address, int]] = {}
        self._key_changes = endpoint.key_changes
        self._closed = False
        self._unsettled = False  #: a lease was withdrawn, and the guardian may not know it

    def expect(self) -> None:
        """A lease is wanted: the guardian is to be there when it is granted."""
        if not self._closed:
            self._guardian.expect()

    def hold(self, ticket: int, name: str, candidate: Candidate, term: int) -> None:
        """This lease is held from now on. The will names the exact candidate, and nothing else of it."""
        if self._closed or len(self._page_of) >= LEASES_MAX:
            return
        at = next((at for at, page in enumerate(self._pages) if len(page.held) < LEASES_PER_PAGE), None)
        if at is None:
            at = len(self._pages)
            self._pages.append(_Page())
        self._pages[at].held[ticket] = Release(0, name, candidate, term)
        self._pages[at].changed = True
        self._page_of[ticket] = at

    def drop(self, ticket: int) -> None:
        """It is over, or somebody else's: it is not in the will from the end of this turn on. Until then the
        will may name a candidate that is over, which harms nobody (S1, S2).
        """
        at = self._page_of.pop(ticket, None)
        if at is not None:
            del self._pages[at].held[ticket]
            self._pages[at].changed = True

    def withdraw(self, ticket: int) -> None:
        """Its handle is about to be shown: whoever gets it may go on after this process. Returns once the
        will does not name it any more, wherever it is kept.
        """
        if ticket in self._page_of:
            self.drop(ticket)
            self.settle_turn()
            self._unsettled = True
        if self._unsettled and not self._closed:
            self._guardian.settle()
            self._unsettled = False

    def settle_places(self) -> None:
        """Before anything is sent: whoever may take a lease by what is sent now is in the will first."""
        if self._pages and self._moved():
            self.settle_turn()

    def settle_turn(self) -> None:
        """Deposit what has changed: leases, cookies, addresses; and what the window would leave behind."""
        if self._closed or not self._pages or self._endpoint._life.over:  # noqa: SLF001
            return
        self._guardian.catch_up()
        moved = self._moved()
        if moved:
            self._known, self._key_changes = self._whereabouts(), self._endpoint.key_changes
            nowhere = {node: (address, NO_COOKIE) for node, (address, _) in self._places.items()}
            self._places = nowhere | self._known
        elif not any(page.changed for page in self._pages):
            return
        for at, page in enumerate(self._pages):
            behind = self._number - page.newest > BEHIND_MAX
            if page.changed or (page.held and (moved or behind)):
                self._deposit(at, page)

    def close(self) -> None:
        """The session ends by itself: it says what is to be said."""
        if not self._closed:
            self._closed = True
            self._pages.clear()
            self._page_of.clear()
            self._guardian.close()

    def _whereabouts(self) -> dict[str, tuple[Address, int]]:
        nodes = self._endpoint._nodes  # noqa: SLF001 - the other half of the endpoint
        return {node_id: (node.address, node.echo) for node_id, node in nodes.items()}

    def _moved(self) -> bool:
        """Whether a will would be sealed otherwise today: by another cookie or key, or to another address."""
        return self._whereabouts() != self._known or self._endpoint.key_changes != self._key_changes

    def _deposit(self, number: int, page: _Page) -> None:
        sealing = self._endpoint._sealing  # noqa: SLF001
        page.changed = False
        messages = [encode(release) for release in page.held.values()]
        for at, (address, echo) in enumerate(self._places.values()):
            datagrams: list[bytes] = []
            if messages and echo != NO_COOKIE:  # without a cookie a node would only challenge
                for batch in batches(messages, sealing.room):
                    issue = self._endpoint._session_issue  # noqa: SLF001
                    datagrams.append(sealing.seal_at(self._number, join(batch), issue, echo))
                    page.newest = self._number
                    self._number += 1
            self._guardian.deposit(number, at, address, datagrams)
