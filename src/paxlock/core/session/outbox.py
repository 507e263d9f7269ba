"""What the parts of a session share: its configuration, and where they put what is to be sent and told."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from paxlock.core.configuration import Configuration
from paxlock.core.messages import Commit, Message, Peer
from paxlock.core.session.events import Event
from paxlock.core.value import value

__all__ = ["Outbox", "SessionSettings"]


@value
class SessionSettings:
    """The configuration that a session counts votes in, its label, and whether it may ask only a quorum first
    (thrift.py).
    """

    configuration: Configuration
    label: str = ""
    thrifty: bool = False

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.configuration.nodes


@attrs.define(eq=False)
class Outbox:
    """Messages and notices in their order, and the numbers that a session gives out."""

    sends: list[tuple[Peer, Message]] = attrs.field(factory=list)
    published: list[Event] = attrs.field(factory=list)
    commits_wait: bool = False  #: the Commits stay here until the shell lets them go
    _commits: dict[int, list[tuple[Peer, Message]]] = attrs.field(factory=dict)
    _last_request: int = 0
    _last_ticket: int = 0

    def send(self, node: str, message: Message) -> None:
        self.sends.append((node, message))

    def send_all(self, nodes: Iterable[str], message: Message) -> None:
        """The same to several nodes, one after the other: it is encoded once."""
        self.sends.extend([(node, message) for node in nodes])

    def commit(self, attempt: int, nodes: Iterable[str], message: Commit) -> None:
        """A Commit for what this attempt holds: it leaves last, unless the attempt is over before that."""
        self._commits.setdefault(attempt, []).extend([(node, message) for node in nodes])

    def over(self, attempt: int) -> None:
        """The attempt is over: its Release will say all that a Commit of the same turn could."""
        self._commits.pop(attempt, None)

    def take_sends(self) -> list[tuple[Peer, Message]]:
        """Everything that is to be sent, in its order."""
        sends, self.sends = self.sends, []
        if self.commits_wait:
            return sends
        for commits in self._commits.values():
            sends.extend(commits)
        self._commits.clear()
        return sends

    def take_published(self) -> list[Event]:
        """Everything that is to be told, in its order."""
        published, self.published = self.published, []
        return published

    def publish(self, notice: Event) -> None:
        self.published.append(notice)

    def request(self) -> int:
        """A new request number, by which an answer finds its question."""
        self._last_request += 1
        return self._last_request

    def ticket(self) -> int:
        """A new ticket, by which the shell finds what it asked for."""
        self._last_ticket += 1
        return self._last_ticket
