"""What a node learns: which leases are chosen (protocol.md section 6).

Commit informs; it never changes what an acceptor holds, and never arms a timer that excludes (rule S13).
"""

from __future__ import annotations

from collections import deque
from random import Random

import attrs

from paxlock.core.durable import SnapshotName
from paxlock.core.lease import Candidate, Lease
from paxlock.core.lives import UNKNOWN, Lives, outlived
from paxlock.core.messages import (
    Accepted,
    Commit,
    Inquire,
    Message,
    Peer,
    View,
)
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.hearsay import Hearsay, first_hand
from paxlock.core.node.lingering import Finding, Lingering
from paxlock.core.node.record import Record
from paxlock.core.node.subscriptions import Subscriptions
from paxlock.core.quorum import majority
from paxlock.core.reasons import RefusalReason
from paxlock.core.timers import Timers

__all__ = ["Learner"]

INQUIRY_FIRST_S = 0.25
INQUIRY_PAUSE_S = 0.05
INQUIRY_MAX_S = 4.0
INQUIRIES_PER_TURN = 64  #: after a start from the state file all leases are unheard of at one moment


@attrs.define(eq=False, weakref_slot=False)
class Chosen:
    """The newest lease known to be chosen, its token, in which term, whether it was released since, and what
    its handle must open. The token lies beside the ``lease``, so that one which is held here too is one
    object.
    """

    lease: Lease
    token: int
    term: int
    released: bool = False
    lock: bytes = b""

    def covers(self, candidate: Candidate, term: int) -> bool:
        """True if we know this candidate was chosen in ``term`` or later, or if we know its token.

        (A candidate that never learned it was chosen retries in a higher term; only that term becomes its
        token.)
        """
        if self.lease.candidate != candidate:
            return False
        return self.term >= term or bool(self.token)

    @property
    def told(self) -> Lease:
        """The lease with its token, as others are told of it."""
        return self.lease if self.lease.token == self.token else self.lease.with_token(self.token)

    def ends(self, candidate: Candidate, term: int) -> bool:
        """Whether somebody else became the holder later: what this candidate holds in this term is no part
        of a tenure any more (section 6).
        """
        return self.token > term and self.lease.candidate != candidate

    def runs_out_with(self, record: Record) -> bool:
        """Whether it was held here until now, in a term that this node has closed since."""
        return not self.released and self.term <= record.term and record.seen == self.lease.candidate


@attrs.define(eq=False)
class Inquiry:
    """What the others have said so far of a lease of which this node does not know whether it was chosen."""

    candidate: Candidate
    term: int
    wait: float = INQUIRY_FIRST_S
    views: dict[str, View] = attrs.field(factory=dict)
    lives: dict[str, Lives] = attrs.field(factory=dict)  #: with which each view was given


class Learner:
    """The learner of one node. ``sends`` collects messages, those of its ``subscriptions`` too; the replica
    takes them out after every event.
    """

    def __init__(
        self,
        *,
        node_id: str,
        others: tuple[str, ...],
        acceptor: Acceptor,
        timers: Timers,
        rng: Random,
        first_version: int,
    ) -> None:
        self.sends: list[tuple[Peer, Message]] = []
        self.lives: Lives = UNKNOWN  #: what this node's own word is given with
        self._node_id = node_id
        self._others = others
        self._quorum = majority(len(others) + 1)
        self._acceptor = acceptor
        self._timers = timers
        self._rng = rng
        self._chosen: dict[str, Chosen] = {}
        self._hearsay = Hearsay(len(others) + 1, self.commit)
        self._lingering = Lingering(node_id, len(others) + 1, self._hearsay.number)
        self._inquiries: dict[str, Inquiry] = {}
        self._unheard: deque[tuple[float, str, Candidate]] = deque()
        # Not the same in all nodes, so that rarely two of them ask at the same time.
        self._first_wait = INQUIRY_FIRST_S * rng.uniform(0.8, 1.2)
        self.subscriptions = Subscriptions(
            names=acceptor.names,
            view=self.view,
            records=acceptor.records,
            sends=self.sends,
            timers=timers,
            first_version=first_version,
        )

    # Learning

    def told(self, message: Commit, now: float) -> None:
        """A session tells that its lease was chosen: what this node cannot know is hearsay (section 6)."""
        name, candidate = message.name, message.lease.candidate
        record, known = self._acceptor.records.get(name), self._chosen.get(name)
        certain = first_hand(message, record)
        if certain is not None:
            self.commit(certain, now)
            return
        if known is not None and known.term >= message.term and known.lease.candidate != candidate:
            return
        if known is not None and known.covers(candidate, message.term) and known.token:
            return
        if self._acceptor.too_far(record, message.term, now):
            return
        before = self.view(name, now)
        if self._hearsay.claim(message, record):
            self._timers.add(now + self._hearsay.pause(name), self.doubt, name)
        if self.view(name, now) != before:
            self.subscriptions.publish(name, now)

    def doubt(self, name: str, now: float) -> None:
        """Ask the other nodes whether the open claims of this name are true."""
        self._hearsay.weary(name, self._acceptor.records.get(name))
        request = self._hearsay.question(name)
        if request:
            self.sends.extend((node, Inquire(request, name)) for node in self._others)
            self._timers.add(now + self._hearsay.pause(name) * self._rng.uniform(0.8, 1.2), self.doubt, name)

    def commit(self, message: Commit, now: float) -> None:
        """Somebody who knows tells that this lease was chosen in this term."""
        name, lease, term, lock = message.name, message.lease, message.term, message.lock
        candidate, token = lease.candidate, lease.token
        if self._lingering.checks:
            self._lingering.told(name, candidate, now)
        known = self._chosen.get(name)
        released = False
        if known is not None and known.lease.candidate == candidate:
            # The token is in the holder's own Commit; whoever else found out does not know it.
            if known.term >= term and not (token and not known.token):
                return
            if not token:
                lease, token = known.lease, known.token
            lock, term = lock or known.lock, max(known.term, term)
            released = known.released
        elif known is not None and known.term >= term:
            return
        record = self._acceptor.records.get(name)
        if record is not None:
            name, lease = record.name, record.one_with(lease)
            if record.holds(candidate):
                lock = record.lock
            term = record.lease_term if term == record.lease_term else term  # one object: there are very many
            over = record.end_of(candidate, lock)
            released = released or over is RefusalReason.ENDED
        self._chosen[name] = Chosen(lease, term if token == term else token, term, released, lock)
        self._inquiries.pop(name, None)
        self._acceptor.remember(name, now, confirmed=candidate if token else None)
        self.changed(name, now)

    def released(self, name: str, candidate: Candidate, now: float) -> None:
        """A Release of this candidate was heard."""
        self._hearsay.unname(name, candidate)
        known = self._chosen.get(name)
        if known is not None and known.lease.candidate == candidate and not known.released:
            known.released = True
            if name not in self._acceptor.touched:  # else the replica says so at the end of this event
                self.changed(name, now)

    def lock_told(self, name: str, candidate: Candidate) -> bytes:
        """What a handle of this candidate must open, as far as a Commit has told that; else nothing."""
        known = self._chosen.get(name)
        if known is not None and known.lease.candidate == candidate:
            return known.lock
        return self._hearsay.lock_told(name, candidate)

    def changed(self, name: str, now: float) -> None:
        """The acceptor's record or the chosen lease changed: tell who watches, and ask if need be."""
        record = self._acceptor.records.get(name)
        known = self._chosen.get(name)
        if record is None:
            self._inquiries.pop(name, None)
            self._lingering.drop(name)
            self._hearsay.forget(name)
            if self._chosen.pop(name, None) is not None and known is not None and not known.released:
                self.subscriptions.publish(name, now)  # what was told last does not hold any more
            self.subscriptions.forget(name)
            return
        lease = record.lease
        if lease is not None:
            self._hearsay.confirmed_by(record, now)
            known = self._chosen.get(name)
        elif known is not None and known.runs_out_with(record):
            # Held here once, and run out: this node's knowledge of the Commit is history (section 6).
            del self._chosen[name]
            known = None
        record.seen = lease.candidate if lease is not None else None
        if lease is None and known is not None and not known.released:
            self._lingering.note(name, known.lease, now)
            self._timers.add(self._lingering.due(name), self.ask_about_lingering, name)
        elif self._lingering.checks:
            self._lingering.drop(name)
        if lease is None:
            self._inquiries.pop(name, None)
        elif known is None or not known.covers(lease.candidate, record.lease_term):
            self._inquire_later(name, lease.candidate, record.lease_term, now)
        self.subscriptions.publish(name, now)

    def view(self, name: str, now: float, request: int = 0) -> View:
        """What this node knows of the name."""
        record = self._acceptor.records.get(name)
        known = self._chosen.get(name)
        if record is None:
            return self._without_lease(name, self._acceptor.floor, None, request)
        lease = record.lease
        if lease is not None and known is not None and known.ends(lease.candidate, record.lease_term):
            return View(request, name, known.term, known.told, known.term, False, True, known.released, 0)
        if lease is not None and self._hearsay.outranks(name, lease.candidate, record.lease_term):
            return View(request, name, record.term, None, 0, True, False, False, 0)
        if lease is not None:
            lease_term, chosen = record.lease_term, False
            if known is not None and known.lease.candidate == lease.candidate:
                if known.token:
                    lease = lease.with_token(known.token)
                # It may have been chosen in a higher term than it is held in here. Held in a higher one,
                # perhaps by a late standing Prepare, it is not known to be chosen there without the token.
                chosen = known.term >= lease_term or bool(lease.token)
                lease_term = max(lease_term, known.term)
            left = max(0, int((record.deadline - now) * 1000.0))
            return View(request, name, record.term, lease, lease_term, True, chosen, False, left)
        # A term that is promised is not closed: only closed terms speak against a tenure (section 6).
        term = record.term if record.owner is None else record.term - 1
        return self._without_lease(name, term, known, request)

    def _without_lease(self, name: str, term: int, known: Chosen | None, request: int) -> View:
        """The view where none is held: the lease known to be chosen, else the one of a claim, else none."""
        heard = self._hearsay.named(name)
        if known is not None:
            term = max(term, known.term)
            return View(request, name, term, known.told, known.term, False, True, known.released, 0)
        if heard is not None:
            return View(request, name, term, heard[0], heard[1], False, False, False, 0)
        return View(request, name, term, None, 0, False, False, False, 0)

    # A value that was chosen without anybody's knowledge

    def _inquire_later(self, name: str, candidate: Candidate, term: int, now: float) -> None:
        """Queue a lease that is not known to be chosen. Nearly always a Commit or a Release comes before its
        turn, so that nothing but a place in a queue is spent on it.
        """
        inquiry = self._inquiries.get(name)
        if inquiry is None or inquiry.candidate != candidate:
            self._inquiries.pop(name, None)
            if not self._unheard:
                self._timers.add(now + self._first_wait, self.look_for_unheard)
            self._unheard.append((now + self._first_wait, name, candidate))
        elif inquiry.term != term:
            inquiry.term = term
            inquiry.views.clear()

    def look_for_unheard(self, now: float) -> None:
        """Inquire about leases accepted here whose Commit is overdue. They are checked in batches: most have
        been released by then, and a timer for each would wake a busy node in vain.
        """
        left = INQUIRIES_PER_TURN
        while left and self._unheard and self._unheard[0][0] <= now:
            _, name, candidate = self._unheard.popleft()
            record, known = self._acceptor.records.get(name), self._chosen.get(name)
            held = record is not None and record.holds(candidate)
            if not held or record is None or name in self._inquiries:
                continue
            if known is None or not known.covers(candidate, record.lease_term):
                left -= 1
                self._inquiries[name] = Inquiry(candidate, record.lease_term)
                self.inquire(name, now)
        if self._unheard:
            self._timers.add(max(self._unheard[0][0], now + INQUIRY_PAUSE_S), self.look_for_unheard)

    def inquire(self, name: str, now: float) -> None:
        """Ask the other nodes what they hold; repeated while the lease is held and no Commit comes. The
        candidate is told once more that its lease is held here: a holder answers that with its Commit.
        """
        inquiry = self._inquiries.get(name)
        if inquiry is None:
            return
        record = self._acceptor.records.get(name)
        if record is not None and record.lease is not None:
            candidate = record.lease.candidate
            told = Accepted(0, record.name, candidate, record.lease_term, record.seq)
            self.sends.append((candidate.session, told))
        for node in self._others:
            self.sends.append((node, Inquire(0, name)))
        self._judge_inquiry(name, inquiry, now)
        inquiry.wait = min(inquiry.wait * 2.0, INQUIRY_MAX_S)
        self._timers.add(now + inquiry.wait * self._rng.uniform(0.8, 1.2), self.inquire, name)

    def answered(self, node: str, view: View, now: float, lives: Lives = UNKNOWN) -> None:
        """Another node's view has come."""
        if node not in self._others:
            return
        record = self._acceptor.records.get(view.name)
        if self._hearsay.answered(node, view, record, now):
            self.subscriptions.publish(view.name, now)
        finding = self._lingering.answered(node, view, lives, self.lives, now)
        if finding is Finding.ASK_AGAIN:
            self.ask_about_lingering(view.name, now, hurried=True)
        elif finding is Finding.OVER:
            self._end(view.name, now)
        inquiry = self._inquiries.get(view.name)
        if inquiry is not None:
            inquiry.views[node] = view
            inquiry.lives[node] = lives
            self._judge_inquiry(view.name, inquiry, now)

    def _judge_inquiry(self, name: str, inquiry: Inquiry, now: float) -> None:
        record = self._acceptor.records.get(name)
        if record is None or record.lease is None:
            return
        lease = record.lease
        gone = outlived({**inquiry.lives, self._node_id: self.lives})
        same = [
            node
            for node, view in inquiry.views.items()
            if node not in gone
            and view.holds
            and view.lease is not None
            and view.lease.candidate == lease.candidate
            and view.lease_term == record.lease_term
        ]
        if len(same) + (self._node_id not in gone) < self._quorum:
            return
        commit = Commit(name, record.lease_term, lease, record.lock)
        for node in self._others:
            self.sends.append((node, commit))
        self.commit(commit, now)

    # What is known to be chosen and not held here

    def ask_about_lingering(self, name: str, now: float, *, hurried: bool = False) -> None:
        """Ask the other nodes whether the lease that is known to be chosen is still held, if that is due."""
        request = self._lingering.question(name, now, hurried)
        if request:
            self.sends.extend((node, Inquire(request, name)) for node in self._others)
        self._timers.add(self._lingering.due(name), self.ask_about_lingering, name)

    def _end(self, name: str, now: float) -> None:
        """No quorum can hold the lease that is known to be chosen, and none will again in its term."""
        record, known = self._acceptor.records.get(name), self._chosen.get(name)
        if record is None or known is None or not self._acceptor.close(record, known.term):
            return  # asked again later
        del self._chosen[name]
        self._hearsay.unname(name, known.lease.candidate)
        self._lingering.drop(name)
        self.subscriptions.publish(name, now)

    # Stopping and starting

    def save(self, saved: SnapshotName) -> SnapshotName:
        """Add what is chosen to a name of the snapshot."""
        known = self._chosen.get(saved.name)
        if known is None:
            return saved
        return attrs.evolve(
            saved,
            chosen=known.told,
            chosen_term=known.term,
            released=known.released,
            chosen_lock=known.lock,
        )

    def restore(self, saved: SnapshotName) -> None:
        lease, held = saved.chosen, saved.lease
        if lease is not None:
            token = lease.token
            if held is not None and held.is_but_for_token(lease):
                lease = held
            self._chosen[saved.name] = Chosen(
                lease, token, saved.chosen_term, saved.released, saved.chosen_lock
            )
