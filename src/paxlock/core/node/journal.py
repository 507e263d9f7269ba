"""What a node remembers of what happened to each name: for people who ask why, never for a decision.

It lies in memory alone, and is bounded: of one name ENTRIES_PER_NAME to twice as many entries, enough for
some ten holders, and who was refused last; of all names ENTRIES_MAX, about 10 MB. Where that is too much, the
name to which nothing has happened for longest is forgotten first. How far back it is whole is told with each
answer.

Renewals write nothing: when a lease was prolonged last follows from its deadline. So an acquisition and a
release cost a node two entries, and a lease that is held for days costs no more. While it is held, the record
of its name has all that there is to tell of its acceptance: the entry is written when the lease ends.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

import attrs

from paxlock.core.journal import Happened, Happening, Recall, Recalled
from paxlock.core.lease import Candidate
from paxlock.core.messages import Accept, Prepare, RefusalReason, Release
from paxlock.core.node.record import Record, reported_ms

__all__ = ["ENTRIES_MAX", "ENTRIES_PER_NAME", "REFUSED_PER_NAME", "Journal"]

ENTRIES_PER_NAME = 32
REFUSED_PER_NAME = 8  #: candidates; each is one entry, written anew in place
ENTRIES_MAX = 32_768
PAGE_BYTES = 900  #: one datagram answers one question
ENTRY_BYTES = 76  #: at most, without the label
_ACCEPTED = Happening.ACCEPTED  #: looked up once: every lease comes by here
RENEWED_LATER_S = 0.001  #: below that it is the acceptance itself

# The number, what, when, the candidate, the term, the label, for how long it is held, the reason, how often.
_Entry: TypeAlias = tuple[int, Happening, float, Candidate | None, int, str, float, RefusalReason | None, int]


@attrs.define(eq=False)
class _Book:
    """The entries of one name. ``whole_from``: nothing later than that is missing."""

    whole_from: float
    entries: list[_Entry] = attrs.field(factory=list)
    refused: dict[Candidate, _Entry] | None = None


class Journal:
    """The books of all names, the one that was written least lately first.

    ``whole_from``: of names without a book nothing later than that was forgotten; at first when it began.
    """

    def __init__(self) -> None:
        self.whole_from = 0.0
        self._books: OrderedDict[str, _Book] = OrderedDict()
        self._number = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    # What happens

    def promised(self, record: Record, now: float) -> None:
        """The next term was promised to the owner of this record."""
        self._note(record.name, Happening.PROMISED, now, record.owner, record.term, record.owner_label)

    def accepted(self, record: Record, now: float) -> None:
        """The lease of this record is held from now on."""
        lease = record.lease
        assert lease is not None
        self._number += 1
        record.held_since = now
        record.unwritten = self._number
        if record.name in self._books:
            self._books.move_to_end(record.name)
        if record.deadline != now + lease.ttl:  # a place in line was taken with the time that it had come
            self.write_acceptance(record, held=record.deadline - now)

    def restored(self, record: Record, now: float) -> None:
        """The lease of this record was held when the node started. Of very many it tells as many as there is
        room for: a start waits for this.
        """
        record.held_since = now
        if self._size < ENTRIES_MAX:
            self._number += 1
            record.unwritten = self._number
            self.write_acceptance(record, Happening.RESTORED, record.deadline - now)

    def write_acceptance(
        self, record: Record, what: Happening = _ACCEPTED, held: float | None = None
    ) -> None:
        """Write when the lease of this record was accepted, where that is not written: what the record says
        of it is about to change, or is not all.
        """
        entry = _acceptance(record, what, held)
        if entry is None:
            return
        record.unwritten = 0
        book = self._book(record.name)
        book.entries.append(entry)
        self._size += 1
        self._bound(book)

    def closes(self, record: Record, how: Happening, now: float) -> None:
        """The lease of this record, or the promise, is over from now on."""
        lease = record.lease
        if lease is None:
            if record.owner is not None:
                if how is Happening.EXPIRED:
                    how = Happening.PASSED_OVER
                self._note(record.name, how, now, record.owner, record.term, record.owner_label)
            return
        entries = self._book(record.name).entries
        before = len(entries)
        accepted = _acceptance(record)
        if accepted is not None:
            record.unwritten = 0
            entries.append(accepted)
        candidate, term, number = lease.candidate, record.lease_term, self._number
        renewed = _last_renewal(record)
        if renewed is not None:
            number += 1
            ttl = lease.ttl_ms / 1000.0
            entries.append((number, Happening.RENEWED, renewed, candidate, term, lease.label, ttl, None, 1))
        self._number = number = number + 1
        entries.append((number, how, now, candidate, term, lease.label, 0.0, None, 1))
        self._size = size = self._size + len(entries) - before
        if size > ENTRIES_MAX or len(entries) >= 2 * ENTRIES_PER_NAME:
            self._bound(self._books[record.name])

    def revoked(self, record: Record, candidate: Candidate, now: float) -> None:
        """This candidate was ended by force; said again, it is no other entry."""
        label = record.lease.label if record.lease is not None and record.holds(candidate) else ""
        book = self._books.get(record.name)
        if book is None or not any(e[1] is Happening.REVOKED and e[3] == candidate for e in book.entries):
            self._note(record.name, Happening.REVOKED, now, candidate, record.term, label)

    def dropped(self, record: Record, now: float) -> None:
        """The name is forgotten; the journal keeps what it knows of it."""
        if record.name in self._books:
            self._note(record.name, Happening.DROPPED, now, None, record.term, "")

    def refused(
        self,
        record: Record,
        message: Prepare | Accept | Release,
        candidate: Candidate,
        reason: RefusalReason,
        now: float,
    ) -> None:
        """This candidate was refused: of each only the last time is kept, and how often so."""
        book = self._book(record.name)
        if book.refused is None:
            book.refused = {}
        last = book.refused.pop(candidate, None)
        self._number += 1
        if last is not None:
            label, times = last[5], last[8] + 1 if last[7] is reason else 1
        else:
            label, times = message.lease.label if isinstance(message, Accept) else _label(message), 1
            if len(book.refused) == REFUSED_PER_NAME:
                book.refused.pop(next(iter(book.refused)))
                self._size -= 1
        book.refused[candidate] = (
            *(self._number, Happening.REFUSED, now, candidate, record.term, label, 0.0),
            reason,
            times,
        )
        if last is None:
            self._size += 1
            self._bound(book)

    # What is asked

    def page(self, question: Recall, record: Record | None, now: float) -> Recalled:
        """What happened after the entry of this number, as much as goes into one datagram."""
        book = self._books.get(question.name)
        entries: list[_Entry] = []
        if book is not None:
            entries = [*book.entries, *(book.refused or {}).values()]
        if record is not None and record.lease is not None:
            accepted, renewed, lease = _acceptance(record), _last_renewal(record), record.lease
            if accepted is not None:
                entries.append(accepted)
            if renewed is not None:
                last = (lease.candidate, record.lease_term, lease.label, lease.ttl_ms / 1000.0, None, 1)
                entries.append((self._number + 1, Happening.RENEWED, renewed, *last))
        entries.sort()
        room = PAGE_BYTES - len(question.name.encode())
        told: list[Happened] = []
        more = False
        for number, what, at, candidate, term, label, held, reason, times in entries:
            if number <= question.after:
                continue
            room -= ENTRY_BYTES + len(label.encode())
            if room < 0 and told:
                more = True
                break
            age_ms = reported_ms(now - at)
            told.append(
                Happened(number, what, age_ms, candidate, term, label, reported_ms(held), reason, times)
            )
        reach = now - (book.whole_from if book is not None else self.whole_from)
        return Recalled(
            question.request, question.name, question.after, reported_ms(reach), more, tuple(told)
        )

    # Within

    def _book(self, name: str) -> _Book:
        books = self._books
        book = books.get(name)
        if book is None:
            book = books[name] = _Book(self.whole_from)
        else:
            books.move_to_end(name)
        return book

    def _note(
        self,
        name: str,
        what: Happening,
        at: float,
        candidate: Candidate | None,
        term: int,
        label: str,
        held: float = 0.0,
    ) -> None:
        self._number += 1
        book = self._book(name)
        book.entries.append((self._number, what, at, candidate, term, label, held, None, 1))
        self._size += 1
        self._bound(book)

    def _bound(self, written: _Book) -> None:
        """This book has one entry more: forget its older half, or the names to which nothing has happened for
        longest; never the one that is written.
        """
        entries = written.entries
        if len(entries) >= 2 * ENTRIES_PER_NAME:  # half of them at once, so that it is rarely done
            # A renewal is noted when the lease is over, with the earlier time at which it was prolonged.
            newest = max(entry[2] for entry in entries[:ENTRIES_PER_NAME])
            written.whole_from = max(written.whole_from, newest)
            del entries[:ENTRIES_PER_NAME]
            self._size -= ENTRIES_PER_NAME
        while self._size > ENTRIES_MAX and len(self._books) > 1:
            _, book = self._books.popitem(last=False)
            forgotten = [*book.entries, *(book.refused or {}).values()]
            self._size -= len(forgotten)
            self.whole_from = max(self.whole_from, *(entry[2] for entry in forgotten))


def _label(message: Prepare | Release) -> str:
    return message.label if isinstance(message, Prepare) else ""


def _acceptance(record: Record, what: Happening = _ACCEPTED, held: float | None = None) -> _Entry | None:
    """The entry of how the lease of this record came to be held; None where there is none to write."""
    lease, number = record.lease, record.unwritten
    if lease is None or not number:
        return None
    held = lease.ttl_ms / 1000.0 if held is None else held
    term = record.lease_term
    return (number, what, record.held_since, lease.candidate, term, lease.label, held, None, 1)


def _last_renewal(record: Record) -> float | None:
    """When the lease of this record was prolonged last; None where it never was."""
    lease = record.lease
    if lease is None:
        return None
    renewed = record.deadline - lease.ttl_ms / 1000.0
    return renewed if renewed > record.held_since + RENEWED_LATER_S else None
