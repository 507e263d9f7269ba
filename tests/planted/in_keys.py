"""Bugs planted in keys and rights (protocol.md section 8).

The simulator changes the keys of its cells, and catches what is wrong in that. It has no liars: what liars
could do, tests catch.
"""

from __future__ import annotations

from tests.planted.figures import ROTATION
from tests.planted.mutations import Edit, Mutation

__all__ = ["IN_KEYS"]

_TESTS = "tests/security/test_client_keys.py::"
_GREEDY = "tests/security/test_greedy_keys.py::"
_ROTATION = "tests/security/test_rotation.py::"

IN_KEYS: tuple[Mutation, ...] = (
    Mutation(
        "sessions-of-other-keys",
        "section 8: a key speaks in the name of a session of another key",
        (
            Edit(
                "paxlock.wire.grants",
                "_marked",
                "return start + _owner(start, key)",
                "return session",
            ),
        ),
        test=_TESTS + "test_no_key_speaks_in_the_name_of_a_session_of_another",
    ),
    Mutation(
        "sessions-go-by-what-they-have-drawn",
        "section 8: whoever is told of a session of the same key speaks as it",
        (
            Edit(
                "paxlock.wire.header",
                "SessionSender.session",
                "session_of(self.drawn, self.grant)",
                "self.drawn",
            ),
        ),
        test=_TESTS + "test_whoever_is_told_of_a_session_of_the_same_key_does_not_speak_as_it",
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
        "promoted-alone",
        "section 8: a key file loses the old key when the new one is promoted",
        (
            Edit(
                "paxlock.config.key_file",
                "promoted",
                "return [found, *(key for key in keys if key is not found)]",
                "return [found]",
            ),
        ),
        changes=ROTATION,
    ),
    Mutation(
        "a-new-key-seals-at-once",
        "section 8: a key that is added to a key file seals before every node opens by it",
        (Edit("paxlock.config.key_file", "added", "return keys + fresh", "return fresh + keys"),),
        changes=ROTATION,
    ),
    Mutation(
        "opens-anew-seals-as-before",
        "section 8: an endpoint that gets other keys opens by them, and seals by those that it had",
        (
            Edit(
                "paxlock.wire.sealing",
                "Sealing.rekey",
                "self.sender, self._keyring = sender, keyring",
                "self.sender = sender",
            ),
        ),
        changes=ROTATION,
    ),
    Mutation(
        "dropped-keys-go-on-sealing",
        "section 8: what was derived from a key goes on sealing when that key has been dropped",
        (Edit("paxlock.wire.sealing", "Sealing._settle", "self._sealers.clear()", "pass"),),
        seed=6,
        changes=ROTATION,
    ),
    Mutation(
        "answered-by-the-older-key",
        "section 8: a session is answered by the key under which it was heard first",
        (
            Edit(
                "paxlock.wire.peers",
                "KnownSession.prove",
                "self.sender, self.key_id, self.echo = header.sender, header.key_id, header.issue",
                "self.sender, self.echo = header.sender, header.issue",
            ),
        ),
        changes=ROTATION,
    ),
    Mutation(
        "challenged-by-the-newer-key",
        "section 8: a challenge is sealed by the first key, which its receiver may not have yet",
        (
            Edit(
                "paxlock.wire.endpoint",
                "Endpoint._answer_empty",
                "key_id=header.key_id",
                "key_id=self._keyring.first",
            ),
        ),
        seed=13,
        changes=ROTATION,
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
                "Wills._moved",
                "or self._endpoint.key_changes != self._key_changes",
                "or False",
            ),
        ),
        test=_ROTATION + "test_a_last_will_is_sealed_anew_by_the_other_key",
    ),
    Mutation(
        "quotas-not-asked",
        "section 8: a key may have as much as it likes",
        (
            Edit(
                "paxlock.core.node.replica",
                "Replica.receive",
                "self._quotas.admit(message, peer, rights, now)",
                "message",
            ),
        ),
        test=_GREEDY + "test_names",
    ),
    Mutation(
        "held-names-do-not-count",
        "section 8: a name that is renewed for long does not count any more",
        (
            Edit(
                "paxlock.core.node.quotas",
                "Quotas._tidy",
                "when + KEPT_S > now or self._holds(name, rights)",
                "when + KEPT_S > now",
            ),
        ),
        test=_GREEDY + "test_a_name_that_is_held_counts_for_as_long_as_it_is_renewed",
    ),
    Mutation(
        "tombstones-without-bound",
        "section 8: a key sets as many tombstones as it can make up sessions",
        (
            Edit(
                "paxlock.core.node.quotas",
                "Quotas._buried",
                "if not self._room(account, taken, one, most, rights, now):",
                "if False:",
            ),
        ),
        test=_GREEDY + "test_tombstones",
    ),
    Mutation(
        "forced-ends-do-not-count",
        "section 8: a key that may administer sets as many tombstones as it can make up candidates",
        (
            Edit(
                "paxlock.core.node.quotas",
                "Quotas.admit",
                "case Revoke(force=True):",
                "case Revoke(force=None):",
            ),
        ),
        test=_GREEDY + "test_tombstones_of_forced_ends",
    ),
    Mutation(
        "any-age-in-line",
        "section 8: a session that has just come states that it has waited for ever",
        (
            Edit(
                "paxlock.core.node.quotas",
                "Quotas._in_line",
                "if message.age_ms > oldest:",
                "if False:",
            ),
        ),
        test=_GREEDY + "test_nobody_has_waited_for_longer_than_he_is_known",
    ),
    Mutation(
        "several-places-in-a-line",
        "section 5: one session fills a line by its attempts",
        (Edit("paxlock.core.node.line", "Line.enter", "if before is not None:", "if False:"),),
        test=_GREEDY + "test_a_session_has_one_place_in_a_line",
    ),
    Mutation(
        "events-without-bound",
        "section 8: a watch that acknowledges nothing makes a node keep every event",
        (
            Edit(
                "paxlock.core.node.subscriptions",
                "Subscriptions.publish",
                "too_many = found.key and self.events[found.key] > EVENTS_PER_KEY",
                "too_many = False",
            ),
        ),
        test=_GREEDY + "test_events_that_nobody_acknowledges",
    ),
    Mutation(
        "one-key-forgets-the-sessions-of-all",
        "section 8: a key that proves many sessions makes the node forget those of others",
        (
            Edit(
                "paxlock.wire.peers",
                "KnownSessions.admit",
                "if len(mine) >= SESSIONS_PER_KEY:",
                "if False:",
            ),
        ),
        test=_GREEDY + "test_addresses_that_a_key_has_proved",
    ),
    Mutation(
        "rights-not-asked",
        "section 8: the node does not ask what a key allows",
        (
            Edit(
                "paxlock.core.node.replica",
                "Replica.receive",
                "refusal(message, peer, rights, self.revoked, now + self.settings.wall_offset)",
                "None",
            ),
        ),
        test="tests/security/test_a_node_asks.py::test_a_node_answers_what_is_not_allowed_and_does_nothing",
    ),
)
