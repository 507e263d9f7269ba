"""The rules of docs/protocol.md as steps, one function each: acceptors (section 2), candidates and time (3).

Restarts are in restarts.py. A rule says less than the code does where safety needs no more: an acceptor may
take whatever a candidate could ever say, in any order, as often as it likes, or never. So messages need no
state of their own (but for Release, which may only be sent by one that is over), and phase 1, retries, split
votes, the line, sending to a few nodes first (thrifty) and waiting for `at_least` are all included: they only
choose who says what, and when.

A number of a sender (section 3) is named by the moment ``e`` at which its sender stops counting it. That a
deadline armed by it is not before ``e`` is rule S4 with the rates of clocks: clocks.py has that.
"""

from __future__ import annotations

from z3 import And, BoolVal, Implies, Not, Or

from invariant.logic import Formula, Term
from invariant.state import gone, only, put
from invariant.steps import Rule, Step

__all__ = ["ACCEPTOR_RULES", "CANDIDATE_RULES"]

YES, NO = BoolVal(True), BoolVal(False)


def lt(step: Step, one: Term, other: Term) -> Formula:
    return Not(step.world.le(other, one))


def _prepare(step: Step) -> None:
    s, le = step.before, step.world.le
    n, c, t = step.some("n", "Node"), step.some("c", "Candidate"), step.some("t", "Term")
    step.needs(s.serves(n), "prepare-while-sitting-out")
    step.guards.append("a-promise-ends-the-lease")
    replaces = step.lacks("a-promise-ends-the-lease")
    step.needs(YES if replaces else Not(s.held_by_another(n, c)), "prepare-while-held")
    step.needs(lt(step, s.term(n), t), "prepare-in-an-old-term")
    step.needs(le(t, s.ceiling(n)), "prepare-above-the-ceiling")
    step.becomes(knows=put(s.knows, n, YES), own_term=put(s.own_term, n, t), promised=only(s.promised, n, c))
    if replaces:
        step.becomes(holds=gone(s.holds, n))


def _take(step: Step, rule: str, n: Term, c: Term, t: Term, e: Term) -> None:
    """Take term, owner and lease, armed for the number ``e`` (Accept, and a standing accept)."""
    s, le = step.before, step.world.le
    d = step.some("d", "Time")
    step.needs(s.serves(n), f"{rule}-while-sitting-out")
    step.needs(Not(s.held_by_another(n, c)), f"{rule}-while-held")
    step.needs(le(s.term(n), t), f"{rule}-below-the-own-term")
    step.needs(Implies(t == s.term(n), s.promised(n, c)), f"{rule}-in-a-term-of-another")
    step.needs(le(t, s.ceiling(n)), f"{rule}-above-the-ceiling")
    step.needs(le(e, d), f"{rule}-armed-too-short")
    step.becomes(
        knows=put(s.knows, n, YES),
        own_term=put(s.own_term, n, t),
        promised=only(s.promised, n, c),
        holds=only(s.holds, n, c),
        lease_term=put(s.lease_term, n, t),
        deadline=put(s.deadline, n, d),
        number=put(s.number, n, e),
        remembers=put(s.remembers, n, c, t, YES),
        told=put(s.told, n, c, t, e, YES),
    )


def _accept(step: Step) -> None:
    s = step.before
    n, c, t = step.some("n", "Node"), step.some("c", "Candidate"), step.some("t", "Term")
    e = step.some("e", "Time")  # of the higher one of its number and the one that is stored
    _take(step, "accept", n, c, t, e)
    d, _ = step.values["d"]
    back = Implies(s.holds(n, c), step.world.le(s.deadline(n), d))
    step.needs(back, "accept-moves-the-deadline-back")
    step.needs(
        Implies(And(s.holds(n, c), s.number(n) != e), Not(step.world.le(e, s.number(n)))),
        "accept-number-back",
    )


def _standing_accept(step: Step) -> None:
    s = step.before
    n, c, t = step.some("n", "Node"), step.some("c", "Candidate"), step.some("t", "Term")
    e = step.some("e", "Time")
    _take(step, "standing", n, c, t, e)
    d, _ = step.values["d"]
    forward = Implies(s.holds(n, c), step.world.le(s.deadline(n), d))
    step.needs(Not(s.holds(n, c)), "standing-re-arms", forward)


def _renew(step: Step) -> None:
    s, le = step.before, step.world.le
    n, c = step.some("n", "Node"), step.some("c", "Candidate")
    e, d = step.some("e", "Time"), step.some("d", "Time")
    step.needs(s.holds(n, c), "renew-not-held")
    step.needs(lt(step, s.number(n), e), "renew-by-an-old-number")
    step.needs(le(e, d), "renew-armed-too-short")
    step.needs(le(s.deadline(n), d), "renew-moves-the-deadline-back")
    step.becomes(
        deadline=put(s.deadline, n, d),
        number=put(s.number, n, e),
        told=put(s.told, n, c, s.lease_term(n), e, YES),
    )


def _answer_again(step: Step) -> None:
    s = step.before
    n, c, e = step.some("n", "Node"), step.some("c", "Candidate"), step.some("e", "Time")
    step.needs(s.holds(n, c), "again-not-held")
    step.needs(e == s.number(n), "again-by-another-number")
    step.becomes(told=put(s.told, n, c, s.lease_term(n), e, YES))


def _release(step: Step) -> None:
    s, le = step.before, step.world.le
    n, c, t = step.some("n", "Node"), step.some("c", "Candidate"), step.some("t", "Term")
    step.needs(s.released(c), "release-that-nobody-sent")
    step.needs(Or(s.holds(n, c), And(s.promised(n, c), Not(s.held(n)))), "release-of-another")
    step.needs(le(s.term(n), t), "release-moves-the-term-back")
    step.needs(le(t, s.ceiling(n)), "release-above-the-ceiling")
    step.becomes(own_term=put(s.own_term, n, t), promised=gone(s.promised, n), holds=gone(s.holds, n))


def _expire(step: Step) -> None:
    s = step.before
    n = step.some("n", "Node")
    step.needs(s.held(n))
    step.needs(step.world.le(s.deadline(n), s.now()), "expires-early")
    step.becomes(holds=gone(s.holds, n))
    step.guards.append("expiry-leaves-the-term-open")
    if not step.lacks("expiry-leaves-the-term-open"):
        step.becomes(promised=gone(s.promised, n))


def _lapse(step: Step) -> None:
    n = step.some("n", "Node")
    step.needs(step.before.owned(n))
    step.becomes(promised=gone(step.before.promised, n))


def _close(step: Step) -> None:
    s, le = step.before, step.world.le
    n, t = step.some("n", "Node"), step.some("t", "Term")
    step.needs(s.serves(n))
    step.needs(Not(s.held(n)), "closes-while-held")
    step.needs(le(s.term(n), t), "closing-moves-the-term-back")
    step.needs(le(t, s.ceiling(n)), "closes-above-the-ceiling")
    step.becomes(knows=put(s.knows, n, YES), own_term=put(s.own_term, n, t), promised=gone(s.promised, n))


def _forget(step: Step) -> None:
    s, le = step.before, step.world.le
    n, t = step.some("n", "Node"), step.some("t", "Term")
    step.needs(s.knows(n))
    step.needs(Not(s.held(n)), "forgets-what-is-held")
    step.needs(Not(s.owned(n)), "forgets-a-promise")
    step.needs(le(s.own_term(n), t), "forgets-without-raising-the-floor")
    step.needs(And(le(s.floor(n), t), le(t, s.ceiling(n))))
    step.becomes(
        knows=put(s.knows, n, NO),
        floor=put(s.floor, n, t),
        promised=gone(s.promised, n),
        holds=gone(s.holds, n),
    )


def _raise_floor(step: Step) -> None:
    s, le = step.before, step.world.le
    n, t = step.some("n", "Node"), step.some("t", "Term")
    step.needs(s.serves(n))
    step.needs(le(s.floor(n), t), "floor-goes-back")
    step.needs(le(t, s.ceiling(n)), "floor-above-the-ceiling")
    step.becomes(floor=put(s.floor, n, t))


def _raise_ceiling(step: Step) -> None:
    s = step.before
    n, t = step.some("n", "Node"), step.some("t", "Term")
    step.needs(Not(s.lost(n)))
    step.needs(step.world.le(s.ceiling(n), t), "ceiling-goes-back")
    step.becomes(ceiling=put(s.ceiling, n, t))


ACCEPTOR_RULES = (
    Rule("prepare", "2, Prepare", "{n} promises {t} to {c}", _prepare),
    Rule(
        "accept",
        "2, Accept",
        "{n} accepts {c} in {t}, holds until {d}, and tells it: counted until {e}",
        _accept,
    ),
    Rule(
        "standing accept",
        "5, Standing accept",
        "{n} accepts {c} where it stands in line, in {t}, holds until {d}, and tells it: counted until {e}",
        _standing_accept,
    ),
    Rule("renew", "2, Renew", "{n} re-arms {c} until {d}, and tells it: counted until {e}", _renew),
    Rule("answer again", "2, Accept and Renew", "{n} answers {c} again: counted until {e}", _answer_again),
    Rule("release", "2, Release", "{n} hears the Release of {c}: gone, closed at {t}", _release),
    Rule("expiry", "2, Expiry", "the lease at {n} runs out", _expire),
    Rule("lapse of a promise", "2, Prepare", "the promise of {n} lapses", _lapse),
    Rule("closing", "6", "{n} closes the name at {t}", _close),
    Rule(
        "forgetting", "7, Forgetting on purpose", "{n} forgets the name, and its floor rises to {t}", _forget
    ),
    Rule(
        "floor",
        "7, Forgetting on purpose",
        "{n} forgets another name, and its floor rises to {t}",
        _raise_floor,
    ),
    Rule("ceiling", "7, ceiling", "{n} raises its ceiling to {t}", _raise_ceiling),
)


def _becomes_valid(step: Step) -> None:
    s, w = step.before, step.world
    c, q, t = step.some("c", "Candidate"), step.some("q", "Quorum"), step.some("t", "Term")

    def all_of(counted: Formula) -> Formula:
        return w.forall("Node", lambda n: Implies(w.member(n, q), counted(n)))

    def runs(e: Term) -> Formula:
        return lt(step, s.now(), e)

    in_one_term = all_of(lambda n: w.exists("Time", lambda e: And(s.told(n, c, t, e), runs(e))))
    mixed = all_of(lambda n: w.exists("Term Time", lambda u, e: And(s.told(n, c, u, e), runs(e))))
    somewhere = w.exists("Node Time", lambda n, e: And(w.member(n, q), s.told(n, c, t, e)))
    in_any_term = And(mixed, somewhere)
    run_out = all_of(lambda n: w.exists("Time", lambda e: s.told(n, c, t, e)))
    step.needs(Not(s.over(c)), "an-attempt-that-is-over-becomes-valid")
    step.needs(Not(s.has_token(c)), "a-second-first-validity")
    step.guards += ["answers-of-mixed-terms", "counts-what-has-run-out", "fewer-than-a-quorum"]
    weaker = {
        "answers-of-mixed-terms": in_any_term,
        "counts-what-has-run-out": run_out,
        "fewer-than-a-quorum": YES,
    }
    step.needs(weaker.get(step.planted, in_one_term))
    step.becomes(
        valid=put(s.valid, c, YES),
        has_token=put(s.has_token, c, YES),
        token=put(s.token, c, t),
        first=put(s.first, c, q),
        counts=put(s.counts, c, q),
        earlier=lambda a, b: Or(s.earlier(a, b), And(b == c, a != c, s.has_token(a))),
    )


def _goes_on(step: Step) -> None:
    s, w = step.before, step.world
    c, q = step.some("c", "Candidate"), step.some("q", "Quorum")

    def all_of(counted: Formula) -> Formula:
        return w.forall(
            "Node", lambda n: Implies(w.member(n, q), w.exists("Term Time", lambda t, e: counted(n, t, e)))
        )

    counted = all_of(lambda n, t, e: And(s.told(n, c, t, e), lt(step, s.now(), e), w.le(s.token(c), t)))
    weaker = {
        "goes-on-by-lower-terms": all_of(lambda n, t, e: And(s.told(n, c, t, e), lt(step, s.now(), e))),
        "goes-on-by-what-has-run-out": all_of(lambda n, t, e: s.told(n, c, t, e)),
        "goes-on-by-fewer-than-a-quorum": YES,
    }
    step.guards += weaker
    step.needs(weaker.get(step.planted, counted))
    step.needs(s.has_token(c))
    step.needs(s.valid(c), "what-has-lapsed-is-revived")
    step.becomes(counts=put(s.counts, c, q), valid=put(s.valid, c, YES), over=put(s.over, c, NO))


def _ends(step: Step) -> None:
    c = step.some("c", "Candidate")
    step.needs(Not(step.before.over(c)))
    step.becomes(over=put(step.before.over, c, YES), valid=put(step.before.valid, c, NO))


def _send_release(step: Step) -> None:
    c = step.some("c", "Candidate")
    step.needs(step.before.over(c), "releases-before-it-is-over")
    step.becomes(released=put(step.before.released, c, YES))


def _time_passes(step: Step) -> None:
    s, w = step.before, step.world
    e = step.some("e", "Time")

    def counted(c: Term, n: Term) -> Formula:
        answer = w.exists("Term Time", lambda t, u: And(s.told(n, c, t, u), lt(step, e, u)))
        return Implies(And(s.valid(c), w.member(n, s.counts(c))), answer)

    step.needs(lt(step, s.now(), e), "clocks-go-back")
    step.needs(w.forall("Candidate Node", counted), "counts-longer-than-it-may")
    step.becomes(now=lambda: e)


CANDIDATE_RULES = (
    Rule(
        "first validity",
        "3, Validity",
        "{c} becomes valid by {q}, within one term: its token is {t}",
        _becomes_valid,
    ),
    Rule("validity goes on", "3, Validity", "{c} goes on, and counts on {q}", _goes_on),
    Rule("end", "3, point 4", "{c} is over: it counts nothing any more", _ends),
    Rule("Release is sent", "3, point 4", "the Release of {c} is sent", _send_release),
    Rule(
        "time passes",
        "3, Validity",
        "time passes until {e}, and who is valid has not lapsed by then",
        _time_passes,
    ),
)
