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
    """End a grant: done once a quorum has taken it; over where so many know it as another one that no quorum
    can. ``wanted``: name, candidate, term, whether by force, and who is to be next.
    """

    wanted: tuple[str, Candidate, int, bool, Candidate | None]
    taken: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Revoke(request, *self.wanted)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, RevokeAnswer) and message.candidate == self.wanted[1]:
            (self.taken if message.taken else self.refused).add(node)
            self.lives[node] = lives
            self.open.discard(node)

    def result(self, now: float) -> Event | None:
        if self.together(self.taken) >= majority(len(self.nodes)):
            return HandleOutcome(self.ticket, done=True, over=False)
        if self.together(self.refused) >= blocking(len(self.nodes)):
            return HandleOutcome(self.ticket, done=False, over=True)
        return HandleOutcome(self.ticket, done=False, over=False) if self.over(now) else None
