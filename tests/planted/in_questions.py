"""Bugs planted in what is asked and told of a name: polls, lists, watches, events (protocol.md section 6)."""

from __future__ import annotations

from tests.planted.figures import CALM
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_QUESTIONS"]

IN_QUESTIONS: tuple[Mutation, ...] = (
    Mutation(
        "denied-and-never-polled",
        "section 6: a lease that ran out is shown as led for ever where nobody is left to say so",
        (Edit("session.watches", "Watches._refresh", "for name in watcher.denied():", "for name in ():"),),
        test="tests/paper/test_section_6_refreshes.py::"
        "test_a_lease_that_runs_out_is_free_though_nobody_is_left_who_can_say_so",
    ),
    Mutation(
        "polled-for-another-tenure",
        "section 6: what a poll found of one tenure ends the one that is shown by now",
        (
            Edit(
                "session.watches",
                "Watcher.found",
                "shown.state is State.LED and shown.candidate == candidate",
                "shown.state is State.LED",
            ),
        ),
        test="tests/unit/test_watcher.py::test_what_a_poll_found_of_one_tenure_says_nothing_of_the_next",
    ),
    Mutation(
        "one-node-says-free",
        "section 6: a watcher takes one node's word, or timer, for the end of a tenure",
        (Edit("session.watches", "over", "return len(gone) >= blocking(nodes)", "return len(gone) >= 1"),),
        seed=7,
        changes={
            **CALM,
            "watchers": 2,
            "disk_losses": 6.0,
            "hold_max": 0.3,
            "hold_for_ever": 0.3,
            "max_ttl_ms": 250,
            "away_max": 0.03,
            "clients": 3,
            "faulty_for": 1.5,
        },
    ),
    Mutation(
        "free-after-one-round",
        "section 6: views of one round say free",
        (Edit("session.polls", "PollQuery.result", "not self._confirmed(judgement)", "False"),),
        test="tests/paper/test_section_6_learning.py::test_free_needs_the_same_word_twice",
    ),
    Mutation(
        "led-after-one-round",
        "section 6: views of one round say led, though nobody knows the lease to be chosen",
        (Edit("session.polls", "PollQuery._confirmed", "if judgement.chosen:", "if who is not None:"),),
        test="tests/paper/test_section_6_learning.py"
        "::test_what_nobody_knows_to_be_chosen_is_led_only_if_a_quorum_held_it_together",
    ),
    Mutation(
        "shown-as-chosen-in-a-higher-term",
        "section 6: a lease held in a higher term than it was chosen in is shown as chosen in it",
        (
            Edit(
                "node.learner",
                "Learner.view",
                "chosen = known.term >= lease_term or bool(lease.token)",
                "chosen = True",
            ),
        ),
        test="tests/unit/test_learner.py"
        "::test_a_lease_held_in_a_higher_term_than_it_was_chosen_in_is_not_shown_as_chosen_in_that",
    ),
    Mutation(
        "held-against-a-higher-token",
        "section 6: a node speaks for a lease in a lower term than the token of another that it knows",
        (Edit("node.learner", "Chosen.ends", "self.token > term and", "False and"),),
        test="tests/paper/test_section_6_learning.py"
        "::test_a_node_that_hears_a_higher_token_of_another_does_not_speak_for_what_it_holds",
    ),
    Mutation(
        "poll-of-stale-views",
        "section 6: an answer to the first round of a poll counts in the second",
        (
            Edit(
                "session.polls",
                "PollQuery._note",
                "life, self.requests[-1],",
                "life, 0,",
            ),
        ),
        test="tests/paper/test_section_6_learning.py"
        "::test_answers_of_the_first_round_that_come_late_do_not_make_a_second",
    ),
    Mutation(
        "poll-of-two-lives",
        "section 6: what a node said before it was started again counts with what it says now",
        (
            Edit(
                "session.polls",
                "PollQuery._note",
                "(candidate, term, life)",
                "(candidate, term, said.life)",
            ),
        ),
        test="tests/paper/test_section_6_learning.py"
        "::test_a_node_that_was_started_again_has_not_said_it_twice",
    ),
    Mutation(
        "poll-that-gives-up",
        "section 6: a poll is unknown as soon as all nodes have answered and do not agree",
        (
            Edit(
                "session.polls",
                "PollQuery.result",
                "owing = set(self.nodes) - self._recovering",
                "owing = self.open - self._recovering",
            ),
        ),
        test="tests/paper/test_section_6_learning.py"
        "::test_a_poll_goes_on_asking_while_nodes_answer_and_do_not_agree",
    ),
    Mutation(
        "list-without-patience",
        "section 6: the patience of a list counts from its first page",
        (Edit("session.queries", "ListQuery._take", "self.began = now", "pass"),),
        test="tests/unit/test_session.py::test_a_list_has_patience_while_pages_come",
    ),
    Mutation(
        "events-repeated-too-soon",
        "section 6: the answer to an event that was repeated is measured as a round trip",
        (Edit("node.subscriptions", "Subscription.seen", "sent.once and", ""),),
        test="tests/unit/test_subscription.py::test_an_answer_to_what_was_repeated_is_not_measured",
    ),
    Mutation(
        "silence-unnoticed",
        "section 6: a watcher of many names does not look at them when a node falls silent",
        (
            Edit(
                "session.watches",
                "Watcher.look_around",
                "(fresh, waits) != self._looked_with",
                "self._looked_with is None",
            ),
        ),
        test="tests/unit/test_watcher.py::test_where_a_node_falls_silent_all_names_are_looked_at_in_slices",
    ),
    Mutation(
        "silent-and-calm",
        "section 6: refreshes go on getting rarer though a node does not answer them",
        (Edit("session.refreshing", "Refreshing._all_is_well", "answered = all(", "answered = any("),),
        test="tests/paper/test_section_6_refreshes.py"
        "::test_where_a_node_is_silent_all_are_refreshed_every_second",
    ),
    Mutation(
        "restart-without-subscription",
        "section 6: a node that has restarted is not subscribed to before the next refresh",
        (Edit("session.refreshing", "Refreshing.hear", "self._restarted |= restarted", "pass"),),
        test="tests/paper/test_section_6_refreshes.py"
        "::test_a_node_of_whose_restart_another_one_tells_is_asked_at_once",
    ),
    Mutation(
        "forgotten-in-calm",
        "section 6: after a restart refreshes get rarer before each name of a prefix was asked for again",
        (Edit("session.watches", "Watcher.stands", "= len(self._led)", "= 0"),),
        test="tests/paper/test_section_6_refreshes.py"
        "::test_after_a_restart_each_name_of_a_prefix_is_asked_for_once_before_refreshes_get_rarer",
    ),
    Mutation(
        "lapsed-between-refreshes",
        "section 6: nodes are told that a watch lapses before its next refresh comes",
        (Edit("session.refreshing", "Refreshing.lapse", "max(self.interval, WATCH_REFRESH_S)", "1.0"),),
        test="tests/paper/test_section_6_refreshes.py"
        "::test_while_all_nodes_answer_an_idle_watch_costs_less_than_a_message_a_second",
    ),
    Mutation(
        "crowd-half-told",
        "section 6: of many watchers only the first slices are told, the others never",
        (Edit("node.subscriptions", "Subscriptions.tell_on", "if self._to_tell:", "if False:"),),
        test="tests/paper/test_section_6_refreshes.py"
        "::test_of_a_crowd_a_turn_tells_some_and_each_is_told_once_and_soon",
    ),
    Mutation(
        "led-out-of-touch",
        "section 6: a watcher that hears too few nodes goes on showing the last state",
        (Edit("session.watches", "Watcher.in_touch", ">= blocking(len(self.nodes))", ">= 1"),),
        # A node counts for at least 3.5 s without a word: longer than the faults of a run last.
        test="tests/paper/test_section_6_learning.py"
        "::test_in_touch_with_too_few_nodes_it_does_not_go_on_showing_led",
    ),
    Mutation(
        "lowest-chosen-term",
        "section 6: of terms that are known to be chosen the lowest is told",
        (Edit("session.judgement", "_term", "chosen = max(", "chosen = min("),),
        test="tests/unit/test_judgement.py::test_which_term_is_the_token",
    ),
    Mutation(
        "led-after-the-release",
        "section 6: old views bring back a tenure whose Release was seen",
        (Edit("session.watches", "Watcher._look", "lease.candidate != shown.released", "True"),),
        test="tests/paper/test_section_6_learning.py"
        "::test_a_tenure_whose_release_was_seen_is_not_shown_as_led_again",
    ),
    Mutation(
        "never-asked-again",
        "section 6: what a node has forgotten counts for ever with those who watch a prefix",
        (Edit("session.watches", "Watcher.doubtful", "if not self.prefix:", "if True:"),),
        test="tests/paper/test_section_6_learning.py"
        "::test_a_node_that_has_forgotten_the_name_does_not_speak_for_its_old_leader_for_ever",
    ),
    Mutation(
        "unknown-never-asked",
        "section 6: what a watch of a prefix shows as unknown is asked of nobody once it is in touch again",
        (Edit("session.watches", "Watcher.look", "shown.told and shown.state is State.UNKNOWN", "False"),),
        test="tests/paper/test_section_6_learning.py"
        "::test_back_in_touch_a_node_that_knows_nothing_of_a_free_name_is_asked",
    ),
    Mutation(
        "silent-never-asked",
        "section 6: a node that has told nothing of a name is never asked by those who watch a prefix",
        (
            Edit(
                "session.watches",
                "Watcher.doubtful",
                "self._saying(name) + self._never_heard_of(name)",
                "self._saying(name)",
            ),
        ),
        test="tests/paper/test_section_6_learning.py"
        "::test_a_node_that_knows_nothing_of_the_name_is_asked_too",
    ),
    Mutation(
        "newer-event-dropped",
        "section 6: whoever has seen an older version of an event is not told the newer one again",
        (
            Edit(
                "node.subscriptions",
                "Subscription.seen",
                "if self.pending.get(name, version + 1) <= version:",
                "if name in self.pending:",
            ),
        ),
        # In a run the last states come after the heal, when no event is lost any more.
        test="tests/paper/test_section_6_learning.py"
        "::test_an_acknowledgement_of_an_older_version_does_not_silence_a_newer_one",
    ),
    Mutation(
        "promised-taken-for-closed",
        "section 6: a node tells a term that it has only promised as one that it has closed",
        (
            Edit(
                "node.learner",
                "Learner.view",
                "record.term if record.owner is None else record.term - 1",
                "record.term",
            ),
        ),
        test="tests/paper/test_section_6_learning.py::test_a_term_that_is_promised_is_not_closed",
    ),
    Mutation(
        "ping-that-is-repeated",
        "section 6: a ping is asked again, and what was lost does not show",
        (
            Edit(
                "session.seeing",
                "PingQuery.owing",
                "self.open - self._asked.keys() - self.strangers",
                "self.open - self.strangers",
            ),
        ),
        test="tests/unit/test_seeing.py::test_a_ping_that_is_lost_is_not_repeated_and_shows",
    ),
    Mutation(
        "counters-in-one-page",
        "section 6: an answer with counters is longer than a datagram",
        (Edit("node.seeing", "Seeing.answer", "if room < 0 and told:", "if False:"),),
        test="tests/unit/test_seeing.py::test_pages_tell_every_counter_once_in_datagrams_that_are_never_full",
    ),
)
