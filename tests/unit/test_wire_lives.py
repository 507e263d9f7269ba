"""What datagrams say of lives and of the members, and who is told where that does not fit together."""

from __future__ import annotations

import pytest

from paxlock.core.lives import UNKNOWN
from paxlock.core.messages import Greet, Hello, Poll, Recovering
from paxlock.wire.endpoint import Endpoint, NodeSender, Received, SessionSender
from paxlock.wire.header import Dropped
from paxlock.wire.keyring import Keyring
from paxlock.wire.lives import INTERNED_MAX, NO_MEMBERS, LifeTable
from paxlock.wire.strangers import STRANGERS_MAX
from paxlock.wire.transport import Address

CELL = b"cell" * 4
DRAWN = b"S" * 16
SESSION = SessionSender(DRAWN).session
HOME: Address = ("10.0.1.1", 5000)
PLACES: dict[str, Address] = {node: (f"10.0.0.{at}", 7400) for at, node in enumerate("abcde", 1)}
RING = Keyring({1: bytes(range(32))})
LIVES = {"a": 3, "b": 7, "c": 1 << 63}


def node(node_id: str = "a", nodes: str = "abc", incarnation: int = 3) -> Endpoint:
    members = {each: [PLACES[each]] for each in nodes}
    sender = NodeSender(node_id, incarnation, b"r" * 16)
    return Endpoint(sender, RING, cell_id=CELL, epoch=1, members=members)


def session(nodes: str = "abc") -> Endpoint:
    members = {each: [PLACES[each]] for each in nodes}
    return Endpoint(SessionSender(DRAWN), RING, cell_id=CELL, epoch=1, members=members)


def move(sender: Endpoint, receiver: Endpoint, source: Address, to: Address | None = None) -> list[Received]:
    """Everything that one endpoint has to say arrives, where ``to`` is given, only what goes there."""
    found = [
        receiver.receive_untrusted(datagram, source)
        for datagram, address in sender.flush()
        if to in (None, address)
    ]
    return [one for one in found if one is not None]


def answers(client: Endpoint, of: Endpoint, place: Address) -> Received:
    """What the node says to the client, once they know each other."""
    for _ in range(2):
        client.queue(of.sender.node_id if isinstance(of.sender, NodeSender) else SESSION, Poll(1, "n"))
        move(client, of, HOME, place)
        move(of, client, place)
    of.queue(SESSION, Recovering(1, 5))
    (received,) = move(of, client, place)
    return received


def test_s15_every_datagram_of_a_node_says_which_lives_it_knows() -> None:
    client, a = session(), node()
    assert answers(client, a, PLACES["a"]).lives == {"a": 3, "b": 0, "c": 0}
    a.live(LIVES)
    for _ in range(3):  # by the long way, and then by the short one
        a.queue(SESSION, Recovering(1, 5))
        (received,) = move(a, client, PLACES["a"])
        assert received.lives == LIVES
    assert client.statistics()["passed"] >= 4


def test_s15_nodes_that_know_the_same_say_one_and_the_same_object() -> None:
    client = session()
    found = []
    for each, own in LIVES.items():
        endpoint = node(each, incarnation=own)
        endpoint.live(LIVES)
        found.append(answers(client, endpoint, PLACES[each]).lives)
    assert found[0] is found[1] is found[2]


def test_s15_a_node_takes_another_life_and_is_known_by_it() -> None:
    client, a = session(), node()
    answers(client, a, PLACES["a"])
    a.live({**LIVES, "a": 9})
    received = answers(client, a, PLACES["a"])
    assert received.lives["a"] == 9
    assert received.sender == NodeSender("a", 9, b"r" * 16)


def test_a_session_says_nothing_of_lives() -> None:
    client, a = session(), node()
    for _ in range(2):
        client.queue("a", Poll(1, "n"))
        received = move(client, a, HOME)
        move(a, client, PLACES["a"])
    assert received[0].lives is UNKNOWN


def test_one_that_does_not_know_its_cell_yet_skips_them() -> None:
    a = node()
    a.live(LIVES)
    seeker = Endpoint(SessionSender(DRAWN), RING)
    seeker.greet_seeds([PLACES["a"]], 1)
    assert move(seeker, a, HOME)[0].messages == (Hello(1),)


@pytest.mark.parametrize("nodes", [1, 3, 5, 7])
def test_a_request_is_never_shorter_than_the_challenge(nodes: int) -> None:
    ids = [f"n{number}" for number in range(nodes)]
    members = {each: [("10.0.0.1", 7400 + at)] for at, each in enumerate(ids)}
    a = Endpoint(NodeSender("n0", 1, b"r" * 16), RING, cell_id=CELL, epoch=1, members=members)
    client = Endpoint(SessionSender(DRAWN), RING, cell_id=CELL, epoch=1, members=members)
    client.queue("n0", Poll(1, "n"))
    ((request, _),) = client.flush()
    a.receive_untrusted(request, HOME)
    ((challenge, _),) = a.flush()
    assert len(challenge) == len(request)
    assert client.receive_untrusted(challenge, ("10.0.0.1", 7400)) is None
    assert client.statistics()["repeated"] == 1


def test_the_table_reads_what_it_wrote_and_nothing_else() -> None:
    table, sender = LifeTable("cab"), NodeSender("b", 7, b"r" * 16)
    plain = table.write(sender, LIVES)
    assert len(plain) == table.prefix_bytes == 1 + 2 * 8
    said = table.read_untrusted(sender, plain + b"rest")
    assert (said.lives, said.prefix) == (LIVES, plain)
    for wrong in (b"", plain[:-1], b"\x01" + plain[1:], b"\x03" + plain[1:] + bytes(8)):
        with pytest.raises(Dropped):
            table.read_untrusted(sender, wrong)
    with pytest.raises(Dropped):
        table.read_untrusted(NodeSender("d", 7, b"r" * 16), plain)


def test_the_table_of_known_lives_is_bounded() -> None:
    table = LifeTable("ab")
    for incarnation in range(2 * INTERNED_MAX):
        sender = NodeSender("a", incarnation, b"r" * 16)
        table.read_untrusted(sender, table.write(sender, {"b": 1}))
        assert len(table._known) <= INTERNED_MAX


# Other members


def test_the_digest_is_of_the_ids_whatever_their_order() -> None:
    assert LifeTable("abc").digest == LifeTable("cba").digest
    assert len({LifeTable(nodes).digest for nodes in ("abc", "abd", "abcde", "")}) == 4
    assert LifeTable(["ab", "c"]).digest != LifeTable(["a", "bc"]).digest
    assert LifeTable().digest == NO_MEMBERS


def test_a_client_with_other_nodes_in_its_cell_file_is_dropped_and_both_are_told() -> None:
    client, a = session("abd"), node()
    client.queue("a", Poll(1, "n"))
    assert move(client, a, HOME, PLACES["a"]) == []
    assert a.statistics()["dropped_members"] == 1
    (told,) = a.strangers
    assert told.members and "a client at 10.0.1.1 port 5000" in told.explanation
    assert len(told.short.encode()) <= 64
    ((answer, to),) = a.flush()
    assert to == HOME
    assert client.receive_untrusted(answer, PLACES["a"]) is None
    (told,) = client.strangers
    assert told.members and "node 'a' at 10.0.0.1 port 7400" in told.explanation
    assert client.statistics()["dropped_members"] == 1
    assert client.flush() == []


def test_nodes_with_other_members_tell_each_other_and_do_not_go_on_and_on() -> None:
    a, d = node("a", "abc"), node("d", "abd")
    d.queue("a", Greet(1, 3, b"r" * 16))
    assert move(d, a, PLACES["d"], PLACES["a"]) == []
    assert move(a, d, PLACES["a"], PLACES["d"]) == []
    assert [len(each.strangers) for each in (a, d)] == [1, 1]
    assert a.flush() == d.flush() == []
    assert "node 'd'" in a.strangers[0].short and len(a.strangers[0].short.encode()) <= 64


def test_of_other_members_only_the_key_can_speak() -> None:
    client, a = session("abd"), node()
    client.queue("a", Poll(1, "n"))
    datagram = next(each for each, to in client.flush() if to == PLACES["a"])
    broken = datagram[:-1] + bytes((datagram[-1] ^ 1,))
    assert a.receive_untrusted(broken, HOME) is None
    assert a.strangers == [] and a.flush() == []
    assert a.statistics()["dropped_seal"] == 1


def test_a_client_believes_only_an_answer_to_itself() -> None:
    a, other = node(), session("abd")
    stranger = Endpoint(
        SessionSender(b"T" * 16),
        RING,
        cell_id=CELL,
        epoch=1,
        members={each: [PLACES[each]] for each in "abd"},
    )
    other.queue("a", Poll(1, "n"))
    move(other, a, HOME, PLACES["a"])
    ((answer, _),) = a.flush()
    assert stranger.receive_untrusted(answer, PLACES["a"]) is None
    assert stranger.strangers == []
    assert stranger.statistics()["dropped_seal"] == 1


def test_an_older_version_is_dropped_under_its_own_reason_and_told_of() -> None:
    client, a = session(), node()
    client.queue("a", Poll(1, "n"))
    ((datagram, _),) = client.flush()
    for _ in range(3):
        assert a.receive_untrusted(b"\x01" + datagram[1:], HOME) is None
    assert a.statistics()["dropped_older_version"] == 3
    assert a.flush() == []
    (told,) = a.strangers
    assert not told.members and "version 1" in told.explanation


def test_strangers_are_bounded() -> None:
    a = node()
    for port in range(2 * STRANGERS_MAX):
        a.receive_untrusted(b"\x01" * 40, ("10.0.0.1", port))
    assert len(a.strangers) == STRANGERS_MAX
