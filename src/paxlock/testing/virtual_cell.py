"""A whole cell under trio's mock clock, for tests of programs that run under a lease.

    async def test_the_report_stops(autojump_clock):
        async with open_virtual_cell() as cell, trio.open_nursery() as nursery:
            nursery.start_soon(nightly_report, cell.cell)
            holder = await cell.wait_holder("nightly-report")
            await cell.lose(holder)

The nodes, the clients, the messages and their seals are the real ones; the network, the disks and the time
are not. Times are virtual seconds.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from string import ascii_lowercase
from typing import Any, TypeAlias, TypedDict

import attrs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from paxlock.client.client import Client
from paxlock.client.face import Face
from paxlock.client.holding import Holding
from paxlock.client.lease import HeldLease
from paxlock.client.opening import open_client
from paxlock.config.cell import Cell
from paxlock.config.syntax import split_address
from paxlock.core.messages import Member
from paxlock.errors import LossReason, PaxlockError
from paxlock.node.embedded import Node
from paxlock.runtime.background import attended
from paxlock.runtime.environment import substitute
from paxlock.testing.virtual_environment import (
    Program,
    VirtualEnvironment,
    VirtualProcess,
    VirtualTransport,
)
from paxlock.testing.virtual_network import (
    Cut,
    Latency,
    LinkLatency,
    VirtualNetwork,
    Way,
    bounds_of,
    checked_probability,
)
from paxlock.testing.virtual_nodes import VirtualNodes
from paxlock.wire.transport import Address

__all__ = [
    "CellSettings",
    "Holder",
    "Program",
    "TimeLimitReached",
    "VirtualCell",
    "open_virtual_cell",
]


LATENCY_S = 0.001
TIME_LIMIT_S = 7200.0  #: of virtual time: a test that hangs ends within seconds, one of an hour passes
LOOK_AGAIN_S = 0.005
NODE_PORT = 7400
# Of a network that is kept free for documentation: nothing real can be reached by mistake (RFC 5737).
NODE_HOST = "192.0.2.{}"
CLIENT_HOST = "198.51.100.1"

_OPENED: trio.lowlevel.RunVar[int] = trio.lowlevel.RunVar("paxlock virtual cells", 0)


class TimeLimitReached(PaxlockError):
    """The virtual time of a cell is over: the test waits for what never comes."""


@attrs.frozen
class Holder:
    """Somebody who holds a name: the label, the fencing token ``term``, and the lease itself: the HeldLease
    of trio or asyncio, as its program has it.
    """

    name: str
    term: int
    label: str
    held: Any


Who: TypeAlias = Face[Any] | Program | Holder | Holding | str


@attrs.define(eq=False)
class _Grant:
    line: VirtualTransport
    holder: Holder


class CellSettings(TypedDict, total=False):
    """The settings of ``open_virtual_cell``."""

    nodes: int
    max_ttl: float
    grace: float | None
    seed: int
    latency: Latency | LinkLatency
    embedded: bool
    time_limit: float


class VirtualCell:
    """What ``open_virtual_cell`` gives: the cell, and the verbs of what can happen to it.

    ``who`` in the verbs is a client, a Program, a lease or a Holder of it, the label of a client or program,
    or the id of a node. ValueError where it is nobody, with the names of those who are there.
    """

    def __init__(self, cell: Cell, network: VirtualNetwork) -> None:
        self.cell = cell
        self.network = network
        self._addresses = {member.node_id: split_address(member.address) for member in cell.members}
        self._lines: list[VirtualTransport] = []
        self._programs: list[Program] = []
        self._grants: list[_Grant] = []
        self._granted = trio.Event()
        network.name_of = self._name_at
        self.nodes = VirtualNodes(cell, self.bind)

    def __repr__(self) -> str:
        return f"<VirtualCell of nodes {', '.join(self.cell.node_ids)}>"

    # Clients and programs

    def open_client(self, label: str | None = None) -> AbstractAsyncContextManager[Client]:
        """A client of the cell. ``paxlock.open_client(cell.cell)`` gives the same."""
        return open_client(self.cell, label=label)

    def program(self, label: str) -> Program:
        """A process to run code under test in: ``nursery.start_soon(program.run, main, cell.cell)``. Its
        clients can be paused, cut off and killed together.
        """
        program = Program(label)
        self._programs.append(program)
        return program

    @asynccontextmanager
    async def rival(
        self, name: str, *, ttl: float | None = None, label: str = "rival", seize: bool = False
    ) -> AsyncIterator[HeldLease]:
        """Somebody else holds the name within the block; ``ttl`` is ``max_ttl`` unless given. Entering waits
        in line like everybody; with ``seize`` whoever holds the name loses it as soon as somebody waits.
        """
        ttl = self.cell.max_ttl if ttl is None else ttl
        async with self.open_client(label) as client:
            if seize and self.holder(name) is not None:
                held = await self._seize(client, name, ttl)
            else:
                held = await client.acquire(name, ttl=ttl)
            try:
                yield held
            finally:
                await held.release()

    async def _seize(self, client: Client, name: str, ttl: float) -> HeldLease:
        found: list[HeldLease] = []

        async def acquire() -> None:
            found.append(await client.acquire(name, ttl=ttl))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire)
            while not found:
                holder = self.holder(name)
                standing = await client.inspect(name)
                if holder is not None and standing.waiters:
                    await self.lose(holder)
                await trio.sleep(LOOK_AGAIN_S)
        return found[0]

    # Who holds what

    def holder(self, name: str) -> Holder | None:
        """Who holds the name at this moment, of the clients in this environment; None if nobody does."""
        now = trio.current_time()
        for grant in reversed(self._grants):
            held = grant.holder.held
            if grant.holder.name == name and not grant.line.dead and held.valid and now < held.deadline:
                return grant.holder
        return None

    async def wait_holder(self, name: str, *, after: Holder | Holding | int = 0) -> Holder:
        """Wait until somebody holds the name, with a term above ``after`` if it is given."""
        term = after if isinstance(after, int) else after.term
        while True:
            holder = self.holder(name)
            if holder is not None and holder.term > term:
                await trio.lowlevel.checkpoint()
                return holder
            await self._granted.wait()

    def terms(self, name: str) -> list[int]:
        """The fencing tokens granted for the name so far, in order."""
        return [grant.holder.term for grant in self._grants if grant.holder.name == name]

    async def lose(self, lease: Holding | Holder | str, reason: LossReason = LossReason.EXPIRED) -> None:
        """Let a lease, or the one of this name, be lost at this moment: its holder is told, its block is
        cancelled, the name is free. Returns when all that follows at once has happened.
        """
        holder = self.holder(lease) if isinstance(lease, str) else lease
        if holder is None:
            raise ValueError(f"nobody holds {lease!r}: wait until somebody does, with wait_holder({lease!r})")
        held = holder.held if isinstance(holder, Holder) else holder
        self._client_of(held).lose(held, reason)
        await wait_all_tasks_blocked()

    # Time

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass, with all that happens in it."""
        await trio.sleep(seconds)
        await wait_all_tasks_blocked()

    # The network

    @property
    def loss(self) -> float:
        """The probability that a datagram is lost."""
        return self.network.loss

    @loss.setter
    def loss(self, probability: float) -> None:
        self.network.loss = checked_probability("loss", probability)

    @property
    def duplication(self) -> float:
        """The probability that a datagram arrives twice."""
        return self.network.duplication

    @duplication.setter
    def duplication(self, probability: float) -> None:
        self.network.duplication = checked_probability("duplication", probability)

    @property
    def latency(self) -> tuple[float, float] | LinkLatency:
        """How long a datagram takes, at least and at most. May be set to one number, or to a function of who
        sends it and to whom: ids of nodes, labels of clients and programs.
        """
        found = self.network.link_latency
        return found if found is not None else (self.network.delay_min, self.network.delay_max)

    @latency.setter
    def latency(self, seconds: Latency | LinkLatency) -> None:
        if callable(seconds):
            self.network.link_latency = seconds
            return
        self.network.delay_min, self.network.delay_max = bounds_of(seconds)
        self.network.link_latency = None

    def partition(
        self,
        *who: Who,
        away_from: str | Iterable[str] | None = None,
        way: Way = "both",
    ) -> None:
        """Cut ``who`` off, together, from everybody else, or from the nodes ``away_from`` only. ``way`` "out"
        loses what they send, "in" what is sent to them. Clients that open later are cut off as well.
        """
        if not who:
            raise ValueError("who is to be cut off? give a client, a program, a label or the id of a node")
        if way not in ("both", "out", "in"):
            raise ValueError(f'way must be "both", "out" or "in", not {way!r}')
        addresses = None
        if away_from is not None:
            node_ids = [away_from] if isinstance(away_from, str) else list(away_from)
            for node_id in node_ids:
                self.cell.address_of(node_id)  # raises for what is no node
            addresses = frozenset(self._addresses[node_id] for node_id in node_ids)
        for one in who:
            self._lines_of(one)  # raises for nobody
        self.network.cuts.append(Cut(who, self._at, addresses, way))

    def heal(self, *who: Who) -> None:
        """Take back every partition, or ``who`` out of them."""
        cuts = self.network.cuts
        healed = [attrs.evolve(cut, who=tuple(one for one in cut.who if one not in who)) for cut in cuts]
        self.network.cuts = [cut for cut in healed if who and cut.who]

    # Processes that stop

    def pause(self, who: Who) -> None:
        """Stop a process, as by SIGSTOP: nothing is renewed, sent or received, its clock of leases stands
        still, no block is cancelled. What of its own code runs nevertheless still believes in its leases.
        """
        for line in self._lines_of(who):
            if line.client is not None:
                line.client.stop()
            else:
                line.stop()

    def resume(self, who: Who) -> None:
        """Take back ``pause``: leases that ran out meanwhile are lost at once."""
        for line in self._lines_of(who):
            if line.client is not None:
                line.client.go()
            else:
                line.go()

    def kill(self, who: Who) -> None:
        """End a process, as by SIGKILL: nothing is sent or written any more, nothing is released. A Program
        is cancelled, and ends silently; a client that belongs to none is closed.
        """
        lines = self._lines_of(who)
        for line in lines:
            if line.node_id in self.nodes.lives:
                raise ValueError(f"{line.node_id!r} is a node of the cell: await kill_node({line.node_id!r})")
        programs = {line.program for line in lines if line.program is not None}
        if isinstance(who, Program):
            programs.add(who)
        for line in {*lines, *(line for line in self._lines if line.program in programs)}:
            line.die()
            if line.program is None and line.client is not None:
                line.client.close()
        for program in programs:
            program.end()

    # Nodes

    async def stop_node(self, node_id: str) -> None:
        """Stop a node cleanly. Returns when it has stopped."""
        await self.nodes.stop(node_id)

    async def kill_node(self, node_id: str) -> None:
        """End a node as by SIGKILL. At its next start it sits out ``max_ttl`` (protocol.md section 7)."""
        await self.nodes.kill(node_id)

    async def start_node(self, node_id: str, *, join: bool = False) -> None:
        """Start a node again on its disk, or with ``join`` on an empty one. ``wait_serving`` waits until it
        has sat out what it must.
        """
        await self.nodes.start(node_id, join=join)

    async def wait_serving(self, *node_ids: str) -> None:
        """Wait until these nodes, or all that run, serve."""
        await self.nodes.wait_serving(*node_ids)

    # For the environment, and for lines

    def bind(self, node_id: str | None = None) -> VirtualTransport:
        """The end of a new line: of a node, or of a client."""
        where = (CLIENT_HOST, 0) if node_id is None else self._addresses[node_id]
        line = VirtualTransport(self, self.network.bind(*where), node_id)
        self._lines.append(line)
        return line

    def hung_up(self, line: VirtualTransport) -> None:
        """A line was closed."""
        if line in self._lines:
            self._lines.remove(line)

    def granted(self, line: VirtualTransport, held: Holding, label: str) -> None:
        """A client holds a lease from now on."""
        self._grants.append(_Grant(line, Holder(held.name, held.term, label, held)))
        self._granted.set()
        self._granted = trio.Event()

    # Within

    def _client_of(self, held: Holding) -> VirtualProcess:
        for grant in self._grants:
            if grant.holder.held is held and grant.line.client is not None:
                return grant.line.client
        raise ValueError(f"{held!r} was not granted in this virtual cell")

    def _lines_of(self, who: Who) -> list[VirtualTransport]:
        """The lines of somebody; ValueError where there is nobody."""
        who = self._process_of(who)
        found = [line for line in self._lines if self._owns(who, line)]
        if not found and not isinstance(who, Program) and who not in self._known():
            raise ValueError(f"{who!r} is nobody here: there are {', '.join(map(repr, self._known()))}")
        return found

    def _owns(self, who: object, line: VirtualTransport) -> bool:
        client, program = line.client, line.program
        if isinstance(who, Program):
            return program is who
        if isinstance(who, str):
            if who in self.cell.node_ids:
                return line.node_id == who
            return who in {one.label for one in (client, program) if one is not None}
        # An embedded node is one process with the client that it also is.
        return client is who or (isinstance(who, Node) and line.node_id == who.node_id)

    def _at(self, who: tuple[Who, ...], address: Address) -> bool:
        """Whether one of them is at this address."""
        found = [line for line in self._lines if line.address == address]
        return any(self._owns(self._process_of(one), line) for one in who for line in found)

    def _name_at(self, address: Address) -> str:
        """Who is at this address: a node's id, or a label; "" for a client that has not yet opened."""
        for line in self._lines:
            if line.address == address:
                who = line.client or line.program
                return line.node_id or (who.label if who is not None else "")
        return ""

    def _process_of(self, who: Who) -> Face[Any] | Program | str:
        held = who.held if isinstance(who, Holder) else who
        return self._client_of(held) if isinstance(held, Holding) else held

    def _known(self) -> list[str]:
        clients = [line.client.label for line in self._lines if line.client is not None]
        programs = [program.label for program in self._programs]
        return list(dict.fromkeys([*clients, *programs, *self.cell.node_ids]))


def _check_clock() -> None:
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock):
        raise RuntimeError(
            "a virtual cell lives in virtual time: run it with paxlock.testing.run_virtual, take the fixture "
            "paxlock_cell, or give trio.run(clock=trio.testing.MockClock(autojump_threshold=0))"
        )
    if clock.rate == 0 and clock.autojump_threshold == math.inf:
        raise RuntimeError(
            "the nodes of a virtual cell need time to pass: take a clock that goes on by itself, "
            "trio.testing.MockClock(autojump_threshold=0), which pytest-trio calls autojump_clock"
        )


async def _end_in(seconds: float) -> None:
    await trio.sleep(seconds)
    raise TimeLimitReached(
        f"{seconds:g} s of virtual time have passed: the test waits for what never comes, "
        "or needs another time_limit"
    )


@asynccontextmanager
async def open_virtual_cell(
    nodes: int = 3,
    *,
    max_ttl: float = 30.0,
    grace: float | None = None,
    seed: int = 0,
    latency: Latency | LinkLatency = LATENCY_S,
    embedded: bool = False,
    time_limit: float = TIME_LIMIT_S,
) -> AsyncIterator[VirtualCell]:
    """A cell of 1, 3, 5 or 7 nodes in virtual time; the block is entered when all of them serve. Within this
    trio run, ``paxlock.open_client`` of its cell, cell file or addresses gets there, and so do ``open_node``
    and ``serve_node``.

    ``latency`` is how long a datagram takes, or the least and the most, or a function that tells it of each
    link, called with who sends and who receives: ids of nodes, labels of clients and programs. ``grace`` is
    that of the cell file. ``seed`` is for the network's random numbers. ``embedded`` leaves the nodes to the
    program under test, which opens them itself; their data folders are then kept in memory.

    After ``time_limit`` the body is cancelled, and TimeLimitReached comes out. Raises ConfigError for
    settings that cannot be, RuntimeError without trio's mock clock.
    """
    _check_clock()
    ids = ascii_lowercase[:nodes]
    # Cells that are open at the same time have nodes of their own: every cell takes another port.
    port = NODE_PORT + _OPENED.get()
    _OPENED.set(_OPENED.get() + 1)
    members = [Member(node_id, f"{NODE_HOST.format(n)}:{port}") for n, node_id in enumerate(ids, 1)]
    found = VirtualCell(Cell.new(members, max_ttl=max_ttl, grace=grace), VirtualNetwork(Random(seed)))
    found.latency = latency
    with substitute(VirtualEnvironment(found), [member.address for member in members]):
        async with attended(found.nodes.run, found.nodes.fail, lambda: _end_in(time_limit)):
            if not embedded:
                await found.nodes.start_all()
            yield found
