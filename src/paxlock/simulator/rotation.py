"""The root key of the cell is changed while it works, step by step as docs/keys.md says.

One operator goes from machine to machine, at moments drawn from the seed, and begins a step when the one
before it is done everywhere. What a key file holds, and what is read from it, is decided by the shipped code
(config/key_file.py, config/cell_file.py, wire/rekeying.py); files and signals are simulated. Some clients
have the root key, and some a key of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeVar

import attrs

from paxlock.config import key_file
from paxlock.config.cell_file import Keys, parse_keys
from paxlock.config.key_file import KeyLine
from paxlock.config.keys import client_key, format_client_key, format_key, key_id
from paxlock.core.rights import ROOT, Rights
from paxlock.host.whereabouts import keyring_of
from paxlock.limits import KEY_BYTES
from paxlock.simulator.key_book import KeyBook
from paxlock.simulator.machines import ClientMachine, NodeMachine
from paxlock.simulator.moments import What
from paxlock.simulator.scenario import START_S
from paxlock.wire import rekeying
from paxlock.wire.grants import grant_of
from paxlock.wire.keyring import Keyring

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation

__all__ = ["KeyFile", "Rotation"]

Place = TypeVar("Place")

BEGINS_WITHIN = 0.5  #: the part of the time of faults in which the operator begins
GRANTED = 0.5  #: the share of clients that have a key of their own
TIDY = 0.5  #: the share of clients with the root key whose file loses the old one too
SIGNAL_S = 1e-6  #: after a paused process goes on, its signals are handled
EXPIRES_S = 4_000_000_000  #: when the first key of a client expires; later ones do so later


@attrs.define(eq=False)
class KeyFile:
    """The key file of one machine: its lines, and for the checks which generations of root keys they should
    be of, the first first. ``grant`` is that of a client with a key of its own.
    """

    lines: list[KeyLine]
    generations: tuple[int, ...] = (0,)
    grant: bytes = b""


class Rotation:
    """The key files, and the operator who changes them. ``keyring`` opens whatever is sealed in the run;
    ``book`` checks how keys are used, None where they do not change.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        scenario = simulation.scenario
        self._sealed = scenario.sealed
        self._rng = Random(f"rotation {simulation.seed}")
        self._roots = _root_keys(simulation.seed, scenario.rotations + 1)
        self._rings: dict[Keys, Keyring] = {}
        self._nodes: dict[str, KeyFile] = {}
        self._clients: dict[int, KeyFile] = {}
        self._next_look: dict[bytes, float] = {}
        self.keyring = Keyring.of(self._roots) if self._sealed else Keyring.unsealed()
        self.over = not (scenario.rotations and self._sealed)
        self.book = None if self.over else KeyBook(simulation, self.keyring, tuple(map(key_id, self._roots)))

    def begin(self) -> None:
        """The operator has a moment at which to begin."""
        if self.book is not None:
            first = self._rng.random() * BEGINS_WITHIN * self._sim.scenario.faulty_for
            self._sim.at(START_S + first, self._go_on, self._operate(self.book))

    # The files

    def of_node(self, node_id: str) -> KeyFile:
        """The file of a node; wherever the node goes, the operator has copied it there."""
        return self._nodes.setdefault(node_id, KeyFile([self._line(0)]))

    def of_client(self, slot: int) -> KeyFile:
        """The file on the machine of a client: of the root key, or of a key of its own."""
        file = self._clients.get(slot)
        if file is None:
            file = self._clients[slot] = KeyFile([self._line(0)])
            if self.book is not None and Random(f"granted {self._sim.seed} {slot}").random() < GRANTED:
                self._grant(0, slot)
        return file

    def read(self, file: KeyFile) -> Keyring:
        """The keys that a file has now."""
        if not self._sealed:
            return self.keyring
        keys = parse_keys("\n".join(line.line for line in file.lines), "key file")
        ring = self._rings.get(keys)
        if ring is None:
            ring = self._rings[keys] = keyring_of(*keys)
        return ring

    def look(self, client: ClientMachine) -> None:
        """A client that is about to send something looks at its file, now and then (client/key_file.py)."""
        if self.book is None:
            return
        sim = self._sim
        now = client.now(sim.true)
        if now < self._next_look.get(client.session, now):
            return
        self._next_look[client.session] = now + sim.scenario.key_look
        file = self._clients[client.slot]
        if self.book.has(client.endpoint) != file.generations:
            rekeying.rekey(client.endpoint, self.read(file))
            self.book.loaded(client.endpoint, file.generations)
            sim.tell(client.label, What.NOTICE, text=f"reads its keys anew: {_shown(file)}")

    # The operator

    def _go_on(self, operator: Iterator[float]) -> None:
        """He does something, and waits for as many seconds as he says."""
        for lasts in operator:
            self._sim.at(self._sim.true + lasts, self._go_on, operator)
            return

    def _operate(self, book: KeyBook) -> Iterator[float]:
        """All changes of the root key, one after another; what is given is waited for in between."""
        scenario, nodes = self._sim.scenario, list(self._sim.nodes.addresses)
        slots = range(scenario.clients)
        rooted = [slot for slot in slots if not self.of_client(slot).grant]
        granted = [slot for slot in slots if self.of_client(slot).grant]
        for new in range(1, scenario.rotations + 1):
            holders = [*map(self.of_node, nodes), *map(self.of_client, rooted)]
            yield from self._each(holders, partial(self._add, new))
            yield from self._hang_up(nodes)
            yield from self._each(holders, partial(self._promote, new))
            yield from self._hang_up(nodes)
            yield from self._each(granted, partial(self._grant, new))
            # Who is about to send something has looked at its file by then.
            yield scenario.key_look / (1.0 - scenario.drift)
            book.dropping(new - 1)
            tidy = [self.of_client(slot) for slot in rooted if self._rng.random() < TIDY]
            droppers = [*map(self.of_node, nodes), *tidy]
            yield from self._each(droppers, partial(self._drop, new - 1))
            yield from self._hang_up(nodes)
        self.over = True

    def _each(self, places: Sequence[Place], change: Callable[[Place], None]) -> Iterator[float]:
        """Change something in every place, at a moment of its own."""
        for wait, place in self._in_some_order(places):
            yield wait
            change(place)

    def _in_some_order(self, places: Sequence[Place]) -> Iterator[tuple[float, Place]]:
        """All places of a step, each with the time that he takes to come there."""
        step, before = self._sim.scenario.rotation_step, 0.0
        for moment, at in sorted((self._rng.random() * step, at) for at in range(len(places))):
            yield moment - before, places[at]
            before = moment

    def _hang_up(self, nodes: Sequence[str]) -> Iterator[float]:
        """HUP on every node, until each has read its file. One that is down reads it when it starts."""
        for wait, node_id in self._in_some_order(nodes):
            yield wait
            while (node := self._find(node_id)).core is not None:
                if self._sim.true >= node.paused_until:
                    self._reload(node)
                    break
                yield node.paused_until - self._sim.true + SIGNAL_S

    def _find(self, node_id: str) -> NodeMachine:
        return next(node for node in self._sim.nodes.all if node.node_id == node_id)

    def _reload(self, node: NodeMachine) -> None:
        """The node reads its keys anew, as node/reloading.py does."""
        assert self.book is not None
        assert node.endpoint is not None
        file = self.of_node(node.node_id)
        rekeying.rekey(node.endpoint, self.read(file))
        self.book.loaded(node.endpoint, file.generations)
        self._sim.tell(node.label, What.NOTICE, text=f"reads its keys anew: {_shown(file)}")

    # What he does to a file

    def _add(self, new: int, file: KeyFile) -> None:
        file.lines = key_file.added(file.lines, [self._line(new)])
        file.generations = (*file.generations, new)

    def _promote(self, new: int, file: KeyFile) -> None:
        file.lines = key_file.promoted(file.lines, key_id(self._roots[new]))
        file.generations = (new, *(old for old in file.generations if old != new))

    def _drop(self, old: int, file: KeyFile) -> None:
        file.lines = key_file.dropped(file.lines, key_id(self._roots[old]))
        file.generations = tuple(each for each in file.generations if each != old)

    def _grant(self, new: int, slot: int) -> None:
        """A client's key is made from this root key, with the same id, and perhaps a later expiry."""
        root, file = self._roots[new], self.of_client(slot)
        later = new if self._rng.random() < 0.5 else 0
        rights = Rights(f"client {slot}", ROOT.verbs, ROOT.patterns, 0, EXPIRES_S + later, 0, ROOT.owns)
        file.grant = grant_of(rights)
        line = format_client_key(key_id(root), file.grant, client_key(root, file.grant))
        file.lines, file.generations = [KeyLine(key_id(root), line)], (new,)

    def _line(self, generation: int) -> KeyLine:
        root = self._roots[generation]
        return KeyLine(key_id(root), format_key(root))


def _root_keys(seed: int, count: int) -> list[bytes]:
    """One after another, each with a key id of its own."""
    rng, keys = Random(f"root keys {seed}"), [bytes(range(KEY_BYTES))]
    while len(keys) < count:
        key = rng.randbytes(KEY_BYTES)
        if key_id(key) not in map(key_id, keys):
            keys.append(key)
    return keys


def _shown(file: KeyFile) -> str:
    first, *others = file.generations
    return f"seals by root key {first}" + "".join(f", opens by {other} too" for other in others)
