"""Bugs planted in stops, starts and what is on the disk (protocol.md section 7)."""

from __future__ import annotations

from tests.planted.figures import CALM, RESTARTS
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_RESTARTS"]

IN_RESTARTS: tuple[Mutation, ...] = (
    Mutation(
        "snapshot-used-twice",
        "S12: the next start leaves the clean mark, and takes any snapshot",
        (
            Edit("node.starts", "_restart", "clean=False", "clean=previous.clean"),
            Edit("node.starts", "_restart", "and snapshot.incarnation == previous.incarnation", ""),
        ),
        seed=6,
        changes={**RESTARTS, "clean_stops": 8.0},
    ),
    Mutation(
        "full-timers",
        "L8: a clean restart gives every lease its whole ttl again",
        (
            Edit(
                "node.acceptor",
                "Acceptor.restore",
                "as_of + saved.remaining_ms / 1000.0",
                "now + saved.lease.ttl",
            ),
        ),
        seed=5,
        changes={"clean_stops": 8.0, "hold_max": 0.5},
    ),
    Mutation(
        "no-sitting-out",
        "section 7: a node that lost its memory serves at once",
        (Edit("node.starts", "_restart", "sits_out = quarantine(ttl / 1000.0, drift)", "sits_out = 0.0"),),
        seed=13,
        changes=RESTARTS,
    ),
    Mutation(
        "floor-forgotten",
        "section 7: after an unclean stop terms begin anew",
        (
            Edit(
                "node.starts",
                "_restart",
                "Start(unclean, previous.ceiling, sits_out, None)",
                "Start(unclean, 0, sits_out, None)",
            ),
        ),
        seed=55,
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
                "if message.request == self.phase > ANNOUNCES:\n        if message.mode is NodeMode.SERVING:",
                "if True:\n        if True:",
            ),
            Edit("node.joining", "Joining.asks", "self._answers.clear()", "pass"),
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
                "self._timers.run(now)",
                'vars(self).pop("_taken", None)\n    self._taken = self.stop(now)\n    self._timers.run(now)',
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
        "::test_a_clean_stop_keeps_terms_numbers_tombstones_and_what_is_chosen",
    ),
    Mutation(
        "sits-out-without-the-drift",
        "section 7: a node that lost its memory sits out the bare ttl",
        (Edit("node.starts", "_restart", "quarantine(ttl / 1000.0, drift)", "ttl / 1000.0"),),
        test="tests/paper/test_section_7_restarts.py"
        "::test_after_an_unclean_stop_the_node_sits_out_and_starts_above_its_old_ceiling",
    ),
    Mutation(
        "serves-before-durable",
        "S7: a node that joins serves before its floor is durable",
        (Edit("node.recovery", "Recovery.advance", "self.saved.membership is", "self.record.membership is"),),
        seed=5,
        changes={"disk_losses": 6.0, "persist_max": 0.1},
    ),
)
