"""Whoever has the key of a client: it speaks for no node and no other client, and does what its grant allows.

The hostile one here is not the shipped client, which asks its own grant first: it seals whatever it likes.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from paxlock.config.keys import client_key, format_client_key, parse_client_key
from paxlock.core.journal import Recall
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Commit,
    Forbidden,
    Greet,
    Hello,
    List,
    Message,
    Poll,
    Prepare,
    Release,
    Renew,
    Seen,
    StandingPrepare,
    Unwatch,
    Waiting,
    Watch,
)
from paxlock.core.reasons import Barrier
from paxlock.core.rights import ROOT, Revoked, Rights, Verb, refusal
from paxlock.core.seeing import Count, Ping
from paxlock.core.steering import Publish, Revoke
from paxlock.errors import ConfigError
from paxlock.limits import GRANT_MAX_BYTES, NODE_ID_MAX_BYTES
from paxlock.wire.codec import encode, join
from paxlock.wire.endpoint import Endpoint, NodeSender, Received, SessionSender
from paxlock.wire.grants import draw_session, grant_of, owned, rights_of, session_of
from paxlock.wire.header import parse_untrusted
from paxlock.wire.keyring import Keyring

ROOT_KEY = bytes(range(32))
CELL = b"cell" * 4
RUN = b"r" * 16
HOME, ELSEWHERE = ("10.0.1.1", 5000), ("10.0.1.2", 5000)
PLACES = {"a": ("10.0.0.1", 7400), "b": ("10.0.0.2", 7400)}
MEMBERS = {node: [place] for node, place in PLACES.items()}
UNIX = 1_700_000_000


def rights(
    verbs: int = Verb.ACQUIRE,
    *patterns: str,
    key: str = "app",
    ttl_max_ms: int = 0,
    expires: int = 0,
    generation: int = 0,
) -> Rights:
    made = Rights(key, verbs, patterns or ("*",), ttl_max_ms, expires, generation, ROOT.owns)
    return rights_of(grant_of(made))


GRANT = grant_of(rights())
OTHER_GRANT = grant_of(rights(key="other"))


def client_ring(grant: bytes) -> Keyring:
    return Keyring({1: client_key(ROOT_KEY, grant)}, grant=grant)


def node(node_id: str = "a", ring: Keyring | None = None) -> Endpoint:
    sender = NodeSender(node_id, 1, RUN)
    return Endpoint(sender, ring or Keyring({1: ROOT_KEY}), cell_id=CELL, epoch=1, members=MEMBERS)


def client(grant: bytes, session: bytes | None = None, ring: Keyring | None = None) -> Endpoint:
    sender = SessionSender(session or draw_session(), grant)
    return Endpoint(sender, ring or client_ring(grant), cell_id=CELL, epoch=1, members=MEMBERS)


def carry(one: Endpoint, to: Endpoint, place: tuple[str, int]) -> list[Received]:
    found = [to.receive_untrusted(datagram, place) for datagram, _ in one.flush()]
    return [each for each in found if each is not None]


def acquaint(one: Endpoint, to: Endpoint, place: tuple[str, int] = HOME) -> Received:
    """Let a client prove its address to node a: what it then says is passed up."""
    one.queue("a", Poll(1, "n"))
    assert carry(one, to, place) == []
    assert carry(to, one, PLACES["a"]) == []
    (received,) = carry(one, to, place)
    return received


def drops(one: Endpoint) -> dict[str, int]:
    return {n.removeprefix("dropped_"): c for n, c in one.statistics().items() if n.startswith("dropped_")}


# The key


def test_a_client_key_is_heard_with_its_rights_and_hears_the_answer_on_both_ways() -> None:
    a, app = node(), client(GRANT)
    session = app.sender
    assert isinstance(session, SessionSender)
    for _ in range(3):  # the long way, then the short one
        received = acquaint(app, a) if not a.statistics().get("passed") else carry(app, a, HOME)[0]
        assert received.sender == session
        assert (received.rights.key, received.rights.verbs) == ("app", Verb.ACQUIRE)
        a.queue(session.session, Hello(7))
        (answer,) = carry(a, app, PLACES["a"])
        assert answer.messages == (Hello(7),)
        app.queue("a", Poll(1, "n"))


def test_the_root_key_has_every_right() -> None:
    root = client(b"", ring=Keyring({1: ROOT_KEY}))
    assert acquaint(root, node()).rights is ROOT


def test_a_client_is_answered_by_the_key_it_used_where_the_cell_has_another_first() -> None:
    newer = bytes(32)
    a, app = node(ring=Keyring({2: newer, 1: ROOT_KEY})), client(GRANT)
    acquaint(app, a)
    a.queue(app.sender.session, Hello(1))  # type: ignore[union-attr]
    ((datagram, _),) = a.flush()
    assert parse_untrusted(datagram).key_id == 1
    assert app.receive_untrusted(datagram, PLACES["a"]) is not None


@pytest.mark.parametrize("change", ["more rights", "no grant", "another key's"])
def test_a_grant_that_is_not_the_one_that_the_key_was_made_for_opens_nothing(change: str) -> None:
    grant = {
        "more rights": grant_of(rights(Verb.ADMINISTER)),
        "no grant": b"",
        "another key's": OTHER_GRANT,
    }[change]
    ring = Keyring({1: client_key(ROOT_KEY, GRANT)}, grant=grant) if grant else Keyring({1: ring_key()})
    liar, a = client(grant, ring=ring), node()
    liar.queue("a", Hello(1))
    assert carry(liar, a, HOME) == []
    assert drops(a) == {"seal": 1} and a.flush() == []


def ring_key() -> bytes:
    return client_key(ROOT_KEY, GRANT)


def test_no_text_shows_what_a_session_has_drawn() -> None:
    sender = SessionSender(draw_session(), GRANT)
    assert repr(sender.drawn) not in repr(sender)
    assert repr(GRANT) in repr(sender)


def test_no_key_speaks_in_the_name_of_a_session_of_another() -> None:
    """Also where it has seen on the path what the session has drawn: with that it is one of its own."""
    for victim in (client(GRANT), client(b"", ring=Keyring({1: ROOT_KEY}))):
        a = node()
        session = acquaint(victim, a).peer
        assert isinstance(session, bytes) and isinstance(victim.sender, SessionSender)
        thief = client(OTHER_GRANT, session=victim.sender.drawn)
        heard = acquaint(thief, a, ELSEWHERE)
        assert isinstance(heard.peer, bytes) and heard.peer != session
        assert heard.rights.key == "other" and heard.rights.owns(heard.peer)
        assert not heard.rights.owns(session)
        a.queue(session, Poll(7, "n"))
        assert carry(a, thief, PLACES["a"]) == []  # nor does it open what is sealed for the other one
        victim.queue("a", Poll(2, "n"))
        assert [received.peer for received in carry(victim, a, HOME)] == [session]


@pytest.mark.parametrize("grant", [GRANT, b""], ids=["client key", "root key"])
def test_whoever_is_told_of_a_session_of_the_same_key_does_not_speak_as_it(grant: bytes) -> None:
    """A view tells by what name a session goes, and not what it has drawn."""
    ring = client_ring(grant) if grant else Keyring({1: ROOT_KEY})
    a, victim = node(), client(grant, ring=ring)
    told = acquaint(victim, a).peer
    assert isinstance(told, bytes)
    insider = client(grant, session=told, ring=ring)
    heard = acquaint(insider, a, ELSEWHERE)
    assert heard.peer != told
    a.queue(told, Poll(7, "n"))
    assert carry(a, insider, PLACES["a"]) == []  # nor does it open what is sealed for the other one
    victim.queue("a", Poll(2, "n"))
    assert [received.peer for received in carry(victim, a, HOME)] == [told]


def test_a_client_key_seals_for_no_node() -> None:
    ring = client_ring(GRANT)
    liar = node("b", ring)
    with pytest.raises(ConfigError, match="cannot speak for a node"):
        liar._sealing.seal(join([encode(Greet(1, 9, RUN))]), 1, 1, "a")
    with pytest.raises(ConfigError, match="nor for another client"):
        liar._sealing.seal(b"\x80", 1, 1, SessionSender(draw_session(), OTHER_GRANT))


@pytest.mark.parametrize("receiver", ["a node", "another client"])
def test_the_text_of_a_node_sealed_with_a_client_key_is_opened_by_nobody(receiver: str) -> None:
    """The same with the check of the keyring taken out of the liar's own program."""
    as_if_root = Keyring({1: client_key(ROOT_KEY, GRANT)})
    liar = node("b", as_if_root)
    if receiver == "a node":
        target: Endpoint = node("a")
        datagram = liar._sealing.seal(join([encode(Greet(1, 9, RUN))]), 1, 1, "a")
    else:
        target = client(OTHER_GRANT)
        datagram = liar._sealing.seal(join([encode(Hello(1))]), 1, target._session_issue, target.sender)  # type: ignore[arg-type]
    assert target.receive_untrusted(datagram, PLACES["b"]) is None
    assert drops(target) == {"seal": 1}


def test_what_a_node_sealed_for_one_receiver_opens_at_no_other() -> None:
    """Not even for those that have the root key: nothing captured is of use elsewhere."""
    a, b = node("a"), node("b")
    a.queue("b", Hello(1))
    ((datagram, _),) = a.flush()
    members = {**MEMBERS, "c": [("10.0.0.3", 7400)]}
    ring = Keyring({1: ROOT_KEY})
    bystander = Endpoint(NodeSender("c", 1, RUN), ring, cell_id=CELL, epoch=1, members=members)
    bystander._table = b._table
    assert bystander.receive_untrusted(datagram, PLACES["a"]) is None
    assert drops(bystander) == {"seal": 1}
    assert b.receive_untrusted(datagram, PLACES["a"]) is not None


def test_two_clients_of_one_key_do_not_open_what_is_for_the_other() -> None:
    a, one, two = node(), client(GRANT), client(GRANT)
    acquaint(one, a)
    a.queue(one.sender.session, Hello(1))  # type: ignore[union-attr]
    ((datagram, _),) = a.flush()
    assert two.receive_untrusted(datagram, PLACES["a"]) is None
    assert drops(two) == {"seal": 1}


def test_key_texts_read_back_and_show_nothing_where_they_are_wrong() -> None:
    key = client_key(ROOT_KEY, GRANT)
    text = format_client_key(7, GRANT, key)
    assert parse_client_key(f" {text}\n") == (7, GRANT, key)
    for wrong in (
        text[:-1],
        text + ":",
        text.replace(":7:", ":0:"),
        text.replace(":7:", ":07:"),
        "paxlock-client-1:",
    ):
        with pytest.raises(ConfigError) as caught:
            parse_client_key(wrong)
        assert caught.value.__suppress_context__ and text[30:] not in str(caught.value)


def test_sessions_of_a_key_are_its_own() -> None:
    session = session_of(draw_session(), GRANT)
    assert owned(session, "app") and not owned(session, "other")
    assert len({session_of(draw_session(), GRANT) for _ in range(100)}) == 100
    assert not owned(draw_session(), "app")


def test_a_grant_has_room_and_bounds() -> None:
    longest = rights(Verb.ACQUIRE, "n" * 100 + "*", ttl_max_ms=1 << 40, expires=1 << 40, generation=1 << 31)
    assert longest.patterns == ("n" * 100 + "*",)
    with pytest.raises(ValueError, match="room for 160 bytes"):
        rights(Verb.ACQUIRE, "n" * GRANT_MAX_BYTES)
    whole = StandingPrepare(
        *(1 << 40, "n" * 255, 1 << 61, Candidate(bytes(16), 1 << 40), 1 << 40, 1 << 20, 1 << 20),
        *("l" * 64, 1 << 26, bytes(512), 1 << 40),
    )
    fullest = client(bytes(GRANT_MAX_BYTES), session=bytes(16), ring=Keyring.unsealed())
    fullest.queue("a", whole)
    ((datagram, _),) = fullest.flush()
    assert len(datagram) <= 1200 - 16  # and the seal
    assert NODE_ID_MAX_BYTES < GRANT_MAX_BYTES


# The rights


ME, SAME_KEY = session_of(draw_session(), GRANT), session_of(draw_session(), GRANT)
STRANGER = session_of(draw_session(), OTHER_GRANT)
MINE = Candidate(ME, 1)


def lease(name_ttl: int = 1000, session: bytes = ME) -> Lease:
    return Lease(Candidate(session, 1), name_ttl, "", b"")


def standing(name: str, ttl_ms: int = 1000) -> StandingPrepare:
    return StandingPrepare(1, name, 1, MINE, 0, 0, 0, "", ttl_ms, b"", 1)


ACQUIRING: list[Callable[[str], Message]] = [
    lambda name: Prepare(1, name, 1, MINE, 0, 0, 0, ""),
    standing,
    lambda name: Accept(1, name, 1, lease(), 1, 0),
    lambda name: Commit(name, 1, lease()),
    lambda name: Release(1, name, MINE, 1),
    lambda name: Publish(1, name, MINE, 1, b""),
]
OBSERVING: list[Callable[[str], Message]] = [
    lambda name: Poll(1, name),
    lambda name: Waiting(1, name, 0),
    lambda name: Recall(1, name, 0),
    lambda name: Watch(1, 1, name, False, 1000),
]
LETTING_GO: list[Callable[[bytes], Message]] = [
    lambda session: Release(1, "jobs/1", Candidate(session, 1), 1),
    lambda session: Renew(1, session, 1, (1,)),
]


NOBODY = Revoked()


def verdict(message: Message, of: Rights, revoked: Revoked = NOBODY, unix: float = UNIX) -> Barrier | None:
    return refusal(message, ME, of, revoked, unix)


@pytest.mark.parametrize("make", ACQUIRING)
def test_acquiring_is_for_its_names_and_its_verb(make: Callable[[str], Message]) -> None:
    key = rights(Verb.ACQUIRE, "jobs/*", "one")
    assert verdict(make("jobs/1"), key) is verdict(make("one"), key) is None
    for name in ("job", "one/more", "other", "xjobs/1"):
        assert verdict(make(name), key) is Barrier.RIGHTS
    assert verdict(make("jobs/1"), rights(Verb.OBSERVE)) is Barrier.RIGHTS
    assert verdict(make("any"), rights(Verb.ADMINISTER)) is None


@pytest.mark.parametrize("make", OBSERVING)
def test_observing_is_for_its_names_and_its_verb(make: Callable[[str], Message]) -> None:
    key = rights(Verb.OBSERVE, "jobs/*", "one")
    assert verdict(make("jobs/1"), key) is verdict(make("one"), key) is None
    assert verdict(make("other"), key) is verdict(make("one/more"), key) is Barrier.RIGHTS
    acquires = rights(Verb.ACQUIRE, "jobs/*")
    asks = not isinstance(make("n"), (Watch, Recall))
    assert verdict(make("jobs/1"), acquires) is (None if asks else Barrier.RIGHTS)
    assert verdict(make("other"), acquires) is Barrier.RIGHTS


@pytest.mark.parametrize("make", [lambda p: List(1, p, "", 8), lambda p: Watch(1, 1, p, True, 1000)])
def test_a_prefix_is_seen_only_where_all_its_names_may_be(make: Callable[[str], Message]) -> None:
    key = rights(Verb.OBSERVE, "jobs/*", "one")
    assert verdict(make("jobs/"), key) is verdict(make("jobs/x"), key) is None
    for prefix in ("", "job", "one", "other"):
        assert verdict(make(prefix), key) is Barrier.RIGHTS


@pytest.mark.parametrize("question", [Ping(1), Count(1, "")])
def test_how_the_nodes_are_is_for_every_key_that_is_taken(question: Message) -> None:
    """As their state is; no counter names a lock, a label or a key."""
    for verb in (Verb.OBSERVE, Verb.ACQUIRE, Verb.ADMINISTER):
        assert verdict(question, rights(verb, "one")) is None
    ended = rights(Verb.ADMINISTER, expires=int(UNIX) - 1)
    assert verdict(question, ended) is Barrier.KEY


def test_a_ttl_above_the_longest_is_refused_in_both_phases() -> None:
    key = rights(Verb.ACQUIRE, ttl_max_ms=2000)
    assert verdict(standing("n", 2000), key) is None
    assert verdict(standing("n", 2001), key) is Barrier.RIGHTS
    assert verdict(Accept(1, "n", 1, lease(2001), 1, 0), key) is Barrier.RIGHTS
    assert verdict(Commit("n", 1, lease(2001)), key) is Barrier.RIGHTS


@pytest.mark.parametrize("make", LETTING_GO)
def test_the_leases_of_another_key_are_for_who_administers(make: Callable[[bytes], Message]) -> None:
    """The handle can be seen by whoever may poll: it must not be enough."""
    key = rights_of(GRANT)
    assert verdict(make(ME), key) is verdict(make(SAME_KEY), key) is None
    assert verdict(make(STRANGER), key) is Barrier.RIGHTS
    assert verdict(make(STRANGER), rights(Verb.ADMINISTER)) is None
    assert verdict(make(ME), rights(Verb.OBSERVE)) is Barrier.RIGHTS


@pytest.mark.parametrize("force", [False, True])
def test_who_may_not_administer_may_not_revoke(force: bool) -> None:
    """Not even what is its own, politely: a key that is to hold names is to hold those that it was given."""
    for candidate in (MINE, Candidate(STRANGER, 1)):
        revoke = Revoke(1, "jobs/1", candidate, 1, force, None)
        assert verdict(revoke, rights(Verb.ACQUIRE | Verb.OBSERVE)) is Barrier.RIGHTS
        assert verdict(revoke, rights(Verb.ADMINISTER, "other/*")) is Barrier.RIGHTS
        assert verdict(revoke, rights(Verb.ADMINISTER, "jobs/*")) is None


def test_a_renewal_of_another_key_names_no_name_so_it_needs_all_of_them() -> None:
    assert verdict(Renew(1, STRANGER, 1, (1,)), rights(Verb.ADMINISTER, "jobs/*")) is Barrier.RIGHTS


def test_a_key_is_taken_until_it_expires_or_is_revoked() -> None:
    key = rights(Verb.ADMINISTER, expires=UNIX + 10, generation=3)
    poll = Poll(1, "n")
    assert verdict(poll, key) is None
    assert verdict(poll, key, unix=UNIX + 10) is Barrier.KEY
    assert verdict(poll, key, Revoked(generation=3)) is None
    assert verdict(poll, key, Revoked(generation=4)) is Barrier.KEY
    assert verdict(poll, key, Revoked(denied=frozenset({"app"}))) is Barrier.KEY
    assert verdict(poll, ROOT, Revoked(9, frozenset({"", "app"})), UNIX * 2.0) is None
    assert verdict(Hello(1), key, unix=UNIX + 10) is None


def test_what_nobody_has_thought_of_is_refused() -> None:
    for message in (Greet(1, 1, RUN), Forbidden(1, Barrier.KEY)):
        assert verdict(message, rights(Verb.ADMINISTER)) is Barrier.RIGHTS
    for harmless in (Seen(1, ()), Unwatch(1, 1)):
        assert verdict(harmless, rights(Verb.ACQUIRE)) is None


def test_rights_do_not_compare_what_owns() -> None:
    assert attrs.evolve(rights(), owns=lambda session: False) == rights()
