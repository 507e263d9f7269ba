"""A journal that is read page after page while the node goes on writing it."""

from __future__ import annotations

from random import Random

import pytest

from paxlock.core.journal import Happening, Recall
from paxlock.core.lease import Candidate, Lease
from paxlock.core.lives import UNKNOWN
from paxlock.core.messages import Accept, Accepted, Prepare, Promise, Release
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.journal import ENTRIES_PER_NAME
from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.events import JournalRead, NodeJournal
from paxlock.core.session.recalls import RecallQuery
from paxlock.core.timers import Timers
from paxlock.observe.auditing import audit

HELD_S = 0.1
LABEL = "of a holder, so that a page has few"
ENTRIES_PER_GRANT = 3  #: promised, accepted, released


class Busy:
    """A node whose one name has one holder after the other, and somebody who reads its journal."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.grants = 0
        self.node = Acceptor(
            floor=0, ceiling=1 << 40, max_ttl=30.0, grace=0.01, timers=Timers(), wall_offset=1_700_000_000.0
        )
        self.query = RecallQuery(
            ticket=1,
            nodes=("a",),
            began=self.now,
            patience=10.0,
            round_trips=RoundTrips(("a",), first_max=0.1),
            retry=1.0,
            name="n",
        )

    def grant(self, held: float = HELD_S) -> None:
        """Acquired for a moment, and released long before its ttl."""
        self.grants += 1
        candidate = Candidate(self.grants.to_bytes(16), 1)
        promise = self.node.prepare(Prepare(1, "n", 0, candidate, 0, 0, 0, LABEL), self.now)
        assert isinstance(promise, Promise)
        lease = Lease(candidate, 10_000, LABEL, b"")
        assert isinstance(self.node.accept(Accept(2, "n", promise.term, lease, 1, 0), self.now), Accepted)
        self.now += held
        self.node.release(Release(3, "n", candidate, promise.term), candidate.session, self.now, candidate)

    def page(self, there: float = 0.001, back: float = 0.001) -> None:
        """One page, over a link that takes so many seconds there and back."""
        (question,) = self.query.ask("a", 7, self.now)
        assert isinstance(question, Recall)
        self.now += there
        answer = self.node.journal.page(question, self.node.records.get("n"), self.now)
        self.now += back
        self.query.answered("a", answer, self.now, UNKNOWN)

    def read(self) -> NodeJournal:
        """All pages that are still to come."""
        while self.query.open:
            self.page()
        found = self.query.result(self.now)
        assert isinstance(found, JournalRead)
        return found.nodes[0]


@pytest.mark.parametrize("pages", [1, 2, 3, 4])
def test_entries_that_are_forgotten_between_two_pages_make_no_overlap(pages: int) -> None:
    busy = Busy()
    while len(busy.node.journal) + ENTRIES_PER_GRANT < 2 * ENTRIES_PER_NAME:
        busy.grant()
    for _ in range(pages):
        busy.page()
    before = len(busy.node.journal)
    busy.grant()
    assert len(busy.node.journal) < before  # the older half is gone
    journal = busy.read()
    assert audit([journal]).overlaps == ()
    accepted = [entry for entry in journal.entries if entry.what is Happening.ACCEPTED]
    assert accepted[-1].candidate == Candidate(busy.grants.to_bytes(16), 1)
    # Whatever is within reach is there.
    within = [entry.candidate for entry in accepted if entry.age_ms < journal.reach * 1000.0]
    assert within == [Candidate(number.to_bytes(16), 1) for number in _last(busy.grants, len(within))]


def _last(count: int, many: int) -> range:
    return range(count - many + 1, count + 1)


def test_a_journal_that_is_not_shortened_is_read_whole() -> None:
    busy = Busy()
    for _ in range(10):
        busy.grant()
    busy.page()
    busy.grant()
    journal = busy.read()
    accepted = [entry for entry in journal.entries if entry.what is Happening.ACCEPTED]
    assert len(accepted) == busy.grants
    assert len(journal.entries) == busy.grants * ENTRIES_PER_GRANT


def test_what_is_not_known_of_the_times_of_two_pages_is_no_overlap() -> None:
    """One lets go and the next holds in the same moment; the link is short, and as crooked as it can be."""
    rng = Random(1)
    for _ in range(200):
        busy = Busy()
        for _ in range(20):
            busy.grant(rng.uniform(0.01, 0.02))
        while busy.query.open:
            busy.now += rng.uniform(0.0, 0.002)
            there = rng.choice((0.0, 0.0005))
            busy.page(there, 0.0005 - there)
        assert audit([busy.read()]).overlaps == ()
