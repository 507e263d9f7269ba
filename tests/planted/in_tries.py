"""Bugs planted in those that try once, of which exactly one is to win (protocol.md section 5)."""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_TRIES"]

TESTS = "tests/paper/test_section_5_one_winner.py::"
KNOWN = f"{TESTS}test_held_is_told_where_a_quorum_names_one_that_holds_by_its_own_word"
OWN_WORD = f"{TESTS}test_a_node_says_that_a_holder_is_valid_by_its_own_word_only"

IN_TRIES: tuple[Mutation, ...] = (
    Mutation(
        "gives-up-at-the-first-refusal",
        "section 5: a try ends as held because one node names somebody that holds",
        (Edit("session.refusals", "Refusals.holder", "len(occupants) >= self._quorum and", ""),),
        test=KNOWN,
    ),
    Mutation(
        "held-by-whom-it-is-promised",
        "section 5: who is promised the name, or stands first in line, passes for the holder",
        (Edit("session.refusals", "Refusals._holders", " and occupant.occupancy is Occupancy.HELD", ""),),
        test=KNOWN,
    ),
    Mutation(
        "held-by-votes",
        "section 5: who has taken a quorum, each node at its own moment, passes for the holder",
        (
            Edit(
                "session.refusals",
                "Refusals.holder",
                " and any(occupant.confirmed for occupant in occupants)",
                "",
            ),
        ),
        test=KNOWN,
    ),
    Mutation(
        "confirmed-by-hearsay",
        "section 5: who was found out to be chosen passes for one that has said so itself",
        (
            Edit(
                "node.learner",
                "Learner.commit",
                "candidate if token else None",
                "candidate",
            ),
        ),
        test=OWN_WORD,
    ),
    Mutation(
        "confirmed-by-another",
        "section 5: the word of an earlier holder is taken for that of this one",
        (
            Edit(
                "node.record",
                "Record.occupant",
                "self.confirmed == lease.candidate",
                "self.confirmed is not None",
            ),
        ),
        test=f"{TESTS}test_the_word_of_an_earlier_holder_is_not_that_of_this_one",
    ),
    Mutation(
        "renewals-confirm-nothing",
        "section 5: a holder whose Commit was lost stays unknown for all of its tenure",
        (Edit("node.acceptor", "Acceptor.renew", "record.confirmed = lease.candidate", "pass"),),
        test=OWN_WORD,
    ),
    Mutation(
        "own-attempt-counts-as-holder",
        "L7: an attempt of this process, which holds nothing yet, passes for the holder",
        (
            Edit(
                "session.campaigns",
                "Campaigns.campaign",
                "local.attempt is not None and self._tenures.holds(local.attempt.number)",
                "local.attempt is not None",
            ),
        ),
        test=f"{TESTS}test_l7_of_two_tries_of_one_process_one_wins_and_the_other_is_told_then",
    ),
    Mutation(
        "leaving-attempt-counts-as-holder",
        "L7: an own attempt whose Release is on its way passes for the holder",
        (
            Edit(
                "session.campaigns", "Campaigns._leaves", "holder.candidate.session == self._session", "False"
            ),
        ),
        test=f"{TESTS}test_l7_an_own_attempt_that_leaves_holds_nothing",
    ),
    Mutation(
        "told-what-was-heard-before",
        "L7: a try behind another of its process is told of a holder by an answer from before it began",
        (Edit("session.campaigns", "Campaigns._holder_known", "holder(campaign.since)", "holder()"),),
        test=f"{TESTS}test_l7_a_try_behind_a_waiter_of_the_same_process_asks_at_once_who_holds_the_name",
    ),
    Mutation(
        "tries-stand-in-line",
        "section 5: those that try once stand in line where the name is held",
        (
            Edit(
                "session.attempt",
                "Attempt.send_prepare",
                "waits and (not campaign.once or bool(proposer.promises))",
                "waits",
            ),
        ),
        test=f"{TESTS}test_one_that_tries_stands_in_no_line_where_the_name_is_held",
    ),
    Mutation(
        "split-for-ever",
        "L2: one that tries once keeps its vote, though nobody else sees that it should give way",
        (
            Edit(
                "session.refusals",
                "Refusals.must_withdraw",
                "if rivals and now >= patient_until:",
                "if False:",
            ),
        ),
        test=f"{TESTS}test_l2_one_that_tries_gives_way_to_anybody_in_the_end",
    ),
    Mutation(
        "no-quorum-though-it-answers",
        "section 5: a try that a quorum answers is over after one second, whether a holder is known or not",
        (Edit("session.attempt", "Attempt.patience_of_try", "< self.shared.quorum", '< float("inf")'),),
        test=f"{TESTS}test_where_nobody_is_known_to_hold_it_that_has_a_word_of_its_own",
    ),
    Mutation(
        "never-asked-for-its-word",
        "section 6: a holder whose Commits were lost is not told that nobody has heard of it",
        (Edit("node.learner", "Learner.inquire", "record.lease is not None", "False"),),
        test=f"{TESTS}test_a_holder_of_whom_no_word_has_come_is_asked_for_it",
    ),
)
