"""What a client asks its cell, and is answered once: standings, the nodes, the verbs on a detached lease.

The machine repeats a question until it is answered or its time is over (core/session/queries.py); here a task
waits for that. Times are seconds.
"""

from __future__ import annotations

from paxlock.client.changes import Standing, Waiter
from paxlock.client.handle import Handle
from paxlock.config.cell import Cell
from paxlock.core.lease import Candidate
from paxlock.core.session.events import Answered, HandleOutcome, NamesFound, NodeStanding, Surveyed
from paxlock.core.session.session import Session
from paxlock.errors import LeaseLost, LossReason, NotAcquired, Reason
from paxlock.runtime.clock import Clock
from paxlock.runtime.driver import Driver
from paxlock.runtime.reply import Reply

__all__ = ["Answer", "Questions"]

Answer = Answered | NamesFound | Surveyed | HandleOutcome

HANDLE_PATIENCE_MIN_S = 1.0
FOREVER_S = 1e9


class Questions:
    """The questions of one client that are open, by ticket."""

    def __init__(self, cell: Cell, session: Session, driver: Driver, clock: Clock) -> None:
        self._cell = cell
        self._session = session
        self._driver = driver
        self._clock = clock
        self._open: dict[int, Reply] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def poll(self, name: str, *, line: bool) -> Standing:
        """What a quorum says of a name; with ``line``, what every node says, and who waits."""
        return self._standing(
            name, await self._answer(self._session.poll(name, self._clock.now(), line=line))
        )

    async def standings(self, prefix: str) -> list[Standing]:
        """Of all names in use that begin with ``prefix``, in order of name. Waits until so many nodes have
        named theirs that none can be missing.
        """
        found = await self._answer(self._session.names(prefix, self._clock.now(), patience=FOREVER_S))
        assert isinstance(found, NamesFound)
        tickets = {}
        try:
            for name in found.names:
                ticket = self._session.poll(name, self._clock.now(), one_of_many=True)
                tickets[ticket] = name, self._expect(ticket)
            self._driver.poke()
            standings = []
            for name, reply in tickets.values():
                await reply.wait()
                standings.append(self._standing(name, reply.result()))
            return standings
        finally:
            for ticket in tickets:
                self._forget(ticket)

    async def survey(self) -> tuple[NodeStanding, ...]:
        """How every node describes itself."""
        found = await self._answer(self._session.survey(self._clock.now()))
        assert isinstance(found, Surveyed)
        return found.nodes

    async def renew(self, grant: Handle, wait: float | None) -> float:
        """Renew a detached lease by its whole ttl; gives the seconds it has left. Raises LeaseLost where the
        grant is over, NotAcquired (NO_QUORUM) where no quorum answered within ``wait``.
        """
        reply = await self._handled(
            self._session.renew_detached(
                Candidate(grant.session, grant.attempt),
                grant.term,
                self._clock.now(),
                patience=_handle_patience(wait),
            )
        )
        if reply.over:
            raise LeaseLost(grant.name, grant.term, LossReason.EXPIRED)
        if not reply.done:
            raise NotAcquired(grant.name, Reason.NO_QUORUM)
        return (await self.poll(grant.name, line=False)).remaining

    async def release(self, grant: Handle, wait: float | None) -> None:
        """Release exactly this grant. Raises NotAcquired (NO_QUORUM) where no quorum answered within
        ``wait``.
        """
        reply = await self._handled(
            self._session.release_detached(
                grant.name,
                Candidate(grant.session, grant.attempt),
                grant.term,
                self._clock.now(),
                patience=_handle_patience(wait),
            )
        )
        if not reply.done:
            raise NotAcquired(grant.name, Reason.NO_QUORUM)

    # For the client

    def answered(self, notice: Answer) -> None:
        """The machine has the answer; nobody may want it any more."""
        reply = self._open.pop(notice.ticket, None)
        if reply is not None:
            reply.set(notice)

    def close(self, why: str) -> None:
        """Nothing is answered any more; whoever waits is told so."""
        replies, self._open = self._open, {}
        for reply in replies.values():
            reply.close(why)

    # Within

    def _expect(self, ticket: int) -> Reply:
        reply = self._open[ticket] = Reply()
        return reply

    async def _answer(self, ticket: int) -> object:
        reply = self._expect(ticket)
        self._driver.poke()
        try:
            await reply.wait()
        finally:
            self._forget(ticket)
        return reply.result()

    def _forget(self, ticket: int) -> None:
        self._open.pop(ticket, None)
        self._session.forget(ticket, self._clock.now())

    async def _handled(self, ticket: int) -> HandleOutcome:
        reply = await self._answer(ticket)
        assert isinstance(reply, HandleOutcome)
        return reply

    def _standing(self, name: str, answer: object) -> Standing:
        assert isinstance(answer, Answered)
        judgement, lease = answer.judgement, answer.judgement.lease
        return Standing(
            name=name,
            state=judgement.state,
            term=judgement.term,
            label=lease.label if lease is not None else "",
            data=lease.data if lease is not None else b"",
            remaining=judgement.remaining,
            ttl=lease.ttl if lease is not None else 0.0,
            waiters=tuple(Waiter(w.label, w.waiting_ms / 1000.0) for w in answer.waiters),
            nodes_up=answer.nodes_up,
            nodes_total=len(self._cell.members),
        )


def _handle_patience(wait: float | None) -> float:
    return FOREVER_S if wait is None else max(wait, HANDLE_PATIENCE_MIN_S)
