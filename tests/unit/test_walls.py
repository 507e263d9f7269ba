"""What somebody with the cell's key, or somebody on the path without it, cannot do to others.

The *insider* has the key, so it can seal in anybody's name, but receives only at addresses of its own. The
*stranger* on the path has no key: it records, holds back and sends again, from whatever address it likes.
"""

from __future__ import annotations

import pytest

from paxlock.core.durable import CLOCK_SET_S, INCARNATION_AHEAD_S
from paxlock.core.messages import Greet, Hello, Message, NodeMode, Poll, Recovering, Welcome
from paxlock.core.node.forgetting import TOMBSTONE_S
from paxlock.wire.codec import encode, join
from paxlock.wire.cookies import COOKIE_S, Cookies
from paxlock.wire.endpoint import Endpoint, NodeSender, SessionSender
from paxlock.wire.header import parse_untrusted
from paxlock.wire.keyring import Keyring, ReplayWindow
from paxlock.wire.peers import OUTDATED_RUNS_MAX, PLACES_MAX, KnownNode
from paxlock.wire.transport import Address

CELL = b"cell" * 4
DRAWN = b"V" * 16
VICTIM = SessionSender(DRAWN).session
RUN = b"r" * 16
HOME: Address = ("10.0.1.1", 5000)
ELSEWHERE: Address = ("10.0.6.6", 6666)
ADDRESSES: dict[str, Address] = {"a": ("10.0.0.1", 7400), "b": ("10.0.0.2", 7400), "c": ("10.0.0.3", 7400)}
MEMBERS = {node_id: [address] for node_id, address in ADDRESSES.items()}
LAST = (1 << 64) - 1
UNIX = CLOCK_SET_S + 1_000_000
POLL = Poll(1, "jobs")
WELCOME = Welcome(1, "a", (), 30_000, 10_000, 10, NodeMode.SERVING, 0, 0)


def endpoint(sender: SessionSender | NodeSender, wall_offset: float | None = None) -> Endpoint:
    return Endpoint(
        sender, Keyring({1: bytes(32)}), cell_id=CELL, epoch=1, members=MEMBERS, wall_offset=wall_offset
    )


def node_a() -> Endpoint:
    return endpoint(NodeSender("a", 1, RUN))


def move(source: Endpoint, target: Endpoint, address: Address) -> list[Message]:
    """Carry all that source has to send to target, as coming from this address."""
    found = [target.receive_untrusted(datagram, address) for datagram, _ in source.flush()]
    return [message for one in found if one is not None for message in one.messages]


def acquaint(one: Endpoint, node: Endpoint, home: Address, at: Address = ADDRESSES["a"]) -> None:
    """Let a session, or another node, prove its address to node a."""
    one.queue("a", POLL)
    assert move(one, node, home) == []
    move(node, one, at)
    assert move(one, node, home) == [POLL]


def heard(one: Endpoint, node: Endpoint, home: Address) -> bool:
    """Whether the node still hears this session, or other node, without being told anything again."""
    one.queue("a", POLL)
    return move(one, node, home) == [POLL]


def sealed_as(
    sender: SessionSender | NodeSender,
    sequence: int,
    *,
    issue: int = 1,
    echo: int = 0,
    to: SessionSender | str = "a",
) -> bytes:
    """What the insider makes: sealed in the name of another, with any number and any cookies."""
    forger = endpoint(sender)
    forger._sealing._sequence = sequence - 1
    return forger._sealing.seal(join([encode(POLL)]), issue, echo, to)


def drops(one: Endpoint) -> dict[str, int]:
    counts = one.statistics()
    return {name.removeprefix("dropped_"): n for name, n in counts.items() if name.startswith("dropped_")}


# Numbers that are used up by somebody else


@pytest.mark.parametrize("place", [HOME, ELSEWHERE], ids=["its address", "another"])
@pytest.mark.parametrize("echo", [0, 7], ids=["no echo", "a wrong echo"])
def test_a_number_far_ahead_without_the_right_echo_mutes_no_session(place: Address, echo: int) -> None:
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    acquaint(session, node, HOME)
    assert node.receive_untrusted(sealed_as(SessionSender(DRAWN), LAST, echo=echo), place) is None
    node.flush()
    assert heard(session, node, HOME)


def test_the_last_number_from_an_address_that_the_insider_has_proved_mutes_no_session() -> None:
    """It takes part in the whole exchange, from where it lives: numbers count for each address."""
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    acquaint(session, node, HOME)
    assert node.receive_untrusted(sealed_as(SessionSender(DRAWN), 1), ELSEWHERE) is None
    ((challenge, to),) = node.flush()
    assert to == ELSEWHERE
    proof = parse_untrusted(challenge).issue
    forged = sealed_as(SessionSender(DRAWN), LAST, echo=proof)
    assert node.receive_untrusted(forged, ELSEWHERE) is not None
    assert heard(session, node, HOME)
    # What the node answers goes to the session again, and with the session's own cookie.
    node.queue(VICTIM, Recovering(1, 5))
    ((_, back),) = datagrams = node.flush()
    assert back == HOME
    assert session.receive_untrusted(datagrams[0][0], ADDRESSES["a"]) is not None


def test_a_cookie_of_another_address_is_no_proof() -> None:
    session, insider, node = endpoint(SessionSender(DRAWN)), endpoint(SessionSender(b"I" * 16)), node_a()
    acquaint(session, node, HOME)
    acquaint(insider, node, ELSEWHERE)
    stolen = sealed_as(SessionSender(DRAWN), LAST, echo=insider._nodes["a"].echo)
    assert node.receive_untrusted(stolen, HOME) is None
    assert heard(session, node, HOME)


def test_what_was_taken_at_an_address_is_no_news_there_after_the_session_has_moved() -> None:
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    acquaint(session, node, HOME)
    session.queue("a", POLL)
    ((recorded, _),) = session.flush()
    assert node.receive_untrusted(recorded, HOME) is not None
    acquaint(session, node, ELSEWHERE)
    assert node.receive_untrusted(recorded, HOME) is None
    assert drops(node)["replay"] == 1
    node.queue(VICTIM, Recovering(1, 5))
    ((_, back),) = node.flush()
    assert back == ELSEWHERE


def test_the_places_of_a_session_are_bounded() -> None:
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    for number in range(3 * PLACES_MAX):
        acquaint(session, node, ("10.0.1.1", 5000 + number))
    assert len(node._sessions[VICTIM]._elsewhere) < PLACES_MAX


@pytest.mark.parametrize("run", [RUN, b"q" * 16], ids=["this run", "another run"])
@pytest.mark.parametrize("incarnation", [1, 2, 1 << 62])
def test_a_number_far_ahead_without_the_right_echo_mutes_no_node(incarnation: int, run: bytes) -> None:
    b, node = endpoint(NodeSender("b", 1, RUN)), node_a()
    acquaint(b, node, ADDRESSES["b"])
    forged = sealed_as(NodeSender("b", incarnation, run), LAST, echo=7)
    assert node.receive_untrusted(forged, ADDRESSES["b"]) is None
    node.flush()
    assert heard(b, node, ADDRESSES["b"])


@pytest.mark.parametrize("incarnation", [1, 2])
def test_a_number_far_ahead_without_the_right_echo_mutes_no_node_for_a_session(incarnation: int) -> None:
    """The id of a session is in every answer to a Poll: what nodes echo to it must not follow from that."""
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    acquaint(session, node, HOME)
    for echo in (int.from_bytes(DRAWN[:8]), int.from_bytes(DRAWN[8:]), 0):
        forged = sealed_as(NodeSender("a", incarnation, RUN), LAST, echo=echo, to=SessionSender(DRAWN))
        assert session.receive_untrusted(forged, ADDRESSES["a"]) is None
    assert drops(session) == {"echo": 3}
    node.queue(VICTIM, Recovering(1, 5))
    assert move(node, session, ADDRESSES["a"]) == [Recovering(1, 5)]


def test_a_client_without_a_configuration_takes_no_welcome_that_was_not_meant_for_it() -> None:
    seeker = Endpoint(SessionSender(DRAWN), Keyring({1: bytes(32)}))
    seeker.greet_seeds([ADDRESSES["a"]], 1)
    forger = node_a()
    payload = join([encode(WELCOME)])
    forged = forger._sealing.seal(payload, 1, int.from_bytes(DRAWN[:8]), SessionSender(DRAWN))
    assert seeker.receive_untrusted(forged, ADDRESSES["a"]) is None
    assert drops(seeker) == {"echo": 1}


def test_on_the_short_way_a_number_counts_only_with_its_seal() -> None:
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    acquaint(session, node, HOME)
    session.queue("a", POLL)
    ((datagram, _),) = session.flush()
    at = parse_untrusted(datagram).size - 24
    forged = datagram[:at] + LAST.to_bytes(8) + datagram[at + 8 :]
    assert node.receive_untrusted(forged, HOME) is None
    assert node.receive_untrusted(datagram, HOME) is not None


# Runs that are over


def greeting(old: Endpoint, request: int) -> bytes:
    old.queue("a", Greet(request, 1, b"o" * 16))
    ((datagram, _),) = old.flush()
    return datagram


def test_a_recorded_greeting_of_an_earlier_run_is_answered_once() -> None:
    old, new, node = endpoint(NodeSender("b", 1, b"o" * 16)), endpoint(NodeSender("b", 2, RUN)), node_a()
    for run in (old, new):
        acquaint(run, node, ADDRESSES["b"])
    recorded = greeting(old, 1)
    assert node.receive_untrusted(recorded, ADDRESSES["b"]) is not None
    for _ in range(3):
        assert node.receive_untrusted(recorded, ADDRESSES["b"]) is None
    assert drops(node)["replay"] == 3
    # It is no message of that run that is refused: a lost answer is asked for again.
    assert node.receive_untrusted(greeting(old, 2), ADDRESSES["b"]) is not None
    new.queue("a", POLL)
    assert move(new, node, ADDRESSES["b"]) == [POLL]


def test_a_greeting_of_an_earlier_run_uses_up_no_number_of_the_newer() -> None:
    new, node = endpoint(NodeSender("b", 2, RUN)), node_a()
    acquaint(new, node, ADDRESSES["b"])
    old = endpoint(NodeSender("b", 1, b"o" * 16))
    old._sealing._sequence = LAST - 1
    old._nodes["a"].echo = new._nodes["a"].echo
    assert node.receive_untrusted(greeting(old, 1), ADDRESSES["b"]) is not None
    assert heard(new, node, ADDRESSES["b"])


def test_earlier_runs_are_remembered_as_long_as_their_cookies_are_good_and_no_more_than_so_many() -> None:
    state = KnownNode((), ADDRESSES["b"])
    runs = [NodeSender("b", 1, bytes([number]) * 16) for number in range(OUTDATED_RUNS_MAX + 1)]
    for run in runs[:-1]:
        assert state.take_outdated(run, 1, 5, 4)
    assert not state.take_outdated(runs[-1], 1, 5, 4)  # what cannot be remembered is not taken
    assert not state.take_outdated(runs[0], 1, 5, 4)
    assert state.take_outdated(runs[0], 2, 6, 5)
    assert state.take_outdated(runs[-1], 1, 7, 6)  # the others' cookies are good no more
    assert not state.take_outdated(runs[0], 2, 6, 6)


# Cookies run out


def test_a_cookie_is_good_for_less_than_a_tombstone_stands() -> None:
    assert 2 * COOKIE_S < TOMBSTONE_S
    cookies, now = Cookies(b"secret"), 1000 * COOKIE_S
    for issued_at in (now, now + COOKIE_S - 0.001):
        cookies.age(issued_at)
        issued = cookies.of(HOME)
        assert cookies.proves(HOME, issued) is not None
        cookies.age(issued_at + COOKIE_S)  # whoever hears from the node so often has one that is good
        assert cookies.proves(HOME, issued) is not None
        cookies.age(issued_at + 2 * COOKIE_S)
        assert cookies.proves(HOME, issued) is None
        now += 10 * COOKIE_S


def test_after_a_long_stop_no_cookie_of_before_is_good() -> None:
    cookies = Cookies()
    cookies.age(0.0)
    issued = cookies.of(HOME)
    cookies.age(1e6)
    assert cookies.proves(HOME, issued) is None
    assert cookies.proves(HOME, cookies.of(HOME)) is not None
    assert cookies.proves(ELSEWHERE, cookies.of(HOME)) is None


def test_what_was_recorded_of_a_session_that_is_forgotten_is_dead_before_a_tombstone_is() -> None:
    """It says its last word; the node forgets it, by chance at once. The stranger has all that it sent."""
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    node.age(10.0)
    acquaint(session, node, HOME)
    session.queue("a", POLL)
    ((recorded, _),) = session.flush()
    del node._sessions[VICTIM]
    node.age(10.0 + TOMBSTONE_S)
    assert node.receive_untrusted(recorded, HOME) is None
    assert drops(node)["unproved"] == 2


def test_no_session_is_kept_longer_than_its_cookie() -> None:
    """Also one whose state keeps it from being asked: what it had echoed counts no longer."""
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    node.age(10.0)
    acquaint(session, node, HOME)
    node.age(10.0 + COOKIE_S)
    assert VICTIM in node._sessions
    node.age(10.0 + 2 * COOKIE_S)
    assert VICTIM not in node._sessions
    session.queue("a", POLL)
    assert move(session, node, HOME) == []
    assert move(node, session, ADDRESSES["a"]) == []
    assert move(session, node, HOME) == [POLL]


@pytest.mark.parametrize("as_node", [False, True], ids=["session", "node"])
def test_who_talks_to_a_node_at_least_as_often_as_secrets_change_is_never_challenged(as_node: bool) -> None:
    sender = NodeSender("b", 1, RUN) if as_node else SessionSender(DRAWN)
    home = ADDRESSES["b"] if as_node else HOME
    peer: str | bytes = "b" if as_node else VICTIM
    one, node = endpoint(sender), node_a()
    node.age(10.0)
    one.age(10.0)
    acquaint(one, node, home)
    challenged = node.statistics()["challenges_sent"]
    for turn in range(1, 20):
        now = 10.0 + turn * COOKIE_S
        node.age(now)
        one.age(now)
        assert heard(one, node, home)
        node.queue(peer, POLL if as_node else Recovering(1, 5))
        assert len(move(node, one, ADDRESSES["a"])) == 1
    assert node.statistics()["challenges_sent"] == challenged


@pytest.mark.parametrize("as_node", [False, True], ids=["session", "node"])
def test_who_sends_an_old_cookie_again_and_again_is_challenged_in_the_end(as_node: bool) -> None:
    """Also on the short way, on which only the cookies of the last datagram are looked at."""
    one = endpoint(NodeSender("b", 1, RUN) if as_node else SessionSender(DRAWN))
    home, node = ADDRESSES["b"] if as_node else HOME, node_a()
    node.age(10.0)
    acquaint(one, node, home)
    for second in range(10, 10 + int(COOKIE_S)):
        node.age(float(second))
        assert heard(one, node, home)
    node.age(10.0 + 2 * COOKIE_S)
    assert not heard(one, node, home)
    assert drops(node)["unproved"] == 2


def test_who_was_there_first_in_the_name_of_a_session_does_not_get_its_answers() -> None:
    node, session, insider = node_a(), endpoint(SessionSender(DRAWN)), endpoint(SessionSender(DRAWN))
    acquaint(insider, node, ELSEWHERE)
    acquaint(session, node, HOME)
    node.queue(VICTIM, Recovering(1, 5))
    ((answer, to),) = node.flush()
    assert to == HOME
    assert session.receive_untrusted(answer, ADDRESSES["a"]) is not None


def test_a_session_that_moves_is_not_kept_by_the_cookie_of_where_it_was() -> None:
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    node.age(0.0)
    acquaint(session, node, HOME)
    session.queue("a", POLL)
    ((late, _),) = session.flush()
    node.age(COOKIE_S)
    acquaint(session, node, ELSEWHERE)
    # Overtaken, and still good: it does not make the newer proof an older one.
    assert node.receive_untrusted(late, HOME) is not None
    node.age(2 * COOKIE_S)
    assert VICTIM in node._sessions


# Silence


def asks_for(session: Endpoint, seconds: int, node: Endpoint | None) -> list[tuple[str, bool]]:
    """Ask once a second, or be answered by this node; what is to be looked up because of it."""
    wanted: list[tuple[str, bool]] = []
    session.look_up = lambda node_id, elsewhere: wanted.append((node_id, elsewhere))
    for _ in range(seconds):
        session.age(session._now + 1.0)
        session.queue("a", POLL)
        datagrams = session.flush()
        if node is not None:
            for datagram, _ in datagrams:
                assert node.receive_untrusted(datagram, HOME) is not None
            node.queue(VICTIM, Recovering(1, 5))
            assert move(node, session, ADDRESSES["a"]) == [Recovering(1, 5)]
    return wanted


def test_a_node_that_answers_is_never_silent() -> None:
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    acquaint(session, node, HOME)
    assert asks_for(session, 20, node) == []


def test_a_node_that_does_not_answer_is_looked_up_and_its_next_address_tried() -> None:
    session, there = endpoint(SessionSender(DRAWN)), ("fd00::1", 7400)
    session.configure(CELL, 1, {**MEMBERS, "a": [ADDRESSES["a"], there]})
    assert asks_for(session, 4, None) == [("a", False)]
    session.queue("a", POLL)
    ((_, to),) = session.flush()
    assert to == there
    assert asks_for(session, 4, None) == [("a", False)]
    session.queue("a", POLL)
    ((_, to),) = session.flush()
    assert to == ADDRESSES["a"]


# Incarnations from the future


@pytest.mark.parametrize(
    ("incarnation", "refused"),
    [
        (1, False),
        (3, False),
        (UNIX, False),
        (UNIX + INCARNATION_AHEAD_S, False),
        (UNIX + INCARNATION_AHEAD_S + 1, True),
        ((1 << 63) - 1, True),
        (LAST, True),
    ],
)
@pytest.mark.parametrize("by_session", [False, True], ids=["by a node", "by a session"])
def test_a_node_that_says_to_be_from_the_future_is_not_heard(
    incarnation: int, refused: bool, by_session: bool
) -> None:
    listener = endpoint(SessionSender(DRAWN) if by_session else NodeSender("a", 1, RUN), UNIX - 100.0)
    listener.age(100.0)
    b = endpoint(NodeSender("b", incarnation, RUN))
    b.queue("a", POLL)
    ((datagram, _),) = b.flush()
    assert listener.receive_untrusted(datagram, ADDRESSES["b"]) is None
    expected = "future" if refused else "seal" if by_session else "unproved"
    assert drops(listener) == {expected: 1}


@pytest.mark.parametrize("unix", [0.0, CLOCK_SET_S - 1.0, None])
def test_a_clock_that_was_never_set_refuses_nobody(unix: float | None) -> None:
    node = endpoint(NodeSender("a", 1, RUN), unix)
    node.age(0.5)
    b = endpoint(NodeSender("b", UNIX + 10 * INCARNATION_AHEAD_S, RUN))
    acquaint(b, node, ADDRESSES["b"])


# The window itself


def test_what_is_new_is_taken_and_asking_takes_nothing() -> None:
    window = ReplayWindow()
    for sequence in (1, 5, 3, LAST, LAST - 1000, LAST - 1024, 7, 0, -1):
        asked = [window.is_new(sequence) for _ in range(3)]
        assert asked == [window.take(sequence)] * 3
        assert not window.is_new(sequence)


def test_the_answer_to_a_hello_goes_back_with_the_cookie_that_came_along() -> None:
    session, node = endpoint(SessionSender(DRAWN)), node_a()
    session.queue("a", Hello(1))
    assert move(session, node, HOME) == [Hello(1)]
    node.queue(VICTIM, WELCOME)
    assert move(node, session, ADDRESSES["a"]) == [WELCOME]
