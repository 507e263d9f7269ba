"""Bugs planted in what a node does: its acceptor, its stops and starts (protocol.md sections 2, 5 and 7)."""

from __future__ import annotations

from tests.planted.figures import CALM, LEAVERS, RESTARTS, ROLLING, STANDING
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
                "record.deadline = now + ttl",
                "pass",
            ),
        ),
        seed=6,
        changes={"hold_max": 0.5, "hold_for_ever": 0.2, "clients": 4},
    ),
    Mutation(
        "snapshot-used-twice",
        "S12: the next start leaves the clean mark, and takes any snapshot",
        (
            Edit("node.recovery", "_restart", "clean=False", "clean=previous.clean"),
            Edit("node.recovery", "_restart", "and snapshot.incarnation == previous.incarnation", ""),
        ),
        seed=6,
        changes={**RESTARTS, "clean_stops": 8.0},
    ),
    Mutation(
        "commit-taken-for-accept",
        "S13: a Commit makes an acceptor hold",
        (
            Edit(
                "node.replica",
                "Replica._from_session",
                "learner.told(message, now)",
                "acceptor._hold(acceptor._record(message.name, now), message.lease, message.term, 0, now, "
                "0.01, now)",
            ),
        ),
        seed=1,
        changes={"repeated": 0.2, "late": 0.2},
    ),
    Mutation(
        "no-tombstone",
        "L1: what was released can be taken up again by a late datagram",
        (Edit("node.forgetting", "Sweeper.set_tombstone", "max(attempt, candidate.attempt)", "0"),),
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
        seed=5,
        changes={"loss": 0.3, "repeated": 0.2},
    ),
    Mutation(
        "full-timers",
        "L8: a clean restart gives every lease its whole ttl again",
        (
            Edit(
                "node.acceptor",
                "Acceptor.restore",
                "now + saved.remaining_ms / 1000.0",
                "now + saved.lease.ttl",
            ),
        ),
        seed=5,
        changes={"clean_stops": 8.0, "hold_max": 0.5},
    ),
    Mutation(
        "no-sitting-out",
        "section 7: a node that lost its memory serves at once",
        (Edit("node.recovery", "_restart", "sits_out = quarantine(ttl / 1000.0, drift)", "sits_out = 0.0"),),
        seed=13,
        changes=RESTARTS,
    ),
    Mutation(
        "floor-forgotten",
        "section 7: after an unclean stop terms begin anew",
        (
            Edit(
                "node.recovery",
                "_restart",
                "Start(record, previous.ceiling, sits_out, None)",
                "Start(record, 0, sits_out, None)",
            ),
        ),
        seed=48,
        changes={**RESTARTS, "max_ttl_ms": 250, "faulty_for": 1.0},
    ),
    Mutation(
        "ceiling-before-durable",
        "section 7: a higher ceiling is used before it is on disk",
        (Edit("node.acceptor", "Acceptor._below_ceiling", "return term <= self.ceiling", "return True"),),
        seed=4,
        changes={"ceiling_step": 4, "persist_max": 0.1},
    ),
    Mutation(
        "joins-too-early",
        "S7: ceilings are read before sitting out, or from members not in service",
        (
            Edit(
                "node.joining",
                "Joining.heard",
                "if message.request == self.phase > ANNOUNCES and message.mode is NodeMode.SERVING:",
                "if True:",
            ),
            Edit("node.joining", "Joining.asks", "self._ceilings.clear()", "pass"),
        ),
        changes={
            **CALM,
            "disk_losses": 6.0,
            "max_ttl_ms": 400,
            "ttl_min_ms": 200,
            "faulty_for": 1.0,
            "away_max": 0.03,
            "hold_max": 0.005,
            "hold_for_ever": 0.0,
            "ceiling_step": 4,
        },
    ),
    Mutation(
        "term-left-open",
        "expiry: a lease that runs out leaves its term to its owner",
        (
            Edit(
                "node.acceptor",
                "Acceptor.run_out",
                "self._close(record, now)  # whoever",
                "record.lease = self._held.pop(record.lease.candidate) and None; "
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
                "head.window, head.received_at)",
                "head.window, head.arrival)",
            ),
        ),
        changes=STANDING,
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
        seed=16,
        changes=STANDING,
    ),
    Mutation(
        "left-standing-in-line",
        "L1: a Release leaves the candidate, with its lease, in the line",
        (
            Edit(
                "node.acceptor",
                "Acceptor.release",
                "        record.line.remove(candidate)\n",
                "        pass\n",
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
                "self._close(record, now)  # the candidate is passed over (L6)",
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
                "self._run_out(now)",
                'now, self._read = getattr(self, "_read", now), now\n    self._run_out(now)',
            ),
        ),
        changes={"hold_max": 0.5},
    ),
    Mutation(
        "ceiling-when-asked-for",
        "section 7: a higher ceiling counts as soon as the disk is asked for it",
        (
            Edit(
                "node.replica",
                "Replica._settle",
                "recovery.raise_ceiling(acceptor.wanted_ceiling)",
                "recovery.raise_ceiling(acceptor.wanted_ceiling)\n"
                "        acceptor.raised(acceptor.wanted_ceiling, now)",
            ),
        ),
        changes={"ceiling_step": 4, "persist_max": 0.1},
    ),
    Mutation(
        "snapshot-before-the-last-answer",
        "section 7: a clean stop answers once more after its snapshot",
        (
            Edit(
                "node.replica",
                "Replica.receive",
                "self._run_out(now)",
                'vars(self).pop("_taken", None)\n    self._taken = self.stop(now)\n    self._run_out(now)',
            ),
            Edit(
                "node.replica",
                "Replica.stop",
                "return Snapshot(",
                'return vars(self).pop("_taken", None) or Snapshot(',
            ),
        ),
        changes={**RESTARTS, "crashes": 0.0, "clean_stops": 12.0, "hold_max": 0.1},
    ),
    Mutation(
        "tombstones-swept-together",
        "L1: tombstones are forgotten with the oldest of the name",
        (Edit("node.record", "Record.drop_expired", "if until > now:", "if False:"),),
        seed=1,
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
        "tombstones-not-saved",
        "L1: a clean restart forgets the tombstones",
        (
            Edit(
                "node.record",
                "Record.saved",
                "for s, (attempt, _) in sorted(stones.items())",
                "for s, (attempt, _) in ()",
            ),
        ),
        # The endpoint has a second guard: a new run drops what was sent to the last one.
        test="tests/paper/test_section_7_restarts.py"
        "::test_s7_a_clean_stop_keeps_terms_numbers_tombstones_and_what_is_chosen",
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
        "sits-out-without-the-drift",
        "section 7: a node that lost its memory sits out the bare ttl",
        (Edit("node.recovery", "_restart", "quarantine(ttl / 1000.0, drift)", "ttl / 1000.0"),),
        test="tests/paper/test_section_7_restarts.py"
        "::test_s7_after_an_unclean_stop_the_node_sits_out_and_starts_above_its_old_ceiling",
    ),
    Mutation(
        "serves-before-durable",
        "S7: a node that joins serves before its floor is durable",
        (Edit("node.recovery", "Recovery.advance", "self.saved.membership is", "self.record.membership is"),),
        seed=5,
        changes={"disk_losses": 6.0, "persist_max": 0.1},
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
    Mutation(
        "newer-event-dropped",
        "section 6: whoever has seen an older version of an event is not told the newer one again",
        (
            Edit(
                "node.subscriptions",
                "Subscription.seen",
                "if self.pending.get(name, version + 1) <= version:",
                "if name in self.pending:",
            ),
        ),
        # In a run the last states come after the heal, when no event is lost any more.
        test="tests/paper/test_section_6_learning.py"
        "::test_s6_an_acknowledgement_of_an_older_version_does_not_silence_a_newer_one",
    ),
    Mutation(
        "promised-taken-for-closed",
        "section 6: a node tells a term that it has only promised as one that it has closed",
        (
            Edit(
                "node.learner",
                "Learner.view",
                "record.term if record.owner is None else record.term - 1",
                "record.term",
            ),
        ),
        test="tests/paper/test_section_6_learning.py::test_s6_a_term_that_is_promised_is_not_closed",
    ),
)
