"""What a node remembers of a name, and what is made of it: fixed clocks."""

from __future__ import annotations

import pytest

from paxlock.core.journal import Happened, Happening, Recall
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
    Prepare,
    Promise,
    RefusalReason,
    Refused,
    Release,
    Renew,
    StandingPrepare,
)
from paxlock.core.node import journal
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.journal import ENTRIES_PER_NAME, REFUSED_PER_NAME, Journal
from paxlock.core.timers import Timers
from paxlock.wire.codec import PAYLOAD_MAX_BYTES, encode

ATHENS, BYBLOS = Candidate(b"A" * 16, 1), Candidate(b"B" * 16, 1)
LABELS = {ATHENS: "athens", BYBLOS: "byblos"}
WHAT = Happening


def node() -> Acceptor:
    return Acceptor(
        floor=0, ceiling=1 << 40, max_ttl=30.0, grace=0.01, timers=Timers(), wall_offset=1_700_000_000.0
    )


def acquire(node: Acceptor, candidate: Candidate, now: float, ttl_ms: int = 10_000, name: str = "n") -> int:
    """Both phases at this node; gives the term."""
    node.run_out_all(now)
    label = LABELS.get(candidate, "")
    promise = node.prepare(Prepare(1, name, 0, candidate, 0, 0, 0, label), now)
    assert isinstance(promise, Promise)
    lease = Lease(candidate, ttl_ms, label, b"")
    assert isinstance(node.accept(Accept(2, name, promise.term, lease, 1, 0), now), Accepted)
    return promise.term


def story(node: Acceptor, now: float, name: str = "n") -> list[tuple[Happening, int, Candidate | None]]:
    return [(e.what, e.age_ms, e.candidate) for e in entries(node, now, name)]


def entries(node: Acceptor, now: float, name: str = "n") -> list[Happened]:
    found: list[Happened] = []
    after, more = 0, True
    while more:
        page = node.journal.page(Recall(7, name, after), node.records.get(name), now)
        assert (page.request, page.name, page.after) == (7, name, after)
        assert len(encode(page)) <= PAYLOAD_MAX_BYTES - 200
        found += page.entries
        after, more = (page.entries[-1].number if page.entries else after), page.more
    assert [entry.number for entry in found] == sorted({entry.number for entry in found})
    return found


def test_a_lease_that_is_renewed_and_runs_out() -> None:
    a = node()
    term = acquire(a, ATHENS, 100.0)
    for seq in range(2, 50):  # renewals do not fill it
        a.renew(Renew(3, ATHENS.session, seq, (1,)), ATHENS.session, 100.0 + seq)
    assert story(a, 150.0) == [
        (WHAT.PROMISED, 50_000, ATHENS),
        (WHAT.ACCEPTED, 50_000, ATHENS),
        (WHAT.RENEWED, 1_000, ATHENS),
    ]
    a.run_out_all(160.0)
    told = entries(a, 160.0)
    assert [(e.what, e.age_ms) for e in told[2:]] == [(WHAT.RENEWED, 11_000), (WHAT.EXPIRED, 0)]
    assert {(e.term, e.label) for e in told} == {(term, "athens")}
    assert [e.held_ms for e in told] == [0, 10_000, 10_000, 0]


def test_release_refusals_and_a_promise_that_is_passed_over() -> None:
    a = node()
    term = acquire(a, ATHENS, 100.0)
    for now in (101.0, 102.0, 103.0):
        assert isinstance(a.prepare(Prepare(4, "n", 0, BYBLOS, 0, 0, 0, "byblos"), now), Refused)
    a.release(Release(5, "n", ATHENS, term), ATHENS.session, 104.0, ATHENS)
    assert isinstance(a.prepare(Prepare(6, "n", 0, BYBLOS, 0, 0, 0, "byblos"), 105.0), Promise)
    a.run_out_all(106.0)
    told = entries(a, 106.0)
    refused = next(e for e in told if e.what is WHAT.REFUSED)
    assert (refused.age_ms, refused.reason, refused.times, refused.label) == (
        *(3_000, RefusalReason.HELD, 3),
        "byblos",
    )
    assert [(e.what, e.candidate) for e in told if e is not refused] == [
        (WHAT.PROMISED, ATHENS),
        (WHAT.ACCEPTED, ATHENS),
        (WHAT.RELEASED, ATHENS),
        (WHAT.PROMISED, BYBLOS),
        (WHAT.PASSED_OVER, BYBLOS),
    ]


def test_it_outlives_the_record_of_an_idle_name() -> None:
    a = node()
    term = acquire(a, ATHENS, 100.0)
    a.release(Release(5, "n", ATHENS, term), ATHENS.session, 101.0, ATHENS)
    a.sweep(200.0)
    assert "n" not in a.records
    assert [what for what, _, _ in story(a, 201.0)][-2:] == [WHAT.RELEASED, WHAT.DROPPED]


def test_it_is_bounded_for_a_name_and_says_how_far_back_it_is_whole() -> None:
    a = node()
    a.journal.whole_from = 90.0
    assert a.journal.page(Recall(7, "n", 0), None, 100.0).reach_ms == 10_000
    acquire(a, ATHENS, 100.0)
    for attempt in range(2 * REFUSED_PER_NAME):
        a.prepare(Prepare(4, "n", 0, Candidate(b"C" * 16, 1 + attempt), 0, 0, 0, "x" * 64), 100.0)
    assert len(entries(a, 101.0)) == 2 + REFUSED_PER_NAME == len(a.journal) + 1  # the record tells one
    a.release(Release(5, "n", ATHENS, 1), ATHENS.session, 101.0, ATHENS)
    assert len(entries(a, 101.0)) == 3 + REFUSED_PER_NAME == len(a.journal)
    for attempt in range(2, 100):
        candidate = Candidate(ATHENS.session, attempt)
        term = acquire(a, candidate, 100.0 + attempt)
        a.release(Release(5, "n", candidate, term), ATHENS.session, 100.5 + attempt, candidate)
    told = entries(a, 200.0)
    assert ENTRIES_PER_NAME <= len(told) - REFUSED_PER_NAME <= 2 * ENTRIES_PER_NAME
    assert len(told) == len(a.journal)
    reach = a.journal.page(Recall(7, "n", 0), a.records["n"], 200.0).reach_ms
    oldest = max(e.age_ms for e in told if e.what is not WHAT.REFUSED)
    assert oldest <= reach <= oldest + 1_000


def test_the_name_that_is_idle_for_longest_is_forgotten_first() -> None:
    a = node()
    names = [f"name{number}" for number in range(33_000)]
    for number, name in enumerate(names):
        acquire(a, Candidate(ATHENS.session, number + 1), 100.0 + number / 2000.0, 30_000, name)
        if number == 10_000:
            a.release(Release(5, names[0], ATHENS, 0), ATHENS.session, 105.0, ATHENS)
    assert len(a.journal) <= 32_768
    # The promise is forgotten; of what is held the record still tells when it was accepted.
    assert [what for what, _, _ in story(a, 125.0, names[1])] == [WHAT.ACCEPTED]
    assert a.journal.page(Recall(7, names[1], 0), None, 125.0).reach_ms < 25_000
    assert len(story(a, 125.0, names[0])) == 3
    assert len(story(a, 125.0, names[-1])) == 2


def test_what_is_held_is_told_like_what_is_written() -> None:
    a = node()
    term = acquire(a, ATHENS, 100.0)
    assert isinstance(a.prepare(Prepare(4, "n", 0, BYBLOS, 0, 0, 0, "byblos"), 101.0), Refused)
    a.renew(Renew(3, ATHENS.session, 9, (1,)), ATHENS.session, 103.0)
    held = entries(a, 104.0)
    assert [e.what for e in held] == [WHAT.PROMISED, WHAT.ACCEPTED, WHAT.REFUSED, WHAT.RENEWED]
    a.release(Release(5, "n", ATHENS, term), ATHENS.session, 104.0, ATHENS)
    written = entries(a, 104.0)
    assert written[:-1] == held
    assert written[-1].what is WHAT.RELEASED


def test_a_lease_that_is_accepted_again_in_a_higher_term_keeps_its_first_entry() -> None:
    a = node()
    first = acquire(a, ATHENS, 100.0)
    lease = Lease(ATHENS, 10_000, "athens", b"")
    promise = a.prepare(Prepare(3, "n", first + 5, ATHENS, 0, 0, 0, "athens"), 101.0)
    assert isinstance(promise, Promise)
    assert isinstance(a.accept(Accept(4, "n", promise.term, lease, 2, 0), 102.0), Accepted)
    told = [(e.what, e.age_ms, e.term) for e in entries(a, 103.0)]
    assert told[1:] == [(WHAT.ACCEPTED, 3_000, first), (WHAT.RENEWED, 1_000, promise.term)]


def test_of_a_lease_that_is_taken_from_the_line_it_tells_what_was_left() -> None:
    a = node()
    term = acquire(a, ATHENS, 100.0)
    standing = StandingPrepare(*(4, "n", 0, BYBLOS, 0, 500, 0, "byblos", 10_000, b"", 1))
    assert isinstance(a.prepare(standing, 101.0), Refused)
    a.release(Release(5, "n", ATHENS, term), ATHENS.session, 102.0, ATHENS)
    accepted = [e for e in entries(a, 102.0) if e.what is WHAT.ACCEPTED]
    assert [(e.candidate, e.age_ms, e.held_ms) for e in accepted] == [
        (ATHENS, 2_000, 10_000),
        (BYBLOS, 0, 9_000),
    ]


def test_who_is_ended_by_force_is_noted_once() -> None:
    a = node()
    acquire(a, ATHENS, 100.0)
    journal: Journal = a.journal
    for now in (101.0, 102.0):
        journal.revoked(a.records["n"], ATHENS, now)
    assert [what for what, _, _ in story(a, 103.0)].count(WHAT.REVOKED) == 1


def test_of_very_many_leases_at_a_start_as_many_are_told_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = node()
    for number in range(5):
        acquire(before, Candidate(b"S" * 16, number + 1), 100.0, name=f"n{number}")
    monkeypatch.setattr(journal, "ENTRIES_MAX", 3)
    after = node()
    for saved in before.snapshot(101.0):
        after.restore(saved, 101.0, 101.0)
    assert len(after.journal) == 3
    assert [len(story(after, 102.0, f"n{number}")) for number in range(5)] == [1, 1, 1, 0, 0]
    assert all(record.lease is not None for record in after.records.values())
