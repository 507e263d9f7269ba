"""Hello to every node, until it has told its configuration (protocol.md section 1, rule S14)."""

from __future__ import annotations

from paxlock.core.messages import Hello
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.pacing import Pacing
from paxlock.core.timers import Timers
from paxlock.core.value import value

__all__ = ["Greetings", "HelloTimer"]

HELLO_FIRST_S = 0.25
HELLO_MAX_S = 5.0


@value
class HelloTimer:
    """Some node has not yet told its configuration."""


class Greetings:
    """The nodes of one cell that have not yet told their configuration in this run of theirs."""

    def __init__(self, nodes: tuple[str, ...], out: Outbox, pacing: Pacing, timers: Timers) -> None:
        self._unwelcomed = set(nodes)
        self._retry = HELLO_FIRST_S
        self._out = out
        self._pacing = pacing
        self._timers = timers

    def greet(self, now: float) -> None:
        """Say Hello to those nodes, and again later, ever more rarely."""
        for node in sorted(self._unwelcomed):
            request = self._out.request()
            self._pacing.asked(request, now)
            self._out.send(node, Hello(request))
        if self._unwelcomed:
            self._timers.add(now + self._pacing.jitter(self._retry), HelloTimer())
            self._retry = min(self._retry * 2.0, HELLO_MAX_S)

    def welcomed(self, node: str) -> None:
        """This node has told its configuration."""
        self._unwelcomed.discard(node)

    def started_anew(self, node: str, now: float) -> None:
        """This node has started anew, perhaps with another configuration."""
        self._unwelcomed.add(node)
        self._timers.add(now + self._retry, HelloTimer())
