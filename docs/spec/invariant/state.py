"""What a moment of the cell consists of, for one name, in the words of docs/protocol.md.

Each field is a function, from whatever it speaks of to what is so of it. A rule gives the fields that it
changes; everything else stays as it is, by construction.

Two fields of a node and three of a candidate are for the argument alone: no code keeps them, and no rule asks
for them. They are marked as ghosts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import z3

from invariant.logic import Formula, Term, World

__all__ = ["FIELDS", "State", "gone", "only", "put"]

Field = Callable[..., Any]

FIELDS: dict[str, tuple[str, ...]] = {
    # A node (sections 2 and 7).
    "floor": ("Node", "Term"),
    "ceiling": ("Node", "Term"),
    "knows": ("Node", "Bool"),  # it has a record of the name
    "own_term": ("Node", "Term"),  # of that record
    "promised": ("Node", "Candidate", "Bool"),  # the owner of the term
    "holds": ("Node", "Candidate", "Bool"),
    "lease_term": ("Node", "Term"),  # of the lease that is held, and so are the next two
    "deadline": ("Node", "Time"),
    "number": ("Node", "Time"),  # the number that is stored, named by when its sender stops counting it
    "serves": ("Node", "Bool"),
    "sits_until": ("Node", "Time"),  # where it does not serve
    "lost": ("Node", "Bool"),  # its disk, and it has not joined since
    "read": ("Node", "Node", "Bool"),  # since then it has read the ceiling of the other
    "highest_read": ("Node", "Term"),
    "start_floor": ("Node", "Term"),  # ghost: the floor with which the present life of its disk began
    "remembers": ("Node", "Candidate", "Term", "Bool"),  # ghost: it has accepted in that term, in this life
    # What was told: it only grows. Answers are kept by term and number.
    "told": ("Node", "Candidate", "Term", "Time", "Bool"),
    "released": ("Candidate", "Bool"),  # a Release is on its way
    # A candidate (section 3).
    "over": ("Candidate", "Bool"),
    "valid": ("Candidate", "Bool"),
    "counts": ("Candidate", "Quorum"),  # the quorum on which it counts, while it is valid
    "has_token": ("Candidate", "Bool"),
    "token": ("Candidate", "Term"),
    "first": ("Candidate", "Quorum"),  # ghost: the quorum of its first validity
    "earlier": ("Candidate", "Candidate", "Bool"),  # ghost: the first had a token when the second got one
    "now": ("Time",),
}


@dataclass(frozen=True)
class State:
    """One moment. ``now`` is without arguments, as a function of nothing."""

    world: World
    floor: Field
    ceiling: Field
    knows: Field
    own_term: Field
    promised: Field
    holds: Field
    lease_term: Field
    deadline: Field
    number: Field
    serves: Field
    sits_until: Field
    lost: Field
    read: Field
    highest_read: Field
    start_floor: Field
    remembers: Field
    told: Field
    released: Field
    over: Field
    valid: Field
    counts: Field
    has_token: Field
    token: Field
    first: Field
    earlier: Field
    now: Field

    @classmethod
    def arbitrary(cls, world: World, prefix: str = "") -> State:
        """A moment of which nothing is known."""
        found: dict[str, Field] = {}
        for name, sorts in FIELDS.items():
            if len(sorts) == 1:
                constant = world.constant(prefix + name, sorts[0])
                found[name] = lambda constant=constant: constant
            else:
                found[name] = world.function(prefix + name, *sorts)
        return cls(world, **found)

    def after(self, **changed: Field) -> State:
        """The moment after a step that changes these fields."""
        return replace(self, **changed)

    def term(self, node: Term) -> Term:
        """A name that a node does not remember starts at its floor (section 2)."""
        return z3.If(self.knows(node), self.own_term(node), self.floor(node))

    def live(self, node: Term, candidate: Term, term: Term, until: Term) -> Formula:
        """The node has answered this sending of the candidate, in this term, and it counts: the candidate is
        not over, and the moment up to which it counts the sending has not come.
        """
        w = self.world
        counted = z3.And(self.told(node, candidate, term, until), z3.Not(w.le(until, self.now())))
        return z3.And(counted, z3.Not(self.over(candidate)))

    def held_by_another(self, node: Term, candidate: Term) -> Formula:
        return self.world.exists("Candidate", lambda d: z3.And(self.holds(node, d), d != candidate))

    def held(self, node: Term) -> Formula:
        return self.world.exists("Candidate", lambda d: self.holds(node, d))

    def owned(self, node: Term) -> Formula:
        return self.world.exists("Candidate", lambda d: self.promised(node, d))


assert tuple(FIELDS) == tuple(field.name for field in fields(State))[1:]


def put(field: Field, *where_and_value: Term) -> Field:
    """The field with another value at one place: the last argument is the value."""
    *where, value = where_and_value

    def changed(*place: Term) -> Term:
        here = z3.And(*(a == b for a, b in zip(place, where, strict=True)))
        return z3.If(here, value, field(*place))

    return changed


def gone(field: Field, node: Term) -> Field:
    """The relation without everything that it says of this node."""
    return lambda n, *rest: z3.And(n != node, field(n, *rest))


def only(field: Field, node: Term, candidate: Term) -> Field:
    """The relation, which of this node says this candidate and no other."""
    return lambda n, c: z3.If(n == node, c == candidate, field(n, c))
