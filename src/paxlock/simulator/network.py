"""The simulated network: what becomes of a datagram (protocol.md section 2: lost, repeated, late).

It carries the real bytes of wire/endpoint.py from address to address, and now and then damages some.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from paxlock.core.messages import Message
from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.machines import ClientMachine, Datagram, NodeMachine, Sealed, SimulatedMachine
from paxlock.simulator.moments import What
from paxlock.simulator.scenario import TAIL_MAX_S
from paxlock.wire.channels import channel_of
from paxlock.wire.codec import decode_untrusted
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.header import SessionSender, parse_untrusted, payload_of_untrusted
from paxlock.wire.lives import LifeTable
from paxlock.wire.transport import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paxlock.simulator.simulation import Simulation

__all__ = ["Link", "Network"]

TAIL_EXPONENT = 1.1
ECHOED_MAX = 4096  #: how many of the last datagrams between nodes may come again
ECHOES_MAX = 20  #: how many do so at one moment
TAIL_SCALE_S = 0.005
REORDERED_DELAYS = 4.0  #: for how many of the longest delays a datagram is held back that is to be overtaken

Link = tuple[str, str]  #: from one machine to another, by their labels


class _InTransit(NamedTuple):
    """What a node sent to another, where, and in which life."""

    datagram: Datagram
    address: Address
    life: int


class Network:
    """Decides, from random numbers of each link, how often, when and in which shape datagrams arrive."""

    def __init__(self, simulation: Simulation) -> None:
        self.healed = False
        self.machines: dict[Address, SimulatedMachine] = {}
        self.disturbed: dict[Link, float] = {}  #: until when a datagram was last lost, or late, or damaged
        self._sealed: dict[tuple[bytes, int], bytes] = {}
        self._sessions: dict[Address, dict[SessionSender, None]] = {}
        self._sim = simulation
        self._scenario = simulation.scenario
        self._links: dict[Link, Random] = {}
        self._longer: dict[Link, float] = {}
        self._cuts: dict[int, frozenset[Link]] = {}
        self._isolated: set[str] = set()
        self._parted: set[str] = set()
        self._sent: deque[_InTransit] = deque(maxlen=ECHOED_MAX)

    # What is cut

    def cut(self, links: frozenset[Link], lasts: float) -> None:
        """From now on, for so many seconds, nothing passes along these links."""
        number = len(self._cuts) + self._sim.events
        while number in self._cuts:
            number += 1
        self._cuts[number] = links
        self._sim.at(self._sim.true + lasts, self._cuts.pop, number, None)

    def isolate(self, label: str) -> None:
        """Nothing reaches this machine or comes from it any more, healed or not."""
        self._isolated.add(label)

    def part(self, label: str) -> None:
        """Nothing passes any more between this machine and the nodes, but clients are not concerned."""
        self._parted.add(label)

    def mend(self, label: str) -> None:
        """Nodes hear of this machine again."""
        self._parted.discard(label)

    def echo(self, rng: Random) -> int:
        """Some of what nodes sent to each other in lives that are over arrives once more; how many."""
        lives = {node.node_id: node.life for node in self._sim.nodes.all}
        over = [one for one in self._sent if one.life < lives[one.datagram.sender.partition(" ")[0]]]
        chosen = rng.sample(over, min(len(over), ECHOES_MAX))
        for one in chosen:
            delay = self._scenario.delay_max * rng.random()
            self._sim.at(self._sim.true + delay, self._arrive, one.address, one.datagram)
        return len(chosen)

    def heal(self) -> None:
        """From now on every datagram arrives once and soon. Late ones are still on their way."""
        self.healed = True
        self._cuts.clear()

    # Datagrams

    def flush(self, machine: SimulatedMachine, endpoint: Endpoint) -> None:
        """Send what the machine's endpoint has ready."""
        endpoint.age(machine.now(self._sim.true))
        book = self._sim.rotation.book
        for data, address in endpoint.flush():
            sealed = book.seals(machine, endpoint, data, address) if book is not None else None
            self.send(machine, data, address, sealed)

    def send(
        self, machine: SimulatedMachine, data: bytes, address: Address, sealed: Sealed | None = None
    ) -> None:
        """One datagram is on its way, or lost."""
        if self._scenario.forks and self._scenario.sealed:
            self._check_number(machine, data)
        target = self.machines.get(address)
        if target is None:
            return
        sim, link = self._sim, (machine.label, target.label)
        rng = self._links.get(link)
        if rng is None:
            rng = self._links[link] = Random(f"network {sim.seed} {link}")
            self._longer[link] = self._how_much_longer(machine, target, link)
        if self._scenario.echoes and isinstance(machine, NodeMachine) and isinstance(target, NodeMachine):
            arriving = Datagram(data, machine.address, machine.label, damaged=False, sealed=sealed)
            self._sent.append(_InTransit(arriving, address, machine.life))
        longer = self._longer[link]
        delays = self._delays(link, rng, longer)
        if not delays or delays[0] > self._scenario.delay_max + longer:
            self.disturbed[link] = sim.true + (delays[0] if delays else 0.0)
        if sim.timeline is not None:
            what = What.SENT if delays else What.LOST
            sim.tell(machine.label, what, other=target.label, messages=self._messages(machine, data, target))
        for delay in delays:
            damaged = self._damages(rng)
            shape = self._damage(data, rng) if damaged else data
            if damaged:
                self.disturbed[link] = max(self.disturbed.get(link, 0.0), sim.true)
            arriving = Datagram(shape, machine.address, machine.label, damaged, sealed)
            sim.at(sim.true + delay, self._arrive, address, arriving)

    def _check_number(self, machine: SimulatedMachine, data: bytes) -> None:
        """A number seals one text: it is the nonce."""
        header = parse_untrusted(data)
        before = self._sealed.setdefault((header.sender.identity, header.sequence), data)
        if before != data:
            raise CheckFailed("nonce", f"{machine.label} seals two texts with its number {header.sequence}")

    def _arrive(self, address: Address, datagram: Datagram) -> None:
        """To whoever is at the address by now."""
        machine, sim = self.machines[address], self._sim
        if sim.true < machine.paused_until:
            if not machine.asleep:
                machine.backlog.append(datagram)
        else:
            sim.turn(machine, [datagram])

    def _how_much_longer(self, source: SimulatedMachine, target: SimulatedMachine, link: Link) -> float:
        """Than the shortest link: one node or one client may be far away, and each way may differ."""
        scenario, seed = self._scenario, self._sim.seed
        longer = scenario.uneven * Random(f"length {seed} {link}").random() if scenario.uneven else 0.0
        rng = Random(f"who is far {seed}")
        far_node, far_client = rng.randrange(scenario.nodes), rng.randrange(max(1, scenario.clients))
        for machine in (source, target):
            if isinstance(machine, ClientMachine) and machine.slot == far_client:
                longer += scenario.far_client
            elif isinstance(machine, NodeMachine):
                far = machine.node_id == self._sim.nodes.members[far_node].node_id
                longer += scenario.far_node if far else 0.0
        return longer

    def _delays(self, link: Link, rng: Random, longer: float) -> tuple[float, ...]:
        """After how many seconds the datagram arrives, once for every time that it does."""
        scenario, random = self._scenario, rng.random
        delay = longer + scenario.delay_min + random() * (scenario.delay_max - scenario.delay_min)
        if self._isolated and not self._isolated.isdisjoint(link):
            return ()
        if self._parted and self._divides(link):
            return ()
        if self.healed:
            return (delay,)
        if self._cuts and any(link in cut for cut in self._cuts.values()):
            return ()
        if scenario.loss and random() < scenario.loss:
            return ()
        if scenario.late and random() < scenario.late:
            delay += random() * scenario.late_max
        if scenario.heavy_tail and random() < scenario.heavy_tail:
            delay += min(TAIL_MAX_S, TAIL_SCALE_S * rng.paretovariate(TAIL_EXPONENT))
        if scenario.reordered and random() < scenario.reordered:
            delay += random() * REORDERED_DELAYS * scenario.delay_max
        if scenario.repeated and random() < scenario.repeated:
            return (delay, delay + random() * max(scenario.late_max, scenario.delay_max))
        return (delay,)

    def _divides(self, link: Link) -> bool:
        nodes = self._sim.nodes.addresses.keys() | self._parted
        return nodes.issuperset(link) and not self._parted.isdisjoint(link)

    def _damages(self, rng: Random) -> bool:
        scenario = self._scenario
        return (
            bool(scenario.damaged) and scenario.sealed and not self.healed and rng.random() < scenario.damaged
        )

    def _damage(self, data: bytes, rng: Random) -> bytes:
        """Flip a bit, or cut some of the end off."""
        at = rng.randrange(len(data))
        if rng.random() < 0.5:
            return data[:at]
        return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]

    def _messages(
        self, machine: SimulatedMachine, data: bytes, target: SimulatedMachine
    ) -> tuple[Message, ...]:
        """What is in a datagram, for the timeline."""
        header = parse_untrusted(data)
        if isinstance(header.sender, SessionSender):
            self._sessions.setdefault(machine.address, {})[header.sender] = None
        # Of a session that was at this address before this one, answers may still be on their way.
        known: Iterable[SessionSender | str] = self._sessions.get(target.address, ())
        if isinstance(target, NodeMachine):
            known = [target.node_id]
        opened = (
            self._sim.rotation.keyring.open_untrusted(
                header.key_id,
                channel_of(header.sender, receiver),
                header.sequence,
                data[header.size :],
                data[: header.size],
            )
            for receiver in known
        )
        plaintext = next((text for text in opened if text is not None), None)
        assert plaintext is not None
        said = LifeTable().read_untrusted(header.sender, plaintext)
        return decode_untrusted(payload_of_untrusted(plaintext, len(said.prefix)))
