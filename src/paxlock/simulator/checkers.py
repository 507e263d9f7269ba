"""What must hold in every run, told with true time (protocol.md sections 2 to 7).

A checker hears what machines do and tell; it fails with CheckFailed as soon as a rule is broken. Nothing
here is known to the machines themselves.
"""

from __future__ import annotations

from math import inf

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.messages import Accept, Message, Peer, Prepare, Release, Renew
from paxlock.core.node.starts import Start
from paxlock.core.quorum import blocking, majority
from paxlock.core.reasons import RefusalReason
from paxlock.core.session.judgement import State
from paxlock.simulator.machines import Held, NodeMachine

__all__ = [
    "CheckFailed",
    "CheckedTenure",
    "Exclusion",
    "Histories",
    "NodeChecker",
    "SessionChecker",
    "WatchChecker",
]

EPSILON_S = 1e-7
WINDOW_MIN_S, WINDOW_MAX_S = 0.01, 5.0  #: within which a stated window counts (section 2)


class CheckFailed(AssertionError):
    """A rule was broken. ``check`` names the rule; seed and moment are added by the simulation."""

    def __init__(self, check: str, what: str) -> None:
        super().__init__(f"{check}: {what}")
        self.check = check


@attrs.define(eq=False)
class CheckedTenure:
    """One validity as the world sees it: from ``since`` until ``until``, or ``ended``, in true time."""

    name: str
    token: int
    candidate: Candidate
    since: float
    until: float
    ended: float = inf

    def valid(self, true: float) -> bool:
        return true < self.ended and true < self.until - EPSILON_S


@attrs.define(eq=False)
class Exclusion:
    """Never two valid holders of a name at one true moment; fencing tokens strictly grow.

    ``until`` is always the true moment of the holder's own deadline, with the margin: the whole of what
    section 3 calls valid. A holder that is paused stays valid until then; one that is told, releases or
    crashes does not.
    """

    tenures: dict[Candidate, CheckedTenure] = attrs.field(factory=dict)
    newest: dict[str, CheckedTenure] = attrs.field(factory=dict)
    open: dict[str, list[CheckedTenure]] = attrs.field(factory=dict)
    count: int = 0

    def granted(
        self, name: str, token: int, candidate: Candidate, until: float, true: float
    ) -> CheckedTenure:
        """A lease has become valid at the holder."""
        tenure = CheckedTenure(name, token, candidate, true, until)
        if until <= true:
            raise CheckFailed("validity", f"{name!r} was granted {true - until:.6f} s after its deadline")
        if candidate in self.tenures:
            raise CheckFailed("validity", f"{candidate} was granted {name!r} twice")
        before = self.newest.get(name)
        if before is not None and token <= before.token:
            raise CheckFailed("token", f"{name!r} was granted with token {token} after {before.token}")
        for other in self.holders(name, true):
            raise CheckFailed(
                "exclusion",
                f"{name!r} was granted with token {token}, but token {other.token} is valid "
                f"for another {other.until - true:.6f} s",
            )
        self.tenures[candidate] = self.newest[name] = tenure
        self.open.setdefault(name, []).append(tenure)
        self.count += 1
        return tenure

    def extended(self, candidate: Candidate, until: float, true: float, *, detached: bool = False) -> None:
        """The holder, or with ``detached`` whoever has the handle, counts it valid until ``until``."""
        tenure = self.tenures[candidate]
        if not tenure.valid(true) and not detached:
            raise CheckFailed("validity", f"token {tenure.token} of {tenure.name!r} was revived")
        if tenure.ended <= true:
            raise CheckFailed("validity", f"token {tenure.token} of {tenure.name!r} goes on after its end")
        for other in self.holders(tenure.name, true):
            if other is not tenure:
                raise CheckFailed(
                    "exclusion",
                    f"{tenure.name!r}: token {tenure.token} was renewed while {other.token} is valid",
                )
        tenure.until = max(tenure.until, until)
        if tenure not in self.open[tenure.name]:
            self.open[tenure.name].append(tenure)

    def ended(self, candidate: Candidate | None, true: float) -> CheckedTenure | None:
        """The holder was told, let go, or is no more; the tenure, if there is one and it is news."""
        tenure = self.tenures.get(candidate) if candidate is not None else None
        if tenure is None or tenure.ended <= true:
            return None
        tenure.ended = true
        return tenure

    def polled(self, name: str, state: State, asked: float, true: float) -> None:
        """A poll asked at ``asked`` is answered: not with free, where one was valid all the while."""
        if state is State.FREE:
            for tenure in self.holders(name, true):
                if tenure.since <= asked:
                    raise CheckFailed("poll", f"{name!r} is said to be free while {tenure.token} is valid")

    def holders(self, name: str, true: float) -> list[CheckedTenure]:
        """Who is valid now; those that no longer are are put away."""
        found = self.open.get(name)
        if not found:
            return []
        self.open[name] = [tenure for tenure in found if tenure.valid(true)]
        return self.open[name]

    def valid(self, candidate: Candidate, true: float) -> bool:
        tenure = self.tenures.get(candidate)
        return tenure is not None and tenure.valid(true)


@attrs.define(eq=False)
class SessionChecker:
    """What a session may send: one live attempt for a name (L7), Release last (S2), to all it asked (L1)."""

    live: dict[tuple[bytes, str], Candidate] = attrs.field(factory=dict)
    over: set[Candidate] = attrs.field(factory=set)
    handed_over: set[Candidate] = attrs.field(factory=set)  #: others may speak for them
    given_away: dict[tuple[bytes, str], Candidate] = attrs.field(factory=dict)  #: what was detached
    asked: dict[Candidate, set[Peer]] = attrs.field(factory=dict)
    told: dict[Candidate, set[Peer]] = attrs.field(factory=dict)  #: which nodes were sent the Release

    def sent(self, message: Message, node: Peer = "") -> Candidate | None:
        """A session sends this to a node; the candidate that is released, if one is."""
        match message:
            case Prepare():
                self._proposes(message.name, message.candidate, node)
            case Accept():
                self._proposes(message.name, message.lease.candidate, node)
            case Renew():
                for attempt in message.attempts:
                    candidate = Candidate(message.session, attempt)
                    if candidate in self.over and candidate not in self.handed_over:
                        raise CheckFailed("S2", f"attempt {attempt} is renewed after its Release")
            case Release():
                self.over.add(message.candidate)
                self.told.setdefault(message.candidate, set()).add(node)
                key = (message.candidate.session, message.name)
                if self.live.get(key) == message.candidate:
                    del self.live[key]
                return message.candidate
        return None

    def detached(self, name: str, candidate: Candidate) -> None:
        """The session has let go of this attempt without ending it; it may make no other for the name."""
        self.handed_over.add(candidate)
        self.live.pop((candidate.session, name), None)
        self.given_away[candidate.session, name] = candidate

    def ended_elsewhere(self, candidate: Candidate) -> None:
        """Somebody else releases it: its holder speaks for it until it is told."""
        self.handed_over.add(candidate)

    def settled(self, session: bytes) -> None:
        """The session has sent all that it wanted to."""
        for candidate in self.over - self.handed_over:
            missed = self.asked.get(candidate, set()) - self.told[candidate]
            if missed and candidate.session == session:
                raise CheckFailed("L1", f"attempt {candidate.attempt} is not released at {missed}")

    def _proposes(self, name: str, candidate: Candidate, node: Peer) -> None:
        self.asked.setdefault(candidate, set()).add(node)
        if candidate in self.over and candidate not in self.handed_over:
            raise CheckFailed("S2", f"attempt {candidate.attempt} goes on at {name!r} after its Release")
        detached = self.given_away.get((candidate.session, name), candidate)
        if detached != candidate:
            raise CheckFailed(
                "L1",
                f"attempt {candidate.attempt} campaigns for {name!r}, though {detached.attempt} was detached",
            )
        live = self.live.setdefault((candidate.session, name), candidate)
        if live != candidate:
            raise CheckFailed(
                "L7", f"attempts {live.attempt} and {candidate.attempt} are both alive at {name!r}"
            )


@attrs.frozen
class NodeChecker:
    """What an acceptor may do, looked at after every step of a node.

    Nothing above the durable ceiling; what was released stays released (L1); a lease that is held keeps
    out everybody else; no deadline of a candidate moves back (S6) or is moved by an old number, and no number
    is lowered (S5); a lease that has run out leaves its term closed; a promise lapses with the window that
    its candidate stated, or with the grace (L6). ``accepted`` keeps which nodes have held which lease in
    which term, ``deadlines`` until when, in true time, and in which term.
    """

    grace: float
    deadlines: dict[Candidate, dict[str, tuple[float, int]]] = attrs.field(factory=dict)
    accepted: dict[tuple[str, int, Candidate], set[str]] = attrs.field(factory=dict)
    let_go: dict[tuple[str, str], dict[Candidate, float]] = attrs.field(factory=dict)
    windows: dict[tuple[str, Candidate], float] = attrs.field(factory=dict)  #: the longest stated to a node

    def before(
        self, node: NodeMachine, message: Message, sender: object, now: float
    ) -> dict[Candidate, float]:
        """The deadlines that this Renew must not move: those stored with its number or a later one."""
        if isinstance(message, Prepare) and message.window_ms:
            key = (node.node_id, message.candidate)
            stated = min(max(message.window_ms / 1000.0, WINDOW_MIN_S), WINDOW_MAX_S)
            self.windows[key] = max(self.windows.get(key, 0.0), stated)
        if not isinstance(message, Renew):
            return {}
        frozen: dict[Candidate, float] = {}
        for record in node.acceptor.records.values():
            lease = record.lease
            if lease is None or lease.candidate.session != message.session or record.deadline <= now:
                continue
            if record.sender == sender and record.seq >= message.seq:
                frozen[lease.candidate] = record.deadline
        return frozen

    def after(self, node: NodeMachine, now: float, frozen: dict[Candidate, float]) -> None:
        """The node has taken a step at ``now`` on its own clock."""
        assert node.disk.record is not None
        ceiling = node.disk.record.ceiling
        acceptor = node.acceptor
        if acceptor.floor > ceiling:
            raise CheckFailed(
                "ceiling", f"the floor of {node.node_id} is {acceptor.floor}, its ceiling {ceiling}"
            )
        for name, record in acceptor.records.items():
            if record.term > ceiling:
                raise CheckFailed(
                    "ceiling", f"{node.node_id} uses term {record.term} above its durable {ceiling}"
                )
            owner, lease = record.owner, record.lease
            if owner is not None and (name, owner) in node.ended:
                raise CheckFailed(
                    "L1", f"{node.node_id} is promised to attempt {owner.attempt} after its Release"
                )
            before = node.held.get(name)
            if lease is None:
                if before is not None:
                    self._let_go(node, name, before, now)
                    if (owner, record.term) == (before.candidate, before.term):
                        raise CheckFailed("expiry", f"{node.node_id} leaves term {record.term} open")
                    del node.held[name]
                self._promise(node, name, owner, record.term, now)
                continue
            node.promised.pop(name, None)
            candidate, deadline = lease.candidate, record.deadline
            if (name, candidate) in node.ended or (name, candidate) in node.barred:
                raise CheckFailed("L1", f"{node.node_id} holds attempt {candidate.attempt} after its Release")
            if owner is not None and owner != candidate:
                raise CheckFailed(
                    "exclusion rule", f"{node.node_id} promises {name!r} while it holds a lease"
                )
            if deadline <= now:
                raise CheckFailed("expiry", f"{node.node_id} holds {name!r} past the deadline")
            held = Held(candidate, deadline, record.lease_term, record.sender, record.seq)
            if before is not None:
                anew = before.deadline <= now and held.term > before.term  # it had run out in between
                if before.candidate != candidate or anew:
                    self._let_go(node, name, before, now)
                else:
                    self._goes_on(node, before, held)
            if frozen and frozen.get(candidate, deadline) != deadline:
                raise CheckFailed(
                    "S5", f"{node.node_id} re-armed attempt {candidate.attempt} by an old number"
                )
            if before is None or before[:3] != held[:3]:
                until = node.clock.true(deadline)
                self.deadlines.setdefault(candidate, {})[node.node_id] = (until, held.term)
            if before is None or (before.candidate, before.term) != (candidate, held.term):
                self.accepted.setdefault((name, held.term, candidate), set()).add(node.node_id)
            node.held[name] = held

    def granted(self, name: str, term: int, candidate: Candidate, nodes: int) -> None:
        """A holder counts its lease as valid: a quorum of nodes accepted it in that one term (S3)."""
        voters = self.accepted.get((name, term, candidate), set())
        if len(voters) < majority(nodes):
            raise CheckFailed(
                "S3", f"{name!r} was granted in term {term}, but only {sorted(voters)} accepted it there"
            )

    def covered(self, candidate: Candidate, token: int, until: float, nodes: int) -> None:
        """The holder counts on its lease until then, in true time: a quorum must hold it as long (section 4),
        in terms from the token on (S3).

        A node that has crashed since counts with the deadline it had: it sits out longer.
        """
        held = self.deadlines.get(candidate, {}).values()
        for check, lowest in (("section 4", 0), ("S3", token)):
            deadlines = sorted((at for at, term in held if term >= lowest), reverse=True)
            quorum = majority(nodes)
            if len(deadlines) < quorum or deadlines[quorum - 1] < until - EPSILON_S:
                among = f" in terms from its token {token} on" if lowest else ""
                raise CheckFailed(
                    check, f"{candidate} is valid for longer than a quorum holds its lease{among}"
                )

    def last_stranger(self, node: NodeMachine, name: str, candidate: Candidate, true: float) -> float:
        """Until when the node held a lease of anybody but this candidate; -inf if it never did."""
        held = node.held.get(name)
        if held is not None and held.candidate != candidate:
            return true
        let_go = self.let_go.get((node.label, name), {})
        return max((at for other, at in let_go.items() if other != candidate), default=-inf)

    def released(self, node: NodeMachine, message: Release) -> None:
        """The node has answered this Release. By a handle where the lease was not held it bars the lease."""
        record = node.acceptor.records[message.name]
        ended = record.end_of(message.candidate, b"") is RefusalReason.ENDED
        barred = bool(message.secret) and not ended
        (node.barred if barred else node.ended).add((message.name, message.candidate))

    def restored(self, node: NodeMachine, start: Start, now: float) -> None:
        """The node has started from what it remembers: leases go on with the time that was left (L8), and one
        that was killed holds all that it held.
        """
        assert start.snapshot is not None
        since = now if start.as_of is None else start.as_of
        for saved in start.snapshot.names:
            record = node.acceptor.records.get(saved.name)
            if record is None or record.lease is None:
                continue
            more = record.deadline - since - saved.remaining_ms / 1000.0
            if abs(more) > EPSILON_S:
                raise CheckFailed(
                    "L8", f"{node.node_id} restarts a lease with {more:.6f} s more than was left"
                )
        for name, held in node.held_when_killed.items():
            record = node.acceptor.records.get(name)
            if held.deadline <= now:
                continue
            kept = record is not None and record.holds(held.candidate)
            if record is None or not kept or record.deadline < held.deadline - EPSILON_S:
                text = f"{node.node_id} was killed, and does not hold {name!r} as before"
                raise CheckFailed("same boot", text)

    def sits_out(self, node: NodeMachine, noted: int, nodes: int) -> None:
        """The node has no memory, and begins to sit out: so many others have noted this life (S15)."""
        if noted < min(blocking(nodes), nodes - 1):
            raise CheckFailed("S15", f"{node.node_id} begins to sit out, and {noted} others have noted it")

    def serves(self, node: NodeMachine, exclusion: Exclusion) -> None:
        """The node begins to serve. One that has joined must stand above every token that was granted
        before it had sat out: N - quorum + 1 ceilings meet every quorum it can have been in (S7).
        """
        before = [t.token for t in exclusion.tenures.values() if t.since < node.asks_from]
        if before and node.acceptor.floor < max(before):
            raise CheckFailed(
                "S7", f"{node.node_id} joins with floor {node.acceptor.floor} after token {max(before)}"
            )

    def _promise(self, node: NodeMachine, name: str, owner: Candidate | None, term: int, now: float) -> None:
        if owner is None:
            node.promised.pop(name, None)
            return
        before = node.promised.get(name)
        if before is None or before[:2] != (owner, term):
            node.promised[name] = (owner, term, now)
        elif now > before[2] + self.windows.get((node.node_id, owner), self.grace) + EPSILON_S:
            raise CheckFailed("L6", f"{node.node_id} keeps its promise of term {term} beyond its window")

    def _goes_on(self, node: NodeMachine, before: Held, held: Held) -> None:
        """The node holds the same candidate's lease as before."""
        if held.deadline < before.deadline:
            back = before.deadline - held.deadline
            raise CheckFailed("S6", f"a deadline of {node.node_id} moved back {back:.6f} s")
        if held.sender == before.sender and held.seq < before.seq:
            raise CheckFailed(
                "S5", f"the number stored at {node.node_id} went back from {before.seq} to {held.seq}"
            )

    def _let_go(self, node: NodeMachine, name: str, before: Held, now: float) -> None:
        candidate, deadline = before.candidate, before.deadline
        self.let_go.setdefault((node.label, name), {})[candidate] = node.clock.true(now)
        if deadline > now + EPSILON_S and (name, candidate) not in node.ended:
            raise CheckFailed(
                "exclusion rule",
                f"{node.node_id} let go of {name!r} {deadline - now:.6f} s before its deadline",
            )


@attrs.define(eq=False)
class WatchChecker:
    """What a watcher shows: terms never go down, and never free while the tenure it speaks of is valid.

    Free is checked against the tenure with the token that is shown: news of an older tenure may come when
    the next one is valid already.
    """

    shown: dict[tuple[object, str], tuple[State, int]] = attrs.field(factory=dict)

    def changed(
        self, watch: object, name: str, state: State, term: int, exclusion: Exclusion, true: float
    ) -> None:
        """The watcher ``watch`` shows a new state of ``name``."""
        _, before = self.shown.get((watch, name), (State.UNKNOWN, 0))
        if term < before:
            raise CheckFailed("watch", f"{name!r} is shown at term {term} after {before}")
        if state is State.FREE:
            for tenure in exclusion.holders(name, true):
                if tenure.token == term:
                    raise CheckFailed("watch", f"{name!r} is shown free while its term {term} is valid")
        self.shown[(watch, name)] = (state, term)

    def wrong(self, watch: object, name: str, newest: CheckedTenure, true: float) -> str:
        """At the end, when nothing has changed for long: in which way the watcher does not show the last
        state, or nothing. That nobody ever held may be left unsaid, and so may states that were replaced.
        """
        state, term = self.shown.get((watch, name), (State.UNKNOWN, 0))
        expected = State.LED if newest.valid(true) else State.FREE
        if (state, term) == (expected, newest.token):
            return ""
        if expected is State.FREE and (term == 0 or state is State.FREE):
            return ""
        return f"{name!r} is shown {state} ({term}), but is {expected} ({newest.token})"


@attrs.define(eq=False)
class Progress:
    """After the heal: no name with waiting candidates stays without a valid holder for too long.

    ``next_max`` is for those who live: back-offs, places that lapse, graces. A candidate that has died may
    still be accepted where it stands in line, or by a standing Prepare that comes late, and that costs a ttl
    from then on (section 5), which nobody alive can shorten. So in a hand-off the time is not counted, up to
    ``dead_max``, in which leases of the dead leave less than a quorum of nodes. ``first_max`` has that ttl.
    """

    first_max: float
    next_max: float
    dead_max: float = 0.0
    blocked_from: dict[str, float] = attrs.field(factory=dict)
    blocked_for: dict[str, float] = attrs.field(factory=dict)
    free_since: dict[str, float] = attrs.field(factory=dict)
    served: set[str] = attrs.field(factory=set)
    longest: float = 0.0

    def look(self, name: str, *, waiting: bool, held: bool, true: float, blocked: bool = False) -> None:
        """Called after the heal whenever something may have changed, and now and then."""
        since = self.free_since.get(name)
        if since is not None:
            blocked_from = self.blocked_from.pop(name, true)
            self.blocked_for[name] = self.blocked_for.get(name, 0.0) + true - blocked_from
            self._judge(name, true - since)
        if held:
            self.served.add(name)
        if waiting and not held:
            self.free_since.setdefault(name, true)
            if blocked:
                self.blocked_from[name] = true
        else:
            self.free_since.pop(name, None)
            self.blocked_for.pop(name, None)

    def _judge(self, name: str, gap: float) -> None:
        if name in self.served:
            self.longest = max(self.longest, gap)
        allowed, dead = self.first_max, 0.0
        if name in self.served:
            allowed, dead = self.next_max, min(self.blocked_for[name], self.dead_max)
        if gap > allowed + dead:
            also = f", and {dead:.3f} s for dead candidates" if dead else ""
            raise CheckFailed(
                "progress",
                f"{name!r} was without a holder for {gap:.3f} s; {allowed:.3f} s is the most allowed{also}",
            )


@attrs.define(eq=False)
class Histories:
    """All checkers of one run."""

    progress: Progress
    nodes: NodeChecker
    exclusion: Exclusion = attrs.field(factory=Exclusion)
    sessions: SessionChecker = attrs.field(factory=SessionChecker)
    watches: WatchChecker = attrs.field(factory=WatchChecker)
