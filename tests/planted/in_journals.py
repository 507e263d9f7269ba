"""Bugs planted in what nodes remember of names, and in what is made of it (protocol.md section 6)."""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_JOURNALS"]

JOURNAL = "tests/unit/test_journal.py::"
RECALL = "tests/unit/test_recalls.py::"
AUDIT = "tests/unit/test_auditing.py::"

IN_JOURNALS: tuple[Mutation, ...] = (
    Mutation(
        "journal-without-expiry",
        "section 6: a lease that runs out is told as released",
        (
            Edit(
                "node.acceptor",
                "Acceptor.run_out",
                "self._close(record, now, Happening.EXPIRED)  # whoever",
                "self._close(record, now)  # whoever",
            ),
        ),
        test=JOURNAL + "test_a_lease_that_is_renewed_and_runs_out",
    ),
    Mutation(
        "journal-that-claims-to-be-whole",
        "section 6: a journal that has forgotten entries does not say so",
        (
            Edit(
                "node.journal",
                "Journal._bound",
                "written.whole_from = max(written.whole_from, newest)",
                "pass",
            ),
        ),
        test=JOURNAL + "test_it_is_bounded_for_a_name_and_says_how_far_back_it_is_whole",
    ),
    Mutation(
        "journal-with-a-gap",
        "section 6: entries between two pages that were read are gone, and the asker does not mind",
        (Edit("session.recalls", "_Read.drop_unless_whole", "self.entries.clear()", "pass"),),
        test=RECALL + "test_entries_that_are_forgotten_between_two_pages_make_no_overlap",
    ),
    Mutation(
        "audit-that-believes-expiry",
        "section 6: the audit takes a node's word that a lease ran out, not its promise to hold it",
        (
            Edit(
                "paxlock.observe.auditing",
                "_promises",
                "elif entry.what is Happening.RELEASED:",
                "elif entry.what in (Happening.RELEASED, Happening.EXPIRED):",
            ),
        ),
        test=AUDIT + "test_a_node_that_lets_go_too_early_is_found",
    ),
    Mutation(
        "audit-that-overlooks-what-was-restored",
        "section 6: the audit does not count what a node held already when it started",
        (
            Edit(
                "paxlock.observe.auditing",
                "_promises",
                "if entry.what in HELD:",
                "if entry.what is Happening.ACCEPTED:",
            ),
        ),
        test=AUDIT + "test_what_is_not_known_is_no_overlap",
    ),
)
