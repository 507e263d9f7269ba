"""Bugs planted in what others want of a holder, and in other data (protocol.md section 12)."""

from __future__ import annotations

from tests.planted.figures import ADMINISTERED, PUBLISHED
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_ADMINISTRATION"]

PAPER = "tests/paper/test_section_12_others.py::"
RIGHTS = "tests/security/test_client_keys.py::"

IN_ADMINISTRATION: tuple[Mutation, ...] = (
    Mutation(
        "let-go-at-the-first-word",
        "section 12, a hand-over: the holder is told before the other nodes know who is to be next",
        (
            Edit(
                "node.steering",
                "Steering.revoke",
                "record.holds(candidate) and (message.force or not put_first)",
                "record.holds(candidate)",
            ),
        ),
        test="tests/paper/test_section_12_others.py"
        "::test_s12_a_successor_goes_before_those_who_wait_for_longer",
    ),
    Mutation(
        "force-frees-at-once",
        "section 12: an acceptor lets go of the lease whose holder was ended by force",
        (
            Edit(
                "node.steering",
                "Steering.revoke",
                "acceptor.touched.add(name)",
                "acceptor.touched.add(name); record.holds(candidate) and acceptor._close(record, now)",
            ),
        ),
        changes=ADMINISTERED,
    ),
    Mutation(
        "force-without-a-tombstone",
        "section 12: who was ended by force is renewed as before",
        (
            Edit(
                "node.steering",
                "Steering.revoke",
                "acceptor.sweeper.set_tombstone(record, candidate, now, forced=True)",
                "pass",
            ),
        ),
        seed=18,
        changes=ADMINISTERED,
    ),
    Mutation(
        "force-where-it-is-held-alone",
        "section 12: a node that lacks the lease of one ended by force takes it afterwards",
        (
            Edit(
                "node.steering",
                "Steering.revoke",
                "acceptor.sweeper.set_tombstone(record, candidate, now, forced=True)",
                "record.holds(candidate) and "
                "acceptor.sweeper.set_tombstone(record, candidate, now, forced=True)",
            ),
        ),
        test=PAPER + "test_s12_a_node_without_the_lease_refuses_it_for_max_ttl_longer_than_others",
    ),
    Mutation(
        "force-forgotten-too-soon",
        "section 12: the tombstone of one ended by force stands no longer than others",
        (
            Edit(
                "node.forgetting",
                "Sweeper.set_tombstone",
                "self._max_ttl if forced else 0.0",
                "0.0",
            ),
        ),
        test=PAPER + "test_s12_a_node_without_the_lease_refuses_it_for_max_ttl_longer_than_others",
    ),
    Mutation(
        "force-not-in-the-state-file",
        "section 12: a node that is killed forgets whom it has ended by force",
        (
            Edit(
                "node.steering",
                "Steering.revoke",
                "acceptor.stones.append(KeptStone(name, *candidate, forced=True))",
                "pass",
            ),
        ),
        test=PAPER + "test_s12_it_is_in_the_state_file_before_it_is_answered",
    ),
    Mutation(
        "releases-at-the-word-of-force",
        "section 12: a holder that was ended by force releases while its program works on",
        (
            Edit(
                "session.campaigns",
                "Campaigns._revoked",
                "self.candidates.stop_renewing(tenure)",
                "return self.release(tenure.ticket, now)",
            ),
        ),
        changes=ADMINISTERED,
    ),
    Mutation(
        "force-taken-for-ended",
        "section 12: a holder that was ended by force is over at once, and tells the nodes so",
        (
            Edit(
                "node.record",
                "Record.end_of",
                "RefusalReason.REVOKED if self.revoked == candidate else RefusalReason.ENDED",
                "RefusalReason.ENDED",
            ),
        ),
        test=PAPER + "test_s12_by_force_the_lease_is_held_until_its_deadline_and_renewed_no_more",
    ),
    Mutation(
        "force-shown-as-free",
        "section 12: a node shows as released what was ended by force, and is held elsewhere",
        (
            Edit(
                "node.learner",
                "Learner.commit",
                "over is RefusalReason.ENDED",
                "over is not None",
            ),
        ),
        test=PAPER + "test_s12_what_is_ended_by_force_is_not_shown_as_released",
    ),
    Mutation(
        "another-grant-revoked",
        "section 12: a Revoke ends a grant of another term",
        (Edit("node.steering", "Steering.revoke", "if self._is_another(message, now):", "if False:"),),
        test=PAPER + "test_s12_another_grant_is_not_revoked",
    ),
    Mutation(
        "polite-without-the-right",
        "section 8: a key that may acquire a name revokes its holder",
        (
            Edit(
                "rights",
                "_allowed",
                "case Revoke():\n            return rights.allows(Verb.ADMINISTER, message.name)",
                "case Revoke():\n            return message.force is False "
                "or rights.allows(Verb.ADMINISTER, message.name)",
            ),
        ),
        test=RIGHTS + "test_who_may_not_administer_may_not_revoke",
    ),
    Mutation(
        "older-data-overwrite-newer",
        "section 12: an older edition overwrites a newer one",
        (Edit("node.steering", "Steering.publish", "if message.edition > lease.edition:", "if True:"),),
        changes=PUBLISHED,
    ),
    Mutation(
        "accept-undoes-what-was-published",
        "section 12: an Accept that was overtaken brings back the data of before",
        (Edit("node.record", "Record.newest", "held is None", "True or held is None"),),
        test=PAPER + "test_s12_neither_a_late_accept_nor_a_renewal_undoes_them",
    ),
    Mutation(
        "publish-prolongs",
        "section 12: a Publish moves the deadline",
        (
            Edit(
                "node.steering",
                "Steering.publish",
                "self._acceptor.touched.add(record.name)",
                "self._acceptor.touched.add(record.name); record.deadline = now + lease.ttl",
            ),
        ),
        test=PAPER + "test_s12_newer_data_take_the_place_of_older_ones_and_nothing_else_changes",
    ),
    Mutation(
        "published-by-one-node",
        "section 12: published is what one node has",
        (
            Edit(
                "session.publications",
                "Publications._has_a_quorum",
                ">= self._shared.quorum",
                ">= 1",
            ),
        ),
        seed=4,
        changes=PUBLISHED,
    ),
    Mutation(
        "published-by-two-lives",
        "S15: what two lives of a node have of other data is counted together",
        (
            Edit(
                "session.publications",
                "Publications._has_a_quorum",
                "len(having) - len(outlived(having))",
                "len(having)",
            ),
        ),
        test=PAPER + "test_s12_two_lives_of_a_node_are_not_counted_together",
    ),
    Mutation(
        "any-edition-shown",
        "section 12: a poll shows the data of any node",
        (
            Edit(
                "session.judgement",
                "_led",
                "(edition_of(view), view.chosen, view.lease_term)",
                "(-edition_of(view), view.chosen, view.lease_term)",
            ),
        ),
        changes=PUBLISHED,
    ),
    Mutation(
        "watch-goes-back",
        "section 12: a watch shows older data after newer ones",
        (Edit("session.watches", "Shown.newest", "shown is not None and older", "False"),),
        seed=9,
        changes=PUBLISHED,
    ),
    Mutation(
        "watch-blind-to-data",
        "section 12: a watch does not show that the data have changed",
        (
            Edit(
                "session.watches",
                "Watcher._tell",
                "shown.term == term and same_data",
                "shown.term == term",
            ),
        ),
        changes=PUBLISHED,
    ),
)
