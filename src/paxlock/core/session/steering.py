"""The question by which a tenure of somebody else is ended (protocol.md section 12)."""

from __future__ import annotations

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.lives import Lives
from paxlock.core.messages import Message
from paxlock.core.quorum import blocking, majority
from paxlock.core.session.events import Event, HandleOutcome
from paxlock.core.session.queries import Query
from paxlock.core.steering import Revoke, RevokeAnswer

__all__ = ["RevokeQuery"]


@attrs.define(eq=False, kw_only=True)
class RevokeQuery(Query):
    """End a grant: done by force once a quorum has taken that, else once so many nodes say that they do not
    hold its lease that no quorum can. Over where so many know it as another one. ``wanted``: name, candidate,
    term, whether by force, and who is to be next.
    """

    wanted: tuple[str, Candidate, int, bool, Candidate | None]
    taken: set[str] = attrs.field(factory=set)
    free: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Revoke(request, *self.wanted)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, RevokeAnswer) and message.candidate == self.wanted[1]:
            force = self.wanted[3]
            (self.taken if message.taken else self.refused).add(node)
            self.lives[node] = lives
            if not message.held:
                self.free.add(node)
            if force or not message.taken or not message.held:
                self.open.discard(node)  # else it is asked again, until its holder has let go

    def result(self, now: float) -> Event | None:
        size, force = len(self.nodes), self.wanted[3]
        if (
            self.together(self.taken) >= majority(size)
            if force
            else self.together(self.free) >= blocking(size)
        ):
            return HandleOutcome(self.ticket, done=True, over=False)
        if self.together(self.refused) >= blocking(size):
            return HandleOutcome(self.ticket, done=False, over=True)
        return HandleOutcome(self.ticket, done=False, over=False) if self.over(now) else None
