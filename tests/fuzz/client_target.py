"""A whole client under the answers of hostile nodes that have the cell's key.

Three real nodes answer what the client asks; a script decides what of it arrives, changed or not, and what
else the nodes say. Whatever they say, a lease is believed in only with a quorum of members behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import attrs

from paxlock.core.lease import Candidate, Lease, Timing
from paxlock.core.messages import (
    Accept,
    Accepted,
    Message,
    Prepare,
    Recovering,
    Released,
    Renewed,
    Watching,
    Welcome,
)
from paxlock.core.quorum import majority
from paxlock.core.session import watches as watcher
from paxlock.core.session.events import Extended, Granted, HandleOutcome
from paxlock.core.session.queries import REQUESTS_PER_QUESTION
from paxlock.wire.codec import (
    PAYLOAD_MAX_BYTES,
    Malformed,
    decode_untrusted,
    encode,
    join,
    pack,
    unpack_untrusted,
)
from paxlock.wire.endpoint import Endpoint

from .engine import Broken, Target, check
from .hostile import (
    ADDRESSES,
    CLIENT_SECRET,
    METER,
    PLACES,
    Rogue,
    check_endpoint,
    forge,
    keyring,
    small_tables,
)
from .script import SCENE_BYTES, SENDERS, SESSIONS, Step, change_script, parse, write
from .traffic import (
    CELL_ID,
    DRIFT_PPM,
    EPOCH,
    MAX_TTL_MS,
    NODES,
    RUN,
    new_replica,
    new_session,
    serve,
    traffic,
)

__all__ = ["CLIENT", "ClientWorld"]

INPUT_MAX_BYTES = 8_192
TICKS_AT_ONE_MOMENT_MAX = 50
SESSION = SESSIONS[0]
DETACHED = Candidate(SESSIONS[1], 1)
WISHES = (None, 0, 0.5, 5.0)
TTLS = (0.5, 5.0, 30.0)
NAMES = ("n", "m/1", "n" * 255)
TIMINGS = {ttl: Timing.for_ttl(ttl, max_ttl=MAX_TTL_MS / 1000, drift=DRIFT_PPM / 1e6) for ttl in TTLS}
KINDS = 11


@attrs.define(eq=False)
class Believer:
    """A dumb count of who has said what, against which every Granted and Extended is held."""

    accepted: dict[tuple[Candidate, int], set[str]] = attrs.field(factory=dict)
    renewed: dict[Candidate, dict[str, float]] = attrs.field(factory=dict)  #: node -> when it last said so
    ttls: dict[int, Timing] = attrs.field(factory=dict)  #: of tickets
    owners: dict[int, Candidate] = attrs.field(factory=dict)
    handles: dict[int, set[str]] = attrs.field(factory=dict)

    def heard(self, node: str, message: Message, now: float) -> None:
        """A member, whose seal was right, said this."""
        if isinstance(message, Accepted):
            self.accepted.setdefault((message.candidate, message.term), set()).add(node)
            self.renewed.setdefault(message.candidate, {})[node] = now
        elif isinstance(message, Renewed):
            for attempt, _ in message.held:
                self.renewed.setdefault(Candidate(message.session, attempt), {})[node] = now
            self._handle(node, [Candidate(message.session, attempt) for attempt, _ in message.held])
        elif isinstance(message, Released):
            self._handle(node, [message.candidate])

    def _handle(self, node: str, candidates: list[Candidate]) -> None:
        if DETACHED in candidates:
            for nodes in self.handles.values():
                nodes.add(node)

    def believes(self, notice: object, now: float) -> None:
        """The machine told its program this."""
        quorum = majority(len(NODES))
        if isinstance(notice, Granted):
            timing = self.ttls[notice.ticket]
            nodes = self.accepted.get((notice.candidate, notice.term), set())
            check(notice.candidate.session == SESSION, "somebody else's candidate is believed in")
            check(len(nodes) >= quorum, f"a lease is believed in with {len(nodes)} acceptances")
            check(notice.deadline <= now + timing.span - timing.margin, "a lease lasts too long")
            self.owners[notice.ticket] = notice.candidate
        elif isinstance(notice, Extended):
            timing = self.ttls[notice.ticket]
            # What was acknowledged is not newer than the acknowledgement: sent < said.
            sent = notice.deadline + timing.margin - timing.span
            said = self.renewed.get(self.owners[notice.ticket], {})
            nodes = {node for node, at in said.items() if at >= sent - 1e-9}
            check(len(nodes) >= quorum, f"a lease is prolonged by {len(nodes)} nodes")
        elif isinstance(notice, HandleOutcome) and notice.done:
            check(len(self.handles[notice.ticket]) >= quorum, "a verb on a handle is done without a quorum")


class ClientWorld:
    """A session behind its endpoint, and three nodes whose key it trusts."""

    def __init__(self, scene: bytes) -> None:
        self.now = 0.0
        self.sealed = scene[0] < 0xC0
        self.ring = keyring(self.sealed)
        self.session = new_session(SESSION)
        members = {node: [address] for node, address in ADDRESSES.items()}
        self.endpoint = Endpoint(
            SENDERS[0],
            self.ring,
            cell_id=CELL_ID,
            epoch=EPOCH,
            members=members,
            secret=CLIENT_SECRET,
        )
        # Another client, which knows nothing but addresses.
        self.seeker = Endpoint(SENDERS[0], self.ring, secret=CLIENT_SECRET)
        self.seeker.greet_seeds(ADDRESSES.values(), 1)
        self.seeker.flush()
        self.nodes = {node: Rogue.node(node, 1, RUN, self.sealed) for node in NODES}
        self.later = {node: Rogue.node(node, 2, b"q" * 16, self.sealed) for node in NODES}
        self.replicas = {node: new_replica(node, "create") for node in NODES}
        for replica in self.replicas.values():
            serve(replica, self.now)
        self.asked: dict[str, list[Message]] = {node: [] for node in NODES}
        self.answered: list[bytes] = []
        self.sent: list[tuple[bytes, str]] = []
        self.tickets: list[int] = []
        self.others: list[int] = []
        self.believer = Believer()
        self.carry_out()

    def step(self, step: Step) -> None:
        self.pass_time(step.pause_ms / 1000.0)
        node = NODES[step.who % len(NODES)]
        match step.kind % KINDS:
            case 0:  # the node hears and answers
                for payload in self.honest(node):
                    self.answer(node, payload)
            case 1:  # it answers with one value changed
                for payload in self.honest(node):
                    self.answer(node, twist(payload, step.payload, step.where))
            case 2:  # it says something of its own
                self.answer(node, step.payload)
            case 3:  # nothing arrives
                self.asked[node].clear()
            case 4:  # it says what another one has said
                if self.answered:
                    payload = self.answered[-1 - step.where % len(self.answered)]
                    self.answer(node, twist(payload, step.payload, step.where))
            case 5:  # the program asks for something
                self.verb(step)
            case 6:  # another run of the node speaks
                self.deliver(self.later[node].answer(step.payload, 1), ADDRESSES[node])
            case 7:  # any header and any content, sealed with the key
                self.deliver(forge(step.payload, self.ring, SENDERS[0]), PLACES[step.where % len(PLACES)])
            case 8:  # flipped, or just as it was
                if self.sent:
                    datagram, home = self.sent[-1 - step.where % len(self.sent)]
                    flipped = bytearray(datagram)
                    flipped[(step.where * 5) % len(flipped)] ^= step.who
                    self.deliver(bytes(flipped), ADDRESSES[home])
            case 9:  # bytes
                self.deliver(step.payload, PLACES[step.where % len(PLACES)])
            case 10:  # a rival is heard by the node
                self.rival(node, SESSIONS[1 + step.where % 3], step.payload)

    def rival(self, node: str, rival: bytes, payload: bytes) -> None:
        """Another session says this to a node, which is honest and answers it."""
        try:
            messages = decode_untrusted(payload)
        except Malformed:
            return
        for message in messages:
            self.replicas[node].receive(message, rival, self.now)
        for sent in self.honest(node):
            self.answer(node, sent)

    def verb(self, step: Step) -> None:
        """Something the program asks for."""
        session, now, where = self.session, self.now, step.where
        name = NAMES[where % len(NAMES)]
        ticket = self.tickets[-1 - where % len(self.tickets)] if self.tickets else 0
        other = self.others[-1 - where % len(self.others)] if self.others else 0
        match step.who % 12:
            case 0 | 1:
                ttl = TTLS[where // 4 % len(TTLS)]
                ticket = session.campaign(name, ttl=ttl, now=now, wait=WISHES[where % len(WISHES)])
                self.tickets.append(ticket)
                self.believer.ttls[ticket] = TIMINGS[ttl]
            case 2:
                session.release(ticket, now)
            case 3 if ticket in self.believer.owners:  # the shell detaches only what is held
                session.detach(ticket, now)
            case 4:
                self.others.append(session.poll(name, now, line=where > 128))
            case 5:
                self.others.append(session.names("", now) if where < 128 else session.count(now))
            case 6:
                self.others.append(
                    session.survey(now) if where < 128 else session.ping(session.settings.nodes, now)
                )
            case 7:
                session.watch(name if where < 128 else "", where >= 128, now)
            case 8:
                session.unwatch(1 + where % 8)
            case 9:
                session.clock_jumped(now)
            case 10:
                session.forget(other, now)
            case 11:
                if where < 128:
                    asked = session.renew_detached(DETACHED, 1, bytes(16), now, patience=1.0)
                else:
                    asked = session.release_detached(name, DETACHED, 1, bytes(16), now, patience=1.0)
                self.believer.handles[asked] = set()
        self.carry_out()

    def honest(self, node: str) -> list[bytes]:
        """What the node answers to all that was asked of it, a message a payload."""
        replica, asked = self.replicas[node], self.asked[node]
        for message in asked:
            replica.receive(message, SESSION, self.now)
        asked.clear()
        replica.tick(self.now)
        effects = replica.take_effects()
        if effects.persist is not None:
            replica.persisted(effects.persist, self.now)
            effects = attrs.evolve(effects, sends=effects.sends + replica.take_effects().sends)
        return [join([encode(message)]) for peer, message in effects.sends if peer == SESSION]

    def answer(self, node: str, payload: bytes) -> None:
        issue = self.endpoint._nodes[node].echo or 1
        datagram = self.nodes[node].answer(payload, issue)
        self.answered.append(payload)
        self.sent.append((datagram, node))
        self.deliver(datagram, ADDRESSES[node])

    def deliver(self, datagram: bytes, address: tuple[str, int]) -> None:
        with METER.datagram():
            received = self.endpoint.receive_untrusted(datagram, address)
            if received is not None:
                check(received.peer in NODES, "somebody who is no member is passed up")
                check(received.address == ADDRESSES[str(received.peer)], "a node at a foreign address")
                for message in received.messages:
                    self.believer.heard(str(received.peer), message, self.now)
                    self.session.receive(message, received.peer, self.now, received.lives)
            self.carry_out()
        sought = self.seeker.receive_untrusted(datagram, address)
        if sought is not None:
            check(address in ADDRESSES.values(), "an answer from an address that was not asked")
            check({type(message) for message in sought.messages} == {Welcome}, "before the cell is known")
        check(not self.seeker.flush(), "a client that was not asked anything speaks")
        self.check_tables()

    def carry_out(self) -> None:
        """What the client sends is kept for the nodes; what it tells is checked."""
        effects = self.session.take_effects()
        for peer, message in effects.sends:
            assert isinstance(peer, str)
            self.asked[peer].append(message)
            self.endpoint.queue(peer, message)
        for datagram, address in self.endpoint.flush():
            check(address in ADDRESSES.values(), "a client writes to somebody who is no member")
            check(len(datagram) <= PAYLOAD_MAX_BYTES, "a datagram is too long")
        for notice in effects.published:
            self.believer.believes(notice, self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(TICKS_AT_ONE_MOMENT_MAX):
            if self.session.deadline() > self.now:
                break
            self.session.tick(self.now)
        else:
            raise Broken("the timers of a client do not come to an end")
        self.carry_out()

    def check_tables(self) -> None:
        check_endpoint(self.endpoint)
        check_endpoint(self.seeker)
        session = self.session
        for watch in session._watches._watchers.values():
            check(len(watch.views) <= watcher.WATCH_NAMES_MAX, "a watch knows too many names")
            for views in watch.views.values():
                check(views.keys() <= set(NODES), "a view of somebody who is no member")
        for query in session._queries._open.values():
            check(len(query.requests) <= REQUESTS_PER_QUESTION, "a question has too many numbers")
        check(len(session._timers._heap) <= 65 + 2 * len(session._timers._at), "stale timers pile up")
        for node in session._shared.recovering:
            check(node in NODES, "somebody who is no member sits out")

    def silence(self) -> None:
        """The program lets go of everything; then nothing is kept for it."""
        session = self.session
        for ticket in self.tickets:
            session.release(ticket, self.now)
        for number in tuple(session._watches._watchers):
            session.unwatch(number)
        for pause in (0.0, 5.0, 31.0, 31.0):
            self.pass_time(pause)
        campaigns, candidates = session._campaigns, session._campaigns.candidates
        kept = {
            "questions": session._queries._open,
            "numbers of questions": session._queries._asked,
            "numbers of watches": session._watches._asked,
            "watches": session._watches._watchers,
            "campaigns": campaigns._campaigns,
            "attempts": candidates.attempts,
            "endings": candidates.releases,
            "names": campaigns._names,
            "tenures": len(candidates.tenures),
            "batches of tenures": candidates._renewals._batches,
            "batches with room": candidates._renewals._with_room,
        }
        left = [what for what, table in kept.items() if table]
        check(not left, f"a client that wants nothing still keeps {', '.join(left)}")


def twist(payload: bytes, change: bytes, place: int) -> bytes:
    """The payload with one value replaced by the one that the other bytes encode, in an array."""
    try:
        tree, values = unpack_untrusted(payload), unpack_untrusted(change)
    except Malformed:
        return payload
    places = list(_places(tree))
    if not values or not places:
        return payload
    owner, at = places[place % len(places)]
    owner[at] = values[0]
    changed = pack(tree)
    return changed if len(changed) <= PAYLOAD_MAX_BYTES else payload


def _places(tree: list[Any]) -> list[tuple[list[Any], int]]:
    found = []
    for at, value in enumerate(tree):
        found.append((tree, at))
        if isinstance(value, list):
            found += _places(value)
    return found


def run(data: bytes) -> None:
    """No exception, no belief without a quorum, bounded tables, nothing kept in the end."""
    with small_tables():
        environment = ClientWorld(data[:SCENE_BYTES].ljust(SCENE_BYTES, b"\0"))
        for step in parse(data):
            environment.step(step)
        environment.silence()


def _rivals() -> list[list[Step]]:
    """Another session holds the name, or part of it, or stands in line."""
    candidate = Candidate(SESSIONS[1], 1)
    prepare = join([encode(Prepare(1, "n", 1, candidate, 5_000, 100, 0, "rival"))])
    accept = join([encode(Accept(2, "n", 1, Lease(candidate, 5_000, "rival", b""), 1, 0))])
    held = [Step(10, who, 0, 0, payload) for who in range(3) for payload in (prepare, accept)]
    second = join([encode(Prepare(1, "n", 1, Candidate(SESSIONS[2], 1), 9_000, 1_000, 0, "second"))])
    line = [Step(10, who, 1, 0, second) for who in range(3)]
    return [held, [*held, *line], held[:2], [held[1], held[3], held[4]]]


@cache
def seeds() -> tuple[bytes, ...]:
    """Every verb with honest nodes, the same with changed answers, and what real nodes say unasked."""
    everybody = [Step(0, who, 0, 0, b"") for who in range(3)]
    scripts = []
    verbs = [(0, 0), (0, 4), (0, 2), (4, 0), (4, 200), (5, 0), (6, 0), (7, 0), (7, 200), (11, 0), (11, 200)]
    for who, where in verbs:
        verb = Step(5, who, where, 0, b"")
        scripts.append([verb, *everybody, *everybody, *everybody, Step(3, 0, 0, 1000, b""), *everybody])
    tenure = [Step(5, 0, 0, 0, b""), *everybody, *everybody, *everybody]
    ends = [Step(5, who, 0, 100, b"") for who in (2, 3, 9)]
    scripts += [[*tenure, end, *everybody, Step(3, 0, 0, 9_000, b"")] for end in ends]
    values = [pack((value,)) for value in (0, 1, 2, 1 << 62, b"T" * 16, "n", None)]
    for place, value in enumerate(values):
        twisted = [Step(1, who, 2 + place, 0, value) for who in range(3)]
        scripts.append([tenure[0], *everybody, *twisted, *everybody])
        scripts.append([*tenure, *(step._replace(pause_ms=200) for step in twisted)])
    # One node speaks for all, and one runs anew.
    scripts.append([tenure[0], everybody[0], *(Step(4, who, 0, 0, b"") for who in (1, 2, 1, 2))])
    welcome = join([encode(Recovering(1, 5_000)), encode(Watching(1, 1))])
    scripts.append([*tenure, Step(6, 0, 0, 0, welcome), Step(6, 1, 0, 0, b"\x80"), *everybody])
    unasked = [sent for sent in traffic() if sent.receiver == SESSION]
    said = [Step(2, NODES.index(str(sent.sender)), 0, 0, join([encode(sent.message)])) for sent in unasked]
    scripts += [[tenure[0], *said[start : start + 24]] for start in range(0, 72, 24)]
    head = Rogue.node("a", 1, RUN, True).answer(b"", 1)[:87]
    scripts.append(
        [Step(kind, 1, place, 0, head + b"\0\5\x81\x82\x01\x01") for kind in (7, 9) for place in (4, 0)]
    )
    scripts.append([*everybody, *(Step(8, who, 0, 0, b"") for who in (0, 1))])
    scripts += [[*rivals, *scripts[number]] for rivals in _rivals() for number in (0, 1, 2, 3, 4)]
    return tuple(write(bytes((sealed, 0)), steps) for sealed in (0, 0xC0) for steps in scripts)


def change(data: bytes, rng: Random, change_bytes: Callable[[bytes], bytes]) -> bytes:
    return change_script(data, rng, change_bytes, seeds())


CLIENT = Target("client", run, change, lambda: list(seeds()), INPUT_MAX_BYTES)
