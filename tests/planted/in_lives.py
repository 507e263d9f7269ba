"""Bugs planted in what keeps two lives of one node apart, and in joining (protocol.md section 7)."""

from __future__ import annotations

from tests.planted.figures import TWINS
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_LIVES"]

JOINING_TESTS = "tests/paper/test_section_7_joining.py"
RESTART_TESTS = "tests/paper/test_section_7_restarts.py"
ONE_LIFE_TESTS = "tests/paper/test_section_7_one_life.py"

IN_LIVES: tuple[Mutation, ...] = (
    Mutation(
        "sits-out-before-it-is-noted",
        "S15: the time of sitting out counts from the start, not from the noting",
        (
            Edit(
                "node.recovery",
                "Recovery._advance_joining",
                "self.serve_at, self.mode =",
                "joining.noted_at = self.started_at\n    self.serve_at, self.mode =",
            ),
        ),
        test=f"{JOINING_TESTS}::test_s15_the_time_of_sitting_out_begins_when_enough_others_have_noted_it",
    ),
    Mutation(
        "two-lives-never-told-apart",
        "S15: who counts votes does not look at what they say of lives",
        (
            Edit("lease", "Validity.outlived", "return outlived(", "return () and outlived("),
            Edit("session.proposer", "Proposer.outlived", "return outlived(", "return () and outlived("),
        ),
        changes=TWINS,
    ),
    Mutation(
        "renewed-without-lives",
        "S15: an answer to Renew counts without what it says of the other nodes",
        (
            Edit(
                "session.candidates",
                "Candidates.renewed",
                "self.tenures.renewed(node, message, now, lives)",
                "self.tenures.renewed(node, message, now, {node: lives.get(node, 0)})",
            ),
        ),
        seed=14,
        changes=TWINS,
    ),
    Mutation(
        "lives-compared-at-first-only",
        "S15: only the first validity compares lives, and no later one",
        (Edit("lease", "Validity.since", "gone = self.outlived()", "gone = ()"),),
        seed=14,
        changes=TWINS,
    ),
    Mutation(
        "lives-compared-later-only",
        "S15: the first validity does not compare lives",
        (
            Edit(
                "session.proposer",
                "Proposer.took",
                "or not (same or self._together(term, since) >= self.quorum)",
                "",
            ),
            Edit("session.campaigns", "Campaigns._chosen", "took.sent_at, took.lives)", "took.sent_at)"),
        ),
        changes=TWINS,
    ),
    Mutation(
        "lives-of-the-first-answer",
        "S15: a new number is kept with what the node knew before",
        (Edit("lease", "Validity._keep", "different[node] = lives", "different.setdefault(node, lives)"),),
        test=f"{ONE_LIFE_TESTS}::test_s15_validity_is_of_nodes_that_count_together",
    ),
    Mutation(
        "noted-before-durable",
        "S15: a greeting is answered before the disk knows of it",
        (
            Edit(
                "node.replica",
                "Replica._from_node",
                "greeted is not None and not recovery.remembers(node, message.incarnation)",
                "False",
            ),
        ),
        changes={**TWINS, "persist_max": 0.1},
    ),
    Mutation(
        "noted-by-one-too-few",
        "S15: N - quorum others are enough to note a life",
        (Edit("node.joining", "Joining.noted", ">= self.needed", ">= self.needed - 1"),),
        changes=TWINS,
    ),
    Mutation(
        "noted-by-who-joins",
        "S15: others that are still joining count among those that have noted a life",
        (
            Edit(
                "node.recovery",
                "Recovery.greeted_by",
                "member=memory or record.membership not in (Membership.JOINING, Membership.BLANK)",
                "member=True",
            ),
        ),
        test=f"{JOINING_TESTS}::test_s15_a_node_that_joins_says_that_it_is_no_member_yet",
    ),
    Mutation(
        "lives-not-taken-over",
        "S15: a node that joins does not learn which lives the others know",
        (Edit("node.recovery", "Recovery.answered", ", *message.known):", ",):"),),
        test=f"{JOINING_TESTS}::test_s15_the_lives_that_others_know_are_taken_over",
    ),
    Mutation(
        "ceilings-of-a-life-that-is-over",
        "S15: a joining node counts the ceiling of a node that another has outlived",
        (Edit("node.joining", "Joining.answered", "if node not in gone", "if True"),),
        test=f"{JOINING_TESTS}::test_s15_ceilings_of_a_life_that_is_over_do_not_count",
    ),
    Mutation(
        "answers-to-an-earlier-life",
        "S15: the answer to a late greeting of an earlier life counts for this one",
        (
            Edit(
                "node.recovery",
                "Recovery.answered",
                "(message.to_incarnation, message.to_run) !=",
                "(record.incarnation, self.run) !=",
            ),
        ),
        test=f"{JOINING_TESTS}::test_s15_an_answer_to_another_life_or_run_of_this_node_counts_for_nothing",
    ),
    Mutation(
        "outlived-and-goes-on",
        "S15: a node that hears of a later life of itself goes on",
        (
            Edit(
                "node.replica", "Replica.receive", "if mine > self._recovery.record.incarnation:", "if False:"
            ),
        ),
        test=f"{JOINING_TESTS}::test_s15_a_node_that_hears_of_a_later_life_of_itself_stops",
    ),
    Mutation(
        "views-of-two-lives",
        "S15: a question counts the views of two lives together",
        (
            Edit(
                "session.polls",
                "PollQuery._counted",
                "return still_counted(",
                "return self.views or still_counted(",
            ),
        ),
        test=f"{ONE_LIFE_TESTS}::test_s15_views_of_two_lives_do_not_make_a_name_free",
    ),
    Mutation(
        "a-restored-backup-serves-at-once",
        "section 7: a clean restart serves before another member has confirmed that it is the newest life",
        (
            Edit(
                "node.recovery",
                "Recovery.advance",
                "confirmed = not self.unconfirmed or",
                "confirmed = True or",
            ),
        ),
        test=f"{RESTART_TESTS}::test_a_restored_backup_does_not_serve_before_it_is_found_out",
    ),
    Mutation(
        "longer-max-ttl-not-heard",
        "section 7: a joining node sits out the max_ttl of its own file, whatever others name",
        (Edit("node.joining", "Joining.heard", "message.max_ttl_ms / 1000.0", "0.0"),),
        test=f"{JOINING_TESTS}::test_s15_it_sits_out_the_longest_max_ttl_that_anybody_names",
    ),
    Mutation(
        "lowered-max-ttl-not-heard",
        "section 7: a joining node does not wait for a max_ttl that was lowered a moment ago",
        (Edit("node.joining", "Joining.heard", "if message.old_max_ttl_ms:", "if False:"),),
        test=f"{JOINING_TESTS}"
        "::test_a_joining_node_sits_out_a_max_ttl_that_was_lowered_while_it_still_matters",
    ),
    Mutation(
        "lowered-max-ttl-not-told",
        "section 7: a node whose max_ttl was lowered does not tell the old one",
        (Edit("node.recovery", "Recovery.greeted_by", "lowered = now < settles < NEVER", "lowered = False"),),
        test=f"{JOINING_TESTS}::test_a_node_tells_the_old_max_ttl_and_what_is_left_of_it",
    ),
    Mutation(
        "old-ceilings-after-a-longer-wait",
        "section 7: ceilings that were read before a longer max_ttl was heard of count after it",
        (Edit("node.joining", "Joining.asks", "self._answers.clear()", "pass"),),
        test=f"{JOINING_TESTS}"
        "::test_s7_an_old_max_ttl_heard_of_with_the_ceilings_is_waited_for_and_the_ceilings_are_read_again",
    ),
    Mutation(
        "no-second-more-without-a-disk",
        "section 7: a node without a disk sits out no second more than one with a disk",
        (
            Edit("node.starts", "begin", "/ 1000.0, drift) + CLOCK_EXTRA_S", "/ 1000.0, drift)"),
            Edit("node.recovery", "Recovery.begin", "extra = CLOCK_EXTRA_S", "extra = 0.0"),
        ),
        test=f"{JOINING_TESTS}::test_without_a_disk_every_start_sits_out_and_a_second_more",
    ),
)
