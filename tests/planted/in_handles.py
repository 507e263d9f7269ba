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
                "node.acceptor",
                "Acceptor.renew",
                "if sender != message.session and not opens_all(message, self._held):",
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
                "node.acceptor",
                "Acceptor.release",
                "stone_for(record, message) if by_handle else candidate",
                "stone_for(record, message) if by_handle and not record.holds(candidate) else candidate",
            ),
        ),
        changes=INSIDERS,
    ),
    Mutation(
        "a-wrong-secret-sets-a-tombstone",
        "section 3: where its lease is not held yet, whoever knows a candidate stops it",
        (
            Edit(
                "node.acceptor",
                "Acceptor.release",
                "stone_for(record, message) if by_handle else candidate",
                "stone_for(record, message) if by_handle and record.holds(candidate) else candidate",
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
                "Record.ended",
                "attempt >= candidate.attempt or (bool(lock) and stone_of(lock).session in stones)",
                "attempt >= candidate.attempt",
            ),
        ),
        changes={**CALM, "released_elsewhere": 0.8, "hold_for_ever": 0.6, "loss": 0.1, "clients": 4},
    ),
    Mutation(
        "only-the-last-secret-counts",
        "L1: a wrong secret takes the place of a right one, where the lease is not held",
        (
            Edit(
                "node.handles",
                "stone_for",
                "return stone_of(lock)",
                "stones = record.tombstones = {k: v for k, v in (record.tombstones or {}).items() "
                "if len(k) == len(message.candidate.session)}; return stone_of(lock)",
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
                "record.ended(head.candidate, head.lock)",
                "record.ended(head.candidate)",
            ),
        ),
        test=_TESTS + "test_l1_who_stands_in_line_is_passed_over_only_by_the_right_one",
    ),
    Mutation(
        "believes-a-handle-that-it-cannot-check",
        "section 3: a node that does not hold the lease tells that it was released",
        (
            Edit(
                "node.replica",
                "Replica._from_session",
                "if acceptor.records[message.name].ended(message.candidate):",
                "if True:",
            ),
        ),
        test=_TESTS + "test_no_view_says_released_at_the_word_of_a_handle_that_nobody_could_check",
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
                "Quotas.admit",
                "stone = (against.session, message.name)",
                "stone = (message.candidate.session, message.name)",
            ),
        ),
        test="tests/security/test_greedy_keys.py::test_tombstones_by_made_up_handles",
    ),
)
