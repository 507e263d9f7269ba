"""Root keys are changed while everybody goes on speaking, and one that was dropped is refused then."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from paxlock.client.key_file import LOOK_S, KeyFollower
from paxlock.config.cell import Cell
from paxlock.config.keys import client_key, format_client_key, format_key, key_id
from paxlock.core.lease import Candidate
from paxlock.core.messages import Hello, Poll
from paxlock.core.rights import ROOT, Rights, Verb
from paxlock.errors import ConfigError
from paxlock.wire.endpoint import Endpoint, NodeSender, SessionSender
from paxlock.wire.grants import draw_session, grant_of
from paxlock.wire.keyring import Keyring
from paxlock.wire.rekeying import rekey
from paxlock.wire.wills import Wills

OLD, NEW = bytes(32), bytes(range(32))
ID = b"cell" * 4
PLACES = {"a": ("10.0.0.1", 7400), "b": ("10.0.0.2", 7400), "c": ("10.0.0.3", 7400)}
MEMBERS = {node: [place] for node, place in PLACES.items()}
CLIENT_AT = ("10.0.1.1", 5000)


def grant(key: str = "app", ttl_max_ms: int = 0) -> bytes:
    return grant_of(Rights(key, Verb.ACQUIRE, ("*",), ttl_max_ms, 0, 0, ROOT.owns))


GRANT = grant()


def ring(*keys: bytes) -> Keyring:
    return Keyring.of(keys)


def client_ring(root: bytes, text: bytes = GRANT) -> Keyring:
    return Keyring({key_id(root): client_key(root, text)}, grant=text)


class Town:
    """Three nodes, a client with a key of its own and one with the root key, whose datagrams arrive."""

    def __init__(self) -> None:
        self.nodes = {n: self.endpoint(NodeSender(n, 1, n.encode() * 16), ring(OLD)) for n in PLACES}
        self.app = self.endpoint(SessionSender(draw_session(), GRANT), client_ring(OLD))
        self.root = self.endpoint(SessionSender(draw_session()), ring(OLD))

    @staticmethod
    def endpoint(sender: NodeSender | SessionSender, keys: Keyring) -> Endpoint:
        return Endpoint(sender, keys, cell_id=ID, epoch=1, members=MEMBERS)

    def exchange(self) -> int:
        """Everybody asks every node, and is answered: how many questions and answers arrived."""
        arrived = 0
        for client, place in ((self.app, CLIENT_AT), (self.root, ("10.0.1.2", 5001))):
            for name in self.nodes:
                client.queue(name, Poll(1, "n"))
            arrived += self.carry(client, place)
        for name, node in self.nodes.items():
            for other in self.nodes.keys() - {name}:
                node.queue(other, Hello(1))
            arrived += self.carry(node, PLACES[name])
        return arrived

    def carry(self, one: Endpoint, place: tuple[str, int]) -> int:
        arrived = 0
        for datagram, address in one.flush():
            name = next(n for n in PLACES if PLACES[n] == address)
            node = self.nodes[name]
            received = node.receive_untrusted(datagram, place)
            arrived += received is not None
            if received is not None and isinstance(received.peer, bytes):
                node.queue(received.peer, Hello(2))
            for answer, where in node.flush():
                assert where == place
                arrived += one.receive_untrusted(answer, PLACES[name]) is not None
        return arrived

    def acquaint(self) -> None:
        while self.exchange() < 18:
            pass


ALL = 2 * 3 * 2 + 6  #: what each of two clients asks three nodes, the answers, and what nodes say to nodes


def test_a_key_is_changed_in_steps_and_not_one_datagram_is_lost() -> None:
    town = Town()
    town.acquaint()
    steps = [(ring(OLD, NEW), None), (ring(NEW, OLD), None), (ring(NEW, OLD), NEW), (ring(NEW), None)]
    for keys, regranted in steps:
        for endpoint in (*town.nodes.values(), town.root):
            rekey(endpoint, keys)
            assert town.exchange() == ALL  # half of the machines have gone this step, and half have not
        if regranted:
            rekey(town.app, client_ring(NEW))
        assert town.exchange() == ALL == town.exchange()
    assert not any("dropped_key" in each.statistics() for each in (*town.nodes.values(), town.app))


def test_what_a_dropped_key_seals_is_refused_at_once_also_on_the_short_way() -> None:
    town = Town()
    town.acquaint()
    town.exchange()
    for node in town.nodes.values():
        rekey(node, ring(NEW))
    for client in (town.app, town.root):
        client.queue("a", Poll(2, "n"))
        assert town.carry(client, CLIENT_AT if client is town.app else ("10.0.1.2", 5001)) == 0
    assert town.nodes["a"].statistics()["dropped_key"] == 2


def test_a_grant_that_was_made_anew_under_its_id_goes_on_with_its_session() -> None:
    """So a client outlives the expiry of its key, and its leases stay its own."""
    town = Town()
    town.acquaint()
    before = town.app.sender
    assert isinstance(before, SessionSender)
    shorter = grant(ttl_max_ms=1000)
    rekey(town.app, client_ring(OLD, shorter))
    assert town.app.sender == SessionSender(before.drawn, shorter)
    town.app.queue("a", Poll(3, "n"))
    ((datagram, _),) = town.app.flush()
    received = town.nodes["a"].receive_untrusted(datagram, CLIENT_AT)
    assert received is not None
    assert (received.peer, received.rights.ttl_max_ms) == (before.session, 1000)
    town.nodes["a"].queue(before.session, Hello(1))
    ((answer, _),) = town.nodes["a"].flush()
    assert town.app.receive_untrusted(answer, PLACES["a"]) is not None


def test_the_key_of_somebody_else_is_not_taken() -> None:
    town = Town()
    for endpoint, keys in (
        (town.app, client_ring(OLD, grant("other"))),
        (town.app, ring(OLD)),
        (town.root, client_ring(OLD)),
        (town.nodes["a"], client_ring(OLD)),
        (town.root, Keyring.unsealed()),
    ):
        with pytest.raises(ConfigError):
            rekey(endpoint, keys)
    town.acquaint()


@attrs.define
class Deposited:
    datagrams: dict[int, tuple[bytes, ...]] = attrs.field(factory=dict)

    def expect(self) -> None: ...

    def deposit(self, page: int, at: int, address: object, datagrams: object) -> None:
        self.datagrams[at] = tuple(datagrams)  # type: ignore[arg-type]

    def catch_up(self) -> None: ...

    def settle(self) -> None: ...

    def close(self) -> None: ...


def test_a_last_will_is_sealed_anew_by_the_other_key() -> None:
    town, guardian = Town(), Deposited()
    town.acquaint()
    wills = Wills(town.app, guardian)
    wills.hold(1, "n", Candidate(town.app.sender.session, 1), 1)  # type: ignore[union-attr]
    wills.settle_turn()
    for node in town.nodes.values():
        rekey(node, ring(NEW))
    rekey(town.app, client_ring(NEW))
    wills.settle_turn()
    (will,) = guardian.datagrams[0]
    assert town.nodes["a"].receive_untrusted(will, CLIENT_AT) is not None


# The key file of a client


class Client:
    """A client whose key file is changed under it."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / "client.key"
        self.write(key)
        Cell.new({"a": "10.0.0.1:7400"}, key=OLD).save(folder / "cell.toml")
        self.cell = Cell.load(folder / "cell.toml", key_file=self.path)
        sender = SessionSender(draw_session(), self.cell.grant)
        self.endpoint = Endpoint(sender, Keyring(dict(self.cell.keys), grant=self.cell.grant))
        self.grants: list[bytes] = []
        self.follower = KeyFollower(self.cell, self.endpoint, now=0.0, taken=self.grants.append)

    def write(self, key: str) -> None:
        self.path.unlink(missing_ok=True)
        self.path.touch(0o600)
        self.path.write_text(key + "\n")

    @property
    def seals_by(self) -> int:
        return self.endpoint._keyring.first


def granted(root: bytes, key: str = "app") -> str:
    text = grant(key)
    return format_client_key(key_id(root), text, client_key(root, text))


def test_a_client_takes_the_key_that_its_file_has_by_the_next_look(tmp_path: Path) -> None:
    client = Client(tmp_path, granted(OLD))
    client.follower.look(LOOK_S)
    assert client.grants == [] and client.seals_by == key_id(OLD)
    client.write(granted(NEW))
    client.follower.look(1.5 * LOOK_S)
    assert client.seals_by == key_id(OLD)  # looked at a moment ago
    client.follower.look(2 * LOOK_S)
    assert client.grants == [GRANT] and client.seals_by == key_id(NEW)
    assert not client.follower.look_now()


def test_a_client_whose_key_is_refused_looks_at_once(tmp_path: Path) -> None:
    client = Client(tmp_path, granted(OLD))
    assert not client.follower.look_now()
    client.write(granted(NEW))
    assert client.follower.look_now() and client.seals_by == key_id(NEW)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("paxlock-client-1:damaged", "must be one line"),
        (granted(NEW, "other"), "the key of another client"),
        (format_key(NEW), "the key of another client"),
    ],
)
def test_a_key_file_that_cannot_be_used_changes_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str, said: str
) -> None:
    client = Client(tmp_path, granted(OLD))
    client.write(key)
    assert not client.follower.look_now() and not client.follower.look_now()
    (record,) = caplog.records
    assert said in record.getMessage() and record.levelname == "WARNING"
    client.path.unlink()
    assert not client.follower.look_now()
    client.write(granted(NEW))
    assert client.follower.look_now()


def test_a_key_file_that_others_may_read_is_taken_once_they_may_not(tmp_path: Path) -> None:
    client = Client(tmp_path, granted(OLD))
    client.write(granted(NEW))
    client.path.chmod(0o644)
    assert not client.follower.look_now()
    client.path.chmod(0o600)
    assert client.follower.look_now()
