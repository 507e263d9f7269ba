"""Bugs planted in what is learnt and told of others: hearsay, doubt, incarnations (protocol.md section 6)."""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_LEARNING"]

LINGERING = "tests/paper/test_section_6_lingering.py::"

IN_LEARNING: tuple[Mutation, ...] = (
    Mutation(
        "hearsay-shown",
        "section 6: a node shows as chosen what a session says of itself",
        (Edit("node.learner", "Learner.told", "certain = first_hand(message, record)", "certain = message"),),
        test="tests/paper/test_section_6_hearsay.py"
        "::test_a_name_that_nobody_holds_is_free_whatever_a_rogue_commits",
    ),
    Mutation(
        "believed-beyond-what-was-accepted",
        "section 6: a holder is believed a term that the node has not accepted",
        (
            Edit(
                "node.learner",
                "Learner.told",
                "certain = first_hand(message, record)",
                "certain = message if record is not None and record.holds(candidate) else None",
            ),
        ),
        test="tests/paper/test_section_6_hearsay.py"
        "::test_a_token_above_what_the_node_has_accepted_is_asked_about",
    ),
    Mutation(
        "later-tenure-ignored",
        "section 6: a node speaks for what it holds while a later tenure may have been",
        (Edit("node.hearsay", "Hearsay.outranks", "claim.token > term and", "False and"),),
        test="tests/paper/test_section_6_hearsay.py"
        "::test_a_later_tenure_that_may_have_been_and_gone_silences_what_is_left_of_the_earlier_one",
    ),
    Mutation(
        "refuted-by-old-views",
        "section 6: what was said before a claim speaks against it",
        (Edit("node.hearsay", "Hearsay._is_refuted", "if view.request > claim.after", "if True"),),
        test="tests/paper/test_section_6_hearsay.py::test_what_was_said_before_a_claim_does_not_refute_it",
    ),
    Mutation(
        "refuted-by-one",
        "section 6: one node that has not reached a term refutes it",
        (Edit("node.hearsay", "Hearsay._is_refuted", "below >= blocking(self._nodes)", "below >= 1"),),
        test="tests/paper/test_section_6_hearsay.py"
        "::test_what_a_session_says_of_itself_is_shown_only_once_a_quorum_holds_it",
    ),
    Mutation(
        "confirmed-by-one",
        "section 6: one other node that holds the lease confirms what a session says",
        (Edit("node.hearsay", "Hearsay._quorum", "if len(leases) >= majority(self._nodes):", "if leases:"),),
        test="tests/paper/test_section_6_hearsay.py::test_the_same_node_twice_is_no_quorum",
    ),
    Mutation(
        "doubt-ends-a-tenure",
        "section 6: nodes in doubt speak against the tenure that they hold",
        (Edit("session.judgement", "in_doubt", "view.holds and view.lease is None", "False"),),
        test="tests/paper/test_section_6_hearsay.py"
        "::test_while_a_later_tenure_is_claimed_it_speaks_for_nobody_and_against_nobody",
    ),
    Mutation(
        "token-above-its-term",
        "section 6: a token above the term of its lease outranks everybody",
        (Edit("node.replica", "Replica._may_be", "message.lease.token <= message.term", "True"),),
        test="tests/paper/test_section_6_hearsay.py::test_no_token_is_above_its_term",
    ),
    Mutation(
        "hearsay-for-ever",
        "section 6: the other nodes are asked without end of what nobody confirms",
        (Edit("node.hearsay", "Hearsay.weary", "doubt.rounds < DOUBT_ROUNDS", "True"),),
        test="tests/paper/test_section_6_hearsay.py::test_nobody_is_asked_for_ever",
    ),
    Mutation(
        "shown-until-forgotten",
        "section 6: nobody is asked about what is known to be chosen and not held",
        (Edit("node.lingering", "Lingering.note", "now + lease.ttl", "NEVER"),),
        test=f"{LINGERING}test_a_dead_holder_is_free_although_a_node_has_only_heard_of_it",
    ),
    Mutation(
        "over-after-one-round",
        "section 6: what nodes say one after another ends a tenure that moves between them",
        (
            Edit(
                "node.lingering",
                "Lingering.answered",
                "check.denying & check.denied if now - check.denied_at <= check.lease.ttl / 2.0 else set()",
                "check.denying",
            ),
        ),
        test=f"{LINGERING}test_l3_a_tenure_that_moves_from_node_to_node_is_not_over",
    ),
    Mutation(
        "rounds-far-apart",
        "section 6: a node that has held the lease and let it go between two answers has never held it",
        (
            Edit(
                "node.lingering",
                "Lingering.answered",
                "now - check.denied_at <= check.lease.ttl / 2.0",
                "True",
            ),
        ),
        test=f"{LINGERING}test_l3_answers_that_are_half_a_ttl_apart_do_not_count_together",
    ),
    Mutation(
        "old-life-ends-a-tenure",
        "S15: the answer of an old life of a node ends what its new life may hold",
        (
            Edit(
                "node.lingering",
                "Lingering.answered",
                "gone = outlived({**check.lives, self._node_id: own})",
                "gone = ()",
            ),
        ),
        test=f"{LINGERING}test_s15_an_old_life_of_a_node_does_not_count",
    ),
    Mutation(
        "doubt-denies",
        "section 6: a node in doubt denies what it may hold",
        (Edit("node.lingering", "Lingering.answered", "- holding - in_doubt", "- holding"),),
        test=f"{LINGERING}test_a_node_in_doubt_counts_for_neither",
    ),
    Mutation(
        "over-and-its-term-left-open",
        "section 6: a term that is known to be over is still given to its candidate",
        (Edit("node.acceptor", "Acceptor.close", "record.term = max(term, record.term)", "pass"),),
        test=f"{LINGERING}test_it_gives_the_term_of_what_is_over_to_nobody",
    ),
    Mutation(
        "incarnations-from-the-future",
        "section 7: an incarnation from far ahead is noted, and locks its node out",
        (
            Edit(
                "node.recovery",
                "Recovery.greeted_by",
                "1 <= message.incarnation <= self._incarnation_max(now)",
                "1 <= message.incarnation",
            ),
        ),
        test="tests/unit/test_recovery.py::test_an_incarnation_from_the_future_is_neither_noted_nor_answered",
    ),
    Mutation(
        "heard-of-and-over",
        "section 6: a node that has only heard of a holder speaks against it",
        (
            Edit(
                "session.judgement",
                "_speaks_of",
                "view.lease is not None and view.lease.candidate == candidate and not view.released",
                "knows(view, candidate)",
            ),
        ),
        test="tests/paper/test_section_6_hearsay.py::test_of_whom_there_is_talk_is_not_said_to_be_over",
    ),
    Mutation(
        "ended-by-views-of-before",
        "section 6: what nodes said before a tenure was shown ends it for those who watch",
        (Edit("session.watches", "Watcher._look", "if shown.before.get(node) != view", "if True"),),
        test="tests/paper/test_section_6_learning.py"
        "::test_what_a_node_said_before_a_tenure_was_shown_does_not_end_it",
    ),
)
