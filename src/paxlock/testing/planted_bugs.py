"""The table of planted bugs (protocol.md: every rule marked S or L deserves one that must be caught).

S6 is not here: what it forbids needs no cell to be shown, and the acceptor's own tests do.
"""

from __future__ import annotations

from typing import Any

from paxlock.core.durable import Durability
from paxlock.testing.mutations import Edit, Mutation

__all__ = ["PLANTED_BUGS"]

_CROWD: dict[str, Any] = {"nodes": 3, "clients": 5, "names": 1, "think": 0.02, "loss": 0.1, "late": 0.1}
_RESTARTS: dict[str, Any] = {
    "nodes": 3, "names": 1, "clients": 4, "think": 0.02, "crashes": 8.0, "clean_stops": 0.0,
    "away_max": 0.03, "hold_max": 0.5, "ceiling_step": 4, "persist_max": 0.004,
}  # fmt: skip
_CALM: dict[str, Any] = {
    "nodes": 3, "names": 1, "clients": 4, "think": 0.02, "loss": 0.0, "crashes": 0.0, "clean_stops": 0.0,
    "disk_losses": 0.0, "node_pauses": 0.0, "client_crashes": 0.0, "partitions": 0.0, "detached": 0.0,
    "cancelled": 0.0, "durability": Durability.RECORD,
}  # fmt: skip
_PAUSES: dict[str, Any] = {
    **_CALM, "client_pauses": 10.0, "away_max": 0.6, "hold_max": 0.5, "max_ttl_ms": 300,
    "drift_ppm": 100_000, "hold_for_ever": 0.5, "faulty_for": 1.0,
}  # fmt: skip
_CUT_OFF: dict[str, Any] = {
    **_CALM, "nodes": 5, "clients": 6, "wishes_max": 1, "once": 0.0, "limited": 0.0, "client_pauses": 0.0,
    "partitions": 3.0, "away_max": 0.6, "hold_for_ever": 0.8, "max_ttl_ms": 300, "ttl_min_ms": 250,
    "faulty_for": 1.5, "late": 0.25, "late_max": 0.3, "delay_max": 0.0008, "grace_ms": 10,
}  # fmt: skip
_SPLIT: dict[str, Any] = {
    **_CALM, "clients": 5, "loss": 0.4, "client_crashes": 8.0, "partitions": 8.0, "away_max": 0.2,
    "max_ttl_ms": 250, "faulty_for": 1.5, "ceiling_step": 1000,
}  # fmt: skip
_LEAVERS: dict[str, Any] = {"cancelled": 0.6, "late": 0.3, "repeated": 0.3, "names": 1, "late_max": 0.1}
_STANDING: dict[str, Any] = {
    "nodes": 3, "names": 1, "clients": 5, "once": 0.0, "loss": 0.2, "late": 0.2, "late_max": 0.2,
    "client_pauses": 5.0, "max_ttl_ms": 400, "ttls": 3, "faulty_for": 1.0, "drift_ppm": 10_000,
}  # fmt: skip

PLANTED_BUGS: tuple[Mutation, ...] = (
    Mutation(
        "promises-while-held",
        "the one rule on which exclusion rests, in phase 1",
        (
            Edit(
                "acceptor",
                "Acceptor.prepare",
                "if record.lease is not None and not record.holds(candidate):",
                "if False:",
            ),
            Edit(
                "acceptor",
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
                "acceptor",
                "Acceptor.accept",
                "if record.lease is not None and not record.holds(candidate):",
                "if record.lease is not None and not record.holds(candidate) and term <= record.term:",
            ),
        ),
        seed=6,
        changes=_LEAVERS,
    ),
    Mutation(
        "release-of-another",
        "S1: a Release ends whatever is held",
        (
            Edit(
                "acceptor",
                "Acceptor.release",
                "mine = record.holds(candidate) or (record.owner == candidate and record.lease is None)",
                "mine = True",
            ),
        ),
        seed=1,
    ),
    Mutation(
        "released-while-valid",
        "S2: a holder sends Release to a node that does not hold its lease, and stays valid",
        (
            Edit(
                "contender",
                "Contender.renewed",
                "self._send_accepts(attempt, [node], now)",
                "self._out.send(node, Release(0, tenure.name, tenure.candidate, tenure.term))",
            ),
        ),
        seed=8,
        changes=_RESTARTS,
    ),
    Mutation(
        "goes-on-after-release",
        "S2: a candidate that gives way goes on under the same identity",
        (
            Edit(
                "contender",
                "Contender._give_way",
                "self._end(attempt, now)\n"
                "    self._new_attempt(self._names[wish.name], wish, now, after=attempt)\n"
                "    return True",
                "for node in self._nodes:\n"
                "        self._out.send(node, Release(0, wish.name, attempt.candidate, attempt.last_term))\n"
                "    return False",
            ),
        ),
        changes=_CROWD,
    ),
    Mutation(
        "mixed-terms",
        "S3: acceptances of different terms are counted together before the first validity",
        (
            Edit("proposer", "Proposer.took", "took.term == term and took.sent_at", "took.sent_at"),
            Edit("contender", "Contender._chosen", "if took.term == proposer.term", "if True"),
        ),
        changes=_SPLIT,
    ),
    Mutation(
        "counted-from-the-last-sending",
        "S4: an old number counts from the newest sending",
        (
            Edit(
                "lease_manager",
                "Numbers.sent_at",
                'return self._sent.get(number, float("-inf"))',
                "return self._order[-1][0]",
            ),
        ),
        seed=29,
        changes=_CUT_OFF,
    ),
    Mutation(
        "counted-from-the-answer",
        "S4: an acknowledgement counts from the moment of its arrival",
        (
            Edit(
                "lease_manager",
                "LeaseManager.renewed",
                "sent_at = self._numbers.sent_at(message.seq)",
                "sent_at = now",
            ),
            Edit(
                "contender",
                "Contender.accepted",
                "sent_at = self._numbers.sent_at(message.seq)",
                "sent_at = now",
            ),
        ),
        seed=5,
        changes=_CUT_OFF,
    ),
    Mutation(
        "re-armed-by-an-old-number",
        "S5: a repeated or late Renew moves the deadline",
        (
            Edit(
                "acceptor",
                "Acceptor.renew",
                "if record.sender != sender or record.seq < message.seq:",
                "if True:",
            ),
        ),
        seed=3,
        changes={"repeated": 0.3, "late": 0.2, "hold_max": 0.5},
    ),
    Mutation(
        "listed-without-re-arming",
        "S5: a Renewed lists a lease that this number has not re-armed",
        (
            Edit(
                "acceptor",
                "Acceptor.renew",
                "record.deadline = max(record.deadline, now + record.lease.ttl)",
                "pass",
            ),
        ),
        seed=6,
        changes={"hold_max": 0.5, "hold_for_ever": 0.2, "clients": 4},
    ),
    Mutation(
        "messages-counted",
        "S10: every message is a vote",
        (
            Edit(
                "proposer",
                "Proposer.took",
                "self.taken[node] = Taken(term, sent_at)",
                'self.taken[f"{node} {len(self.taken)}"] = Taken(term, sent_at)',
            ),
        ),
        seed=1,
        changes={"repeated": 0.3, "clients": 4, "loss": 0.2},
    ),
    Mutation(
        "snapshot-used-twice",
        "S12: the next start leaves the clean mark, and takes any snapshot",
        (
            Edit("recovery", "_restart", "clean=False", "clean=previous.clean"),
            Edit("recovery", "_restart", "and snapshot.incarnation == previous.incarnation", ""),
        ),
        seed=6,
        changes={**_RESTARTS, "clean_stops": 8.0},
    ),
    Mutation(
        "commit-taken-for-accept",
        "S13: a Commit makes an acceptor hold",
        (
            Edit(
                "replica",
                "Replica._from_session",
                "learner.commit(message, now)",
                "acceptor._hold(acceptor._record(message.name, now), message.lease, message.term, 0, now, "
                "now)",
            ),
        ),
        seed=1,
        changes={"repeated": 0.2, "late": 0.2},
    ),
    Mutation(
        "quorum-of-an-address-list",
        "S14: a client counts a majority of the addresses that it was given",
        (
            Edit(
                "session",
                "SessionSettings.nodes",
                "for member in self.members",
                "for member in self.members[int(self.label[-1]) % len(self.members) :][:1]",
            ),
        ),
    ),
    Mutation(
        "no-tombstone",
        "L1: what was released can be taken up again by a late datagram",
        (Edit("acceptor", "Acceptor._bury", "max(attempt, candidate.attempt)", "0"),),
        changes=_LEAVERS,
    ),
    Mutation(
        "no-withdrawal",
        "L2: nobody gives way where votes are split",
        (Edit("proposer", "Proposer.must_withdraw", "if not self.occupies:", "if True:"),),
        seed=2,
        changes={
            **_CALM,
            "clients": 6,
            "think": 0.005,
            "wishes_max": 3,
            "once": 0.0,
            "limited": 0.0,
            "late": 0.0,
            "hold_for_ever": 0.0,
            "hold_max": 0.01,
            "max_ttl_ms": 1000,
            "ttl_min_ms": 800,
            "delay_max": 0.002,
            "grace_ms": 16,
            "faulty_for": 0.2,
            "handoff_max": 0.5,
        },
    ),
    Mutation(
        "grace-renewed",
        "L6: repetition renews the grace",
        (
            Edit(
                "acceptor",
                "Acceptor.prepare",
                "        if standing is None:\n            return",
                "        if standing is None:\n            record.owner_since = now\n            return",
            ),
        ),
        seed=3,
        changes={"loss": 0.3, "repeated": 0.2},
    ),
    Mutation(
        "full-timers",
        "L8: a clean restart gives every lease its whole ttl again",
        (Edit("acceptor", "Acceptor.restore", "now + saved.remaining_ms / 1000.0", "now + saved.lease.ttl"),),
        seed=3,
        changes={"clean_stops": 8.0, "hold_max": 0.5},
    ),
    Mutation(
        "no-sitting-out",
        "section 7: a node that lost its memory serves at once",
        (Edit("recovery", "_restart", "sits_out = quarantine(ttl / 1000.0, drift)", "sits_out = 0.0"),),
        seed=12,
        changes=_RESTARTS,
    ),
    Mutation(
        "floor-forgotten",
        "section 7: after an unclean stop terms begin anew",
        (
            Edit(
                "recovery",
                "_restart",
                "Start(record, previous.ceiling, sits_out, None)",
                "Start(record, 0, sits_out, None)",
            ),
        ),
        seed=39,
        changes={**_RESTARTS, "max_ttl_ms": 250, "faulty_for": 1.0},
    ),
    Mutation(
        "ceiling-before-durable",
        "section 7: a higher ceiling is used before it is on disk",
        (Edit("acceptor", "Acceptor._below_ceiling", "return term <= self.ceiling", "return True"),),
        seed=1,
        changes={"ceiling_step": 4, "persist_max": 0.1},
    ),
    Mutation(
        "joins-too-early",
        "S7: ceilings are read before sitting out, or from members not in service",
        (
            Edit(
                "recovery",
                "Recovery.answered",
                "late = message.request == AFTER_SITTING_OUT and message.mode is NodeMode.SERVING",
                "late = True",
            ),
        ),
        changes={
            **_CALM,
            "disk_losses": 6.0,
            "max_ttl_ms": 400,
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
                "acceptor",
                "Acceptor.run_out",
                "self._close(record, now)  # whoever",
                "record.lease = self._held.pop(record.lease.candidate) and None; "
                "record.owner_since = now  # whoever",
            ),
        ),
        seed=1,
        changes={"hold_for_ever": 0.3, "client_crashes": 6.0},
    ),
    Mutation(
        "revived",
        "section 3: a lease that has lapsed is revived by a late answer",
        (
            Edit("lease_manager", "LeaseManager.lapse", "return tenure\n", "return None\n"),
            Edit(
                "lease_manager",
                "LeaseManager.renewed",
                "tenure is None or tenure.lapsed(now)",
                "tenure is None",
            ),
        ),
        seed=77,
        changes={**_PAUSES, "drift_ppm": 10_000},
    ),
    Mutation(
        "drift-left-out",
        "section 3: the holder counts on the whole ttl, whatever the clocks",
        (
            Edit(
                "lease",
                "Timing.for_ttl",
                "span = ttl * (1.0 - drift) / (1.0 + drift)",
                "span = ttl",
            ),
        ),
        seed=20,
        changes=_PAUSES,
    ),
    Mutation(
        "newer-number-echoed",
        "section 5: a standing accept is answered with a newer number than it was taken with",
        (
            Edit(
                "acceptor",
                "Acceptor.prepare",
                "record.lease_term, record.seq)",
                "record.lease_term, standing.seq)",
            ),
        ),
        changes=_STANDING,
    ),
    Mutation(
        "counted-from-the-arrival",
        "section 5: a standing accept runs out a ttl after the wait began, not after the refresh",
        (
            Edit(
                "acceptor",
                "Acceptor._advance",
                "head.arrival, head.received_at)",
                "head.arrival, head.arrival)",
            ),
        ),
        changes=_STANDING,
    ),
    Mutation(
        "old-refresh-accepted",
        "section 5: a standing accept by a refresh that is older than a quarter of the ttl",
        (
            Edit(
                "acceptor",
                "Acceptor._advance",
                "now - head.received_at <= standing.ttl / STANDING_DIVISOR",
                "True",
            ),
        ),
        changes=_STANDING,
    ),
    Mutation(
        "left-standing-in-line",
        "L1: a Release leaves the candidate, with its lease, in the line",
        (
            Edit(
                "acceptor",
                "Acceptor.release",
                "        record.line.remove(candidate)\n",
                "        pass\n",
            ),
            Edit(
                "acceptor",
                "Acceptor._advance",
                "while head is not None and",
                "while False and head is not None and",
            ),
        ),
        changes=_LEAVERS,
    ),
    Mutation(
        "one-node-says-free",
        "section 6: a watcher takes one node's word for the end of a tenure",
        (Edit("watcher", "over", "return len(gone) >= blocking(nodes)", "return len(gone) >= 1"),),
        seed=446,
        changes={"watchers": 2, "nodes": 3, "crashes": 6.0, "hold_max": 0.5},
    ),
)
