"""Operators and publishing holders in the simulator (protocol.md section 12): leases are revoked, politely,
by force or in favour of one in line, and holders have other data from time to time.

What must hold: whoever was ended by force counts on nothing beyond what it had; what was published is what a
poll shows that is asked later; a watch never goes back, and arrives at the last data.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.session.events import Answered, Changed, DataPublished, HandleOutcome
from paxlock.core.session.judgement import State
from paxlock.simulator.checkers import EPSILON_S, CheckFailed
from paxlock.simulator.moments import What

if TYPE_CHECKING:
    from paxlock.simulator.machines import ClientMachine
    from paxlock.simulator.simulation import Simulation
    from paxlock.simulator.wishes import Wish

__all__ = ["Administration"]

FORCED = 0.5  #: the share of what is revoked that is so by force
SUCCEEDED = 0.5  #: of what is asked for politely, the share in favour of one in line
DEAF = 0.3  #: the share of holders that do not listen
ORDERLY_TTLS = 0.5  #: how long a holder works on that was asked to let go, at most
PAUSE_TTLS = 0.3  #: between what a holder publishes, on average


@attrs.define(eq=False)
class _Data:
    """What one candidate has published: the last ``edition``, and the last one ``told`` to be published."""

    term: int
    edition: int = 0
    told: int = 0


class Administration:
    """Who ends whose tenure, and who has which data. Its draws are its own: other runs stay as they are."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._rng = Random(f"administration {simulation.seed}")
        self._data: dict[Candidate, _Data] = {}
        self._editions: dict[tuple[bytes, int], tuple[Candidate, int]] = {}  #: by ticket
        self._revoked: dict[tuple[bytes, int], tuple[Wish, bool]] = {}  #: by ticket, and whether by force
        self._forced: dict[Candidate, float] = {}  #: until when, in true time, each may count on its lease
        self._asked: dict[
            tuple[bytes, int], dict[Candidate, int]
        ] = {}  #: what was published before each poll
        self._shown: dict[tuple[object, str], tuple[int, int]] = {}  #: term and edition, by watch
        self.forced = self.published = 0

    # What happens

    def granted(self, wish: Wish) -> None:
        """A lease is held: perhaps its holder publishes, and perhaps somebody does not want it to hold."""
        sim, rng, scenario = self._sim, self._rng, self._sim.scenario
        assert wish.candidate is not None
        self._data[wish.candidate] = _Data(wish.term)
        if scenario.publishes and rng.random() < scenario.publishes:
            sim.at(sim.true + rng.expovariate(1.0 / (PAUSE_TTLS * wish.ttl)), self._publish, wish)
        if scenario.revokes and rng.random() < scenario.revokes:
            sim.at(sim.true + rng.random() * wish.ttl, self._revoke, wish)

    def _publish(self, wish: Wish) -> None:
        sim, client = self._sim, wish.client
        if wish.over or client.core is None or wish.candidate is None or sim.workload.at_rest:
            return
        again = sim.true + self._rng.expovariate(1.0 / (PAUSE_TTLS * wish.ttl))
        sim.at(again, self._publish, wish)
        if sim.true < client.paused_until or client.now(sim.true) >= wish.deadline:
            return
        data = self._data[wish.candidate]
        data.edition += 1
        ticket = client.core.publish(wish.ticket, str(data.edition).encode(), client.now(sim.true))
        if ticket is not None:
            self._editions[client.session, ticket] = (wish.candidate, data.edition)
        else:
            data.edition -= 1
        sim.clients.turn(client, [])

    def _revoke(self, wish: Wish) -> None:
        sim, rng = self._sim, self._rng
        able = [client for client in sim.workload.clients if sim.true >= client.paused_until]
        if wish.over or wish.candidate is None or not able or sim.healed_at <= sim.true:
            return
        client, force = rng.choice(able), rng.random() < FORCED
        successor = None
        if not force and rng.random() < SUCCEEDED:
            successor = rng.choice(sorted(self._in_line(wish.name)) or [None])
        assert client.core is not None
        sim.tell(client.label, What.FAULT, text=f"revokes {wish.name!r} of term {wish.term}, force {force}")
        ticket = client.core.revoke(
            *(wish.name, wish.candidate, wish.term, client.now(sim.true)), force=force, successor=successor
        )
        self._revoked[client.session, ticket] = wish, force
        sim.clients.turn(client, [])

    def _in_line(self, name: str) -> set[Candidate]:
        """The candidates that nodes have in line for the name."""
        found: set[Candidate] = set()
        for node in self._sim.nodes.all:
            record = node.acceptor.records.get(name) if node.core is not None else None
            if record is not None and record.line is not None:
                found.update(entry.candidate for entry in record.line.entries(node.now(self._sim.true)))
        return found

    # What clients hear

    def let_go(self, wish: Wish) -> None:
        """A program was asked to let go: it does in order, or does not listen."""
        if self._rng.random() >= DEAF:
            after = self._rng.random() * ORDERLY_TTLS * wish.ttl
            self._sim.at(self._sim.true + after, self._sim.workload.release, wish)

    def outcome(self, client: ClientMachine, notice: HandleOutcome) -> bool:
        """What became of a revocation; False for any other outcome."""
        found = self._revoked.pop((client.session, notice.ticket), None)
        if found is None:
            return False
        wish, force = found
        if notice.over:
            raise CheckFailed("revoke", f"the nodes know {wish.name!r} of term {wish.term} as another grant")
        if force and notice.done and wish.candidate is not None:
            self.forced += 1
            self._forced.setdefault(wish.candidate, self._sim.true + wish.ttl)
        return True

    def extended(self, candidate: Candidate, until: float) -> None:
        """Somebody counts on a lease until then: of one that was ended by force no longer than it could."""
        latest = self._forced.get(candidate)
        if latest is not None and until > latest + EPSILON_S:
            raise CheckFailed(
                "revoke", f"{candidate} was ended by force, and is counted on {until - latest:.6f} s too long"
            )

    def data_published(self, client: ClientMachine, notice: DataPublished) -> None:
        """A quorum has the data, or the tenure is over."""
        candidate, edition = self._editions.pop((client.session, notice.ticket))
        if notice.done:
            self.published += 1
            self._data[candidate].told = max(self._data[candidate].told, edition)

    def asks(self, client: ClientMachine, ticket: int) -> None:
        """A poll is asked: what is published by now it must show, or what is newer."""
        self._asked[client.session, ticket] = {candidate: data.told for candidate, data in self._data.items()}

    def polled(self, client: ClientMachine, notice: Answered) -> None:
        """A poll is answered."""
        told = self._asked.pop((client.session, notice.ticket))
        lease = notice.judgement.lease
        if notice.judgement.state is not State.LED or lease is None:
            return
        edition, least = int(lease.data or b"0"), told.get(lease.candidate, 0)
        data = self._data.get(lease.candidate)
        if edition < least or edition > (data.edition if data is not None else 0):
            raise CheckFailed("publish", f"a poll shows edition {edition} where {least} was published")

    def changed(self, watch: object, notice: Changed) -> None:
        """A watch shows a state."""
        if notice.state is not State.LED:
            return
        term, edition = self._shown.get((watch, notice.name), (0, 0))
        shown = int(notice.data or b"0")
        if (notice.term, shown) < (term, edition):
            raise CheckFailed("publish", f"{notice.name!r} is shown with edition {shown} after {edition}")
        self._shown[watch, notice.name] = (notice.term, shown)

    def wrong(self, watch: object, name: str, candidate: Candidate, true: float) -> str:
        """At the end: in which way a watch does not show the last data of a lease that is held, or ""."""
        data = self._data.get(candidate)
        if data is None or not self._sim.check.exclusion.valid(candidate, true):
            return ""
        shown = self._shown.get((watch, name), (0, 0))
        if shown == (data.term, data.edition):
            return ""
        return f"{name!r} is shown with {shown}, but has edition {data.edition} of term {data.term}"
