"""Bugs planted in how a node starts by itself, without a memory (protocol.md section 7)."""

from __future__ import annotations

from typing import Any

from tests.planted.figures import CALM
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_STARTS"]

START_TESTS = "tests/paper/test_section_7_starts.py"

#: Disks are lost all the time, leases are short, and clocks are up to max_ttl apart.
WIPES: dict[str, Any] = {
    **CALM, "auto": True, "left_out": 0, "wipes": 0.35, "disk_losses": 0.2, "crashes": 0.2, "max_ttl_ms": 250,
    "ttl_min_ms": 200, "faulty_for": 9.0, "away_max": 0.05, "hold_max": 0.3, "hold_for_ever": 0.3,
    "once": 0.0, "limited": 0.0, "client_crashes": 4.0, "ceiling_step": 4,
}  # fmt: skip


IN_STARTS: tuple[Mutation, ...] = (
    Mutation(
        "blank-and-no-sitting-out",
        "section 7: a node that starts by itself does not sit out",
        (
            Edit("node.joining", "Joining._end", "end = noted_at + max(", "end = noted_at + 0.0 * max("),
            Edit("node.joining", "Joining._end", "max(end, min(whole, told.until))", "end"),
        ),
        seed=7,
        changes=WIPES,
    ),
    Mutation(
        "blank-is-a-memory",
        "section 7: a start that was interrupted counts as one with a memory",
        (
            Edit(
                "node.starts",
                "_restart",
                "if previous.membership is Membership.BLANK:",
                "if False:",
            ),
        ),
        test=f"{START_TESTS}::test_until_it_is_a_member_every_start_begins_anew",
    ),
    Mutation(
        "begins-by-answers-of-before",
        "section 7: what was answered before the end of sitting out counts where a cell begins by the clock",
        (
            Edit(
                "node.joining",
                "Joining.heard",
                "if message.request == self.phase > ANNOUNCES:",
                "if True:",
            ),
            Edit("node.joining", "Joining.asks", "self._answers.clear()", "pass"),
        ),
        test=f"{START_TESTS}::test_it_begins_by_the_clock_only_once_every_other_has_answered",
    ),
    Mutation(
        "one-ceiling-is-enough",
        "S7: the ceiling of one other that serves is enough",
        (
            Edit(
                "node.recovery",
                "Recovery._floor_by",
                "if ceilings and enough:",
                "if ceilings:",
            ),
        ),
        test=f"{START_TESTS}::test_s7_a_lost_disk_is_found_out_by_the_others",
    ),
    Mutation(
        "begins-without-the-clock",
        "section 7: where nobody has a memory terms begin anew",
        (
            Edit(
                "node.recovery",
                "Recovery._floor_by",
                "return max([by_clock, *heard])",
                "return max([0, *heard])",
            ),
        ),
        changes=WIPES,
    ),
    Mutation(
        "begins-without-the-ceilings",
        "section 7: by the clock, a node that serves is not above its ceiling",
        (
            Edit(
                "node.recovery",
                "Recovery._floor_by",
                "return max([by_clock, *heard])",
                "return by_clock",
            ),
        ),
        test=f"{START_TESTS}::test_with_two_disks_lost_the_floor_is_above_the_ceiling_that_is_left",
    ),
    Mutation(
        "clock-read-at-the-start",
        "section 7: the clock is read when the node starts, not when it begins to serve",
        (
            Edit(
                "node.recovery",
                "Recovery._floor_by",
                "int(max(0.0, now + self.wall_offset)",
                "int(max(0.0, self.started_at + self.wall_offset)",
            ),
        ),
        test=f"{START_TESTS}::test_the_first_nodes_of_a_cell_sit_out_and_begin_by_the_clock",
    ),
    Mutation(
        "not-everybody-has-answered",
        "section 7: a node begins by the clock though one that may remember has not answered",
        (
            Edit(
                "node.joining",
                "Joining.nobody_else_remembers",
                "len(self.answered()) < self._awaited",
                "len(self.answered()) < self.needed - 1",
            ),
        ),
        test=f"{START_TESTS}::test_it_begins_by_the_clock_only_once_every_other_has_answered",
    ),
    Mutation(
        "noters-waived",
        "S15: told by-clock, fewer than N - quorum + 1 others that have noted this life will do",
        (
            Edit(
                "node.joining",
                "Joining._awaited",
                "max(self.needed, len(self._met))",
                "max(1, len(self._met))",
            ),
        ),
        test=f"{START_TESTS}::test_s15_n_minus_quorum_plus_one_others_must_answer_all_the_same",
    ),
    Mutation(
        "waived-though-it-is-there",
        "section 7: told by-clock, a node does not wait for one that has been heard of",
        (
            Edit(
                "node.joining",
                "Joining._awaited",
                "max(self.needed, len(self._met))",
                "self.needed",
            ),
        ),
        test=f"{START_TESTS}::test_who_greets_is_not_gone",
    ),
    Mutation(
        "waived-at-once",
        "section 7: told by-clock, a node that has sat out gives nobody the time to answer",
        (
            Edit(
                "node.joining",
                "Joining.nobody_else_remembers",
                "now >= self._asked_at + WAIVED_AFTER_S",
                "self.by_clock",
            ),
        ),
        test=f"{START_TESTS}::test_who_is_gone_for_good_is_waived_and_the_floor_is_above_the_clock_and_all_ceilings",
    ),
    Mutation(
        "waived-before-all-have-noted",
        "S15: told by-clock, the time counts from the first that has noted this life",
        (
            Edit(
                "node.joining",
                "Joining.noted",
                "self.all_noted_at = max((at",
                "self.all_noted_at = (min if self.by_clock else max)((at",
            ),
        ),
        test=f"{START_TESTS}::test_s15_the_time_counts_from_the_last_of_those_who_answer_in_the_end",
    ),
    Mutation(
        "waived-without-the-clock",
        "section 7: where members are waived the ceilings of those that are left are the floor",
        (
            Edit(
                "node.recovery",
                "Recovery._floor_by",
                "return max([by_clock, *heard])",
                "return max([0 if self.waived and heard else by_clock, *heard])",
            ),
        ),
        test=f"{START_TESTS}::test_by_the_clock_the_floor_is_above_it_where_the_ceilings_are_low",
    ),
    Mutation(
        "waived-by-a-clock-that-was-never-set",
        "section 7: told by-clock, a clock that shows a time before the cell was made will do",
        (
            Edit(
                "node.recovery",
                "Recovery._floor_by",
                "and self.clock_is_set(now):",
                "and (joining.by_clock or self.clock_is_set(now)):",
            ),
        ),
        test=f"{START_TESTS}::test_a_clock_before_the_cell_was_made_waives_nobody",
    ),
    Mutation(
        "by-the-clock-before-it-is-durable",
        "section 7: a node serves by the clock before its floor and its ceiling are durable",
        (
            Edit(
                "node.recovery",
                "Recovery.advance",
                "if self.saved.membership is Membership.MEMBER and",
                "if self.record.membership is Membership.MEMBER and",
            ),
        ),
        test=f"{START_TESTS}::test_the_floor_by_the_clock_is_durable_before_it_serves",
    ),
    Mutation(
        "who-sits-out-counts-as-blank",
        "section 7: a node that has its memory, and sits out, counts among those without",
        (Edit("node.joining", "Joining.heard", "elif message.blank:", "else:"),),
        test=f"{START_TESTS}::test_a_node_that_sits_out_with_its_memory_is_waited_for",
    ),
    Mutation(
        "by-the-clock-before-all-have-noted",
        "S15: where a cell begins by the clock the time counts from when enough others have noted this life",
        (
            Edit(
                "node.joining",
                "Joining.noted",
                "max((at for _, at in self._noted_by.values()), default=self.noted_at)",
                "min(self.noted_at, max((at for _, at in self._noted_by.values()), default=self.noted_at))",
            ),
        ),
        test=f"{START_TESTS}::test_s15_by_the_clock_the_time_counts_from_the_last_that_has_noted_it",
    ),
    Mutation(
        "noted-by-a-life-that-is-over",
        "S15: where a cell begins by the clock, who has lost its memory since has noted this life",
        (
            Edit(
                "node.joining",
                "Joining.heard",
                "if message.incarnation > incarnation:",
                "if node not in self._noted_by:",
            ),
        ),
        test=f"{START_TESTS}::test_s15_by_the_clock_who_has_lost_its_memory_meanwhile_has_to_note_it_again",
    ),
    Mutation(
        "by-a-clock-that-was-never-set",
        "section 7: a clock that shows a time before the cell was made will do",
        (
            Edit(
                "node.recovery",
                "Recovery.clock_is_set",
                "return now + self.wall_offset >= max(self.created, CLOCK_SET_S)",
                "return True",
            ),
        ),
        test=f"{START_TESTS}::test_a_clock_before_the_cell_was_made_does_not_do",
    ),
)
