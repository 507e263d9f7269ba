"""Two lives of one node: every order of events in bounds, with the shipped rules of counting and joining.

Nodes a and c, and b twice: b0 lives on, b1 joins in its place. Session 1 knows b0, session 2 knows b1; each
has one candidate. Requests, answers and greetings are lost, repeated and late without limit, and so is a
greeting of an earlier life of b. Time goes in whole units, the same for all.

The acceptors here are a few lines of their own. What is explored is who counts whom, and when: `Proposer`,
`Validity` and `Tenure` of the sessions and `Recovery` of b1 are the shipped ones, made anew from what they
have heard. docs/exploration.md has the figures.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple, TypeAlias

import attrs

from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.lives import Lives
from paxlock.core.messages import Greeted, NodeMode
from paxlock.core.node.recovery import Recovery
from paxlock.core.session.proposer import Phase, Proposer
from paxlock.core.session.tenures import Tenure
from paxlock.simulator.checkers import CheckFailed

__all__ = ["LIVES_BOUNDS", "LivesBounds", "LivesReport", "explore_lives"]

NODES = ("a", "b", "c")
RUN, OLD_RUN = b"\x02" * 16, b"\x01" * 16
OLD_LIFE, NEW_LIFE = 1, 2
#: What a datagram says, by whether its sender has noted the new life of b. One object each, as on the wire.
SAYS: dict[bool, Lives] = {
    noted: {"a": 1, "b": life, "c": 1} for noted, life in ((False, OLD_LIFE), (True, NEW_LIFE))
}
FIRST_TERM = 2  #: of session 1
CANDIDATES = tuple(Candidate(bytes([which]) * 16, 1) for which in (1, 2))


@attrs.frozen
class LivesBounds:
    """``until``: the last moment that is looked at. ``term``: of session 2, above that of session 1 or below.
    ``late``: a greeting of an earlier life, which asked after sitting out, is still on its way. ``renews``: a
    holder renews once.
    """

    name: str
    ttl: int  #: and the time of sitting out, in units
    until: int
    term: int
    late: bool = False
    renews: bool = False


LIVES_BOUNDS: dict[str, LivesBounds] = {
    bounds.name: bounds
    for bounds in (
        LivesBounds("lives", ttl=1, until=1, term=3),
        LivesBounds("lives-tokens", ttl=1, until=1, term=1),
        LivesBounds("lives-late", ttl=1, until=1, term=1, late=True),
        LivesBounds("lives-renew", ttl=2, until=2, term=3, renews=True),
    )
}


class Held(NamedTuple):
    """An acceptor: whose lease it holds (0: nobody's), until when, by which number, and its term."""

    by: int = 0
    term: int = 0
    deadline: int = 0
    number: int = 0


class Vote(NamedTuple):
    """An answer on its way, or counted: from which node, to which number, and did it know the new life?"""

    node: str
    number: int
    noted: bool


class Answer(NamedTuple):
    """The answer to a greeting: of which node, of which phase and life, with which ceiling."""

    node: str
    phase: int
    life: int
    ceiling: int


class Client(NamedTuple):
    """A session: its term, when it sent each number, what it has counted, and until when it is valid."""

    term: int = 0
    sent: tuple[int, ...] = ()
    votes: tuple[Vote, ...] = ()
    deadline: int = 0
    over: bool = False


class State(NamedTuple):
    """``noted``: whether a and c have; ``heard``: what b1 has been answered, and when."""

    now: int = 0
    held: tuple[Held, Held, Held, Held] = (Held(), Held(), Held(), Held())  #: a, b0, c, b1
    noted: tuple[bool, bool] = (False, False)
    heard: tuple[tuple[int, Answer], ...] = ()
    serves: bool = False  #: b1 does
    clients: tuple[Client, Client] = (Client(), Client())
    votes: frozenset[Vote] = frozenset()  #: answers to session 1 on their way
    answers: frozenset[Answer] = frozenset()
    token: int = 0  #: the highest that was granted


Step: TypeAlias = tuple[str, State]


@attrs.define
class LivesReport:
    """What was covered, and what was found."""

    bounds: LivesBounds
    states: int = 0
    transitions: int = 0
    exhausted: bool = False
    seconds: float = 0.0
    violation: str = ""
    script: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        end = "exhausted" if self.exhausted else "not exhausted"
        found = f"VIOLATION: {self.violation}" if self.violation else end
        return (
            f"{self.bounds.name}: {self.states} states, {self.transitions} transitions, {found}; "
            f"{self.seconds:.1f} s"
        )


def explore_lives(bounds: LivesBounds, *, minutes: float = 60.0) -> LivesReport:
    """Explore until everything was seen, a rule is broken, or the time is over."""
    _joined.cache_clear()
    _counted.cache_clear()
    report, began = LivesReport(bounds), time.monotonic()
    first = State()
    came: dict[State, tuple[State, str] | None] = {first: None}
    queue = deque([first])
    while queue and time.monotonic() - began < 60.0 * minutes:
        state = queue.popleft()
        try:
            for what, step in _steps(state, bounds):
                report.transitions += 1
                new = _normal(step)
                if new not in came:
                    came[new] = (state, what)
                    queue.append(new)
        except CheckFailed as failure:
            report.violation = str(failure)
            report.script = [*_way(came, state), failure.check]
            break
    report.exhausted = not queue and not report.violation
    report.states, report.seconds = len(came), time.monotonic() - began
    return report


def _normal(state: State) -> State:
    """Without votes that nobody counts any more."""
    client = state.clients[0]
    counted = {vote.node: vote.number for vote in client.votes}
    votes = frozenset(
        vote for vote in state.votes if not client.over and vote.number > counted.get(vote.node, 0)
    )
    return state if len(votes) == len(state.votes) else state._replace(votes=votes)


def _way(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    steps: list[str] = []
    while (before := came[state]) is not None:
        state, what = before
        steps.append(what)
    return steps[::-1]


def _steps(state: State, bounds: LivesBounds) -> Iterator[Step]:
    if state.now < bounds.until:
        yield "time goes on", _tick(state)
    yield from _joining(state, bounds)
    for which, client in enumerate(state.clients):
        yield from _sending(state, which, client, bounds)
        for number in range(1, len(client.sent) + 1):
            for node in NODES:
                yield from _asked(bounds, state, which, node, number)
    for vote in state.votes:
        yield from _counting(bounds, state, 0, vote)


def _tick(state: State) -> State:
    now = state.now + 1
    a, b0, c, b1 = (one._replace(by=0) if one.by and one.deadline <= now else one for one in state.held)
    one, other = (
        client._replace(over=True) if client.deadline and client.deadline <= now else client
        for client in state.clients
    )
    return state._replace(now=now, held=(a, b0, c, b1), clients=(one, other))


# b1 joins


@cache
def _joined(heard: tuple[tuple[int, Answer], ...], now: int, ttl: int) -> tuple[bool, int, int]:
    """Whether b1 serves, with which floor, and the phase of its greetings. It has begun to join at the first
    moment, and its disk is as fast as it is.
    """
    record = NodeRecord(
        bytes(16), 1, "b", NEW_LIFE, 0, Durability.RECORD, Membership.JOINING, 1000 * ttl, clean=False
    )
    found = Recovery(record, RUN, 0, ("a", "c"), float(ttl), 1000 * ttl, 0.0, 0.0)
    found.begin(0.0)
    for at, (node, phase, life, ceiling) in heard:
        _settle(found, at)
        run = RUN if life == NEW_LIFE else OLD_RUN
        state = (1, RUN, ceiling, NodeMode.SERVING, True, False, 1000 * ttl, 0, 0, ())
        found.answered(node, Greeted(phase, life, run, life, run, *state), float(at))
        _settle(found, at)
    _settle(found, now)
    phase = found.joining.phase if found.joining is not None else 1
    return found.mode is NodeMode.SERVING, found.floor, phase


def _settle(found: Recovery, at: float) -> None:
    found.advance(at)
    found.saved = found.record
    found.advance(at)


def _joining(state: State, bounds: LivesBounds) -> Iterator[Step]:
    """What a and c write down is durable at once: that nothing leaves before it is, others check."""
    for at, node in enumerate("ac"):
        if not state.noted[at]:
            noted = (True, state.noted[1]) if at == 0 else (state.noted[0], True)
            yield f"{node} notes the new life", state._replace(noted=noted)
    if state.serves:
        return
    _, _, phase = _joined(state.heard, state.now, bounds.ttl)
    greetings = [(2, OLD_LIFE)] if bounds.late else []
    greetings += [(number, NEW_LIFE) for number in range(1, phase + 1)]
    known = {answer for _, answer in state.heard}
    for at, node in enumerate("ac"):
        for number, life in greetings:
            if life == NEW_LIFE and not state.noted[at]:
                continue
            # Only what is read after sitting out matters, and only where session 2 may have a lower term.
            read = number > 1 and bounds.term < FIRST_TERM
            answer = Answer(node, number, life, state.held[2 * at].term if read else 0)
            if answer in state.answers or answer in known:
                continue
            if read:
                yield f"{node} answers {answer}", state._replace(answers=state.answers | {answer})
            else:
                yield f"b1 hears {answer}", _hears(bounds, state, answer)
    for answer in state.answers:
        if answer.phase <= phase:  # before that nothing of it is looked at
            yield f"b1 hears {answer}", _hears(bounds, state, answer)


def _hears(bounds: LivesBounds, state: State, answer: Answer) -> State:
    """At one moment the order is all the same."""
    heard = tuple(sorted((*state.heard, (state.now, answer))))
    return _with_b1(bounds, state._replace(heard=heard, answers=state.answers - {answer}))


def _with_b1(bounds: LivesBounds, state: State) -> State:
    """A node that serves begins with its floor."""
    serves, floor, _ = _joined(state.heard, state.now, bounds.ttl)
    if serves and not state.serves:
        a, b0, c, _ = state.held
        held = (a, b0, c, Held(term=floor))
        return state._replace(held=held, serves=True, answers=frozenset(), heard=())
    return state


# Sessions and acceptors


def _sending(state: State, which: int, client: Client, bounds: LivesBounds) -> Iterator[Step]:
    if not client.sent:
        term = bounds.term if which else FIRST_TERM
        new = client._replace(term=term, sent=(state.now,))
        yield f"session {which + 1} sends Accept in term {term}", _put(state, which, new)
    elif bounds.renews and len(client.sent) == 1 and client.deadline and not client.over:
        new = client._replace(sent=(*client.sent, state.now))
        yield f"session {which + 1} renews", _put(state, which, new)


def _put(state: State, which: int, client: Client) -> State:
    clients = (client, state.clients[1]) if which == 0 else (state.clients[0], client)
    return state._replace(clients=clients)


def _asked(bounds: LivesBounds, state: State, which: int, node: str, number: int) -> Iterator[Step]:
    client = state.clients[which]
    at = 3 if (node, which) == ("b", 1) else NODES.index(node)
    if at == 3 and not state.serves:
        return
    held = _accept(state.held[at], which + 1, client.term, number, state.now + bounds.ttl)
    if held is None:
        return
    noted = state.noted[at // 2] if node != "b" else at == 3
    vote = Vote(node, held.number, noted)
    new = state._replace(held=(*state.held[:at], held, *state.held[at + 1 :]))  # type: ignore[arg-type]
    what = f"{node}{'01'[which] if node == 'b' else ''} takes number {number} of session {which + 1}"
    if which == 1:
        # Heard at once: an answer that comes later makes nothing valid for longer.
        counted = list(_counting(bounds, new, which, vote))
        if counted or held != state.held[at]:
            yield what, counted[0][1] if counted else new
    elif held != state.held[at] or vote not in state.votes:
        yield what, new._replace(votes=state.votes | {vote})


def _accept(held: Held, by: int, term: int, number: int, deadline: int) -> Held | None:
    """Section 2: while it holds a lease, it accepts from nobody else; Renew, number 2, makes nothing."""
    if held.by == by:
        if number <= held.number:
            return held
        return held._replace(number=number, deadline=max(held.deadline, deadline))
    if held.by or number > 1 or term <= held.term:
        return None
    return Held(by, term, deadline, number)


def _counting(bounds: LivesBounds, state: State, which: int, vote: Vote) -> Iterator[Step]:
    client = state.clients[which]
    before = {one.node: one for one in client.votes}
    known = before.get(vote.node)
    if client.over or (known is not None and known.number >= vote.number):
        return
    before[vote.node] = vote
    votes = tuple(sorted(before.values()))
    until = _counted(bounds.ttl, client, which, vote)
    new = client._replace(votes=votes, deadline=until, over=0 < until <= state.now)
    after = _put(state, which, new)
    if not client.deadline and until > state.now:
        if client.term <= state.token:
            raise CheckFailed("I2", f"token {client.term} is granted after {state.token}")
        after = after._replace(token=client.term)
    if all(one.deadline > state.now for one in after.clients):
        raise CheckFailed("I1", "both sessions count as valid")
    yield f"session {which + 1} counts {vote}", after


@cache
def _counted(ttl: int, client: Client, which: int, vote: Vote) -> int:
    """Until when the session is valid with one more vote; 0 as long as it never was."""
    candidate, term, sent = CANDIDATES[which], client.term, client.sent
    validity = Validity(len(NODES), float(ttl))
    if not client.deadline:
        proposer = Proposer(candidate, NODES, Phase.ACCEPTING, term=term)
        for node, number, noted in (*client.votes, vote):
            proposer.took(node, term, sent[number - 1], SAYS[noted])
        if proposer.phase is not Phase.CHOSEN:
            return 0
        for node, took in proposer.taken.items():
            validity.acknowledge(node, took.sent_at, took.lives)
        return int(max(0.0, validity.until()))  # chosen, but not valid: as if it never was
    for node, number, noted in client.votes:
        validity.acknowledge(node, sent[number - 1] + number / 8, SAYS[noted])
    timing = Timing(ttl=ttl, renew=ttl / 3, margin=0.0, span=ttl, fresh=ttl)
    lease = Lease(candidate, 1000 * ttl, "", b"", term)
    tenure = Tenure(1, "n", lease, timing, validity, term, float(client.deadline))
    tenure.acknowledged(vote.node, sent[vote.number - 1] + vote.number / 8, SAYS[vote.noted])
    return int(tenure.deadline)
