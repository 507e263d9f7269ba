"""Bugs planted in candidates and holders (protocol.md sections 3 and 5)."""

from __future__ import annotations

from tests.planted.figures import CALM, CROWD, CUT_OFF, PAUSES, RESTARTS, ROLLING, SPLIT
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_SESSIONS"]

PROPOSER = "tests/unit/test_proposer.py"

IN_SESSIONS: tuple[Mutation, ...] = (
    Mutation(
        "asks-at-once-while-divided",
        "section 5: who hears of no quorum, because a node is dead, asks at every round trip for as long",
        (
            Edit(
                "session.pacing",
                "AttemptPacing._look_again",
                "self._soon = min(2.0 * self._soon, REFRESH_MAX_S)",
                "self._soon = self.session.retry_first()",
            ),
        ),
        test="tests/paper/test_section_5_out_of_the_way.py::"
        "test_who_waits_asks_rarely_though_no_quorum_can_be_heard",
    ),
    Mutation(
        "outruns-the-holder-at-a-node-that-forgot",
        "L3: who waits goes on standing at a node that has lost its memory, and outruns the holder there",
        (Edit("session.refusals", "Refusals.forget", "no is not None and no.occupant is not None", "False"),),
        test="tests/paper/test_section_5_out_of_the_way.py::"
        "test_l3_a_node_that_has_lost_its_memory_is_left_to_the_holder",
    ),
    Mutation(
        "measures-the-wait-in-line",
        "section 5, windows: an acceptance by a number that has waited in line counts as a round trip",
        (
            Edit(
                "session.campaigns",
                "Campaigns.accepted",
                "message.seq == attempt.newest and sent_at > LONG_AGO",
                "sent_at > LONG_AGO",
            ),
        ),
        test="tests/paper/test_section_5_line.py::"
        "test_who_took_its_turn_in_line_tells_nothing_of_the_round_trip",
    ),
    Mutation(
        "the-dead-are-told-often",
        "section 3: a Release to nodes that are dead is repeated as if they had missed it",
        (
            Edit(
                "session.releases",
                "Releases.due",
                "pending.told and pending.retry < RETRY_MAX_S and self._exchanges.silent(pending.open)",
                "False",
            ),
        ),
        test="tests/paper/test_section_5_dead_nodes.py::test_the_dead_are_told_rarely",
    ),
    Mutation(
        "far-by-one-word",
        "section 5, the line: one node's word is enough to ask rarely, and it may be one with an old line",
        (Edit("session.refusals", "Refusals.place", "places[self._quorum - 1]", "places[-1]"),),
        test="tests/paper/test_section_5_line.py::test_who_is_far_back_by_the_word_of_a_quorum_asks_rarely",
    ),
    Mutation(
        "released-while-valid",
        "S2: a holder sends Release to a node that does not hold its lease, and stays valid",
        (
            Edit(
                "session.candidates",
                "Candidates.renewed",
                "attempt.send_accept([node], now)",
                "self._out.send(node, Release(0, tenure.name, tenure.candidate, tenure.term))",
            ),
        ),
        seed=19,
        changes=RESTARTS,
    ),
    Mutation(
        "goes-on-after-release",
        "S2: a candidate that gives way goes on under the same identity",
        (
            Edit(
                "session.candidates",
                "Candidates.give_way",
                "self.end(attempt, now)\n"
                "    self.begin(attempt.local, attempt.campaign, now, after=attempt)\n"
                "    return True",
                "for node in self._nodes:\n"
                "        self._out.send(\n"
                "            node, Release(0, attempt.campaign.name, attempt.candidate, attempt.last_term)\n"
                "        )\n"
                "    return False",
            ),
        ),
        changes=CROWD,
    ),
    Mutation(
        "mixed-terms",
        "S3: acceptances of different terms are counted together before the first validity",
        (
            Edit(
                "session.proposer", "Proposer.took", "taken.term == term and taken.sent_at", "taken.sent_at"
            ),
            Edit(
                "session.proposer",
                "Proposer._together",
                "taken.term == term and taken.sent_at",
                "taken.sent_at",
            ),
            Edit("session.campaigns", "Campaigns._chosen", "if took.term == proposer.term", "if True"),
        ),
        seed=1,
        changes=SPLIT,
    ),
    Mutation(
        "counted-from-the-last-sending",
        "S4: an old number counts from the newest sending",
        (
            Edit(
                "session.sequence",
                "SequenceNumbers.sent_at",
                "return self._sent.get(number, LONG_AGO)",
                "return self._order[-1][0]",
            ),
        ),
        seed=0,
        changes=CUT_OFF,
    ),
    Mutation(
        "counted-from-the-answer",
        "S4: an acknowledgement counts from the moment of its arrival",
        (
            Edit(
                "session.tenures",
                "Tenures.renewed",
                "sent_at = self._numbers.sent_at(message.seq)",
                "sent_at = now",
            ),
            Edit(
                "session.campaigns",
                "Campaigns.accepted",
                "sent_at = self._numbers.sent_at(message.seq)",
                "sent_at = now",
            ),
        ),
        seed=5,
        changes=CUT_OFF,
    ),
    Mutation(
        "messages-counted",
        "S10: every message is a vote",
        (
            Edit(
                "session.proposer",
                "Proposer.took",
                "self.taken[node] = Taken(",
                'self.taken[f"{node} {len(self.taken)}"] = Taken(',
            ),
        ),
        seed=1,
        changes={"repeated": 0.3, "clients": 4, "loss": 0.2},
    ),
    Mutation(
        "quorum-of-an-address-list",
        "S14: a client counts a majority of the addresses that it was given",
        (
            Edit(
                "session.session",
                "SessionSettings.nodes",
                "return self.configuration.nodes",
                "return self.configuration.nodes[int(self.label[-1]) % 3 :][:1]",
            ),
        ),
    ),
    Mutation(
        "no-withdrawal",
        "L2: nobody gives way where votes are split",
        (Edit("session.proposer", "Proposer.must_withdraw", "if not self.occupies:", "if True:"),),
        seed=3,
        changes={
            **CALM,
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
        "revived",
        "section 3: a lease that has lapsed is revived by a late answer",
        (
            Edit("session.tenures", "Tenures.look", "self._lapsed(tenure, now)", "return"),
            Edit(
                "session.tenures",
                "Tenures.renewed",
                "tenure is None or tenure.lapsed(now)",
                "tenure is None",
            ),
        ),
        test="tests/paper/test_section_3_proposer.py::test_a_lapsed_lease_is_over_for_ever",
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
        changes=PAUSES,
    ),
    Mutation(
        "split-by-old-news",
        "section 5: what was said of a holder before it left makes a split of the votes",
        (Edit("session.refusals", "Refusals.drop_departed", "if occupant is None or", "if True or"),),
        test="tests/paper/test_section_5_standing.py::test_l2_it_withdraws_once_the_holder_is_named_again",
    ),
    Mutation(
        "all-names-at-once",
        "section 5: a session asks for all names at once",
        (Edit("session.turns", "Turns.ask", "not self._waiting and len(self._began) < self.size", "True"),),
        test="tests/paper/test_section_5_turns.py"
        "::test_many_names_at_once_are_asked_for_in_turns_and_in_their_order",
    ),
    Mutation(
        "held-names-in-the-way",
        "section 5: who waits for a held name keeps its turn",
        (
            Edit(
                "session.turns",
                "Turns.done",
                "began = self._began.pop(number, None)",
                "began = self._began.get(number)",
            ),
        ),
        test="tests/paper/test_section_5_turns.py"
        "::test_a_thousand_that_wait_for_held_names_leave_room_for_one_that_is_free",
    ),
    Mutation(
        "two-attempts-alive",
        "L7: a second waiter of a process campaigns at once",
        (
            Edit(
                "session.campaigns", "Campaigns._next_campaign", "if local.attempt is not None:", "if False:"
            ),
        ),
        changes={"clients": 3, "names": 1, "wishes_max": 3},
    ),
    Mutation(
        "clock-read-after-sending",
        "section 3: the holder counts from a moment after the sending",
        (
            Edit(
                "session.sequence",
                "SequenceNumbers.next",
                "self._sent[self._last] = now",
                "self._sent[self._last] = now + 0.002",
            ),
        ),
        seed=7,
    ),
    Mutation(
        "not-held-not-repaired",
        "L3: a holder leaves alone the nodes that do not hold its lease",
        (
            Edit(
                "session.candidates",
                "Candidates.renewed",
                "chosen = attempt.proposer.phase is Phase.CHOSEN",
                "chosen = False",
            ),
        ),
        seed=16,
        changes=ROLLING,
    ),
    Mutation(
        "term-never-raised",
        "L3: a holder whose term is stale at a node does not go to a higher one",
        (Edit("session.tenures", "Tenures.refused", "tenure.may_raise(now)", "False"),),
        seed=16,
        changes=ROLLING,
    ),
    Mutation(
        "stands-where-the-holder-lacks",
        "L3: a waiter takes the node that a holder needs back",
        (Edit("session.proposer", "Proposer.lease_targets", "if not held:", "if True:"),),
        test="tests/paper/test_section_5_standing.py"
        "::test_l3_a_holder_gets_a_node_back_that_forgot_it_although_others_wait",
    ),
    Mutation(
        "own-word-of-the-holder-unheard",
        "L3: where a quorum is not heard, waiters take the nodes that a holder needs, whoever has heard it",
        (
            Edit(
                "session.proposer",
                "Proposer.lease_targets",
                "where_held(now, since)",
                "where_held_at_quorum()",
            ),
        ),
        test=f"{PROPOSER}::"
        "test_l3_where_others_are_silent_the_holders_own_word_at_one_node_keeps_the_rest_free_for_it",
    ),
    Mutation(
        "word-of-the-silent",
        "L3: what a node said of a holder keeps others alone, though it is silent since",
        (Edit("session.refusals", "Refusals.where_held", "refusal.heard_at >= since", "True"),),
        test=f"{PROPOSER}::"
        "test_l3_where_others_are_silent_the_holders_own_word_at_one_node_keeps_the_rest_free_for_it",
    ),
    Mutation(
        "left-out-for-an-earlier-holder",
        "L3: a node that spoke of an earlier holder is left out of the line under each that follows",
        (
            Edit(
                "session.proposer",
                "Proposer.lease_targets",
                "self.refusals.before_they_named(held)",
                "()",
            ),
        ),
        test=f"{PROPOSER}::test_l3_a_no_of_before_the_holder_was_named_leaves_no_node_out",
    ),
    Mutation(
        "in-line-where-the-holder-lacks",
        "L3: a node that lacks the lease of the present holder gets the lease along as well",
        (
            Edit(
                "session.refusals",
                "Refusals.before_they_named",
                "if no.heard_at < first",
                "",
            ),
        ),
        test=f"{PROPOSER}::test_l3_a_no_of_before_the_holder_was_named_leaves_no_node_out",
    ),
    Mutation(
        "outruns-the-holder",
        "L3: who has only promises withdraws before a holder, and comes back in a higher term",
        (Edit("session.refusals", "Refusals.must_withdraw", "not (rival.confirmed and harmless)", "True"),),
        test=f"{PROPOSER}::"
        "test_l3_one_that_has_only_promises_waits_for_a_holder_and_does_not_come_back_in_a_higher_term",
    ),
    Mutation(
        "minority-kept-from-a-holder-heard-once",
        "L3: a minority is given back only by the word of a quorum, though nodes are silent",
        (
            Edit(
                "session.refusals",
                "Refusals.lively_holder_since",
                "any(o.confirmed for o in lively)",
                "False",
            ),
        ),
        test=f"{PROPOSER}::"
        "test_l3_a_minority_is_given_back_by_the_word_of_one_node_that_has_heard_the_holder",
    ),
    Mutation(
        "minority-kept",
        "L3: a minority taken in vain is not given back",
        (
            Edit(
                "session.proposer",
                "Proposer.holds_useless_minority",
                "not (self.taken or self.leased)",
                "True",
            ),
        ),
        test="tests/paper/test_section_5_standing.py::test_l3_a_minority_taken_in_vain_is_given_back",
    ),
    Mutation(
        "terms-below-the-token",
        "S3: an acknowledgement in a term below the token counts",
        (Edit("session.tenures", "Tenures.renewed", "lease_term < tenure.token", "False"),),
        test="tests/paper/test_section_3_proposer.py"
        "::test_s3_answers_of_terms_from_the_token_on_count_together_and_lower_ones_never",
    ),
    Mutation(
        "accepted-below-the-token",
        "S3: an acceptance in a term below the token prolongs the tenure",
        (
            Edit(
                "session.campaigns",
                "Campaigns.accepted",
                "if message.term >= tenure.token and tenure.acknowledged",
                "if tenure.acknowledged",
            ),
        ),
        seed=19,
        changes={"loss": 0.2},
    ),
    Mutation(
        "renewal-of-anothers-lease",
        "S4: the renewal of another session's handle counts for an own attempt of the same number",
        (Edit("session.tenures", "Tenures.renewed", " or message.session != self._session", ""),),
        seed=4,
        changes={**CALM, "clients": 5, "names": 8, "detached": 0.4, "hold_for_ever": 0.5, "faulty_for": 1.0},
    ),
    Mutation(
        "accept-forgotten",
        "L2: a candidate forgets where its Accept may stand in the way",
        (Edit("session.proposer", "Proposer.accept", "self.occupies.update(self.nodes)", "pass"),),
        test="tests/paper/test_section_5_split_votes.py"
        "::test_l2_where_its_accept_may_stand_it_stands_in_the_way",
    ),
    Mutation(
        "standing-prepare-forgotten",
        "L2: a candidate forgets where its standing Prepare may stand in the way",
        (
            Edit(
                "session.proposer",
                "Proposer.occupy_unanswered",
                "self.occupies.update(node for node in self.unanswered() if node not in spared)",
                "pass",
            ),
        ),
        test="tests/paper/test_section_5_split_votes.py"
        "::test_l2_where_its_standing_prepare_may_stand_it_stands_in_the_way",
    ),
    Mutation(
        "ages-compared-exactly",
        "L2: each of two candidates leaves it to the other to withdraw",
        (
            Edit(
                "session.refusals", "Refusals.must_withdraw", "age + rival.window / 2.0", "age + rival.window"
            ),
        ),
        test="tests/unit/test_proposer.py::test_of_two_that_split_the_votes_one_withdraws_however_far_apart",
    ),
    Mutation(
        "in-line-where-the-holder-lacks-a-node",
        "L3: waiters stand in line for a node that the holder of a quorum lacks",
        (
            Edit(
                "session.attempt", "Attempt.send_prepare", "proposer.unheard_or_leased(now)", "proposer.nodes"
            ),
            Edit("session.attempt", "Attempt.send_prepare", "(*prepare[:5], 0, *prepare[6:])", "prepare"),
        ),
        test="tests/paper/test_section_5_standing.py"
        "::test_l3_nobody_stands_in_line_at_a_node_that_the_holder_lacks",
    ),
    Mutation(
        "split-of-different-moments",
        "L2: holders that were named at different moments pass for split votes",
        (Edit("session.refusals", "Refusals.must_withdraw", "no.again for", "True for"),),
        test="tests/paper/test_section_5_split_votes.py"
        "::test_l2_holders_named_at_different_moments_are_no_split",
    ),
)
