"""Restarts of a node (docs/protocol.md section 7) as steps, one function each.

A process that stops and goes on with what it had, or a node that nobody hears for a while, is no step at all.
"""

from __future__ import annotations

from z3 import And, BoolVal, If, Implies, Not, Or

from invariant.logic import Formula, Term
from invariant.state import gone, only, put
from invariant.steps import Rule, Step

__all__ = ["RESTART_RULES"]

YES, NO = BoolVal(True), BoolVal(False)


def _all_told(step: Step, n: Term, until: Term) -> Formula:
    """Every number that this node has ever answered has run out at its sender by then: max_ttl and the rates
    of clocks have it so (clocks.py).
    """
    told = step.before.told
    return step.world.forall(
        "Candidate Term Time", lambda c, t, e: Implies(told(n, c, t, e), step.world.le(e, until))
    )


def _crash(step: Step) -> None:
    s = step.before
    n, t, e = step.some("n", "Node"), step.some("t", "Term"), step.some("e", "Time")
    step.needs(Not(s.lost(n)))
    step.needs(t == s.ceiling(n), "the-floor-is-forgotten", step.world.le(t, s.ceiling(n)))
    step.needs(_all_told(step, n, e), "sits-out-too-short")
    step.becomes(
        serves=put(s.serves, n, NO),
        sits_until=put(s.sits_until, n, e),
        knows=put(s.knows, n, NO),
        floor=put(s.floor, n, t),
        promised=gone(s.promised, n),
        holds=gone(s.holds, n),
    )


def _serve(step: Step) -> None:
    s = step.before
    n = step.some("n", "Node")
    step.needs(Not(s.lost(n)), "serves-without-having-joined")
    step.needs(step.world.le(s.sits_until(n), s.now()), "does-not-sit-out")
    step.becomes(serves=put(s.serves, n, YES))


def _clean_restart(step: Step) -> None:
    s = step.before
    n, d = step.some("n", "Node"), step.some("d", "Time")
    step.needs(s.serves(n))
    step.needs(step.world.le(s.deadline(n), d), "restarts-with-less-time-than-was-left")
    step.becomes(deadline=put(s.deadline, n, d), promised=gone(s.promised, n))


def _file(step: Step, n: Term, t: Term, u: Term) -> None:
    """What any file has that a node may go on from: its own term and floor."""
    s, w = step.before, step.world
    in_term = w.forall("Candidate Term", lambda c, v: Implies(s.remembers(n, c, v), w.le(v, t)))
    step.needs(s.serves(n))
    step.needs(in_term, "a-file-with-an-older-term")
    step.needs(And(w.le(s.start_floor(n), t), w.le(t, s.ceiling(n))))
    step.needs(And(w.le(s.start_floor(n), u), w.le(u, s.ceiling(n))))
    step.becomes(knows=put(s.knows, n, YES), own_term=put(s.own_term, n, t), floor=put(s.floor, n, u))


def _recover_held(step: Step) -> None:
    s, w = step.before, step.world
    n, c, t = step.some("n", "Node"), step.some("c", "Candidate"), step.some("t", "Term")
    v, u = step.some("v", "Term"), step.some("u", "Term")
    d, e = step.some("d", "Time"), step.some("e", "Time")
    _file(step, n, t, u)

    def within(b: Term, at: Term, until: Term) -> Formula:
        return Implies(s.live(n, b, at, until), And(b == c, w.le(until, d), w.le(at, v)))

    was_held = And(s.holds(n, c), v == s.lease_term(n))
    step.needs(w.forall("Candidate Term Time", within), "a-file-with-less-than-was-told")
    step.needs(Or(s.over(c), was_held), "a-file-with-a-lease-of-long-ago")
    step.needs(And(s.remembers(n, c, v), w.le(v, t)))
    step.needs(w.le(e, d), "a-file-with-a-number-that-did-not-arm")
    step.becomes(
        promised=lambda m, b: If(m == n, And(b == c, s.remembers(n, c, t)), s.promised(m, b)),
        holds=only(s.holds, n, c),
        lease_term=put(s.lease_term, n, v),
        deadline=put(s.deadline, n, d),
        number=put(s.number, n, e),
    )


def _recover_free(step: Step) -> None:
    s, w = step.before, step.world
    n, t, u = step.some("n", "Node"), step.some("t", "Term"), step.some("u", "Term")
    _file(step, n, t, u)
    none = w.forall("Candidate Term Time", lambda c, v, e: Not(s.live(n, c, v, e)))
    step.needs(none, "a-file-without-the-lease-that-was-told")
    step.becomes(promised=gone(s.promised, n), holds=gone(s.holds, n))


def _lose_disk(step: Step) -> None:
    s, w = step.before, step.world
    n, e = step.some("n", "Node"), step.some("e", "Time")
    step.needs(_all_told(step, n, e), "a-lost-node-sits-out-too-short")
    low = w.least()
    step.becomes(
        serves=put(s.serves, n, NO),
        lost=put(s.lost, n, YES),
        sits_until=put(s.sits_until, n, e),
        knows=put(s.knows, n, NO),
        floor=put(s.floor, n, low),
        ceiling=put(s.ceiling, n, low),
        start_floor=put(s.start_floor, n, low),
        highest_read=put(s.highest_read, n, low),
        promised=gone(s.promised, n),
        holds=gone(s.holds, n),
        remembers=gone(s.remembers, n),
        read=gone(s.read, n),
    )


def _read_ceiling(step: Step) -> None:
    s, w = step.before, step.world
    n, m = step.some("n", "Node"), step.some("m", "Node")
    step.needs(s.lost(n))
    step.needs(w.le(s.sits_until(n), s.now()), "reads-ceilings-before-it-has-sat-out")
    step.needs(s.serves(m), "reads-ceilings-of-nodes-out-of-service")
    highest = If(w.le(s.highest_read(n), s.ceiling(m)), s.ceiling(m), s.highest_read(n))
    step.becomes(read=put(s.read, n, m, YES), highest_read=put(s.highest_read, n, highest))


def _begin_life(step: Step, n: Term, floor: Term) -> None:
    s = step.before
    step.becomes(
        serves=put(s.serves, n, YES),
        lost=put(s.lost, n, NO),
        floor=put(s.floor, n, floor),
        ceiling=put(s.ceiling, n, floor),
        start_floor=put(s.start_floor, n, floor),
    )


def _join(step: Step) -> None:
    s, w = step.before, step.world
    n, b, t = step.some("n", "Node"), step.some("b", "Blocking"), step.some("t", "Term")
    step.needs(s.lost(n))
    enough = w.forall("Node", lambda m: Implies(w.blocks(m, b), s.read(n, m)))
    step.needs(enough, "joins-by-too-few-ceilings", w.exists("Node", lambda m: s.read(n, m)))
    step.needs(t == s.highest_read(n), "joins-below-what-it-has-read", w.le(t, s.highest_read(n)))
    _begin_life(step, n, t)


def _start_by_clock(step: Step) -> None:
    s, w = step.before, step.world
    n, t = step.some("n", "Node"), step.some("t", "Term")
    step.needs(s.lost(n))
    step.needs(w.le(s.sits_until(n), s.now()), "starts-by-the-clock-before-it-has-sat-out")
    above = w.forall("Node Candidate Term Time", lambda m, c, v, e: Implies(s.told(m, c, v, e), w.le(v, t)))
    step.needs(above, "a-clock-below-a-term-that-was-told")
    _begin_life(step, n, t)


RESTART_RULES = (
    Rule(
        "unclean stop",
        "7, Unclean stop",
        "{n} stops uncleanly and starts again: its floor is {t}, and it sits out until {e}",
        _crash,
    ),
    Rule("serving", "7, Unclean stop", "{n} has sat out and serves", _serve),
    Rule(
        "clean stop",
        "7, Clean stop",
        "{n} stops cleanly and starts again: what it holds, until {d}",
        _clean_restart,
    ),
    Rule(
        "same boot, a lease in the file",
        "7, same boot",
        "{n} goes on from its file: own term {t}, floor {u}, holds {c} in {v} until {d}, its number"
        " until {e}",
        _recover_held,
    ),
    Rule(
        "same boot, no lease in the file",
        "7, same boot",
        "{n} goes on from its file: own term {t}, floor {u}, nothing held",
        _recover_free,
    ),
    Rule("loss of the disk", "7, Joining", "{n} loses its disk, and sits out until {e}", _lose_disk),
    Rule("a ceiling is read", "7, Joining", "{n} reads the ceiling of {m}", _read_ceiling),
    Rule("joining", "7, Joining", "{n} joins by {b}: floor and ceiling are {t}", _join),
    Rule(
        "start by the clock",
        "7, Starting by itself, and Memory mode",
        "{n} starts by the clock: floor and ceiling are {t}",
        _start_by_clock,
    ),
)
