"""A client's watch: from the events of single nodes to led, free and unknown (protocol.md section 6).

The states of one name never run backwards: a tenure is shown by its fencing token, and tokens only grow.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

import attrs

from paxlock.core.lease import Candidate, Lease
from paxlock.core.lives import UNKNOWN, Lives, outlived
from paxlock.core.messages import Poll, Seen, Unwatch, View, Watch, WatchEvent, Watching
from paxlock.core.quorum import blocking
from paxlock.core.session.events import Answered, Changed, Event
from paxlock.core.session.judgement import Judgement, State, judge, knows, over
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.polls import PollQuery
from paxlock.core.session.queries import QUERY_PATIENCE_S, Queries
from paxlock.core.session.refreshing import Refreshing
from paxlock.core.session.shared import Shared

__all__ = ["LOOK_PAUSE_S", "SeenEvents", "Watcher", "Watches"]

FIRST_ANSWER_S = 1.0
WATCH_NAMES_MAX = 100_000
WATCH_NAMES_LOOKED_AT = 64
CHECKS_MAX = 16
LOOKED_AT_ONCE = 256
LOOK_PAUSE_S = 0.002
SEEN_BYTES = 900
SEEN_EACH_BYTES = 12  #: what a version and its frame take at most


@attrs.define(eq=False)
class Shown:
    """What the watcher was told last of one name."""

    state: State = State.UNKNOWN
    lease: Lease | None = None  #: of the tenure that was shown last, with the newest data heard of it
    term: int = 0
    told: bool = False
    released: Candidate | None = None  #: the last one whose Release was seen: it is over for good
    released_term: int = 0
    before: dict[str, View] = attrs.field(factory=dict)  #: what others than its nodes said when it was told

    @property
    def candidate(self) -> Candidate | None:
        return self.lease.candidate if self.lease is not None else None

    def newest(self, lease: Lease) -> Lease:
        """This lease, unless newer data were shown of it: a watch never goes back (section 12)."""
        shown = self.lease
        older = shown is not None and shown.candidate == lease.candidate and shown.edition > lease.edition
        return shown if shown is not None and older else lease


@attrs.define(eq=False)
class Watcher:
    """One watch of a name or of a prefix."""

    ticket: int
    pattern: str
    prefix: bool
    nodes: tuple[str, ...]
    since: float
    refreshing: Refreshing = attrs.field(init=False)
    views: dict[str, dict[str, tuple[int, View, Lives]]] = attrs.field(factory=dict)
    shown: dict[str, Shown] = attrs.field(factory=dict)
    checks: dict[int, tuple[str, dict[str, int]]] = attrs.field(factory=dict)
    _led: OrderedDict[str, None] = attrs.field(factory=OrderedDict)  #: names shown as led
    _uneven: OrderedDict[str, None] = attrs.field(factory=OrderedDict)  #: of which not all nodes say the same
    #: Led, though too few of those heard say so; and whether that was so when the watch was refreshed last.
    _denied: dict[str, bool] = attrs.field(factory=dict)
    _looked_with: tuple[frozenset[str], bool] | None = None
    _to_look_at: list[str] = attrs.field(factory=list)
    _not_asked_since: int = 0  #: how many of those led were not asked for since a node has restarted

    def __attrs_post_init__(self) -> None:
        self.refreshing = Refreshing(self.nodes)

    def subscription(self, request: int) -> Watch:
        lapse_ms = round(self.refreshing.lapse * 1000)
        return Watch(request, self.ticket, self.pattern, self.prefix, lapse_ms)

    def stands(self, node: str, now: float, lives: Lives = UNKNOWN) -> bool:
        """A node is heard, and the subscription stands there; whether it tells that one has restarted."""
        restarted = self.refreshing.hear(node, now, lives)
        if restarted:
            self._not_asked_since = len(self._led)
        return restarted

    @property
    def calm(self) -> bool:
        """Whether nothing of what is shown is to be asked for again soon."""
        return not (self._denied or (self.prefix and (self._uneven or self._not_asked_since)))

    def denied(self) -> list[str]:
        """Some of the names shown as led of which too few nodes say so to make it true, and none has said
        that it is over: one that comes back without its memory cannot, in a cell where another is dead. Asked
        with each refresh; what has come since the last one may do.
        """
        lasting = [name for name, lasts in self._denied.items() if lasts]
        self._denied.update(dict.fromkeys(self._denied, True))
        return lasting[:CHECKS_MAX]

    def found(self, name: str, candidate: Candidate | None, judgement: Judgement) -> Changed | None:
        """A poll that was begun while this candidate was shown has found that the name is led, or free."""
        shown = self.shown.get(name)
        led = shown is not None and shown.state is State.LED and shown.candidate == candidate
        if shown is None or not led or judgement.state is not State.FREE:
            return None
        self._led.pop(name, None)
        self._uneven.pop(name, None)
        self._denied.pop(name, None)
        return self._tell(name, shown, State.FREE, None)

    def event(self, node: str, message: WatchEvent, now: float, lives: Lives = UNKNOWN) -> Seen | None:
        """Take an event; the answer acknowledges it. Older versions of a view change nothing."""
        name = message.view.name
        if not (name.startswith(self.pattern) if self.prefix else name == self.pattern):
            return None
        if name not in self.views and len(self.views) >= WATCH_NAMES_MAX and not self._forget_one():
            return None
        self.stands(node, now, lives)
        views = self.views.setdefault(name, {})
        known = views.get(node)
        if known is None or known[0] <= message.version:
            views[node] = (message.version, message.view, lives)
        self._note_release(name, message.view)
        return Seen(message.watch, ((name, message.version),))

    def _note_release(self, name: str, view: View) -> None:
        """Keep that a candidate is over, whatever this node tells next and others go on telling."""
        if view.released and view.lease is not None:
            shown = self.shown.setdefault(name, Shown())
            if view.lease_term >= shown.released_term:
                shown.released, shown.released_term = view.lease.candidate, view.lease_term

    def doubtful(self, now: float) -> dict[str, list[str]]:
        """Of a prefix, the names shown as led that are to be asked for again, and those of which too few
        nodes have told anything since the watch was out of touch; and at which nodes.

        A node that has forgotten a name, or has lost its memory, says nothing of it any more, and its last
        word would count for ever, or none at all. One in turn, and those of which not all nodes say the same.
        """
        if not self.prefix:
            return {}
        self._not_asked_since = max(0, self._not_asked_since - 1) if self._led else 0
        uneven = list(islice(self._uneven, CHECKS_MAX))
        for name in uneven:
            self._uneven.move_to_end(name)
        if self._led:
            self._led.move_to_end(next(iter(self._led)))
            uneven.insert(0, next(reversed(self._led)))
        return {name: self._saying(name) + self._never_heard_of(name) for name in uneven}

    def _saying(self, name: str) -> list[str]:
        """The nodes that speak for the lease that is shown."""
        candidate = self.shown[name].candidate
        views = self.views.get(name, {})
        return [node for node in views if candidate is not None and knows(views[node][1], candidate)]

    def _never_heard_of(self, name: str) -> list[str]:
        """The nodes that have told nothing of the name."""
        views = self.views.get(name, {})
        return [node for node in self.nodes if node not in views]

    def check(self, request: int, name: str) -> None:
        """Nodes are asked for their views of the name."""
        views = self.views.get(name, {})
        self.checks[request] = (name, {node: version for node, (version, _, _) in views.items()})

    def checked(self, node: str, view: View, lives: Lives = UNKNOWN) -> bool:
        """Take the answer of a node, unless an event has told more since it was asked."""
        name, asked = self.checks.get(view.request, ("", {}))
        views = self.views.get(name)
        if view.name != name or views is None:
            return False
        version = views[node][0] if node in views else 0
        if version != asked.get(node, 0):
            return False
        views[node] = (version, view, lives)
        self._note_release(name, view)
        return True

    def _forget_one(self) -> bool:
        """Make room for a name by forgetting one that was told to be free; those led go to the end."""
        for name in list(islice(self.views, WATCH_NAMES_LOOKED_AT)):
            views = self.views.pop(name)
            shown = self.shown.get(name)
            if shown is not None and shown.state is State.FREE:
                del self.shown[name]
                return True
            self.views[name] = views
        return False

    def in_touch(self, now: float) -> bool:
        """Whether enough nodes have been heard of late to say anything at all."""
        return len(self._fresh(now)) >= blocking(len(self.nodes))

    def look(self, name: str, now: float) -> Changed | None:
        """The new state of a name, if it differs from the one told last."""
        changed = self._look(name, now)
        # What is asked for again follows from what is shown: no refresh looks at all names for it.
        shown = self.shown[name]
        if shown.state is not State.LED:
            self._led.pop(name, None)
            self._denied.pop(name, None)
            if shown.told and shown.state is State.UNKNOWN and self.prefix and self.in_touch(now):
                self._uneven.setdefault(name)
            else:
                self._uneven.pop(name, None)
            return changed
        self._led.setdefault(name)
        others = self._fresh(now).difference(self._saying(name))
        if others:
            self._uneven.setdefault(name)
        else:
            self._uneven.pop(name, None)
        if len(others) >= blocking(len(self.nodes)):
            self._denied.setdefault(name, False)
        else:
            self._denied.pop(name, None)
        return changed

    def _look(self, name: str, now: float) -> Changed | None:
        shown = self.shown.setdefault(name, Shown())
        if not self.in_touch(now):
            if not shown.told and now < self.since + FIRST_ANSWER_S:
                return None  # the first change is the present state: give the nodes time to tell it
            return self._tell(name, shown, State.UNKNOWN, None)
        fresh = self._fresh(now)
        said = {node: told for node, told in self.views.get(name, {}).items() if node in fresh}
        gone = outlived({node: lives for node, (_, _, lives) in said.items()})
        views = {node: view for node, (_, view, _) in said.items() if node not in gone}
        judgement = judge(views, len(self.nodes))
        lease = judgement.lease
        # Views of different moments: what nobody knows to be chosen may have been gone from one node before
        # another took it, and its term would hide the tokens of those who hold (section 6).
        known = lease is not None and judgement.chosen and judgement.term >= shown.term
        if known and lease is not None and lease.candidate != shown.released:
            changed = self._tell(name, shown, State.LED, judgement)
            if changed is not None:
                shown.before = {node: v for node, v in views.items() if not knows(v, lease.candidate)}
            return changed
        if shown.state is State.LED and shown.candidate is not None:
            # What a node said before is no end of it: those of its nodes that let go say so (section 6).
            since = {node: view for node, view in views.items() if shown.before.get(node) != view}
            if over(since, len(self.nodes), shown.candidate, shown.term):
                return self._tell(name, shown, State.FREE, None)
            return None
        if judgement.state is State.FREE and (not self.prefix or shown.term):
            return self._tell(name, shown, State.FREE, None)
        return None

    def look_around(self, now: float) -> None:
        """All names are to be looked at again, if the nodes that count are others than when that was done
        last: what a name is follows from what they have said, and that is looked at when it comes.
        """
        fresh = frozenset(self._fresh(now))
        waits = len(fresh) < blocking(len(self.nodes)) and now < self.since + FIRST_ANSWER_S
        if (fresh, waits) != self._looked_with:
            self._looked_with = (fresh, waits)
            self._to_look_at = list(self.views)
            if not self.prefix and self.pattern not in self.views:
                self._to_look_at.append(self.pattern)
            self._to_look_at.reverse()

    def look_on(self, now: float) -> list[Changed]:
        """Look at some of them; those that have changed. There are more while ``to_look_at`` says so."""
        some = [self._to_look_at.pop() for _ in range(min(LOOKED_AT_ONCE, len(self._to_look_at)))]
        found = (self.look(name, now) for name in some if name in self.views or not self.prefix)
        return [changed for changed in found if changed is not None]

    @property
    def to_look_at(self) -> int:
        """How many names are still to be looked at again."""
        return len(self._to_look_at)

    def _fresh(self, now: float) -> set[str]:
        return self.refreshing.counting(now)

    def _tell(self, name: str, shown: Shown, state: State, judgement: Judgement | None) -> Changed | None:
        lease = judgement.lease if judgement is not None else None
        term = judgement.term if judgement is not None else shown.term
        if lease is not None:
            lease = shown.newest(lease)
        same_data = lease is None or (shown.lease is not None and shown.lease.edition == lease.edition)
        if shown.told and shown.state is state and shown.term == term and same_data:
            return None
        if lease is not None:
            shown.lease = lease
        shown.state, shown.term, shown.told = state, term, True
        label, data = (lease.label, lease.data) if lease is not None else ("", b"")
        return Changed(self.ticket, name, state, term, label, data)


class SeenEvents:
    """The events that have come in one turn: acknowledged together, many in one message."""

    __slots__ = ("_versions",)

    def __init__(self) -> None:
        self._versions: dict[tuple[str, int], dict[str, int]] = {}  #: by node and watch

    def __bool__(self) -> bool:
        return bool(self._versions)

    def note(self, node: str, seen: Seen) -> None:
        """To be told with the others."""
        self._versions.setdefault((node, seen.watch), {}).update(seen.versions)

    def tell(self, out: Outbox) -> None:
        """Tell each node what has come since this was done last."""
        for (node, watch), versions in self._versions.items():
            some: list[tuple[str, int]] = []
            room = SEEN_BYTES
            for name, version in versions.items():
                size = len(name.encode()) + SEEN_EACH_BYTES
                if size > room:
                    out.send(node, Seen(watch, tuple(some)))
                    some, room = [], SEEN_BYTES
                room -= size
                some.append((name, version))
            out.send(node, Seen(watch, tuple(some)))
        self._versions.clear()


class Watches:
    """All watches of one session."""

    def __init__(self, shared: Shared, queries: Queries) -> None:
        self._nodes = shared.nodes
        self._queries = queries
        self._out = shared.out
        self._timers = shared.timers
        self._watchers: dict[int, Watcher] = {}
        self._asked: dict[int, int] = {}  #: by request, the ticket of the watch that asked for a view again
        self._polls: dict[tuple[int, str], int] = {}  #: by watch and name, what asks whether it is still led
        self._seen = SeenEvents()

    def __len__(self) -> int:
        return len(self._watchers)

    def watch(self, pattern: str, prefix: bool, now: float) -> int:
        """Watch a name, or all names with a prefix; gives a ticket."""
        ticket = self._out.ticket()
        self._watchers[ticket] = Watcher(ticket, pattern, prefix, self._nodes, now)
        self._refresh(ticket, now)
        return ticket

    def unwatch(self, ticket: int) -> None:
        """Nobody wants to know any more."""
        watcher = self._watchers.pop(ticket, None)
        if watcher is not None:
            self._forget_checks(watcher)
            for node in self._nodes:
                self._out.send(node, Unwatch(self._out.request(), ticket))

    def acknowledge(self) -> None:
        """Tell the nodes which events have come in this turn."""
        if self._seen:
            self._seen.tell(self._out)

    def event(self, node: str, message: WatchEvent, now: float, lives: Lives) -> None:
        """A node tells how a name stands."""
        watcher = self._watchers.get(message.watch)
        if watcher is None:
            self._out.send(node, Unwatch(self._out.request(), message.watch))
            return
        seen = watcher.event(node, message, now, lives)
        if seen is None:
            return
        self._seen.note(node, seen)
        self._look(watcher, message.view.name, now)
        self._look_soon(watcher, now)

    def stands(self, node: str, message: Watching, now: float, lives: Lives) -> None:
        """A node says that the subscription stands there."""
        watcher = self._watchers.get(message.watch)
        if watcher is not None:
            watcher.stands(node, now, lives)
            self._look_soon(watcher, now)

    def _look_soon(self, watcher: Watcher, now: float) -> None:
        """What has just been heard may want a refresh before the next one would come."""
        self._timers.add(watcher.refreshing.wanted_at(now, watcher.calm), self._refresh, watcher.ticket)

    def checked(self, node: str, message: View, now: float, lives: Lives) -> None:
        """A node answers what a watcher asked for again."""
        watcher = self._watchers.get(self._asked.get(message.request, 0))
        if watcher is not None and watcher.checked(node, message, lives):
            self._look(watcher, message.name, now)

    def _look(self, watcher: Watcher, name: str, now: float) -> None:
        changed = watcher.look(name, now)
        if changed is not None:
            self._out.publish(changed)

    def _refresh(self, ticket: int, now: float) -> None:
        """The subscription wants refreshing, or a node has not been heard for too long."""
        watcher = self._watchers.get(ticket)
        if watcher is None:
            return
        watcher.look_around(now)
        self._look_on(ticket, now)
        refreshing = watcher.refreshing
        if refreshing.rests(now, watcher.calm):
            self._timers.add(refreshing.next_look(now), self._refresh, ticket)
            return
        refreshing.ask(now, watcher.calm)
        message = watcher.subscription(self._out.request())
        for node in self._nodes:
            self._out.send(node, message)
        self._forget_checks(watcher)
        for name, nodes in watcher.doubtful(now).items():
            poll = Poll(self._out.request(), name)
            self._asked[poll.request] = ticket
            watcher.check(poll.request, name)
            for node in nodes:
                self._out.send(node, poll)
        for name in watcher.denied():
            self._poll(watcher, name, now)
        self._timers.add(refreshing.next_look(now), self._refresh, ticket)

    def _poll(self, watcher: Watcher, name: str, now: float) -> None:
        """Ask all nodes whether a name is led that is shown so."""
        if (watcher.ticket, name) in self._polls:
            return
        ticket, candidate = watcher.ticket, watcher.shown[name].candidate
        query = PollQuery(
            **self._queries.fields(now, QUERY_PATIENCE_S),
            name=name,
            heeds=lambda answer: self._polled(ticket, name, candidate, answer),
        )
        self._polls[watcher.ticket, name] = query.ticket
        self._queries.ask_in_turn(query, now, brief=False)

    def _polled(self, ticket: int, name: str, candidate: Candidate | None, answer: Event) -> None:
        del self._polls[ticket, name]
        watcher = self._watchers.get(ticket)
        if watcher is not None and isinstance(answer, Answered):
            changed = watcher.found(name, candidate, answer.judgement)
            if changed is not None:
                self._out.publish(changed)

    def _look_on(self, ticket: int, now: float) -> None:
        """Look at some of many names, and at the others after what else there is to do."""
        watcher = self._watchers.get(ticket)
        if watcher is None:
            return
        for changed in watcher.look_on(now):
            self._out.publish(changed)
        if watcher.to_look_at:
            self._timers.add(now + LOOK_PAUSE_S, self._look_on, ticket)

    def _forget_checks(self, watcher: Watcher) -> None:
        for request in watcher.checks:
            del self._asked[request]
        watcher.checks.clear()
