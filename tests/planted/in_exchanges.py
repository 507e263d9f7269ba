"""Bugs planted in what is sent more than once over lossy paths (protocol.md section 5)."""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_EXCHANGES"]

EXCHANGES = "tests/unit/test_exchanges.py"

IN_EXCHANGES: tuple[Mutation, ...] = (
    Mutation(
        "copies-with-later-numbers",
        "S4: a copy carries the number that a later sending gets: what it arms counts from that one",
        (
            Edit(
                "session.exchanges",
                "Exchanges._again",
                "self._out.send(node, copied.message)",
                "self._out.send(node, attrs.evolve(copied.message, seq=copied.message.seq + 1)"
                " if isinstance(copied.message, Renew | Accept) else copied.message)",
            ),
        ),
        test="tests/paper/test_section_5_lossy_paths.py"
        "::test_s4_what_a_copy_arms_counts_from_the_first_sending",
    ),
    Mutation(
        "copied-behind-the-release",
        "S2: what an attempt has asked for is copied after its Release",
        (
            Edit(
                "session.exchanges", "Exchanges.over", "if attempt in _attempts(copied.message):", "if False:"
            ),
        ),
        test=f"{EXCHANGES}::test_an_attempt_that_is_over_is_copied_no_more_but_its_release",
    ),
    Mutation(
        "silence-taken-for-loss",
        "section 5: a node that was down counts as lossy, and everything is sent to it three times",
        (
            Edit(
                "session.exchanges",
                "_Path.answered",
                "overdue and len(overdue) <= SILENT_SENDINGS",
                "overdue",
            ),
        ),
        test=f"{EXCHANGES}::test_a_node_that_was_silent_is_not_lossy",
    ),
    Mutation(
        "copies-to-the-dead",
        "section 5: a node that has died on a lossy path gets copies for ever",
        (
            Edit(
                "session.exchanges",
                "_Path.copies",
                "0 if self.silent else self._copies",
                "self._copies",
            ),
        ),
        test=f"{EXCHANGES}::test_a_node_that_does_not_answer_any_more_gets_no_copies_for_ever",
    ),
    Mutation(
        "luck-with-one-path",
        "section 5: a path with which a few exchanges had luck gets no copies where all others lose much",
        (
            Edit(
                "session.exchanges",
                "_Path._judge",
                "self.judged / (self.judged + JUDGED_ELSEWHERE)",
                "min(1.0, self.judged / JUDGED_ELSEWHERE)",
            ),
        ),
        test=f"{EXCHANGES}::test_a_few_exchanges_may_have_had_luck",
    ),
    Mutation(
        "phase-2-slows-down",
        "section 5: the intervals between Accepts grow where datagrams are lost",
        (
            Edit(
                "session.attempt",
                "Attempt.repeat",
                "if not self.shared.exchanges.lossy(unanswered):",
                "if True:",
            ),
        ),
        test="tests/paper/test_section_5_lossy_paths.py"
        "::test_phase_2_keeps_its_pace_where_much_is_lost[True]",
    ),
    Mutation(
        "late-taken-for-lost",
        "section 5: an answer that was overtaken counts as lost",
        (Edit("session.exchanges", "_Path.answered", "if slow is not None:", "if False:"),),
        test=f"{EXCHANGES}::test_an_answer_that_was_overtaken_is_late_and_not_lost",
    ),
    Mutation(
        "a-flood-copied",
        "section 5: whatever is asked at one time is copied: losses by a flood bring a greater one",
        (
            Edit(
                "session.exchanges",
                "Exchanges.send",
                "path.copies and len(self._copied) < COPIED_MAX",
                "path.copies",
            ),
        ),
        test=f"{EXCHANGES}::test_of_a_flood_only_so_much_is_copied",
    ),
    Mutation(
        "copies-of-long-ago",
        "section 5: a process that has stood still sends the copies that were due meanwhile",
        (Edit("session.exchanges", "Exchanges._again", "if now > copied.due + copied.usual:", "if False:"),),
        test=f"{EXCHANGES}::test_a_copy_is_sent_at_its_time_or_never",
    ),
)
