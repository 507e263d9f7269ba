"""Endpoints: sealing, cookies and challenges, replay, restarts, spoofing, seeds; and a fuzz of all of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paxlock.config.cell import MAX_TTL_MAX_S
from paxlock.core.handles import SECRET_BYTES
from paxlock.core.journal import Recall
from paxlock.core.lease import (
    DATA_MAX_BYTES,
    LABEL_MAX_BYTES,
    NAME_MAX_BYTES,
    TERM_MAX,
    Candidate,
    Lease,
)
from paxlock.core.messages import (
    Accept,
    Commit,
    Greet,
    Greeted,
    Hello,
    List,
    Member,
    Message,
    Names,
    NodeMode,
    Poll,
    Prepare,
    Promise,
    Recovering,
    Release,
    Renew,
    StandingPrepare,
    Welcome,
)
from paxlock.core.round_trips import WINDOW_MAX_S
from paxlock.limits import GRANT_MAX_BYTES
from paxlock.wire import codec
from paxlock.wire import endpoint as endpoint_module
from paxlock.wire import peers as peers_module
from paxlock.wire.codec import INT_MAX, encode
from paxlock.wire.endpoint import DATAGRAM_MAX_BYTES, Endpoint, NodeSender, Received, SessionSender
from paxlock.wire.header import NO_CELL
from paxlock.wire.keyring import Keyring
from paxlock.wire.sealing import Sealing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paxlock.wire.transport import Address

CELL = b"cell" * 4
EPOCH = 3
KEY = bytes(range(32))
DRAWN = b"S" * 16
SESSION = SessionSender(DRAWN).session
OTHER = SessionSender(b"T" * 16).session
HOME = ("10.0.1.1", 5000)
ADDRESSES: dict[str, Address] = {"a": ("10.0.0.1", 7400), "b": ("10.0.0.2", 7400), "c": ("10.0.0.3", 7400)}
MEMBERS = {node_id: [address] for node_id, address in ADDRESSES.items()}
POLL = Poll(1, "jobs")
WELCOME = Welcome(1, "a", (Member("a", "a:7400"),), 30_000, 10_000, 10, NodeMode.SERVING, 0, 0)


def keyring(sealed: bool = True) -> Keyring:
    return Keyring({1: KEY}) if sealed else Keyring.unsealed()


def new_node(
    node_id: str = "a", incarnation: int = 1, run: bytes = b"r" * 16, sealed: bool = True
) -> Endpoint:
    sender = NodeSender(node_id, incarnation, run)
    return Endpoint(sender, keyring(sealed), cell_id=CELL, epoch=EPOCH, members=MEMBERS)


def new_session(session: bytes = DRAWN, sealed: bool = True, cell_id: bytes | None = CELL) -> Endpoint:
    return Endpoint(
        SessionSender(session),
        keyring(sealed),
        cell_id=cell_id,
        epoch=EPOCH if cell_id else 0,
        members=MEMBERS,
    )


def only(datagrams: list[tuple[bytes, Address]]) -> tuple[bytes, Address]:
    (datagram,) = datagrams
    assert len(datagram[0]) <= DATAGRAM_MAX_BYTES
    return datagram


def move(source: Endpoint, target: Endpoint, address: Address) -> list[Received]:
    """Carry everything that source has to send to target, as coming from this address."""
    received = [target.receive_untrusted(datagram, address) for datagram, _ in source.flush()]
    return [one for one in received if one is not None]


def messages(received: list[Received]) -> list[Message]:
    return [message for one in received for message in one.messages]


def acquaint(session: Endpoint, node: Endpoint, home: Address = HOME, at: Address = ADDRESSES["a"]) -> None:
    """Let the session prove its address to node a."""
    session.queue("a", POLL)
    assert move(session, node, home) == []
    assert move(node, session, at) == []
    assert messages(move(session, node, home)) == [POLL]


def drops(endpoint: Endpoint) -> dict[str, int]:
    counts = endpoint.statistics()
    return {name.removeprefix("dropped_"): n for name, n in counts.items() if name.startswith("dropped_")}


def all_counted(counts: Mapping[str, int]) -> bool:
    dropped = sum(number for name, number in counts.items() if name.startswith("dropped_"))
    return counts["received"] == counts.get("passed", 0) + counts.get("challenged", 0) + dropped


# A session and a node.


@pytest.mark.parametrize("sealed", [True, False])
def test_first_contact_is_challenged_and_repeated(sealed: bool) -> None:
    session, node = new_session(sealed=sealed), new_node(sealed=sealed)
    session.queue("a", POLL)
    request, to = only(session.flush())
    assert to == ADDRESSES["a"]
    assert (b"jobs" in request) is not sealed
    assert node.receive_untrusted(request, HOME) is None
    challenge, back = only(node.flush())
    assert back == HOME and len(challenge) <= len(request)
    assert session.receive_untrusted(challenge, ADDRESSES["a"]) is None
    repeated, to = only(session.flush())
    assert to == ADDRESSES["a"] and repeated != request
    received = node.receive_untrusted(repeated, HOME)
    assert received == Received(SESSION, SessionSender(DRAWN), (POLL,), HOME, CELL, EPOCH)
    node.queue(SESSION, Recovering(1, 5))
    answer, back = only(node.flush())
    assert back == HOME
    got = session.receive_untrusted(answer, ADDRESSES["a"])
    assert got is not None and got.peer == "a" and got.messages == (Recovering(1, 5),)
    assert got.sender == NodeSender("a", 1, b"r" * 16)
    assert session.flush() == node.flush() == []


def test_challenge_is_not_longer_than_the_least_request() -> None:
    session, node = new_session(), new_node()
    session.queue("a", Poll(0, "n"))
    request, _ = only(session.flush())
    node.receive_untrusted(request, HOME)
    challenge, _ = only(node.flush())
    assert len(challenge) <= len(request)


def test_challenge_is_followed_once_per_cookie() -> None:
    session, node = new_session(), new_node()
    session.queue("a", POLL)
    first, _ = only(session.flush())
    session.queue("a", Poll(2, "jobs"))
    second, _ = only(session.flush())
    for request in (first, second):
        assert node.receive_untrusted(request, HOME) is None
    challenges = node.flush()
    assert len(challenges) == 2
    assert session.receive_untrusted(challenges[0][0], ADDRESSES["a"]) is None
    assert messages(move(session, node, HOME)) == [Poll(2, "jobs")]
    assert session.receive_untrusted(challenges[1][0], ADDRESSES["a"]) is None
    assert session.flush() == []
    assert session.statistics()["challenged"] == 2 and session.statistics()["repeated"] == 1


def test_repetition_goes_before_what_is_newer() -> None:
    session, node = new_session(), new_node()
    session.queue("a", POLL)
    move(session, node, HOME)
    session.queue("a", Poll(2, "jobs"))
    move(node, session, ADDRESSES["a"])
    assert messages(move(session, node, HOME)) == [POLL, Poll(2, "jobs")]


def test_hello_needs_no_proof_and_is_padded() -> None:
    session, node = new_session(), new_node()
    session.queue("a", Hello(1))
    request, _ = only(session.flush())
    assert len(request) == DATAGRAM_MAX_BYTES
    received = node.receive_untrusted(request, HOME)
    assert received is not None and received.messages == (Hello(1),)
    node.queue(SESSION, WELCOME)
    answer, back = only(node.flush())
    assert back == HOME and len(answer) <= len(request)
    assert session.receive_untrusted(answer, ADDRESSES["a"]) is not None
    session.queue("a", POLL)
    assert messages(move(session, node, HOME)) == [POLL]


def test_unproved_hello_gets_one_answer_and_takes_nothing_along() -> None:
    session, node = new_session(), new_node()
    for message in (POLL, Hello(1), Hello(2)):
        session.queue("a", message)
    assert messages(move(session, node, HOME)) == [Hello(1)]
    node.queue(SESSION, WELCOME)
    assert only(node.flush())[1] == HOME
    node.queue(SESSION, WELCOME)
    assert node.flush() == []
    assert node.statistics()["unknown_peer"] == 1


def test_replay_is_dropped() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    session.queue("a", POLL)
    request, _ = only(session.flush())
    assert node.receive_untrusted(request, HOME) is not None
    assert node.receive_untrusted(request, HOME) is None
    assert node.receive_untrusted(request, ("6.6.6.6", 6)) is None
    assert drops(node)["replay"] == 1
    # Where nobody has proved to be, no number was taken: there a replay is challenged, as anything is.
    challenge, to = only(node.flush())
    assert to == ("6.6.6.6", 6) and len(challenge) <= len(request)


def test_replay_to_a_session_is_dropped() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    node.queue(SESSION, Recovering(1, 5))
    answer, _ = only(node.flush())
    assert session.receive_untrusted(answer, ADDRESSES["a"]) is not None
    assert session.receive_untrusted(answer, ADDRESSES["a"]) is None
    assert drops(session) == {"replay": 1}


def test_datagram_recorded_before_a_restart_is_never_acted_on() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    session.queue("a", POLL)
    recorded, _ = only(session.flush())
    restarted = new_node(incarnation=2)
    assert restarted.receive_untrusted(recorded, HOME) is None
    assert drops(restarted) == {"unproved": 1}


def test_node_restart_costs_one_challenge() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    for number in range(5):
        node.queue(SESSION, Recovering(number, 5))
        assert messages(move(node, session, ADDRESSES["a"])) == [Recovering(number, 5)]
    restarted = new_node(incarnation=2, run=b"q" * 16)  # its numbers begin anew
    session.queue("a", Poll(5, "jobs"))
    assert move(session, restarted, HOME) == []
    assert move(restarted, session, ADDRESSES["a"]) == []
    assert messages(move(session, restarted, HOME)) == [Poll(5, "jobs")]
    node.queue(SESSION, Recovering(1, 5))
    assert move(node, session, ADDRESSES["a"]) == []
    assert drops(session) == {"incarnation": 1}


def test_address_change_is_proved_before_answers_go_there() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    moved = ("10.0.1.2", 5001)
    session.queue("a", Poll(2, "jobs"))
    assert move(session, node, moved) == []
    challenge, to = only(node.flush())
    assert to == moved
    node.queue(SESSION, Recovering(1, 5))
    assert only(node.flush())[1] == HOME
    session.receive_untrusted(challenge, ADDRESSES["a"])
    assert messages(move(session, node, moved)) == [Poll(2, "jobs")]
    node.queue(SESSION, Recovering(2, 5))
    assert only(node.flush())[1] == moved


def test_recorded_hello_does_not_move_a_session() -> None:
    session, node = new_session(), new_node()
    session.queue("a", Hello(1))
    recorded, _ = only(session.flush())
    acquaint(session, node)
    assert node.receive_untrusted(recorded, ("6.6.6.6", 6)) is None
    challenge, to = only(node.flush())
    assert to == ("6.6.6.6", 6) and len(challenge) < len(recorded)
    node.queue(SESSION, WELCOME)
    assert only(node.flush())[1] == HOME


def test_answer_for_another_process_on_this_port_is_dropped() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    node.queue(SESSION, Recovering(1, 5))
    answer, _ = only(node.flush())
    successor = new_session(b"T" * 16)
    assert successor.receive_untrusted(answer, ADDRESSES["a"]) is None
    assert drops(successor) == {"seal": 1}  # it was sealed for the other one


def test_overtaken_answer_does_not_bring_back_an_old_cookie() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    node.queue(SESSION, Recovering(1, 5))
    late, _ = only(node.flush())
    moved = ("10.0.1.2", 5001)
    acquaint(session, node, moved)
    assert session.receive_untrusted(late, ADDRESSES["a"]) is not None
    session.queue("a", Poll(3, "jobs"))
    assert messages(move(session, node, moved)) == [Poll(3, "jobs")]


def test_request_shorter_than_a_challenge_gets_none() -> None:
    session, node = new_session(), new_node()
    session._sealing._plaintext_min = 0
    session.queue("a", Poll(0, "n"))
    assert move(session, node, HOME) == []
    assert node.flush() == []
    assert drops(node) == {"unproved_unanswered": 1}


def test_padding_is_zeros() -> None:
    session, node = new_session(sealed=False), new_node(sealed=False)
    session.queue("a", Hello(1))
    request, _ = only(session.flush())
    assert node.receive_untrusted(request[:-1] + b"\1", HOME) is None
    assert node.receive_untrusted(request[:70], HOME) is None
    assert node.receive_untrusted(request[:68], HOME) is None
    assert drops(node) == {"malformed": 3}
    assert node.receive_untrusted(request, HOME) is not None


def test_what_a_later_version_asks_is_dropped_with_its_datagram_and_counted_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    for message in (Poll(3, "jobs"), Recall(4, "jobs", 0)):
        session.queue("a", message)
    datagram, _ = only(session.flush())
    with monkeypatch.context() as older:
        older.delitem(codec._BY_KIND, codec._BY_CLASS[Recall][0])
        assert node.receive_untrusted(datagram, HOME) is None
    assert drops(node) == {"unproved": 1, "unknown_kind": 1}
    # Nothing of it was remembered, and whoever sent it is heard as before.
    session.queue("a", Poll(5, "jobs"))
    assert messages(move(session, node, HOME)) == [Poll(5, "jobs")]


# Who may say what.


def other(**changes: object) -> Endpoint:
    settings: dict[str, object] = {"cell_id": CELL, "epoch": EPOCH, "members": MEMBERS, **changes}
    ring = settings.pop("ring", keyring())
    assert isinstance(ring, Keyring)
    return Endpoint(SessionSender(DRAWN), ring, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        (other(ring=Keyring({1: bytes(32)})), "seal"),
        (other(ring=Keyring({2: KEY})), "key"),
        (other(ring=Keyring.unsealed()), "key"),
        (other(cell_id=b"x" * 16), "cell"),
        (other(epoch=EPOCH + 1), "epoch"),
        (other(epoch=EPOCH - 1), "epoch"),
        (other(cell_id=NO_CELL, epoch=1), "epoch"),
    ],
)
def test_strangers_are_dropped_without_an_answer(stranger: Endpoint, reason: str) -> None:
    node = new_node()
    stranger.queue("a", Hello(1))
    assert move(stranger, node, HOME) == []
    assert drops(node) == {reason: 1}
    assert node.flush() == []


def test_node_at_a_foreign_address_is_dropped() -> None:
    session, a, b = new_session(), new_node("a"), new_node("b")
    acquaint(session, a)
    a.queue("b", Greet(1, 1, b"r" * 16))
    spoofed, _ = only(a.flush())
    assert b.receive_untrusted(spoofed, ADDRESSES["c"]) is None
    assert drops(b) == {"address": 1}
    a.queue(SESSION, Recovering(1, 1))
    answer, _ = only(a.flush())
    assert session.receive_untrusted(answer, ADDRESSES["b"]) is None
    assert drops(session) == {"address": 1}
    assert b.flush() == session.flush() == []


def test_one_sender_cannot_speak_for_another() -> None:
    a, b = new_node("a"), new_node("b")
    a.queue("b", Greet(1, 1, b"r" * 16))
    datagram, _ = only(a.flush())
    as_c = datagram.replace(b"a" + bytes(15), b"c" + bytes(15), 1)
    assert as_c != datagram
    assert b.receive_untrusted(as_c, ADDRESSES["c"]) is None
    assert drops(b) == {"seal": 1}


def test_sessions_take_nothing_from_sessions_nor_nodes_from_themselves() -> None:
    session, node = new_session(), new_node()
    new = new_session(b"T" * 16)
    new.queue("a", Hello(1))
    assert move(new, session, ADDRESSES["a"]) == []
    twin = new_node("a", 2)
    twin._nodes["b"].address = ADDRESSES["a"]
    twin.queue("b", POLL)
    assert move(twin, node, ADDRESSES["b"]) == []
    assert drops(session) == drops(node) == {"sender": 1}


def test_header_forms() -> None:
    session, node = new_session(), new_node()
    session.queue("a", Hello(1))
    good, _ = only(session.flush())
    forms = {
        "length": [
            b"",
            good[:2],
            good[:40],
            good[:67],
            good[:43] + b"\xa0" + good[44:200],
            good + b"x",
            b"\x03\x01\x02" + good[3:80],
        ],
        "version": [b"\x00" + good[1:], b"\x04" + good[1:]],
        "older_version": [b"\x01" + good[1:], b"\x02" + good[1:]],
        "sender": [good[:2] + b"\x03" + good[3:], good[:2] + b"\x02" + good[3:47] + bytes(1153)],
        "seal": [good[:68], good[:-1], good[:70] + b"x" + good[71:], good[:50] + b"x" + good[51:]],
    }
    for reason, datagrams in forms.items():
        for datagram in datagrams:
            before = drops(node).get(reason, 0)
            assert node.receive_untrusted(datagram, HOME) is None
            assert drops(node).get(reason, 0) == before + 1, (reason, datagram[:5])
    assert node.flush() == []
    assert node.receive_untrusted(good, HOME) is not None
    assert all_counted(node.statistics())


# Between nodes.


def test_nodes_prove_themselves_to_each_other() -> None:
    a, b = new_node("a"), new_node("b")
    greet = Greet(1, 1, b"r" * 16)
    a.queue("b", greet)
    b.queue("a", greet)
    got: dict[str, list[Message]] = {"a": [], "b": []}
    for _ in range(4):
        got["b"] += messages(move(a, b, ADDRESSES["a"]))
        got["a"] += messages(move(b, a, ADDRESSES["b"]))
    assert got == {"a": [greet], "b": [greet]}
    assert a.flush() == b.flush() == []
    a.queue("b", POLL)
    assert messages(move(a, b, ADDRESSES["a"])) == [POLL]


def test_two_challenges_do_not_echo_for_ever() -> None:
    a, b = new_node("a"), new_node("b")
    a.queue("b", Greet(1, 1, b"r" * 16))
    empty = a._sealing.seal(b"\x80", 1, 99, "b")
    assert b.receive_untrusted(empty, ADDRESSES["a"]) is None
    assert b.flush() == []
    assert drops(b) == {"empty": 1}


def test_earlier_run_is_only_heard_greeting() -> None:
    new, old, b = new_node("a", 5), new_node("a", 4, b"o" * 16), new_node("b")
    for node in (old, new):
        for _ in range(2):
            node.queue("b", POLL)
            move(node, b, ADDRESSES["a"])
            move(b, node, ADDRESSES["b"])
    old.queue("b", POLL)
    assert move(old, b, ADDRESSES["a"]) == []
    assert drops(b)["incarnation"] == 1
    greet = Greet(9, 4, b"o" * 16)
    old.queue("b", greet)
    old.queue("b", POLL)
    assert messages(move(old, b, ADDRESSES["a"])) == [greet]
    mine = (5, b"r" * 16, 1, b"r" * 16, 0, NodeMode.SERVING, True, False, 30_000, 0, 0, ())
    answer = Greeted(9, 4, b"o" * 16, *mine)
    b.queue("a", answer)
    assert messages(move(b, old, ADDRESSES["b"])) == [answer]
    new.queue("b", POLL)
    assert messages(move(new, b, ADDRESSES["a"])) == [POLL]


def test_of_two_runs_of_one_incarnation_the_later_stays() -> None:
    b, first, second = new_node("b"), new_node("a", 0, b"1" * 16), new_node("a", 0, b"2" * 16)
    for node in (first, second):
        node.queue("b", POLL)
        move(node, b, ADDRESSES["a"])
        move(b, node, ADDRESSES["b"])
        assert messages(move(node, b, ADDRESSES["a"])) == [POLL]
    first.queue("b", POLL)
    assert move(first, b, ADDRESSES["a"]) == []
    assert drops(b)["incarnation"] == 1
    second.queue("b", POLL)
    assert messages(move(second, b, ADDRESSES["a"])) == [POLL]


# Packing.


def test_messages_are_packed_in_order_and_in_few_datagrams() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    sent = [Prepare(n, f"name-{n}", 1, Candidate(SESSION, n), 0, 50, 0, "host") for n in range(100)]
    for message in sent:
        session.queue("a", message)
    datagrams = session.flush()
    assert len(datagrams) == -(-sum(len(encode(message)) for message in sent) // session.room) == 4
    assert all(len(datagram) <= DATAGRAM_MAX_BYTES for datagram, _ in datagrams)
    got = [node.receive_untrusted(datagram, HOME) for datagram, _ in datagrams]
    assert messages([one for one in got if one is not None]) == sent


def test_the_largest_messages_fit_also_with_the_longest_grant() -> None:
    """All numbers as large as they are written, but for a window and a ttl, which have their bounds."""
    name, lock, candidate = "n" * NAME_MAX_BYTES, bytes(SECRET_BYTES), Candidate(SESSION, INT_MAX)
    window, ttl = round(WINDOW_MAX_S * 1000), round(MAX_TTL_MAX_S * 1000)
    label, data = "l" * LABEL_MAX_BYTES, bytes(DATA_MAX_BYTES)
    lease = Lease(candidate, ttl, label, data, TERM_MAX, INT_MAX)
    asked = INT_MAX, name, TERM_MAX, candidate, INT_MAX, INT_MAX, window, label
    largest = (
        StandingPrepare(*asked, ttl, data, INT_MAX, lock),
        Accept(INT_MAX, name, TERM_MAX, lease, INT_MAX, INT_MAX, window, lock),
        Commit(name, TERM_MAX, lease, lock),
        Release(INT_MAX, name, candidate, TERM_MAX, lock),
    )
    sender = SessionSender(DRAWN, bytes(GRANT_MAX_BYTES))
    rooms = Sealing(sender, keyring()).room, new_node().room
    assert max(len(encode(message)) for message in largest) <= min(rooms)


def test_more_small_messages_than_one_array_counts() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    sent = [Hello(n) for n in range(300)]
    for message in sent:
        session.queue("a", message)
    assert messages(move(session, node, HOME)) == sent


@pytest.mark.parametrize("endpoint", [new_session(), new_node("b"), new_session(sealed=False)])
def test_largest_message_fits_and_a_larger_one_is_refused(endpoint: Endpoint) -> None:
    candidates = [Names(0, "", (*["n" * 200] * 4, "n" * 80, "n" * length), True) for length in range(24, 256)]
    by_length = {len(encode(message)): message for message in candidates}
    endpoint.queue("a", by_length[endpoint.room])
    assert len(only(endpoint.flush())[0]) == DATAGRAM_MAX_BYTES - 1  # the array's header could be longer by 1
    with pytest.raises(ValueError, match="does not fit into a datagram"):
        endpoint.queue("a", by_length[endpoint.room + 1])


def test_renewal_of_many_leases_fits() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    renew = Renew(1 << 32, SESSION, 1 << 32, tuple(range(1 << 31, (1 << 31) + 128)))
    session.queue("a", renew)
    assert messages(move(session, node, HOME)) == [renew]


def test_largest_lease_fits_between_nodes() -> None:
    a = new_node("a")
    lease = Lease(Candidate(SESSION, 1 << 60), 1 << 60, "l" * 64, bytes(512), 1 << 60)
    a.queue("b", Commit("n" * 255, 1 << 60, lease))
    only(a.flush())


def test_unknown_peers_are_counted() -> None:
    session, node = new_session(), new_node()
    session.queue("z", POLL)
    session.queue(OTHER, POLL)
    node.queue(SESSION, POLL)
    node.queue("a", POLL)
    assert session.flush() == node.flush() == []
    assert session.statistics()["unknown_peer"] == node.statistics()["unknown_peer"] == 2


def test_statistics_are_a_frozen_copy() -> None:
    session = new_session()
    before = session.statistics()
    session.queue("z", POLL)
    assert before == {}
    with pytest.raises(TypeError):
        before["x"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    "sender",
    [
        SessionSender(b"short"),
        NodeSender("a", 1, b"short"),
        NodeSender("a b", 1, bytes(16)),
        NodeSender("a", 1 << 64, bytes(16)),
        NodeSender("", 1, bytes(16)),
    ],
)
def test_senders_are_checked(sender: SessionSender | NodeSender) -> None:
    with pytest.raises(ValueError, match=r"not a node id|a session has|a run has"):
        Endpoint(sender, keyring(), cell_id=CELL, epoch=EPOCH, members=MEMBERS)


# Bounds.


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "SESSIONS_MAX", 3)
    monkeypatch.setattr(peers_module, "GREETERS_MAX", 2)
    node = new_node()
    for number in range(6):
        session = new_session(bytes([number]) * 16)
        session.queue("a", Hello(1))
        assert len(move(session, node, HOME)) == 1
    assert len(node._greeters) == 2
    sessions = [new_session(bytes([number]) * 16) for number in range(6)]
    for session in sessions:
        acquaint(session, node)
    assert [state.sender.drawn[0] for state in node._sessions.values()] == [3, 4, 5]
    sessions[3].queue("a", POLL)
    assert messages(move(sessions[3], node, HOME)) == [POLL]
    assert [state.sender.drawn[0] for state in node._sessions.values()] == [4, 5, 3]


def test_challenges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "CHALLENGES_MAX", 2)
    session, node = new_session(), new_node()
    for _ in range(5):
        session.queue("a", POLL)
        move(session, node, HOME)
    assert len(node.flush()) == 2
    assert drops(node) == {"unproved": 2, "unproved_unanswered": 3}


# Seeds.


def test_a_session_with_addresses_only() -> None:
    session, node = new_session(cell_id=None), new_node()
    seed = ("192.0.2.7", 7400)  # a forwarded address, not the member's own
    session.greet_seeds([seed, seed], 1)
    request, to = only(session.flush())
    assert to == seed and len(request) == DATAGRAM_MAX_BYTES and CELL not in request
    received = node.receive_untrusted(request, HOME)
    assert received is not None and received.messages == (Hello(1),) and received.cell_id == NO_CELL
    node.queue(SESSION, WELCOME)
    answer, _ = only(node.flush())
    assert session.receive_untrusted(answer, ADDRESSES["a"]) is None
    got = session.receive_untrusted(answer, seed)
    assert got == Received("a", NodeSender("a", 1, b"r" * 16), (WELCOME,), seed, CELL, EPOCH)
    session.configure(got.cell_id, got.epoch, MEMBERS)
    session.queue("a", POLL)
    assert messages(move(session, node, HOME)) == [POLL]  # the cookie came with the Welcome
    assert session.receive_untrusted(answer, seed) is None
    assert drops(session) == {"address": 2}


def test_before_the_configuration_nothing_but_a_welcome_counts() -> None:
    session, stranger, node = new_session(cell_id=None), new_session(b"T" * 16), new_node()
    session.greet_seeds([ADDRESSES["a"]], 1)
    move(session, node, HOME)
    node.queue(SESSION, Recovering(1, 5))
    assert move(node, session, ADDRESSES["a"]) == []
    assert move(stranger, session, ADDRESSES["a"]) == []
    stranger.queue("a", Hello(1))
    move(stranger, node, HOME)
    node.queue(OTHER, WELCOME)
    assert move(node, session, ADDRESSES["a"]) == []
    assert drops(session) == {"unconfigured": 1, "seal": 1}


def test_without_a_cell_only_hello_is_heard() -> None:
    session, node = other(cell_id=NO_CELL, epoch=0), new_node()
    session.queue("a", POLL)
    assert move(session, node, HOME) == []
    assert drops(node) == {"cell": 1}
    assert node.flush() == []


def test_seeds_are_bounded() -> None:
    session = new_session(cell_id=None)
    with pytest.raises(ValueError, match="at most 64 seed addresses"):
        session.greet_seeds([("10.0.0.1", port) for port in range(65)], 1)
    with pytest.raises(ValueError, match="needs the cell id"):
        Endpoint(NodeSender("a", 1, bytes(16)), keyring())


def test_new_addresses_keep_what_is_known() -> None:
    session, node = new_session(), new_node()
    acquaint(session, node)
    there = ("10.0.9.9", 7400)
    session.configure(CELL, EPOCH, {**MEMBERS, "a": [there, ADDRESSES["a"]], "b": []})
    session.queue("a", POLL)
    session.queue("b", POLL)
    datagram, to = only(session.flush())
    assert to == ADDRESSES["a"]
    assert node.receive_untrusted(datagram, HOME) is not None
    session.configure(CELL, EPOCH, {"a": [there], "b": [], "c": []})
    session.queue("a", List(1, "", "", 1))
    datagram, to = only(session.flush())
    assert to == there
    assert node.receive_untrusted(datagram, HOME) is not None
    node.queue(SESSION, Recovering(1, 5))
    assert messages(move(node, session, there)) == [Recovering(1, 5)]


def test_another_cell_begins_anew() -> None:
    session, node = new_session(), new_node(incarnation=7)
    acquaint(session, node)
    cell = b"x" * 16
    session.configure(cell, 1, MEMBERS)
    fresh = Endpoint(NodeSender("a", 1, b"n" * 16), keyring(), cell_id=cell, epoch=1, members=MEMBERS)
    acquaint(session, fresh)


# Fuzz.

FUZZ_DATAGRAMS = 10_000


def mutate(rng: random.Random, datagram: bytes) -> bytes:
    changed = bytearray(datagram)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.2:
        changed = changed[: rng.randrange(len(changed) + 1)]
    if rng.random() < 0.1:
        changed += rng.randbytes(rng.randrange(1, 1300))
    return bytes(changed)


@pytest.mark.parametrize("sealed", [True, False])
def test_fuzz(sealed: bool) -> None:
    """Of what nobody made, nothing is passed up under a seal, and nothing is answered but by a challenge."""
    rng = random.Random(11)
    session, node = new_session(sealed=sealed), new_node(sealed=sealed)
    acquaint(session, node)
    session.queue("a", Hello(1))
    session.queue("a", Prepare(2, "jobs", 1, Candidate(SESSION, 1), 0, 50, 0, "host"))
    node.queue(SESSION, Promise(2, "jobs", Candidate(SESSION, 1), 1, 0, 0))
    node.queue("b", Greet(1, 1, b"r" * 16))
    samples = [datagram for datagram, _ in session.flush() + node.flush()]
    places = [HOME, *ADDRESSES.values(), ("6.6.6.6", 6)]
    passed = 0
    for _ in range(FUZZ_DATAGRAMS):
        datagram = (
            rng.randbytes(rng.randrange(1300)) if rng.random() < 0.2 else mutate(rng, rng.choice(samples))
        )
        for target in (session, node):
            received = target.receive_untrusted(datagram, rng.choice(places))
            passed += received is not None
            answers = target.flush()
            assert len(answers) <= 1
            for answer, _ in answers:
                assert target is node
                assert not sealed
                assert len(answer) == node._table.challenge_bytes <= len(datagram)
    for target in (session, node):
        assert all_counted(target.statistics())
        assert target.statistics()["received"] >= FUZZ_DATAGRAMS
    # Without a seal a changed bit may well make another sound message; under one, never.
    assert passed == 0 if sealed else passed > 0
