"""Who watches what at one node, which events are under way, and when they are repeated (protocol.md
section 6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import attrs

from paxlock.core.durable import Durability, NodeRecord
from paxlock.core.messages import Message, Peer, Seen, Unwatch, View, Watch, WatchEvent, Watching
from paxlock.core.node.sorted_names import SortedNames
from paxlock.core.round_trips import RoundTrip
from paxlock.core.timers import Timers
from paxlock.limits import EVENTS_PER_KEY

__all__ = [
    "EVENTS_IN_FLIGHT",
    "TOLD_AT_ONCE",
    "TOLD_PAUSE_S",
    "Prefixes",
    "Subscription",
    "Subscriptions",
    "first_version",
]

EVENTS_PER_LIFE = 1 << 28
EVENT_RETRY_MIN_S = 0.02
EVENT_RETRY_UNKNOWN_S = 0.1
EVENT_RETRY_MAX_S = 1.0
EVENTS_IN_FLIGHT = 32
TOLD_AT_ONCE = 64  #: subscriptions that one turn tells of a change
TOLD_PAUSE_S = 0.001
SUBSCRIPTIONS_MAX = 65_536
LAPSE_MAX_S = 60.0

T = TypeVar("T")


class _Sent(NamedTuple):
    """When the event of a name was last sent, and whether never before: then its answer tells how long a
    round trip takes (Karn's rule).
    """

    at: float
    once: bool


@attrs.define(eq=False)
class Subscription:
    """``pending`` holds, per name, the version not yet acknowledged; the first of them are under way.

    The present state of a prefix is told in the order of the names, as many at a time as may be in flight.
    """

    session: bytes
    watch: int
    pattern: str
    prefix: bool
    lapses_at: float
    key: str = ""  #: the id of the client's key; none for the root key
    pending: dict[str, int] = attrs.field(factory=dict)
    told_to: str | None = None  #: while the present state is being told: the last name that is under way
    retry: float = EVENT_RETRY_UNKNOWN_S  #: after how long an event is repeated, in seconds
    _sent: dict[str, _Sent] = attrs.field(factory=dict)
    _trip: RoundTrip | None = None

    def queue(self, name: str, version: int) -> bool:
        """A new event of this name, behind the others; True if it took the place of an older one."""
        replaced = self.pending.pop(name, None) is not None
        self._sent.pop(name, None)
        self.pending[name] = version
        return replaced

    def unsent(self) -> list[str]:
        """Of those that may be under way, the names whose event was not sent yet."""
        return [name for name in islice(self.pending, EVENTS_IN_FLIGHT) if name not in self._sent]

    def sent(self, name: str, now: float) -> None:
        """The event of this name leaves now."""
        self._sent[name] = _Sent(now, name not in self._sent)

    def seen(self, versions: Iterable[tuple[str, int]], now: float) -> int:
        """The watcher has these versions: how many that acknowledges. One of them is measured, unless all
        were repeated; until one can be, repetitions stay as far apart as they have become.
        """
        acknowledged, measured = 0, False
        for name, version in versions:
            if self.pending.get(name, version + 1) <= version:
                del self.pending[name]
                acknowledged += 1
                sent = self._sent.pop(name, None)
                if sent is not None and sent.once and not measured:
                    measured = True
                    self._measured(now - sent.at)
        return acknowledged

    def _measured(self, took: float) -> None:
        if self._trip is None:
            self._trip = RoundTrip(took, took / 2.0)
        else:
            self._trip.measured(took)
        self.retry = min(max(self._trip.timeout, EVENT_RETRY_MIN_S), EVENT_RETRY_MAX_S)

    def late(self, now: float) -> list[str]:
        """The names whose event is to be repeated now. The next time comes later."""
        found = [name for name, sent in self._under_way() if sent.at + self.retry <= now]
        if found:
            self.retry = min(self.retry * 2.0, EVENT_RETRY_MAX_S)
        return found

    def next_look(self) -> float:
        """When something is to be repeated, or the subscription lapses."""
        return min([self.lapses_at, *(sent.at + self.retry for _, sent in self._under_way())])

    def _under_way(self) -> Iterator[tuple[str, _Sent]]:
        for name in islice(self.pending, EVENTS_IN_FLIGHT):
            sent = self._sent.get(name)
            if sent is not None:
                yield name, sent


class Subscriptions:
    """All subscriptions of one node, and which names each is told of.

    ``names`` are all that the node remembers, in order, and ``records`` the same to look up; ``view`` is what
    it knows of one. Messages are added to ``sends``.
    """

    def __init__(
        self,
        *,
        names: SortedNames,
        view: Callable[[str, float], View],
        records: Container[str],
        sends: list[tuple[Peer, Message]],
        timers: Timers,
        first_version: int,
    ) -> None:
        self._names = names
        self._view = view
        self._records = records
        self._sends = sends
        self._timers = timers
        self._version = first_version
        self._subscriptions: dict[tuple[bytes, int], Subscription] = {}
        self._by_name: dict[str, set[tuple[bytes, int]]] = {}
        self._prefixes: Prefixes[tuple[bytes, int]] = Prefixes()
        self._shown: dict[str, tuple[object, ...]] = {}
        self._to_tell: dict[tuple[bytes, int], None] = {}  #: whose turn to be told has not come, in order
        self.counts: Counter[bytes | str] = Counter()  #: of subscriptions, by session and by key
        self.events: Counter[str] = Counter()  #: that are not acknowledged, by key
        self.too_slow = 0  #: subscriptions that were dropped because their events were not acknowledged

    def known(self, session: bytes, watch: int) -> bool:
        """Is this a subscription that is to be refreshed?"""
        return (session, watch) in self._subscriptions

    def watch(self, message: Watch, session: bytes, now: float, key: str = "") -> Watching | None:
        """Subscribe or refresh; a new subscription is told the present state of all its names."""
        found = self._subscriptions.get((session, message.watch))
        if found is None:
            if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
                return None
            found = self._subscribe(message, session, now, key)
        found.lapses_at = now + min(message.lapse_ms / 1000.0, LAPSE_MAX_S)
        self._timers.add(found.lapses_at, self.repeat, session, message.watch)
        return Watching(message.request, message.watch)

    def _subscribe(self, message: Watch, session: bytes, now: float, key: str) -> Subscription:
        place = (session, message.watch)
        found = Subscription(session, message.watch, message.pattern, message.prefix, now, key)
        self._subscriptions[place] = found
        self.counts[session] += 1
        self.counts[key] += 1
        if message.prefix:
            self._prefixes.add(message.pattern, place)
            found.told_to = ""
            self._tell_more(found, EVENTS_IN_FLIGHT)
        else:
            self._by_name.setdefault(message.pattern, set()).add(place)
            self._version += 1
            self._queue(found, message.pattern)
        self._send_events(found, now)
        return found

    def _tell_more(self, found: Subscription, count: int) -> None:
        """Queue the present state of so many further names, in the places of others that have left."""
        if found.told_to is None:
            return
        for name in self._names.walk(found.pattern, found.told_to):
            if count == 0:
                return
            count -= 1
            found.told_to = name
            if name not in found.pending:
                self._version += 1
                self._queue(found, name)
        found.told_to = None

    def _queue(self, found: Subscription, name: str) -> bool:
        """An event of this name, of the present version; True where it took the place of an older one."""
        replaced = found.queue(name, self._version)
        self.events[found.key] += not replaced
        return replaced

    def unwatch(self, message: Unwatch, session: bytes) -> None:
        self._drop((session, message.watch))

    def seen(self, message: Seen, session: bytes, now: float) -> None:
        """The watcher has these versions; the rest goes on being repeated."""
        found = self._subscriptions.get((session, message.watch))
        if found is None:
            return
        acknowledged = found.seen(message.versions, now)
        self.events[found.key] -= acknowledged
        if acknowledged:
            self._tell_more(found, acknowledged)
            self._send_events(found, now)

    def repeat(self, session: bytes, watch: int, now: float) -> None:
        """Repeat what was not acknowledged; drop a subscription that has lapsed."""
        found = self._subscriptions.get((session, watch))
        if found is None:
            return
        if found.lapses_at <= now:
            self._drop((session, watch))
            return
        for name in found.late(now):
            self._send_event(found, name, self._view(name, now), now)
        self._send_events(found, now)

    def publish(self, name: str, now: float) -> None:
        """Queue an event for those who watch, if the view differs from the one shown last."""
        if not self._subscriptions:
            self._shown.clear()
            return
        keys = {*self._by_name.get(name, ()), *self._prefixes.of(name)}
        if not keys:
            self._shown.pop(name, None)
            return
        view = self._view(name, now)
        candidate = view.lease.candidate if view.lease is not None else None
        token, edition = (view.lease.token, view.lease.edition) if view.lease is not None else (0, 0)
        term = 0 if view.holds else view.term
        shows = (candidate, view.lease_term, view.holds, view.chosen, view.released, token, edition, term)
        if self._shown.get(name) == shows:
            return
        if name in self._records:
            self._shown[name] = shows
        else:  # of a name that nobody uses nothing is kept, whoever speaks of it
            self._shown.pop(name, None)
        self._version += 1
        at_once = TOLD_AT_ONCE
        for key in sorted(keys):
            found = self._subscriptions[key]
            if self._queue(found, name):
                self._tell_more(found, 1)  # names that change again and again step back behind the others
            too_many = found.key and self.events[found.key] > EVENTS_PER_KEY
            if too_many and len(found.pending) > EVENTS_IN_FLIGHT:
                self.too_slow += 1
                self._drop(key)  # its next refresh begins anew, as after a restart of this node
                continue
            if len(found.pending) <= EVENTS_IN_FLIGHT:
                if not at_once:
                    self._to_tell[key] = None
                    continue
                at_once -= 1
                self._send_event(found, name, view, now)
            self._timers.add(now + found.retry, self.repeat, found.session, found.watch)
        if self._to_tell:
            self._timers.add(now + TOLD_PAUSE_S, self.tell_on)

    def tell_on(self, now: float) -> None:
        """Tell some more of those who are many, and then the others after what else there is to do."""
        for key in list(islice(self._to_tell, TOLD_AT_ONCE)):
            del self._to_tell[key]
            found = self._subscriptions.get(key)
            if found is not None:
                self._send_events(found, now)
        if self._to_tell:
            self._timers.add(now + TOLD_PAUSE_S, self.tell_on)

    def forget(self, name: str) -> None:
        """The node remembers nothing of the name any more."""
        self._shown.pop(name, None)

    def _send_events(self, found: Subscription, now: float) -> None:
        for name in found.unsent():
            self._send_event(found, name, self._view(name, now), now)
        self._timers.add(found.next_look(), self.repeat, found.session, found.watch)

    def _send_event(self, found: Subscription, name: str, view: View, now: float) -> None:
        found.sent(name, now)
        self._sends.append((found.session, WatchEvent(found.watch, found.pending[name], view)))

    def _drop(self, key: tuple[bytes, int]) -> None:
        found = self._subscriptions.pop(key, None)
        if found is None:
            return
        for counted in (found.session, found.key):
            self.counts[counted] -= 1
            if not self.counts[counted]:
                del self.counts[counted]
        self.events[found.key] -= len(found.pending)
        if not self.events[found.key]:
            del self.events[found.key]
        if found.prefix:
            self._prefixes.discard(found.pattern, key)
        keys = self._by_name.get(found.pattern)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._by_name[found.pattern]


class Prefixes(Generic[T]):
    """Keys by the prefix they belong to; what a change costs depends on how many lengths there are."""

    __slots__ = ("_by_prefix", "_lengths")

    def __init__(self) -> None:
        self._by_prefix: dict[str, set[T]] = {}
        self._lengths: dict[int, int] = {}  #: how many prefixes there are of each length

    def __len__(self) -> int:
        return sum(map(len, self._by_prefix.values()))

    def add(self, prefix: str, key: T) -> None:
        keys = self._by_prefix.get(prefix)
        if keys is None:
            keys = self._by_prefix[prefix] = set()
            self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
        keys.add(key)

    def discard(self, prefix: str, key: T) -> None:
        keys = self._by_prefix.get(prefix)
        if keys is None:
            return
        keys.discard(key)
        if not keys:
            del self._by_prefix[prefix]
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def of(self, name: str) -> Iterator[T]:
        """The keys of every prefix with which this name begins."""
        for length in self._lengths:
            if length <= len(name):
                yield from self._by_prefix.get(name[:length], ())


def first_version(record: NodeRecord, unix: float) -> int:
    """Where the versions of events begin: above those of every earlier life of this node.

    Without a disk two lives may have begun within one second, and share the incarnation.
    """
    if record.durability is Durability.MEMORY:
        return int(unix * EVENTS_PER_LIFE)
    return record.incarnation * EVENTS_PER_LIFE
