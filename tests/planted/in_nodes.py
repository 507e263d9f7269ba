"""Bugs planted in what a node does: its acceptor and its line (protocol.md sections 2 and 5)."""

from __future__ import annotations

from tests.planted.figures import CALM, LEAVERS, ROLLING, STANDING
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_NODES"]

IN_NODES: tuple[Mutation, ...] = (
    Mutation(
        "promises-while-held",
        "the one rule on which exclusion rests, in phase 1",
        (
            Edit(
                "node.acceptor",
                "Acceptor.prepare",
                "if record.excludes(candidate):",
                "if False:",
            ),
            Edit(
                "node.acceptor",
                "Acceptor.prepare",
                "if record.owner is not None and record.owner != candidate:",
                "if False:",
            ),
        ),
    ),
    Mutation(
        "accepts-while-held",
        "the one rule on which exclusion rests, in phase 2",
        (
            Edit(
                "node.acceptor",
                "Acceptor.accept",
                "if record.excludes(candidate):",
                "if record.excludes(candidate) and term <= record.term:",
            ),
        ),
        seed=7,
        changes=LEAVERS,
    ),
    Mutation(
        "excludes-nobody-of-another-session",
        "the one rule on which exclusion rests: a lease excludes only later attempts of its own session",
        (
            Edit(
                "node.record",
                "Record.excludes",
                "self.lease.candidate != candidate",
                "self.lease.candidate.session == candidate.session and not self.holds(candidate)",
            ),
        ),
    ),
    Mutation(
        "release-of-another",
        "S1: a Release ends whatever is held",
        (
            Edit(
                "node.acceptor",
                "Acceptor.release",
                "mine = record.holds(candidate) or (record.owner == candidate and record.lease is None)",
                "mine = True",
            ),
        ),
        seed=1,
    ),
    Mutation(
        "re-armed-by-an-old-number",
        "S5: a repeated or late Renew moves the deadline",
        (
            Edit(
                "node.acceptor",
                "Acceptor.renew",
                "if record.sender != sender or record.seq < seq:",
                "if True:",
            ),
        ),
        seed=7,
        changes={"repeated": 0.3, "late": 0.2, "hold_max": 0.5},
    ),
    Mutation(
        "number-lowered",
        "S5: an Accept of a higher term with an older number lowers the stored one",
        (
            Edit(
                "node.acceptor",
                "Acceptor._hold",
                "max(record.seq, seq) if same_sender else seq",
                "seq",
            ),
        ),
        seed=3,
        changes={**ROLLING, "reordered": 0.5, "repeated": 0.3, "late": 0.3, "late_max": 0.1},
    ),
    Mutation(
        "listed-without-re-arming",
        "S5: a Renewed lists a lease that this number has not re-armed",
        (
            Edit(
                "node.acceptor",
                "Acceptor.renew",
                "record.deadline = deadline",
                "pass",
            ),
        ),
        seed=6,
        changes={"hold_max": 0.5, "hold_for_ever": 0.2, "clients": 4},
    ),
    Mutation(
        "commit-taken-for-accept",
        "S13: a Commit makes an acceptor hold",
        (
            Edit(
                "node.replica",
                "Replica._from_session",
                "learner.told(message, now)",
                "record, accept = acceptor._record(message.name, now), Accept(0, message.name, message.term, "
                "message.lease, 0, 0); acceptor._hold(record, accept, message.term, now, 0.01, now, now)",
            ),
        ),
        seed=1,
        changes={"repeated": 0.2, "late": 0.2},
    ),
    Mutation(
        "no-tombstone",
        "L1: what was released can be taken up again by a late datagram",
        (Edit("node.forgetting", "Sweeper.set_tombstone", "max(attempt, number)", "0"),),
        changes=LEAVERS,
    ),
    Mutation(
        "grace-renewed",
        "L6: repetition renews the grace",
        (
            Edit(
                "node.acceptor",
                "Acceptor.prepare",
                "        if standing is None:\n            return",
                "        if standing is None:\n            record.owner_since = now\n            return",
            ),
        ),
        seed=7,
        changes={"loss": 0.3, "repeated": 0.2},
    ),
    Mutation(
        "term-left-open",
        "expiry: a lease that runs out leaves its term to its owner",
        (
            Edit(
                "node.acceptor",
                "Acceptor.run_out",
                "self._close(record, now, Happening.EXPIRED)  # whoever",
                "record.lease = self.held.pop(record.lease.candidate) and None; "
                "record.owner_since = now  # whoever",
            ),
        ),
        seed=2,
        changes={"hold_for_ever": 0.3, "client_crashes": 6.0},
    ),
    Mutation(
        "newer-number-echoed",
        "section 5: a standing accept is answered with a newer number than it was taken with",
        (
            Edit(
                "node.acceptor",
                "Acceptor.prepare",
                "record.lease_term, record.seq)",
                "record.lease_term, standing.seq)",
            ),
        ),
        changes=STANDING,
    ),
    Mutation(
        "counted-from-the-arrival",
        "section 5: a standing accept runs out a ttl after the wait began, not after the refresh",
        (
            Edit(
                "node.acceptor",
                "Acceptor._advance",
                "head.window, head.received_at, now)",
                "head.window, head.arrival, now)",
            ),
        ),
        changes=STANDING,
    ),
    Mutation(
        "far-places-lapse",
        "section 5, the line: a place lapses before three of the refreshes that were stated",
        (Edit("node.line", "lapses_after", "min(refresh, REFRESH_MAX_S)", "min(refresh, 0.5)"),),
        test="tests/paper/test_section_5_line.py::test_who_is_far_back_keeps_its_place",
    ),
    Mutation(
        "near-waiters-come-together",
        "section 5, the line: near waiters that follow each other closely have their turns by chance",
        (
            Edit(
                "node.line",
                "_together",
                "min(TOGETHER_WINDOWS * window, max(0.0, window - NEAR_WINDOW_S))",
                "TOGETHER_WINDOWS * window",
            ),
        ),
        test="tests/simulation/test_fair_turns.py",
    ),
    Mutation(
        "old-refresh-accepted",
        "section 5: a standing accept by a refresh that is older than a quarter of the ttl",
        (
            Edit(
                "node.acceptor",
                "Acceptor._advance",
                "now - head.received_at <= standing.ttl / STANDING_DIVISOR",
                "True",
            ),
        ),
        seed=17,
        changes=STANDING,
    ),
    Mutation(
        "left-standing-in-line",
        "L1: a Release leaves the candidate, with its lease, in the line",
        (
            Edit(
                "node.acceptor",
                "Acceptor.release",
                "record.line.remove(candidate)",
                "pass",
            ),
            Edit(
                "node.acceptor",
                "Acceptor._advance",
                "while head is not None and",
                "while False and head is not None and",
            ),
        ),
        changes=LEAVERS,
    ),
    Mutation(
        "deadline-moved-back",
        "S6: an Accept of the same candidate takes the deadline back",
        (
            Edit(
                "node.acceptor",
                "Acceptor._hold",
                "max(record.deadline, deadline) if renewed else deadline",
                "deadline",
            ),
        ),
        test="tests/paper/test_section_2_acceptor.py::test_s6_the_deadline_never_moves_back_for_the_same_candidate",
    ),
    Mutation(
        "promise-without-end",
        "L6: a promise that lapses is not closed",
        (
            Edit(
                "node.acceptor",
                "Acceptor.run_out",
                "self._close(record, now, Happening.EXPIRED)  # the candidate is passed over (L6)",
                "record.owner_since = now",
            ),
        ),
    ),
    Mutation(
        "clock-of-the-last-event",
        "section 2: a datagram is judged by the time of the one before",
        (
            Edit(
                "node.replica",
                "Replica.receive",
                "if self._timers.pending(now):",
                'now, self._read = getattr(self, "_read", now), now\n    if self._timers.pending(now):',
            ),
        ),
        changes={"hold_max": 0.5},
    ),
    Mutation(
        "tombstones-swept-together",
        "L1: tombstones are forgotten with the oldest of the name",
        (Edit("node.record", "Record.drop_expired", "if until > now:", "if False:"),),
        seed=2,
        changes={
            **CALM,
            **LEAVERS,
            "short_tombstones": True,
            "late_max": 0.3,
            "faulty_for": 3.0,
            "think": 0.05,
        },
    ),
    Mutation(
        "floor-not-raised",
        "section 7: a name is forgotten, and its terms with it",
        (Edit("node.acceptor", "Acceptor.sweep", "self.floor = max(self.floor, record.term)", "pass"),),
        seed=3,
        changes={
            "short_tombstones": True,
            "late": 0.0,
            "late_max": 0.01,
            "heavy_tail": 0.0,
            "away_max": 0.03,
            "max_ttl_ms": 250,
            "think": 0.3,
            "faulty_for": 2.0,
            "clients": 2,
            "names": 3,
            "hold_max": 0.01,
            "hold_for_ever": 0.0,
        },
    ),
    Mutation(
        "standing-re-arms",
        "section 5: a repeated standing Prepare re-arms the lease",
        (
            Edit(
                "node.acceptor",
                "Acceptor.prepare",
                "return Accepted(message.request, record.name, candidate, record.lease_term, record.seq)",
                "return self._take(record, standing, record.lease_term, now, now)",
            ),
        ),
        test="tests/paper/test_section_5_standing.py"
        "::test_s5_repeated_it_is_answered_again_and_re_arms_nothing",
    ),
)
