"""Every guard taken out, and every conjunct dropped, one at a time: what breaks, and what does not, and why
not.

The tables here say what is expected. A guard or conjunct that is not in them, or is noticed by something
else, or by nothing, is an error of this check.
"""

from __future__ import annotations

from dataclasses import dataclass

from invariant.clocks import LEMMAS
from invariant.conjuncts import CONJUNCTS
from invariant.counterexamples import searcher
from invariant.obligations import COUNTEREXAMPLE, PROVED, RULES, Batch, answer, batches, guards

__all__ = ["HARMLESS", "NEEDED_BY", "NOTICED_BY", "NOT_NEEDED", "Finding", "Task", "find", "tasks"]

#: By rule and guard: the conjunct that a step without the guard breaks (there may be others).
NOTICED_BY: dict[tuple[str, str], str] = {
    ("prepare", "a-promise-ends-the-lease"): "lease-kept",
    ("prepare", "prepare-while-sitting-out"): "lost-is-empty",
    ("prepare", "prepare-in-an-old-term"): "term-not-below",
    ("prepare", "prepare-above-the-ceiling"): "below-ceiling",
    ("accept", "accept-while-sitting-out"): "lease-in-record",
    ("accept", "accept-while-held"): "one-counts",
    ("accept", "accept-below-the-own-term"): "counts-later-counts-higher",
    ("accept", "accept-in-a-term-of-another"): "counts-later-counts-higher",
    ("accept", "accept-above-the-ceiling"): "below-ceiling",
    ("accept", "accept-armed-too-short"): "lease-kept",
    ("accept", "accept-moves-the-deadline-back"): "lease-kept",
    ("standing accept", "standing-while-sitting-out"): "lease-in-record",
    ("standing accept", "standing-while-held"): "one-counts",
    ("standing accept", "standing-below-the-own-term"): "counts-later-counts-higher",
    ("standing accept", "standing-in-a-term-of-another"): "counts-later-counts-higher",
    ("standing accept", "standing-above-the-ceiling"): "below-ceiling",
    ("standing accept", "standing-armed-too-short"): "lease-kept",
    ("renew", "renew-not-held"): "one-counts",
    ("renew", "renew-armed-too-short"): "lease-kept",
    ("renew", "renew-moves-the-deadline-back"): "lease-kept",
    ("answer again", "again-not-held"): "one-counts",
    ("answer again", "again-by-another-number"): "lease-kept",
    ("release", "release-that-nobody-sent"): "lease-kept",
    ("release", "release-of-another"): "lease-kept",
    ("release", "release-moves-the-term-back"): "term-not-below",
    ("release", "release-above-the-ceiling"): "below-ceiling",
    ("expiry", "expires-early"): "lease-kept",
    ("closing", "closing-moves-the-term-back"): "term-not-below",
    ("closing", "closes-above-the-ceiling"): "below-ceiling",
    ("forgetting", "forgets-what-is-held"): "lease-kept",
    ("forgetting", "forgets-without-raising-the-floor"): "term-not-below",
    ("floor", "floor-goes-back"): "term-not-below",
    ("floor", "floor-above-the-ceiling"): "below-ceiling",
    ("ceiling", "ceiling-goes-back"): "below-ceiling",
    ("first validity", "an-attempt-that-is-over-becomes-valid"): "valid-has-token",
    ("first validity", "a-second-first-validity"): "tokens-grow",
    ("first validity", "answers-of-mixed-terms"): "tokens-grow",
    ("first validity", "counts-what-has-run-out"): "tokens-grow",
    ("first validity", "fewer-than-a-quorum"): "tokens-grow",
    ("validity goes on", "goes-on-by-what-has-run-out"): "valid-counts",
    ("validity goes on", "goes-on-by-fewer-than-a-quorum"): "valid-counts",
    ("validity goes on", "what-has-lapsed-is-revived"): "lease-kept",
    ("Release is sent", "releases-before-it-is-over"): "release-is-last",
    ("time passes", "clocks-go-back"): "lease-kept",
    ("time passes", "counts-longer-than-it-may"): "valid-counts",
    ("unclean stop", "the-floor-is-forgotten"): "term-not-below",
    ("unclean stop", "sits-out-too-short"): "sat-out",
    ("serving", "serves-without-having-joined"): "lost-is-empty",
    ("serving", "does-not-sit-out"): "lease-kept",
    ("clean stop", "restarts-with-less-time-than-was-left"): "lease-kept",
    ("same boot, a lease in the file", "a-file-with-an-older-term"): "term-not-below",
    ("same boot, a lease in the file", "a-file-with-less-than-was-told"): "lease-kept",
    ("same boot, a lease in the file", "a-file-with-a-lease-of-long-ago"): "held-later-held-higher",
    ("same boot, a lease in the file", "a-file-with-a-number-that-did-not-arm"): "number-armed",
    ("same boot, no lease in the file", "a-file-with-an-older-term"): "term-not-below",
    ("same boot, no lease in the file", "a-file-without-the-lease-that-was-told"): "lease-kept",
    ("loss of the disk", "a-lost-node-sits-out-too-short"): "sat-out",
    ("a ceiling is read", "reads-ceilings-before-it-has-sat-out"): "reads-after-sitting-out",
    ("a ceiling is read", "reads-ceilings-of-nodes-out-of-service"): "read-covers",
    ("joining", "joins-by-too-few-ceilings"): "token-remembered",
    ("joining", "joins-below-what-it-has-read"): "token-remembered",
    ("start by the clock", "starts-by-the-clock-before-it-has-sat-out"): "lease-kept",
    ("start by the clock", "a-clock-below-a-term-that-was-told"): "token-remembered",
}

#: Guards without which the whole invariant is kept all the same, and what they are for.
HARMLESS: dict[tuple[str, str], str] = {
    ("prepare", "prepare-while-held"): (
        "a promise beside a lease takes nothing from its holder, as long as the lease stays and"
        " Accept is refused:"
        " the guard keeps waiting candidates from outrunning the holder's term"
    ),
    ("accept", "accept-number-back"): (
        "a number that goes back is answered for what it armed, and the deadline does not go back with it"
    ),
    ("standing accept", "standing-re-arms"): (
        "re-arming by a standing Prepare excludes others for longer, never for less: a candidate"
        " without a quorum"
        " could keep a minority for ever"
    ),
    ("renew", "renew-by-an-old-number"): (
        "an old number that arms again counts no longer for its sender than it did, and no deadline goes back"
    ),
    ("expiry", "expiry-leaves-the-term-open"): (
        "an Accept in the term of a lease that has run out is its own candidate's, in its own term:"
        " what closing"
        " keeps away is a dead attempt that blocks the name again"
    ),
    ("closing", "closes-while-held"): (
        "closing takes the promise and raises the term, and leaves the lease: its holder would have"
        " to go to a"
        " higher term"
    ),
    ("forgetting", "forgets-a-promise"): "a promise that is forgotten is a promise that lapses",
    ("validity goes on", "goes-on-by-lower-terms"): (
        "that a lease is held excludes others, in whatever term: the token is given already"
    ),
}

#: By conjunct: a rule and a conjunct, or a claim, that cannot be proved without it (there may be others).
NEEDED_BY: dict[str, tuple[str, str]] = {
    "owner-in-record": ("accept", "term-not-below"),
    "lease-in-record": ("renew", "sat-out"),
    "number-armed": ("answer again", "lease-kept"),
    "below-ceiling": ("prepare", "owner-in-record"),
    "lost-is-empty": ("accept", "term-not-below"),
    "release-is-last": ("release", "lease-kept"),
    "term-not-below": ("prepare", "own-term-is-its-owner's"),
    "own-term-is-its-owner's": ("accept", "term-given-once"),
    "term-given-once": ("same boot, a lease in the file", "own-term-is-its-owner's"),
    "lease-kept": ("accept", "one-counts"),
    "sat-out": ("first validity", "read-covers"),
    "one-counts": ("first validity", "counts-later-counts-higher"),
    "remembered": ("first validity", "token-reached"),
    "held-later-held-higher": ("renew", "counts-later-counts-higher"),
    "counts-later-counts-higher": ("first validity", "tokens-grow"),
    "token-remembered": ("same boot, a lease in the file", "token-reached"),
    "token-was-told": ("start by the clock", "token-reached"),
    "reads-after-sitting-out": ("first validity", "read-covers"),
    "read-covers": ("joining", "token-reached"),
    "valid-counts": ("what follows", "one valid holder"),
    "tokens-grow": ("what follows", "tokens grow"),
    "tokens-are-unique": ("what follows", "tokens are unique"),
}

#: Conjuncts without which everything else is proved all the same, and why they are there.
NOT_NEEDED: dict[str, str] = {
    "one-owner": "it is kept by each rule by itself, and says what a record is: it has one owner",
    "one-lease": "the same: a record has one lease, and accepting puts one in the place of another",
    "token-reached": "it follows from token-remembered, term-not-below and below-ceiling, easier to read",
    "token-is-its-own": "it follows from token-remembered, own-term-is-its-owner's and owner-in-record",
    "valid-has-token": "it says what valid means, and no other conjunct asks for it",
}


@dataclass(frozen=True)
class Task:
    """One error: a rule less a guard, or the invariant less a conjunct, or clocks that are wrong."""

    rule: str = ""
    guard: str = ""
    dropped: str = ""
    timeout_s: float = 60.0

    @property
    def name(self) -> str:
        if self.dropped:
            return f"without the conjunct {self.dropped}"
        return f"{self.rule}: {self.guard}"


@dataclass(frozen=True)
class Finding:
    """What came of it: the conjunct that was seen broken, the step that does it in sentences, and
    whether that is what the tables say.
    """

    task: Task
    noticed_by: tuple[str, ...]
    told: str
    note: str
    as_expected: bool


def tasks(*, quick: bool, timeout_s: float) -> list[Task]:
    """Every guard of every rule, every conjunct, and the wrong clocks. With ``quick`` one breach each is
    enough, and what takes a proof of its own is left out: that something is harmless.
    """
    found = [Task(rule.name, guard, "", timeout_s) for rule in RULES for guard in guards(rule)]
    found += [Task("", "", conjunct.name, timeout_s) for conjunct in CONJUNCTS]
    if quick:
        found = [t for t in found if (t.rule, t.guard) not in HARMLESS and t.dropped not in NOT_NEEDED]
    return [*found, *(Task("clocks", lemma.name) for lemma in LEMMAS if not lemma.holds)]


def find(task: Task) -> Finding:
    """Plant one error and look for a step that it breaks; where there is none, prove it."""
    if task.rule == "clocks":
        result = answer(Batch("clocks", (task.guard,), task.timeout_s))[0]
        wrong = result.outcome == COUNTEREXAMPLE
        return Finding(task, ("the lemma",) if wrong else (), result.told, "", wrong)
    if task.dropped:
        return _without_conjunct(task)
    expected = NOTICED_BY.get((task.rule, task.guard), "")
    conjuncts = sorted(CONJUNCTS, key=lambda conjunct: conjunct.name != expected)
    noticed: dict[str, str] = {}
    for conjunct in conjuncts:
        told = searcher().broken(task.rule, conjunct, planted=task.guard)
        if told is not None:
            noticed[conjunct.name] = told
            break
    if noticed:
        name, told = next(iter(noticed.items()))
        return Finding(task, (name,), told, "", name == expected)
    names = tuple(conjunct.name for conjunct in CONJUNCTS)
    results = answer(Batch(task.rule, names, task.timeout_s, planted=task.guard))
    reason = HARMLESS.get((task.rule, task.guard), "")
    proved = all(result.outcome == PROVED for result in results)
    return Finding(task, (), "", reason or "not noticed, and nobody says why", bool(reason) and proved)


def _without_conjunct(task: Task) -> Finding:
    if task.dropped in NEEDED_BY:
        rule, name = NEEDED_BY[task.dropped]
        told = searcher().needed(task.dropped, rule, name)
        return Finding(task, (f"{rule} / {name}",) if told else (), told or "", "", told is not None)
    lacking = [
        result
        for batch in batches(task.timeout_s, dropped=task.dropped)
        for result in answer(batch)
        if result.outcome != PROVED
    ]
    reason = NOT_NEEDED.get(task.dropped, "")
    noticed = tuple(f"{result.rule} / {result.conjunct}" for result in lacking)
    return Finding(
        task, noticed, "", reason or "not needed, and nobody says why", bool(reason) and not lacking
    )
