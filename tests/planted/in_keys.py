"""Bugs planted in keys and rights (protocol.md section 8). The simulator has no liars: tests catch them."""

from __future__ import annotations

from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_KEYS"]

_TESTS = "tests/security/test_client_keys.py::"
_ROTATION = "tests/security/test_rotation.py::"

IN_KEYS: tuple[Mutation, ...] = (
    Mutation(
        "sessions-of-other-keys",
        "section 8: a key speaks in the name of a session of another key",
        (
            Edit(
                "paxlock.wire.endpoint",
                "Endpoint._from_session",
                "not rights.owns(sender.session)",
                "False",
            ),
        ),
        test=_TESTS + "test_no_key_speaks_in_the_name_of_a_session_of_another",
    ),
    Mutation(
        "one-key-for-all-receivers",
        "section 8: what a node seals for another node opens at every node",
        (
            Edit(
                "paxlock.wire.channels",
                "channel_of",
                'sender.identity + b"\\0" + receiver.encode()',
                "sender.identity",
            ),
        ),
        test=_TESTS + "test_what_a_node_sealed_for_one_receiver_opens_at_no_other",
    ),
    Mutation(
        "client-keys-seal-as-nodes",
        "section 8: nodes seal for each other by a key that clients have too",
        (Edit("paxlock.wire.keyring", "Keyring._derive", "if grant != self.grant:", "if False:"),),
        test=_TESTS + "test_a_client_key_seals_for_no_node",
    ),
    Mutation(
        "the-key-without-its-text",
        "section 8: the key of a client does not depend on its grant",
        (Edit("paxlock.config.keys", "client_key", "blake2b(grant,", 'blake2b(b"",'),),
        test=_TESTS + "test_a_grant_that_is_not_the_one_that_the_key_was_made_for_opens_nothing",
    ),
    Mutation(
        "expired-keys-are-taken",
        "section 8: the expiry of a key is not looked at",
        (Edit("rights", "Rights.taken", "not self.expires or unix < self.expires", "True"),),
        test=_TESTS + "test_a_key_is_taken_until_it_expires_or_is_revoked",
    ),
    Mutation(
        "denied-keys-are-taken",
        "section 8: a key that was denied by its id is taken",
        (Edit("rights", "Rights.taken", " and self.key not in revoked.denied", ""),),
        test=_TESTS + "test_a_key_is_taken_until_it_expires_or_is_revoked",
    ),
    Mutation(
        "any-name",
        "section 8: a key acquires names that its patterns do not match",
        (
            Edit(
                "rights",
                "Rights.allows",
                "else name == pattern",
                "else name.startswith(pattern)",
            ),
        ),
        test=_TESTS + "test_acquiring_is_for_its_names_and_its_verb",
    ),
    Mutation(
        "any-ttl-in-phase-2",
        "section 8: the longest ttl of a key is asked in phase 1 only",
        (Edit("rights", "_allowed", " and rights.allows_ttl(message.lease.ttl_ms)", ""),),
        test=_TESTS + "test_a_ttl_above_the_longest_is_refused_in_both_phases",
    ),
    Mutation(
        "handles-of-other-keys",
        "section 8: whoever may acquire a name lets go of the leases of every key there",
        (Edit("rights", "Rights.lets_go", "session == sender or self.owns(session)", "True"),),
        test=_TESTS + "test_the_leases_of_another_key_are_for_who_administers",
    ),
    Mutation(
        "dropped-keys-on-the-short-way",
        "section 8: who was heard by a key before it was dropped goes on being heard",
        (Edit("paxlock.wire.rekeying", "rekey", "endpoint._lanes.clear()", "pass"),),
        test=_ROTATION + "test_what_a_dropped_key_seals_is_refused_at_once_also_on_the_short_way",
    ),
    Mutation(
        "answered-by-the-older-grant",
        "section 8: a session whose key was made anew is answered by the one that it had",
        (
            Edit(
                "paxlock.wire.peers",
                "KnownSession.prove",
                "self.sender, self.key_id, self.echo = header.sender, header.key_id, header.issue",
                "self.key_id, self.echo = header.key_id, header.issue",
            ),
        ),
        test=_ROTATION + "test_a_grant_that_was_made_anew_under_its_id_goes_on_with_its_session",
    ),
    Mutation(
        "last-wills-of-a-dropped-key",
        "section 11: a last will stays sealed by the key that its session had",
        (
            Edit(
                "paxlock.wire.wills",
                "Wills.settle_turn",
                "moved = places != self._places or key_changes != self._key_changes",
                "moved = places != self._places",
            ),
        ),
        test=_ROTATION + "test_a_last_will_is_sealed_anew_by_the_other_key",
    ),
    Mutation(
        "rights-not-asked",
        "section 8: the node does not ask what a key allows",
        (Edit("paxlock.core.node.replica", "Replica.receive", "if barrier is None:", "if True:"),),
        test="tests/security/test_a_node_asks.py::test_a_node_answers_what_is_not_allowed_and_does_nothing",
    ),
)
