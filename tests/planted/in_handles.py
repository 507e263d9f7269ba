"""Bugs planted in handles: in what nodes ask of whoever shows one (protocol.md section 3)."""

from __future__ import annotations

from tests.planted.figures import CALM
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_HANDLES"]

_TESTS = "tests/paper/test_section_3_secrets.py::"
INSIDERS = {**CALM, "insiders": 60.0, "hold_for_ever": 0.5}

IN_HANDLES: tuple[Mutation, ...] = (
    Mutation(
        "renews-without-a-secret",
        "section 3: whoever knows a candidate renews its lease",
        (
            Edit(
                "node.handles",
                "Handles.renew",
                "if sender != message.session and not self._opens_all(message):",
                "if False:",
            ),
        ),
        changes=INSIDERS,
    ),
    Mutation(
        "releases-without-a-secret",
        "section 3: whoever knows a candidate ends its lease",
        (
            Edit(
                "node.handles",
                "Handles.stone_for",
                "lock = record.lock",
                "return candidate",
            ),
        ),
        changes=INSIDERS,
    ),
    Mutation(
        "a-wrong-secret-sets-a-tombstone",
        "section 3: where its lease is not held yet, whoever knows a candidate stops it",
        (
            Edit(
                "node.handles",
                "Handles.stone_for",
                "return lock_stone(opened)",
                "return candidate",
            ),
        ),
        changes=INSIDERS,
    ),
    Mutation(
        "a-right-secret-sets-none",
        "L1: a Release by a handle that comes before the lease is forgotten",
        (
            Edit(
                "node.record",
                "Record.end_of",
                "if lock and lock_stone(lock)[0] in stones:",
                "if False:",
            ),
        ),
        test=_TESTS + "test_l1_a_release_by_a_handle_that_comes_first_stops_the_lease_that_it_opens",
    ),
    Mutation(
        "only-the-last-secret-counts",
        "L1: a wrong secret takes the place of a right one, where the lease is not held",
        (
            Edit(
                "node.forgetting",
                "Sweeper.set_tombstone",
                "against, number = stone",
                "against, number = stone; record.tombstones = {k: v for k, v in record.tombstones.items() "
                "if len(k) == 16 or len(against) == 16}",
            ),
        ),
        test=_TESTS + "test_l1_a_wrong_one_takes_nothing_of_what_a_right_one_has_said",
    ),
    Mutation(
        "a-line-does-not-ask-for-locks",
        "L1: who stands in line and was ended by a handle is the next holder",
        (
            Edit(
                "node.acceptor",
                "Acceptor._advance",
                "record.end_of(head.candidate, head.lock)",
                'record.end_of(head.candidate, b"")',
            ),
        ),
        test=_TESTS + "test_l1_who_stands_in_line_is_passed_over_only_by_the_right_one",
    ),
    Mutation(
        "believes-a-handle-that-it-cannot-check",
        "section 3: a node that does not hold the lease tells that it was released",
        (
            Edit(
                "node.handles",
                "Handles.release",
                "if isinstance(answer, Released) and stone == message.candidate:",
                "if isinstance(answer, Released):",
            ),
        ),
        test=_TESTS + "test_no_view_says_released_at_the_word_of_a_handle_that_nobody_could_check",
    ),
    Mutation(
        "believes-a-tombstone-for-a-release",
        "section 3: of one that was ended by force a node tells that it was released, at any wrong secret",
        (
            Edit(
                "node.handles",
                "Handles.release",
                "stone == message.candidate:",
                "self._acceptor.records[message.name].ended(message.candidate):",
            ),
        ),
        test=_TESTS + "test_l1_a_wrong_secret_takes_no_view_from_a_lease_that_was_ended_by_force",
    ),
    Mutation(
        "commits-without-locks",
        "section 3: a node that knows a lease chosen and lacks it shows it on after its Release by a handle",
        (
            Edit(
                "session.attempt",
                "Attempt.send_commit",
                "self.lease, self.lock)",
                "self.lease)",
            ),
        ),
        test=_TESTS + "test_a_poll_after_a_release_by_a_handle_says_free_though_one_node_has_missed_it",
    ),
    Mutation(
        "claims-forget-their-locks",
        "section 3: what the others confirm of a claim is chosen without its lock",
        (
            Edit(
                "node.hearsay",
                "Hearsay.answered",
                "lock=doubt.claims[true].lock",
                "",
            ),
        ),
        test=_TESTS + "test_what_the_others_confirm_of_a_claim_keeps_its_lock",
    ),
    Mutation(
        "made-up-handles-take-the-place-of-releases",
        "section 8: whoever makes up handles uses up the tombstones of its key, and nobody can release",
        (
            Edit(
                "node.quotas",
                "Quotas._buried",
                "taken = account.stones if of_session else account.barred",
                "taken, of_session = account.stones, True",
            ),
        ),
        test="tests/security/test_greedy_keys.py::test_no_made_up_handle_is_in_the_way_of_a_release",
    ),
    Mutation(
        "one-secret-for-a-session",
        "section 3: the handle of one lease opens every lease of its session",
        (Edit("handles", "secret_of", "number = attempt.to_bytes(ATTEMPT_BYTES)", 'number = b""'),),
        test=_TESTS + "test_a_lock_is_of_one_attempt_and_tells_no_secret",
    ),
    Mutation(
        "locks-not-kept",
        "section 7: the state file does not keep the locks",
        (Edit("node.record", "Record.kept", "        self.lock,\n", ""),),
        test=_TESTS + "test_the_lock_is_kept",
    ),
    Mutation(
        "locks-not-saved",
        "section 7: the snapshot does not keep the locks",
        (
            Edit(
                "node.record",
                "Record.saved",
                'self.lock if self.lease is not None else b""',
                'b""',
            ),
        ),
        test=_TESTS + "test_the_lock_is_kept",
    ),
    Mutation(
        "made-up-secrets-for-one-tombstone",
        "section 8: a key sets as many tombstones as it can make up secrets",
        (
            Edit(
                "node.quotas",
                "Quotas._buried",
                "one, most = (stone[0], message.name),",
                "one, most = (message.candidate.session, message.name),",
            ),
        ),
        test="tests/security/test_greedy_keys.py::test_tombstones_by_made_up_handles",
    ),
)
