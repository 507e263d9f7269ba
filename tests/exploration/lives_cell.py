"""A cell with two lives of one node, and what may happen next in each of its states.

Nodes a and c, and b twice: b0 lives on, b1 joins in its place. Session 1 knows b0, session 2 knows b1; each
has one candidate. Requests, answers and greetings are lost, repeated and late without limit, and so is a
greeting of an earlier life of b. Time goes in whole units, the same for all.

The acceptors here are a few lines of their own. What is explored is who counts whom, and when: `Proposer`,
`Validity` and `Tenure` of the sessions and `Recovery` of b1 are the shipped ones, the former made anew from
what they have heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.lives import Lives
from paxlock.core.session.proposer import Phase, Proposer
from paxlock.core.session.tenures import Tenure
from paxlock.simulator.checkers import CheckFailed
from tests.exploration.bounds import LivesBounds
from tests.exploration.lives_joining import NEW_LIFE, OLD_LIFE, Answer, Joining

__all__ = [
    "FIRST_TERM",
    "NODES",
    "Client",
    "Held",
    "LivesCell",
    "State",
    "Step",
    "Vote",
    "granted",
    "term_of",
]

NODES = ("a", "b", "c")
B1 = 3  #: its place among the acceptors
#: What a datagram says, by whether its sender has noted the new life of b. One object each, as on the wire.
SAYS: dict[bool, Lives] = {
    noted: {"a": 1, "b": life, "c": 1} for noted, life in ((False, OLD_LIFE), (True, NEW_LIFE))
}
FIRST_TERM = 2  #: of session 1
CANDIDATES = tuple(Candidate(bytes([which]) * 16, 1) for which in (1, 2))


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


class Client(NamedTuple):
    """A session: its term, when it sent each number, what it has counted, and until when it is valid."""

    term: int = 0
    sent: tuple[int, ...] = ()
    votes: tuple[Vote, ...] = ()
    deadline: int = 0
    over: bool = False


class State(NamedTuple):
    """``noted``: whether a and c have; ``joins``: the situation of b1 on its way to serving."""

    now: int = 0
    held: tuple[Held, Held, Held, Held] = (Held(), Held(), Held(), Held())  #: a, b0, c, b1
    noted: tuple[bool, bool] = (False, False)
    joins: int = 0
    clients: tuple[Client, Client] = (Client(), Client())
    votes: tuple[frozenset[Vote], frozenset[Vote]] = (frozenset(), frozenset())  #: on their way to each
    answers: frozenset[Answer] = frozenset()  #: with ceilings, on their way to b1
    token: int = 0  #: the highest that was granted


Step: TypeAlias = tuple[str, State]


def term_of(bounds: LivesBounds, which: int) -> int:
    """In which term this session asks."""
    return bounds.term if which else FIRST_TERM


class LivesCell:
    """What may happen within these bounds."""

    def __init__(self, bounds: LivesBounds) -> None:
        self.bounds = bounds
        self.joining = Joining(bounds.ttl)
        #: Only what is read after sitting out matters, and only where session 2 may have a lower term.
        self.reads = bounds.term < FIRST_TERM
        self._until: dict[tuple[Client, int, Vote], int] = {}

    def steps(self, state: State) -> Iterator[Step]:
        """Every event that may happen next, with the state after it. Raises CheckFailed where one breaks a
        rule.
        """
        if state.now < self.bounds.until:
            yield "time goes on", self._later(state)
        yield from self._noting(state)
        yield from self._joining(state)
        for which, client in enumerate(state.clients):
            yield from self.sendings(state, which)
            for number in range(1, len(client.sent) + 1):
                for node in NODES:
                    yield from self._asked(state, which, node, number)
            for vote in sorted(state.votes[which]):
                yield from self._counting(state, which, vote)

    def _later(self, state: State) -> State:
        now = state.now + 1
        a, b0, c, b1 = (one._replace(by=0) if one.by and one.deadline <= now else one for one in state.held)
        one, other = (self.later(client, now) for client in state.clients)
        after = state._replace(now=now, held=(a, b0, c, b1), clients=(one, other))
        return self._joined(after, self.joining.after(state.joins, now))

    # b1 joins

    def _noting(self, state: State) -> Iterator[Step]:
        """What a and c write down is durable at once: that nothing leaves before it is, others check."""
        for at, node in enumerate("ac"):
            if not state.noted[at]:
                noted = (True, state.noted[1]) if at == 0 else (state.noted[0], True)
                yield f"{node} notes the new life", state._replace(noted=noted)

    def greetings(self, phase: int) -> Iterator[tuple[int, int]]:
        """Phase and life of the greetings that may arrive at a and c, when b1 is in this phase itself."""
        if self.bounds.late:
            yield 2, OLD_LIFE
        for number in range(1, phase + 1):
            yield number, NEW_LIFE

    def answers(self, state: State) -> Iterator[Answer]:
        """What a and c may answer to greetings now. A node that is greeted by the new life has noted it."""
        serves, _, phase = self.joining.progress[state.joins]
        if serves:
            return
        for at, node in enumerate("ac"):
            for number, life in self.greetings(phase):
                if state.noted[at] or life == OLD_LIFE:
                    read = self.reads and number > 1
                    yield Answer(node, number, life, state.held[2 * at].term if read else 0)

    def _joining(self, state: State) -> Iterator[Step]:
        """An answer without a ceiling is heard at once or not at all: it may be given again at any moment."""
        for answer in self.answers(state):
            if self.reads and answer.phase > 1:
                if answer not in state.answers:
                    yield f"{answer.node} answers {answer}", state._replace(answers=state.answers | {answer})
            else:
                yield f"b1 hears {answer}", self._hears(state, answer)
        serves, _, phase = self.joining.progress[state.joins]
        for answer in () if serves else sorted(state.answers):
            if answer.phase <= phase:  # before that nothing of it is looked at
                yield f"b1 hears {answer}", self._hears(state, answer)

    def _hears(self, state: State, answer: Answer) -> State:
        return self._joined(state, self.joining.after(state.joins, state.now, answer))

    def _joined(self, state: State, joins: int) -> State:
        """A node that serves begins with its floor."""
        serves, floor, _ = self.joining.progress[joins]
        if not serves or joins == state.joins:
            return state._replace(joins=joins)
        a, b0, c, _ = state.held
        return state._replace(held=(a, b0, c, Held(term=floor)), joins=joins, answers=frozenset())

    # Acceptors

    def _asked(self, state: State, which: int, node: str, number: int) -> Iterator[Step]:
        client = state.clients[which]
        at = B1 if (node, which) == ("b", 1) else NODES.index(node)
        if at == B1 and not self.joining.progress[state.joins].serves:
            return
        held = _accept(state.held[at], which + 1, client.term, number, state.now + self.bounds.ttl)
        if held is None:
            return
        vote = Vote(node, held.number, state.noted[at // 2] if node != "b" else at == B1)
        new = state._replace(held=(*state.held[:at], held, *state.held[at + 1 :]))  # type: ignore[arg-type]
        what = f"{node}{'01'[which] if node == 'b' else ''} takes number {number} of session {which + 1}"
        if which == 1 and not self.bounds.both:
            # Heard at once: an answer that comes later makes nothing valid for longer.
            counted = list(self._counting(new, which, vote))
            if counted or held != state.held[at]:
                yield what, counted[0][1] if counted else new
        elif held != state.held[at] or vote not in state.votes[which]:
            one, other = state.votes
            votes = (one | {vote}, other) if which == 0 else (one, other | {vote})
            yield what, new._replace(votes=votes)

    # Sessions

    def later(self, client: Client, now: int) -> Client:
        """Time has gone on: a session that is not valid any more is over for good."""
        return client._replace(over=True) if client.deadline and client.deadline <= now else client

    def sends(self, which: int, client: Client, now: int) -> Client | None:
        """The session sends a number for the first time, or renews; None where it has none to send."""
        if not client.sent:
            return client._replace(term=term_of(self.bounds, which), sent=(now,))
        if len(client.sent) <= self.bounds.renews and client.deadline and not client.over:
            return client._replace(sent=(*client.sent, now))
        return None

    def counts(self, which: int, client: Client, vote: Vote, now: int) -> Client | None:
        """The session hears of a vote; None where that changes nothing."""
        before = {one.node: one for one in client.votes}
        known = before.get(vote.node)
        if client.over or (known is not None and known.number >= vote.number):
            return None
        before[vote.node] = vote
        key = client, which, vote
        until = self._until.get(key)
        if until is None:
            until = self._until[key] = _counted(self.bounds.ttl, client, which, vote)
        votes = tuple(sorted(before.values()))
        return client._replace(votes=votes, deadline=until, over=0 < until <= now)

    def sendings(self, state: State, which: int) -> Iterator[Step]:
        """The step in which this session sends something, if it may."""
        client = state.clients[which]
        new = self.sends(which, client, state.now)
        if new is not None:
            asks = f"sends Accept in term {new.term}" if not client.sent else "renews"
            yield f"session {which + 1} {asks}", _put(state, which, new)

    def _counting(self, state: State, which: int, vote: Vote) -> Iterator[Step]:
        client = state.clients[which]
        new = self.counts(which, client, vote, state.now)
        if new is None:
            return
        after = _put(state, which, new)
        if granted(client, new, state.now):
            if client.term <= state.token:
                raise CheckFailed("I2", f"token {client.term} is granted after {state.token}")
            after = after._replace(token=client.term)
        if all(one.deadline > state.now for one in after.clients):
            raise CheckFailed("I1", "both sessions count as valid")
        yield f"session {which + 1} counts {vote}", after

    def without_old_votes(self, state: State) -> State:
        """Without votes that nobody counts any more."""
        one, other = map(_awaited, state.clients, state.votes)
        return state._replace(votes=(one, other))


def granted(before: Client, after: Client, now: int) -> bool:
    """Whether this is the session's first validity."""
    return not before.deadline and after.deadline > now


def _awaited(client: Client, votes: frozenset[Vote]) -> frozenset[Vote]:
    """Those of the votes that the session may count."""
    counted = {vote.node: vote.number for vote in client.votes}
    return frozenset(vote for vote in votes if not client.over and vote.number > counted.get(vote.node, 0))


def _put(state: State, which: int, client: Client) -> State:
    clients = (client, state.clients[1]) if which == 0 else (state.clients[0], client)
    return state._replace(clients=clients)


def _accept(held: Held, by: int, term: int, number: int, deadline: int) -> Held | None:
    """Section 2: while it holds a lease, it accepts from nobody else; Renew (number 2, 3, …) makes none."""
    if held.by == by:
        if number <= held.number:
            return held
        return held._replace(number=number, deadline=max(held.deadline, deadline))
    if held.by or number > 1 or term <= held.term:
        return None
    return Held(by, term, deadline, number)


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
