"""The invariant, one named conjunct each, with the reason for it; and what it implies.

`State.live` is the word on which everything hangs: a node has answered a sending of a candidate, and it
counts. What is live stops being so by time or by the candidate's own end, and by nothing that a node does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from z3 import And, Implies, Not, Or

from invariant.logic import Formula, Term, World
from invariant.state import State

__all__ = ["CLAIMS", "CONJUNCTS", "Conjunct", "initially"]


@dataclass(frozen=True)
class Conjunct:
    """For all things of ``sorts`` (words with blanks between them) ``body`` is so. ``words`` says it."""

    name: str
    words: str
    why: str
    sorts: str
    body: Callable[..., Formula]

    def formula(self, state: State) -> Formula:
        return state.world.forall(self.sorts, lambda *things: self.body(state, *things))


def _lt(s: State, one: Term, other: Term) -> Formula:
    return Not(s.world.le(other, one))


def _in_first(s: State, n: Term, c: Term) -> Formula:
    """The node belongs to the quorum by which the candidate first became valid."""
    return And(s.has_token(c), s.world.member(n, s.first(c)))


def _one_owner(s: State, n: Term, c: Term, d: Term) -> Formula:
    return Implies(And(s.promised(n, c), s.promised(n, d)), c == d)


def _owner_in_record(s: State, n: Term, c: Term) -> Formula:
    return Implies(s.promised(n, c), And(s.knows(n), _lt(s, s.start_floor(n), s.own_term(n))))


def _one_lease(s: State, n: Term, c: Term, d: Term) -> Formula:
    return Implies(And(s.holds(n, c), s.holds(n, d)), c == d)


def _lease_in_record(s: State, n: Term, c: Term) -> Formula:
    lease = And(s.serves(n), s.knows(n), s.world.le(s.lease_term(n), s.own_term(n)))
    return Implies(s.holds(n, c), And(lease, s.remembers(n, c, s.lease_term(n))))


def _number_armed(s: State, n: Term, c: Term) -> Formula:
    return Implies(s.holds(n, c), s.world.le(s.number(n), s.deadline(n)))


def _below_ceiling(s: State, n: Term) -> Formula:
    le = s.world.le
    floors = And(le(s.start_floor(n), s.floor(n)), le(s.floor(n), s.ceiling(n)))
    return And(floors, le(s.start_floor(n), s.term(n)), le(s.term(n), s.ceiling(n)))


def _lost_is_empty(s: State, n: Term) -> Formula:
    return Implies(s.lost(n), And(Not(s.serves(n)), Not(s.knows(n))))


def _release_is_last(s: State, c: Term) -> Formula:
    return Implies(s.released(c), s.over(c))


def _term_not_below(s: State, n: Term, c: Term, t: Term) -> Formula:
    reached = And(s.world.le(t, s.term(n)), _lt(s, s.start_floor(n), t), Not(s.lost(n)))
    return Implies(s.remembers(n, c, t), reached)


def _own_term_is_its_owners(s: State, n: Term, c: Term, d: Term) -> Formula:
    return Implies(And(s.remembers(n, c, s.term(n)), s.promised(n, d)), c == d)


def _term_given_once(s: State, n: Term, c: Term, d: Term, t: Term) -> Formula:
    return Implies(And(s.remembers(n, c, t), s.remembers(n, d, t)), c == d)


def _lease_kept(s: State, n: Term, c: Term, t: Term, e: Term) -> Formula:
    le = s.world.le
    kept = And(s.holds(n, c), le(e, s.deadline(n)), le(t, s.lease_term(n)))
    return Implies(And(s.live(n, c, t, e), s.serves(n)), kept)


def _sat_out(s: State, n: Term, c: Term, t: Term, e: Term) -> Formula:
    return Implies(And(s.told(n, c, t, e), Not(s.serves(n))), s.world.le(e, s.sits_until(n)))


def _one_counts(s: State, n: Term, c: Term, d: Term, t: Term, u: Term, e: Term, f: Term) -> Formula:
    return Implies(And(s.live(n, c, t, e), s.live(n, d, u, f)), c == d)


def _remembered(s: State, n: Term, c: Term, t: Term, e: Term) -> Formula:
    return Implies(And(s.live(n, c, t, e), Not(s.lost(n))), s.remembers(n, c, t))


def _token_reached(s: State, n: Term, c: Term) -> Formula:
    return Implies(And(_in_first(s, n, c), Not(s.lost(n))), s.world.le(s.token(c), s.term(n)))


def _token_is_its_own(s: State, n: Term, c: Term, d: Term) -> Formula:
    here = And(_in_first(s, n, c), Not(s.lost(n)), s.token(c) == s.term(n))
    return Implies(And(here, s.promised(n, d)), c == d)


def _held_later_held_higher(s: State, n: Term, c: Term, d: Term) -> Formula:
    later = And(_in_first(s, n, c), s.holds(n, d), Not(s.over(d)), c != d)
    return Implies(later, _lt(s, s.token(c), s.lease_term(n)))


def _counts_later_counts_higher(s: State, n: Term, c: Term, d: Term, t: Term, e: Term) -> Formula:
    later = And(_in_first(s, n, c), s.live(n, d, t, e), c != d)
    return Implies(later, _lt(s, s.token(c), t))


def _token_remembered(s: State, n: Term, c: Term) -> Formula:
    known = Or(s.remembers(n, c, s.token(c)), s.world.le(s.token(c), s.start_floor(n)))
    return Implies(And(_in_first(s, n, c), Not(s.lost(n))), known)


def _token_was_told(s: State, n: Term, c: Term) -> Formula:
    told = s.world.exists("Time", lambda e: s.told(n, c, s.token(c), e))
    return Implies(_in_first(s, n, c), told)


def _reads_after_sitting_out(s: State, n: Term, m: Term) -> Formula:
    return Implies(And(s.lost(n), s.read(n, m)), s.world.le(s.sits_until(n), s.now()))


def _read_covers(s: State, n: Term, m: Term, c: Term) -> Formula:
    both = And(_in_first(s, n, c), _in_first(s, m, c))
    return Implies(And(s.lost(n), s.read(n, m), both), s.world.le(s.token(c), s.highest_read(n)))


def _valid_has_token(s: State, c: Term) -> Formula:
    return Implies(s.valid(c), And(s.has_token(c), Not(s.over(c))))


def _valid_counts(s: State, c: Term, n: Term) -> Formula:
    live = s.world.exists("Term Time", lambda t, e: s.live(n, c, t, e))
    return Implies(And(s.valid(c), s.world.member(n, s.counts(c))), live)


def _tokens_grow(s: State, c: Term, d: Term) -> Formula:
    return Implies(s.earlier(c, d), And(s.has_token(c), s.has_token(d), _lt(s, s.token(c), s.token(d))))


def _tokens_are_unique(s: State, c: Term, d: Term) -> Formula:
    return Implies(And(s.has_token(c), s.has_token(d), s.token(c) == s.token(d)), c == d)


def _one_valid(s: State, c: Term, d: Term) -> Formula:
    return Implies(And(s.valid(c), s.valid(d)), c == d)


def _one_chosen(s: State, c: Term, d: Term, p: Term, q: Term, t: Term) -> Formula:
    w = s.world

    def by(quorum: Term, candidate: Term) -> Formula:
        return w.forall("Node", lambda n: Implies(w.member(n, quorum), s.remembers(n, candidate, t)))

    return Implies(And(by(p, c), by(q, d)), c == d)


CONJUNCTS = (
    Conjunct(
        "one-owner",
        "a node has promised its term to one candidate at most",
        "a promise and an acceptance take the place of the owner before",
        "Node Candidate Candidate",
        _one_owner,
    ),
    Conjunct(
        "owner-in-record",
        "a promise is part of a record, and of a term above the floor of this life",
        "who forgets the name forgets the promise",
        "Node Candidate",
        _owner_in_record,
    ),
    Conjunct(
        "one-lease",
        "a node holds one lease at most",
        "the rule on which exclusion rests: accepted is who finds nobody else's lease",
        "Node Candidate Candidate",
        _one_lease,
    ),
    Conjunct(
        "lease-in-record",
        "a node that holds a lease serves, has a record, has accepted it in its lease term, and that"
        " is not above"
        " its own term",
        "an unclean stop and forgetting drop leases",
        "Node Candidate",
        _lease_in_record,
    ),
    Conjunct(
        "number-armed",
        "a lease is held for as long as the stored number is counted",
        "so the stored number may be answered again (S5)",
        "Node Candidate",
        _number_armed,
    ),
    Conjunct(
        "below-ceiling",
        "the floor is not above the ceiling, nor is the own term; neither is below the floor of this life",
        "an unclean stop may then set the floor to the ceiling, and no term goes back",
        "Node",
        _below_ceiling,
    ),
    Conjunct(
        "lost-is-empty",
        "a node that has lost its disk neither serves nor has a record until it has joined",
        "what it had done is in other nodes' ceilings only",
        "Node",
        _lost_is_empty,
    ),
    Conjunct(
        "release-is-last",
        "a candidate whose Release was sent is over",
        "so nothing that counts is lost by ending its lease (S2)",
        "Candidate",
        _release_is_last,
    ),
    Conjunct(
        "term-not-below",
        "a node's term is not below one in which it has accepted, and those are above the floor of this life",
        "terms only grow, and a floor stands for those that were forgotten",
        "Node Candidate Term",
        _term_not_below,
    ),
    Conjunct(
        "own-term-is-its-owner's",
        "a term in which a node has accepted somebody is promised to nobody else there",
        "an Accept in an equal term is for its owner only",
        "Node Candidate Candidate",
        _own_term_is_its_owners,
    ),
    Conjunct(
        "term-given-once",
        "a node accepts one candidate in a term, in one life of its disk",
        "one candidate in a term",
        "Node Candidate Candidate Term",
        _term_given_once,
    ),
    Conjunct(
        "lease-kept",
        "a node that serves holds every lease that counts on it, for as long and in a term as high"
        " as was told",
        "the lease rule: deadlines never go back (S6), a lease goes at its deadline, or by the Release of a"
        " candidate that is over",
        "Node Candidate Term Time",
        _lease_kept,
    ),
    Conjunct(
        "sat-out",
        "a node that does not serve sits out until all that it has told has run out",
        "it carries the lease rule over a restart",
        "Node Candidate Term Time",
        _sat_out,
    ),
    Conjunct(
        "one-counts",
        "two candidates never count on one node at one moment",
        "exclusion at one node, also across a restart, where no lease is left to see",
        "Node Candidate Candidate Term Term Time Time",
        _one_counts,
    ),
    Conjunct(
        "remembered",
        "what counts is an acceptance of the present life of the disk, unless the disk is lost",
        "so a token is a term that the nodes of its quorum cannot go below",
        "Node Candidate Term Time",
        _remembered,
    ),
    Conjunct(
        "token-reached",
        "the nodes of a first quorum have reached the token",
        "it follows from the conjuncts on what is remembered, and is kept for the reader",
        "Node Candidate",
        _token_reached,
    ),
    Conjunct(
        "token-is-its-own",
        "at a node of a first quorum the term of the token is promised to nobody else",
        "the one way in which a later holder could get an equal token",
        "Node Candidate Candidate",
        _token_is_its_own,
    ),
    Conjunct(
        "held-later-held-higher",
        "whose lease such a node holds after a tenure has its token, holds it in a higher term",
        "at the moment of the first validity nobody else counts there; who comes after it is accepted higher",
        "Node Candidate Candidate",
        _held_later_held_higher,
    ),
    Conjunct(
        "counts-later-counts-higher",
        "and who counts on such a node counts on it in a higher term",
        "this gives growing tokens",
        "Node Candidate Candidate Term Time",
        _counts_later_counts_higher,
    ),
    Conjunct(
        "token-remembered",
        "a node of a first quorum has accepted in the token's term, or began its life at a floor not"
        " below it",
        "a disk may be lost, and then ceilings stand for it",
        "Node Candidate",
        _token_remembered,
    ),
    Conjunct(
        "token-was-told",
        "the nodes of a first quorum have told the token's term",
        "so a floor above all terms that were told is above all tokens (start by the clock)",
        "Node Candidate",
        _token_was_told,
    ),
    Conjunct(
        "reads-after-sitting-out",
        "a node that has lost its disk reads ceilings after it has sat out",
        "rule S7: from then on it can be in no quorum that is still to come",
        "Node Node",
        _reads_after_sitting_out,
    ),
    Conjunct(
        "read-covers",
        "what it has read is not below the token of any first quorum to which it and that node belong",
        "the other node had reached the token before its ceiling was read",
        "Node Node Candidate",
        _read_covers,
    ),
    Conjunct(
        "valid-has-token",
        "a valid candidate has a token and is not over",
        "what has lapsed is over for ever",
        "Candidate",
        _valid_has_token,
    ),
    Conjunct(
        "valid-counts",
        "a valid candidate counts on every node of a quorum",
        "validity is counted, not believed: time does not pass beyond what is counted",
        "Candidate Node",
        _valid_counts,
    ),
    Conjunct(
        "tokens-grow",
        "a tenure that began later has a higher token",
        "a claim",
        "Candidate Candidate",
        _tokens_grow,
    ),
    Conjunct(
        "tokens-are-unique",
        "no two tenures have one token",
        "a claim",
        "Candidate Candidate",
        _tokens_are_unique,
    ),
)

CLAIMS = (
    Conjunct(
        "one candidate in a term",
        "of two candidates that a quorum has accepted in one term, each node in the present life of"
        " its disk, each"
        " is the other",
        "section 4",
        "Candidate Candidate Quorum Quorum Term",
        _one_chosen,
    ),
    Conjunct(
        "one valid holder", "two valid candidates are one", "section 4", "Candidate Candidate", _one_valid
    ),
    Conjunct(
        "tokens grow", "a later tenure has a higher token", "section 4", "Candidate Candidate", _tokens_grow
    ),
    Conjunct(
        "tokens are unique",
        "no two tenures have one token",
        "section 4",
        "Candidate Candidate",
        _tokens_are_unique,
    ),
)


def initially(s: State) -> list[Formula]:
    """A cell that was just created (section 7): nobody has said anything, and no term is in use."""
    w: World = s.world

    def fresh(n: Term) -> Formula:
        low = And(s.floor(n) == w.least(), s.start_floor(n) == w.least())
        return And(low, Not(s.knows(n)), Not(s.lost(n)), s.serves(n))

    return [
        w.forall("Node", fresh),
        w.forall("Node Candidate", lambda n, c: And(Not(s.promised(n, c)), Not(s.holds(n, c)))),
        w.forall("Node Candidate Term", lambda n, c, t: Not(s.remembers(n, c, t))),
        w.forall("Node Candidate Term Time", lambda n, c, t, e: Not(s.told(n, c, t, e))),
        w.forall("Node Node", lambda n, m: Not(s.read(n, m))),
        w.forall("Candidate", lambda c: Not(Or(s.over(c), s.released(c), s.valid(c), s.has_token(c)))),
        w.forall("Candidate Candidate", lambda c, d: Not(s.earlier(c, d))),
    ]
