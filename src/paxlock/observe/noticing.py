"""Which change is worth a line: told once when it comes and once when it is over, not for each datagram.

Pure: what is seen is handed in with the time, what is to be said comes back as lines. Whatever a stranger
can cause is bounded: lines are few for each minute and each reason, and what is not told is counted.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import attrs

from paxlock.core.messages import NodeMode
from paxlock.core.quorum import majority

__all__ = [
    "FLOOD_PER_S",
    "FLOOD_QUIET_S",
    "LATE_S",
    "LINES_PER_MINUTE",
    "PLACES_MAX",
    "SILENT_S",
    "SLOW_WRITE_S",
    "Level",
    "LogLine",
    "Observer",
    "PeerSeen",
]

SILENT_S = 3.5  #: a peer that has not answered for so long is down: three probes of a second, and some more
LATE_S = 0.25  #: a turn that comes so much too late is told: a renewal has 2/3 of its ttl, a second of 1.5 s
SLOW_WRITE_S = 0.25  #: a write that takes so long is told; what waits for it is an answer to somebody
AGAIN_S = 60.0  #: lateness and slow writes are told at most so often
FLOOD_PER_S = 1000  #: datagrams that were dropped: far above what a wrong key or an old cell file brings
FLOOD_QUIET_S = 10.0  #: a flood is over when there was none for so long
LINES_PER_MINUTE = 5  #: for each reason to drop
PLACES_MAX = 256  #: (reason, host) pairs that are remembered as told
FORGET_S = 3600.0  #: a place is told of again after so long

_WRONG_SECRET = "wrong_secret"
_REFUSED = {
    "key": "with a key that this node does not have: give the same key file to every node and client",
    "seal": "with a wrong seal: damaged on the way, or forged by somebody without the key",
    "cell": "from another cell: look for a cell file that is not of this cell",
    "epoch": "from another epoch of this cell: give the same cell file to every node and client",
    "sender": "in this node's own name: a second process runs with this node's id, or somebody sends its "
    "datagrams back",
    "address": "from a node that is elsewhere than the cell file or the resolver says: it has moved, or a "
    "second process has its id",
    "future": "from a node whose clock is more than a day ahead",
    "incarnation": "from an earlier life of a node: an old process of it still runs",
}


class Level(enum.IntEnum):
    """As in ``logging``."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@attrs.frozen
class LogLine:
    """One line: ``event`` is a fixed word for programs, ``fields`` are what it is about (``peer`` ...)."""

    level: Level
    event: str
    sentence: str
    fields: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen
class PeerSeen:
    """What a node sees of another: ``mode`` is None where it does not answer; ``round_trip`` in seconds, 0
    where none was measured yet.
    """

    up: bool
    mode: NodeMode | None
    round_trip: float
    asked: int
    answered: int


@attrs.define(eq=False)
class _Peer:
    heard: float
    mode: NodeMode | None = None
    up: bool | None = None  #: None: neither heard nor silent for long enough
    round_trip: float = 0.0
    asked: int = 0
    answered: int = 0
    request: int = 0
    asked_at: float = 0.0


@attrs.define(eq=False)
class _Trouble:
    """Something that comes in many small pieces and is told as one."""

    told_at: float | None = None
    untold: int = 0
    worst: float = 0.0


class Observer:
    """What one node has seen. Each method takes the time and gives the lines that are worth saying."""

    def __init__(self, node_id: str, members: Iterable[str], now: float) -> None:
        ids = sorted(members)
        self.node_id = node_id
        self.nodes = len(ids)
        self.needed = majority(len(ids))
        self.mode: NodeMode | None = None
        self.quorum: bool | None = None  #: None until enough is known
        self.late_turns = self.slow_writes = self.floods = self.writes = 0
        self.longest_late = self.longest_write = self.write_seconds = 0.0
        self._peers = {peer: _Peer(now) for peer in ids if peer != node_id}
        self._lost_at = self._changed_at = now
        self._late, self._slow = _Trouble(), _Trouble()
        self._places: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._minutes: dict[str, tuple[float, int]] = {}
        self._untold: dict[str, int] = {}
        self._dropped: tuple[float, int] | None = None
        self._flood: tuple[float, float, int] | None = None  #: since, last seen, dropped in it

    # Peers and the quorum.

    @property
    def peers(self) -> Mapping[str, PeerSeen]:
        """What is seen of each other node."""
        return {
            name: PeerSeen(
                bool(peer.up), peer.mode if peer.up else None, peer.round_trip, peer.asked, peer.answered
            )
            for name, peer in self._peers.items()
        }

    @property
    def serving(self) -> int:
        """How many nodes serve, as far as this one sees; itself is one of them."""
        own = self.mode is NodeMode.SERVING
        return own + sum(peer.up is True and peer.mode is NodeMode.SERVING for peer in self._peers.values())

    def asked(self, peer: str, request: int, now: float) -> None:
        """This peer was asked how it is."""
        found = self._peers[peer]
        found.asked += 1
        found.request, found.asked_at = request, now

    def answered(self, peer: str, request: int, mode: NodeMode, now: float) -> list[LogLine]:
        """A peer has said how it is. A late answer is a sign of life too, but measures no round trip."""
        found = self._peers.get(peer)
        if found is None:
            return []
        found.heard = max(found.heard, now)
        if request == found.request:
            found.request = 0
            found.answered += 1
            found.round_trip = now - found.asked_at
        before, found.up = found.up, True
        changed, found.mode = found.mode is not mode, mode
        lines = []
        if not before or changed:
            word = {NodeMode.SERVING: "serves", NodeMode.RECOVERING: "sits out"}.get(mode, "is starting")
            sentence = f"node {peer} {word}" if before else f"node {peer} answers: it {word}"
            event = "peer_mode" if before else "peer_up"
            lines.append(LogLine(Level.INFO, event, sentence, {"peer": peer, "mode": mode.name.lower()}))
        return lines + self._judge_quorum(now)

    def changed_mode(self, mode: NodeMode, now: float) -> list[LogLine]:
        """This node may do more than before, or less; the line about that is said by the node itself."""
        self.mode, self._changed_at = mode, now
        return self._judge_quorum(now)

    def _judge_quorum(self, now: float) -> list[LogLine]:
        serving = self.serving
        there = serving >= self.needed
        # Of those that have just begun to serve nobody has heard so yet.
        early = self.quorum is None and now < self._changed_at + SILENT_S
        if there is self.quorum or (not there and early):
            return []
        before, self.quorum = self.quorum, there
        fields = {"serving": serving, "nodes": self.nodes, "needed": self.needed}
        seen = f"{serving} of {self.nodes} nodes serve as far as this one sees, {self.needed} are needed"
        if not there:
            self._lost_at = now
            what = "quorum lost" if before else "no quorum"
            return [LogLine(Level.ERROR, "quorum_lost", f"{what}: {seen}", fields)]
        if before is None:
            return [LogLine(Level.INFO, "quorum", f"a quorum serves: {seen}", fields)]
        lasted = now - self._lost_at
        sentence = f"quorum regained after {lasted:.1f} s: {seen}"
        return [LogLine(Level.WARNING, "quorum_regained", sentence, {**fields, "seconds": round(lasted, 3)})]

    # Time.

    def tick(self, now: float, *, late: float, dropped: int) -> list[LogLine]:
        """About once a second: ``late`` is by how much this call was too late (seconds), ``dropped`` how many
        datagrams were dropped since the start.
        """
        lines = []
        if late >= LATE_S:
            self.late_turns += 1
            self.longest_late = max(self.longest_late, late)
            for peer in self._peers.values():
                # Who was not listened to was not silent.
                peer.heard = min(now, peer.heard + late)
            lines += self._repeatedly(self._late, late, now, "late_turn", "this process did not run for")
        for name, peer in self._peers.items():
            if peer.up is not False and now - peer.heard >= SILENT_S:
                peer.up, silent = False, now - peer.heard
                sentence = f"node {name} does not answer for {silent:.1f} s"
                fields = {"peer": name, "seconds": round(silent, 3)}
                lines.append(LogLine(Level.WARNING, "peer_down", sentence, fields))
        return lines + self._judge_quorum(now) + self._judge_flood(dropped, now) + self._tell_rest(now)

    def wrote(self, seconds: float, now: float) -> list[LogLine]:
        """A record was made durable, which took so long."""
        self.writes += 1
        self.write_seconds += seconds
        self.longest_write = max(self.longest_write, seconds)
        if seconds < SLOW_WRITE_S:
            return []
        self.slow_writes += 1
        return self._repeatedly(self._slow, seconds, now, "slow_disk", "writing the record took")

    def _repeatedly(
        self, trouble: _Trouble, seconds: float, now: float, event: str, what: str
    ) -> list[LogLine]:
        trouble.worst = max(trouble.worst, seconds)
        if trouble.told_at is not None and now < trouble.told_at + AGAIN_S:
            trouble.untold += 1
            return []
        times = trouble.untold + 1
        sentence = f"{what} {seconds:.2f} s"
        if trouble.untold:
            sentence += f"; {times} times since it was last told, {trouble.worst:.2f} s at worst"
        fields = {"seconds": round(seconds, 3), "times": times, "worst_seconds": round(trouble.worst, 3)}
        trouble.told_at, trouble.untold, trouble.worst = now, 0, 0.0
        return [LogLine(Level.WARNING, event, sentence, fields)]

    # Strangers and floods.

    def refused(self, reason: str, host: str, now: float) -> list[LogLine]:
        """A datagram from this host was dropped. The first for each reason and host is told, as far as the
        lines of this minute last.
        """
        why = _REFUSED.get(reason)
        if why is None or not self._is_told(reason, host, now):
            return []
        sentence = f"datagrams from {host} are dropped: they come {why}"
        return [LogLine(Level.WARNING, f"dropped_{reason}", sentence, {"address": host, "reason": reason})]

    def refused_handle(self, session: bytes, now: float) -> list[LogLine]:
        """This session has shown a wrong secret. Told as what is refused, once for each session."""
        name = session.hex()
        if not self._is_told(_WRONG_SECRET, name, now):
            return []
        sentence = (
            f"session {name} shows a handle whose secret is wrong: it is of another lease, or was made up"
        )
        return [LogLine(Level.WARNING, _WRONG_SECRET, sentence, {"session": name})]

    def _is_told(self, reason: str, who: str, now: float) -> bool:
        """Whether this is worth a line; notes that it has had one."""
        place = (reason, who)
        told = self._places.get(place)
        if told is not None and now < told + FORGET_S:
            return False
        since, lines = self._minutes.get(reason, (now, 0))
        if now >= since + 60.0:
            since, lines = now, 0
        if lines >= LINES_PER_MINUTE:
            self._untold[reason] = self._untold.get(reason, 0) + 1
            return False
        self._minutes[reason] = since, lines + 1
        self._places[place] = now
        self._places.move_to_end(place)
        if len(self._places) > PLACES_MAX:
            self._places.popitem(last=False)
        return True

    def _tell_rest(self, now: float) -> list[LogLine]:
        """What was not told of a minute that is over, as a number."""
        lines = []
        for reason, number in list(self._untold.items()):
            if now >= self._minutes[reason][0] + 60.0:
                del self._untold[reason]
                sentence = (
                    f"{number} more were refused for the reason {reason!r}, of further addresses or sessions"
                )
                fields = {"reason": reason, "datagrams": number}
                lines.append(LogLine(Level.WARNING, "dropped_more", sentence, fields))
        return lines

    def _judge_flood(self, dropped: int, now: float) -> list[LogLine]:
        before, self._dropped = self._dropped, (now, dropped)
        if before is None or now <= before[0]:
            return []
        since_then = dropped - before[1]
        rate = since_then / (now - before[0])
        if self._flood is None:
            if rate < FLOOD_PER_S:
                return []
            self.floods += 1
            self._flood = now, now, since_then
            sentence = f"flood: {rate:.0f} datagrams a second are dropped; statistics tell why"
            return [LogLine(Level.WARNING, "flood", sentence, {"per_second": round(rate)})]
        began, last, number = self._flood
        if rate >= FLOOD_PER_S / 2:
            self._flood = began, now, number + since_then
            return []
        self._flood = began, last, number + since_then
        if now < last + FLOOD_QUIET_S:
            return []
        self._flood = None
        lasted = last - began
        sentence = f"the flood is over: {number} datagrams were dropped in {lasted:.0f} s"
        return [
            LogLine(Level.INFO, "flood_over", sentence, {"datagrams": number, "seconds": round(lasted, 3)})
        ]
