"""The verdict: what it must find in the notes of a run, and what it must not mind."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from paxlock.core.session.judgement import State
from paxlock.simulator.linearizability import OperationKind, OperationOutcome

from .cluster import Layout
from .journal import Attempt, History, Journal
from .nemesis import Episode, FaultKind
from .report import gaps
from .verdict import Recovery, counted, judged, recoveries, tenures_of

OK, UNKNOWN = OperationOutcome.OK, OperationOutcome.UNKNOWN
ACQUIRE, RELEASE = OperationKind.ACQUIRE, OperationKind.RELEASE


class Notes:
    """Journals of clients as they would have written them, at times of the test's choosing."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 0.0
        self.journals: dict[str, Journal] = {}
        self.guarded = folder / "guarded.jsonl"
        self.guarded.write_text("")
        monkeypatch.setattr("chaos.journal.true_now", lambda: self.now)

    def of(self, client: str) -> Journal:
        return self.journals.setdefault(client, Journal(self.folder / f"{client}.journal", client))

    def acquired(self, client: str, term: int, at: float, deadline: float, name: str = "x") -> None:
        self.now = at - 0.01
        call = self.of(client).call(ACQUIRE, name)
        self.now = at
        self.of(client).answer(call, OK, term=term, deadline=deadline)

    def released(self, client: str, term: int, at: float, name: str = "x") -> None:
        self.now = at
        call = self.of(client).call(RELEASE, name, term)
        self.now = at + 0.01
        self.of(client).answer(call, OK)

    def extended(self, client: str, term: int, at: float, deadline: float) -> None:
        self.now = at
        self.of(client).extended("x", term, 1.0, deadline)

    def written(self, client: str, term: int, at: float) -> None:
        self.of(client).attempt("x", term, at)

    def history(self) -> History:
        return History.read(sorted(self.folder.glob("*.journal")))

    def verdict(self) -> str:
        return "\n".join(judged(self.history(), [], self.guarded, [], []))


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    return Notes(tmp_path, monkeypatch)


def test_a_history_in_order_is_not_minded(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.extended("a", 1, at=1.5, deadline=2.4)
    notes.written("a", 1, at=2.3)
    notes.acquired("b", 5, at=2.5, deadline=3.5)
    notes.written("b", 5, at=2.6)
    notes.released("b", 5, at=2.7)
    notes.acquired("a", 6, at=2.8, deadline=3.8)
    notes.acquired("a", 6, at=2.9, deadline=3.9, name="y")  # the terms of names have nothing in common
    assert notes.verdict() == ""


def test_two_holders_at_once_are_found(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.extended("a", 1, at=1.5, deadline=2.4)
    notes.acquired("b", 2, at=2.3, deadline=3.3)
    assert "b has token 2 at 2.300000, while a holds token 1 until 2.400000" in notes.verdict()
    assert "not linearizable" in notes.verdict()


def test_a_token_that_falls_is_found(notes: Notes) -> None:
    notes.acquired("a", 7, at=1.0, deadline=2.0)
    notes.acquired("b", 6, at=2.3, deadline=3.3)
    assert "token 6 of b comes after token 7" in notes.verdict()


@pytest.mark.parametrize("release", [False, True])
def test_a_write_after_the_tenure_is_found(notes: Notes, release: bool) -> None:
    notes.acquired("a", 1, at=1.0, deadline=5.0 if release else 2.0)
    if release:
        notes.released("a", 1, at=2.0)
    notes.written("a", 1, at=2.1)
    assert "a writes with token 1 at 2.100000, 0.100000 s after its tenure" in notes.verdict()


def test_a_write_without_a_lease_is_found(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.written("b", 1, at=1.1)
    assert "b writes with token 1, which it never had" in notes.verdict()


def test_a_holder_that_believes_after_its_successor_wrote_is_found(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.acquired("b", 2, at=1.5, deadline=2.5)
    notes.written("b", 2, at=1.6)
    notes.written("a", 1, at=1.7)
    assert "a believes in token 1 at 1.700000, after b wrote with token 2" in notes.verdict()


def test_a_file_that_took_an_old_token_is_found(notes: Notes) -> None:
    writes = [{"name": "x", "term": term, "accepted": True} for term in (2, 1)]
    notes.guarded.write_text("".join(json.dumps(write) + "\n" for write in writes))
    assert "took a write to 'x' with the old token 1" in notes.verdict()


def test_ends_that_nobody_asked_for_and_slow_recoveries_are_told(notes: Notes) -> None:
    slow = Recovery(Episode((FaultKind.STORM,), 0.0), "x", took=6.0, allowed=5.0)
    fast = attrs.evolve(slow, took=4.9)
    told = judged(notes.history(), [], notes.guarded, [fast, slow], ["node a ended with 1"])
    assert told == [
        "node a ended with 1",
        "'x' came back 6.0 s after the healing of storm of loss and repetition: 5.0 s were allowed",
    ]


def ended_by_force(notes: Notes, term: int, at: float, left: float, *, force: bool = True) -> None:
    notes.now = at - 0.01
    call = notes.of("operator").revoke("x", term, force)
    notes.now = at
    notes.of("operator").revoked(call, left)


def test_who_was_ended_by_force_may_count_on_what_it_had(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.extended("a", 1, at=1.55, deadline=2.5)  # sent before
    ended_by_force(notes, 1, at=1.6, left=0.9)
    notes.now = 1.61
    notes.of("a").lost("x", 1, "REVOKED")
    notes.acquired("b", 2, at=2.6, deadline=3.0)
    assert notes.verdict() == ""
    (revocation,) = notes.history().revocations
    assert (revocation.called, revocation.done, revocation.left) == (1.59, 1.6, 0.9)


def test_a_renewal_after_force_is_found_and_one_after_a_polite_word_is_not(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    ended_by_force(notes, 1, at=1.2, left=9.0, force=False)
    notes.extended("a", 1, at=1.6, deadline=2.5)
    assert notes.verdict() == ""
    ended_by_force(notes, 1, at=1.4, left=9.0)
    assert "a renews token 1 at 1.500000, but operator was told at 1.400000" in notes.verdict()


def test_a_revocation_may_name_a_term_that_the_candidate_left_before_it_held(notes: Notes) -> None:
    notes.acquired("b", 1, at=0.0, deadline=0.5)
    notes.acquired("a", 3, at=1.0, deadline=2.0)
    notes.now = 1.0
    notes.of("operator").revoke("x", 1, False)  # of the tenure before
    notes.now = 1.5
    notes.of("a").lost("x", 3, "REVOKED")
    assert "a is told that token 3 is revoked: by nobody" in notes.verdict()
    notes.now = 1.1
    notes.of("operator").revoke("x", 2, False)
    assert "by nobody" not in notes.verdict()


def test_who_counts_on_a_lease_for_longer_than_the_operator_was_told_is_found(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    ended_by_force(notes, 1, at=1.2, left=0.5)
    assert "a counts on token 1 0.2" in notes.verdict()
    notes.released("a", 1, at=1.65)  # its word was different, and its deed was not
    assert notes.verdict() == ""


def test_a_revocation_that_nobody_has_asked_for_is_found(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.now = 1.5
    notes.of("a").lost("x", 1, "REVOKED")
    assert "a is told that token 1 is revoked: by nobody" in notes.verdict()
    ended_by_force(notes, 2, at=1.4, left=0.0)
    assert "by nobody" in notes.verdict()
    notes.now = 1.4
    notes.of("operator").revoke("x", 1, False)  # and never heard what came of it
    assert notes.verdict() == ""


def test_calls_without_an_answer_are_unknown(notes: Notes) -> None:
    notes.now = 1.0
    notes.of("a").call(ACQUIRE, "x")
    call = notes.of("a").call(OperationKind.POLL, "x")
    notes.now = 2.0
    notes.of("a").answer(call, OK, state="free")
    unanswered, poll = notes.history().operations
    assert (unanswered.outcome, unanswered.returned) == (UNKNOWN, float("inf"))
    assert (poll.state, poll.called, poll.returned) == (State.FREE, 1.0, 2.0)
    counts = counted(notes.history().operations)
    assert counts["acquire"] == {"unknown": 1}
    assert counts["poll"] == {"free": 1}


def test_a_line_that_was_cut_off_is_left_out(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    path = notes.folder / "a.journal"
    path.write_text(path.read_text() + '{"attempt":"x","te')
    notes.of("b").attempt("x", 1, 1.5)
    assert notes.history().attempts == [Attempt("b", "x", 1, 1.5)]


def test_a_recovery_lasts_until_the_first_acquisition_or_renewal(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.acquired("b", 2, at=12.5, deadline=13.0)
    layout = Layout(names=("x", "y"), max_ttl=2.0)
    done = Episode((FaultKind.STORM,), began=5.0, healed=10.0, calm=13.0, lag=0.1)
    cut_short = Episode((FaultKind.STORM,), began=15.0)
    of_x, of_y = recoveries(notes.history(), [done, cut_short], layout, finished=20.0)
    assert (of_x.name, of_x.took) == ("x", 2.5)
    assert (of_y.name, of_y.took) == ("y", 10.0)
    assert of_x.allowed == pytest.approx(2.0 + 2.0 * 1.01 / 0.99 / 0.99 + 1.0 + 1.0)


def test_who_has_held_through_a_healing_is_back(notes: Notes) -> None:
    notes.acquired("a", 1, at=9.0, deadline=11.0)
    layout = Layout(names=("x",), max_ttl=2.0)
    calm = Episode((FaultKind.STORM,), began=5.0, healed=10.0, calm=10.5, lag=0.0)
    late = Episode((FaultKind.STORM,), began=5.0, healed=10.0, calm=11.5, lag=0.0)
    held, lost = recoveries(notes.history(), [calm, late], layout, finished=20.0)
    assert (held.took, lost.took) == (0.5, 10.0)


def test_gaps_lie_between_the_end_of_one_tenure_and_the_next(notes: Notes) -> None:
    notes.acquired("a", 1, at=1.0, deadline=2.0)
    notes.acquired("b", 2, at=3.0, deadline=9.0)
    notes.released("b", 2, at=4.0)
    notes.acquired("a", 3, at=4.5, deadline=5.5)
    tenures = tenures_of(notes.history().operations)["x"]
    assert list(gaps(tenures)) == [(2.0, 3.0), (4.0, 4.5)]
