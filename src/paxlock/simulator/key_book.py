"""Checks, datagram by datagram, that keys are changed without a loss that the order of the steps excludes.

The book says which generations of root keys each endpoint should have (rotation.py), counted from 0; what
its keyring holds may be something else. By the book

- nobody seals by a key that its file had no more when it was read, and nodes and sessions that begin to speak
  seal by the first one;
- nobody takes what is sealed by such a key;
- whoever has the key opens what was sealed for it;
- before anybody seals by a new key, every node has it;
- once the operator begins to drop a key, no client seals by it, nor do nodes for nodes;
- a node answers a session by the key by which it has heard it last.

A datagram that is refused for its key or seal is explained where it was under way while its receiver dropped
the key; where it was for an earlier session; where the client has not looked at its file yet; and where
nothing of the client has come to the node since the key was dropped by which that had heard it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.machines import ClientMachine, Datagram, NodeMachine, Sealed, SimulatedMachine
from paxlock.wire.channels import channel_of
from paxlock.wire.codec import join
from paxlock.wire.endpoint import Endpoint, NodeSender, Received, SessionSender
from paxlock.wire.header import Header, parse_untrusted, payload_of_untrusted
from paxlock.wire.lives import LifeTable

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation
    from paxlock.wire.keyring import Keyring
    from paxlock.wire.transport import Address

__all__ = ["KeyBook"]


class KeyBook:
    """Which keys each endpoint has by the book. ``refused`` counts the datagrams that were refused for their
    key or seal, and explained.

    ``keyring`` opens everything; ``numbers`` are the key ids of the generations.
    """

    def __init__(self, simulation: Simulation, keyring: Keyring, numbers: Sequence[int]) -> None:
        self.refused = 0
        self._sim = simulation
        self._keyring = keyring
        self._generations = {number: at for at, number in enumerate(numbers)}
        self._has: dict[Endpoint, tuple[int, ...]] = {}
        self._senders: dict[bytes, dict[SessionSender, None]] = {}  #: of each session, with all its grants
        self._heard: dict[tuple[bytes, bytes], tuple[int, SessionSender]] = {}
        self._dropping: dict[int, float] = {}

    def has(self, endpoint: Endpoint) -> tuple[int, ...]:
        """The generations that this endpoint should have; it should seal by the first."""
        return self._has[endpoint]

    def loaded(self, endpoint: Endpoint, generations: tuple[int, ...]) -> None:
        """The endpoint has just read its file."""
        self._has[endpoint] = generations
        if isinstance(endpoint.sender, SessionSender):
            self._senders.setdefault(endpoint.sender.session, {})[endpoint.sender] = None

    def dropping(self, generation: int) -> None:
        """The operator begins to drop this one."""
        self._dropping[generation] = self._sim.true

    # What is sent

    def seals(self, machine: SimulatedMachine, endpoint: Endpoint, data: bytes, address: Address) -> Sealed:
        """The endpoint has sealed this for whoever is at the address."""
        header, has = parse_untrusted(data), self._has[endpoint]
        generation = self._generations[header.key_id]
        target = self._sim.network.machines.get(address)
        if generation not in has:
            raise CheckFailed("keys", f"{machine.label} seals by root key {generation}, and has {_all(has)}")
        if isinstance(machine, NodeMachine) and isinstance(target, ClientMachine):
            assert isinstance(header.sender, NodeSender)
            heard = self._heard.get((header.sender.run, target.session))
            return Sealed(self._sim.true, heard, gone=heard is not None and heard[0] not in has)
        # A challenge is sealed by the key of what it answers.
        if generation != has[0] and target is not None and not self._is_empty(data, header, target):
            what = f"{machine.label} seals by root key {generation}"
            raise CheckFailed("keys", f"{what}, though its first one is {has[0]}")
        return Sealed(self._sim.true)

    # What arrives

    def arrives(
        self, machine: SimulatedMachine, endpoint: Endpoint, datagram: Datagram, received: Received | None
    ) -> None:
        """What the endpoint makes of a datagram."""
        if datagram.damaged:
            return
        header, has = parse_untrusted(datagram.data), self._has[endpoint]
        generation = self._generations[header.key_id]
        if received is not None:
            if generation not in has:
                what = f"{machine.label} takes what {datagram.sender} sealed by root key {generation}"
                raise CheckFailed("keys", f"{what}, and has {_all(has)}")
            if isinstance(endpoint.sender, NodeSender) and isinstance(header.sender, SessionSender):
                known = endpoint.sender.run, header.sender.session
                self._heard[known] = generation, header.sender
        elif endpoint.refused in ("key", "seal"):
            if isinstance(machine, ClientMachine):
                why = self._why_not_refused_by_client(machine, endpoint, datagram, header)
            else:
                why = self._why_not_refused_by_node(machine, endpoint, datagram, header)
            if why:
                what = f"{machine.label} refuses what {datagram.sender} sealed by root key {generation}"
                raise CheckFailed("keys", f"{what} ({endpoint.refused}), and has {_all(has)}: {why}")
            self.refused += 1
            disturbed, link = self._sim.network.disturbed, (datagram.sender, machine.label)
            disturbed[link] = max(disturbed.get(link, 0.0), self._sim.true)

    def _why_not_refused_by_node(
        self, machine: SimulatedMachine, endpoint: Endpoint, datagram: Datagram, header: Header
    ) -> str:
        """What the order of the steps excludes, or nothing."""
        has, generation = self._has[endpoint], self._generations[header.key_id]
        if generation in has:
            return "it should open by that one"
        twins = self._sim.nodes.twins
        if machine in twins or any(twin.label == datagram.sender for twin in twins):
            return ""  # an old process, whose file nobody changes any more
        if generation > max(has):
            return "nobody is to seal by a key before every node has it"
        began = self._dropping.get(generation, inf)
        if datagram.sealed is None or datagram.sealed.at <= began:
            return ""  # it was under way for long, or is a last will
        if self._is_empty(datagram.data, header, machine):
            return ""  # a challenge, sealed by the key of what it answers
        return "it was sealed when that one was about to be dropped"

    def _why_not_refused_by_client(
        self, client: ClientMachine, endpoint: Endpoint, datagram: Datagram, header: Header
    ) -> str:
        has, generation = self._has[endpoint], self._generations[header.key_id]
        mine = endpoint.sender
        assert isinstance(mine, SessionSender)
        payload = self._payload(datagram.data, header, mine)
        if generation in has and payload is not None:
            return "it should open by that one"
        if self._sim.rotation.of_client(client.slot).generations != has:
            return ""  # it has not looked at its file since that has changed
        sealed = datagram.sealed
        if sealed is None or sealed.gone:
            return ""  # nothing that it has said since that key was dropped has come to the node
        if generation > max(has) and payload is not None:
            return "its file has no such key"
        heard = sealed.heard
        if heard is None or heard[1] != mine or heard[0] not in has:
            return ""
        for older in self._senders[mine.session]:
            payload = self._payload(datagram.data, header, older)
            if payload is not None and payload != join([]):
                return f"the node had heard it by root key {heard[0]}"
        return ""

    def _is_empty(self, data: bytes, header: Header, target: SimulatedMachine) -> bool:
        """Whether a datagram for a node has no messages."""
        assert isinstance(target, NodeMachine)
        return self._payload(data, header, target.node_id) == join([])

    def _payload(self, data: bytes, header: Header, receiver: SessionSender | str) -> bytes | None:
        """What is in a datagram, or None where it was sealed for somebody else."""
        size, channel = header.size, channel_of(header.sender, receiver)
        keyring, sealed = self._keyring, data[header.size :]
        plaintext = keyring.open_untrusted(header.key_id, channel, header.sequence, sealed, data[:size])
        if plaintext is None:
            return None
        said = LifeTable().read_untrusted(header.sender, plaintext)
        return payload_of_untrusted(plaintext, len(said.prefix))


def _all(generations: Sequence[int]) -> str:
    return ", ".join(map(str, generations))
