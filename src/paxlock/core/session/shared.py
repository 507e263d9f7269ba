"""What the parts of one session share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from paxlock.core.quorum import majority
from paxlock.core.session.exchanges import Exchanges
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.pacing import Pacing
from paxlock.core.session.sequence import SequenceNumbers
from paxlock.core.session.thrift import Thrift
from paxlock.core.shortfall import shortfall
from paxlock.core.timers import Timers

__all__ = ["Shared"]


@attrs.define(eq=False)
class Shared:
    """One of each for a whole session. ``recovering`` are the nodes that sit out, and until when. ``secret``
    is what those of its handles follow from.
    """

    session: bytes
    secret: bytes = attrs.field(repr=False)
    nodes: tuple[str, ...]
    out: Outbox
    pacing: Pacing
    numbers: SequenceNumbers
    timers: Timers = attrs.field(factory=Timers)
    counters: Counter[str] = attrs.field(factory=Counter)
    recovering: dict[str, float] = attrs.field(factory=dict)
    told_recovering: dict[str, float] = attrs.field(factory=dict)  #: when each node has said last that it is
    quorum: int = attrs.field(init=False)
    thrift: Thrift = attrs.field(init=False)
    exchanges: Exchanges = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.quorum = majority(len(self.nodes))
        self.exchanges = Exchanges(self.nodes, self.out, self.pacing, self.timers)
        self.thrift = Thrift(self.nodes, self.pacing, self.recovering)

    def shortfall(self, heard: Mapping[str, float], recent: float, now: float) -> str:
        """What keeps the nodes from being a quorum, by who was ``heard`` in the last ``recent`` seconds, and
        by who has said in that time that it sits out; ``""`` where a quorum serves by that.
        """
        left = {
            node: until - now
            for node, until in self.recovering.items()
            if now - self.told_recovering[node] < recent
        }
        serving = sum(now - at < recent and node not in left for node, at in heard.items())
        return shortfall(
            len(self.nodes),
            answered=serving + len(left),
            serving=serving,
            sits_out=[seconds for seconds in left.values() if seconds > 0.0],
        )
