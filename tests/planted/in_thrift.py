"""Bugs planted in how a quorum is asked first (protocol.md section 5)."""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_THRIFT"]

TESTS = "tests/paper/test_section_5_quorum_first.py"
#: Runs in which nearly every campaign asks a quorum first, and often has to ask the rest.
THRIFTY = {"thrifty": True, "reckless": True, "loss": 0.1, "client_crashes": 0.0, "think": 0.02}

IN_THRIFT: tuple[Mutation, ...] = (
    Mutation(
        "release-to-the-quorum-only",
        "L1: Release goes to the quorum that was asked first, though others were asked since",
        (
            Edit(
                "session.attempt",
                "Attempt.send_prepare",
                "self.spared.difference_update(lease_targets, others)",
                "pass",
            ),
        ),
        changes=THRIFTY,
    ),
    Mutation(
        "release-not-to-the-repaired",
        "L1: Release does not go to a node that only the holder's repair has brought the lease to",
        (Edit("session.attempt", "Attempt.send_accept", "self.spared -= first_asked", "pass"),),
        test=f"{TESTS}::test_release_goes_to_a_node_that_was_repaired",
    ),
    Mutation(
        "later-candidates-spare-nodes",
        "L7: a later candidate of a campaign spares nodes that an earlier one has reached",
        (
            Edit(
                "session.candidates",
                "Candidates._few",
                "campaign, first = attempt.campaign, attempt.fresh and not attempt.proposer.request",
                "campaign, first = attempt.campaign, True",
            ),
            Edit("session.candidates", "Candidates._few", "not attempt.pace.eager or ", ""),
        ),
        test=f"{TESTS}::test_a_later_candidate_of_the_campaign_asks_all",
    ),
    Mutation(
        "spared-while-a-release-is-owed",
        "L7: an attempt spares a node to which a Release of the one before is owed",
        (
            Edit(
                "session.releases",
                "Releases.owes_only",
                "self._releases[number].open.issubset(nodes)",
                "True",
            ),
        ),
        test=f"{TESTS}::test_while_a_release_is_owed_elsewhere_all_are_asked",
    ),
    Mutation(
        "commit-to-the-spared",
        "section 5, a quorum is asked first: Commit goes to nodes that do not hold the lease",
        (Edit("session.attempt", "Attempt.send_commit", "if node not in self.spared", ""),),
        test=f"{TESTS}::test_a_new_campaign_asks_a_quorum",
    ),
    Mutation(
        "no-time-left",
        "section 5, a quorum is asked first: a poll tells that no time is left as one holder has answered",
        (
            Edit(
                "session.polls",
                "PollQuery._may_tell_more",
                "return holding < majority(len(self.nodes))",
                "return False",
            ),
        ),
        test=f"{TESTS}::test_a_poll_that_one_holder_alone_answers_for_sure_waits_for_the_time_that_is_left",
    ),
    Mutation(
        "silent-node-relied-on",
        "section 5, a quorum is asked first: a node that keeps silent is relied on again and again",
        (
            Edit(
                "session.thrift",
                "Thrift._answers",
                "or heard <= self._silent.get(node, LONG_AGO)",
                "",
            ),
        ),
        test=f"{TESTS}::test_a_dead_node_of_the_quorum_costs_one_hedge",
    ),
    Mutation(
        "quorum-by-the-client",
        "section 5, a quorum is asked first: which one follows from how the client knows the nodes",
        (
            Edit(
                "session.thrift",
                "Thrift.__attrs_post_init__",
                "ring, size = sorted(self.nodes), len(self.nodes)",
                "ring, size = list(self.nodes), len(self.nodes)",
            ),
        ),
        test=f"{TESTS}::test_everybody_asks_the_same_quorum",
    ),
    Mutation(
        "divided-and-nobody-asked",
        "section 5, a quorum is asked first: where it is divided nothing is done until the repetition",
        (
            Edit(
                "session.attempt",
                "Attempt.ask_the_rest",
                "if not self._silent(now):",
                "if False:",
            ),
        ),
        test=f"{TESTS}::test_the_rest_is_asked_at_once_where_the_quorum_is_divided",
    ),
    Mutation(
        "detached-on-a-quorum",
        "section 5, a quorum is asked first: a lease is detached that the rest was never sent",
        (
            Edit(
                "session.candidates",
                "Candidates.detach",
                "attempt.send_accept(sorted(attempt.spared), now)",
                "pass",
            ),
        ),
        test=f"{TESTS}::test_what_is_detached_can_be_renewed_and_released_without_one_of_its_first_nodes",
    ),
    Mutation(
        "spared-looked-at-once",
        "section 5, a quorum is asked first: the holder looks at a spared node once only",
        (Edit("session.tenures", "Tenures.due", "if lacking and again:", "if False:"),),
        test=f"{TESTS}::test_it_looks_again_and_again_after_twice_the_time",
    ),
    Mutation(
        "spared-looked-at-late",
        "section 5, a quorum is asked first: the holder looks at spared nodes as late as at others",
        (Edit("session.campaigns", "Campaigns._chosen", "if attempt.spared:", "if False:"),),
        test=f"{TESTS}::test_a_try_before_the_holder_has_looked_keeps_nobody_from_the_lease_for_long",
    ),
    Mutation(
        "quorum-by-the-sum",
        "section 5, a quorum is asked first: names with neighbouring numbers all go to the same nodes",
        (Edit("session.thrift", "Thrift.quorum_of", "crc32(name.encode())", "sum(name.encode())"),),
        test=f"{TESTS}::test_names_do_not_all_have_the_same_quorum",
    ),
    Mutation(
        "sits-out-unheard",
        "section 5, a quorum is asked first: that a node sits out is no answer",
        (
            Edit(
                "session.attempt",
                "Attempt._silent",
                "return [node for node in asked if now >= recovering.get(node, LONG_AGO)]",
                "return list(asked)",
            ),
        ),
        test=f"{TESTS}::test_that_a_node_sits_out_is_an_answer",
    ),
    Mutation(
        "time-in-line-counts",
        "section 5, a quorum is asked first: time in line counts as what an attempt takes",
        (Edit("session.campaigns", "Campaigns._chosen", " and not attempt.was_refused", ""),),
        test=f"{TESTS}::test_time_in_line_is_not_what_it_takes",
    ),
    Mutation(
        "slow-quorum-hidden",
        "section 5, a quorum is asked first: a slow quorum is asked while those of other names are fast",
        (Edit("session.thrift", "Thrift.choose", " or self._farther(chosen)", ""),),
        test=f"{TESTS}::test_a_quorum_that_is_slower_than_another_is_not_asked_first",
    ),
    Mutation(
        "wanted-by-others-forgotten",
        "section 5, a quorum is asked first: who was refused asks a quorum there the next time",
        (Edit("session.thrift", "Thrift.refused", "if self.switched_on:", "if False:"),),
        test=f"{TESTS}::test_who_was_refused_asks_all_there_for_a_while",
    ),
)
