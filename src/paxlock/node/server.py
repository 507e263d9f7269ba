"""A node that serves: the trio shell of a Replica (core/node/replica.py).

A process that does nothing else loads nothing of the client: that is a third of what paxlock has to load, and
a cell starts as fast as its nodes do.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import TypeVar

import attrs
import trio

from paxlock.config.cell import Cell, NodeConfig
from paxlock.config.starts import StartWord, check_node_config, start_word
from paxlock.core.durable import Durability, Kept, Membership, NodeRecord
from paxlock.core.messages import NodeMode
from paxlock.core.node.notices import HandleRefused, PeerAnswered
from paxlock.core.node.recovery import WaitsFor, Waived
from paxlock.core.node.replica import MemoryLost, ModeChanged, Replica, ReplicaSettings, Unconfirmed
from paxlock.core.node.starts import Start, begin
from paxlock.core.rights import Revoked
from paxlock.errors import StoreError
from paxlock.forks import Life
from paxlock.host.clock import BootClock, Clock
from paxlock.host.families import check_families, out_of_reach
from paxlock.host.socket_filter import keep_junk_away
from paxlock.host.whereabouts import Whereabouts, keyring_of
from paxlock.limits import RUN_BYTES
from paxlock.node.observing import Observing
from paxlock.node.premises import warnings_at_start
from paxlock.observe.noticing import Level, LogLine
from paxlock.runtime.background import attended, in_thread
from paxlock.runtime.driver import Driver
from paxlock.runtime.environment import environment_of
from paxlock.runtime.resolving import keep, resolve_members
from paxlock.runtime.thread_driver import ThreadDriver
from paxlock.runtime.udp import TwoFamilies, UdpTransport
from paxlock.store.folder import MemoryStore, StoreLike
from paxlock.wire.endpoint import Endpoint, NodeSender
from paxlock.wire.strangers import Stranger
from paxlock.wire.transport import Address, Transport

__all__ = ["Service", "run_service", "serve_alone", "serve_node"]

COMPLAINTS_MAX = 64
FOLDER_LOOK_S = 5.0  #: so often a node looks whether its data folder is still there
FOLDER_GONE = "its data folder was deleted or moved"
STATE_NOT_KEPT = "its state file is not kept: if killed, it sits out"  # 64 bytes at most, as all complaints
WITHOUT_FOLDER = (
    "this node serves on, but its next start is without a memory; put the folder back, or start it anew "
    "while the others serve"
)
Report = Callable[[str], None]
Task = Callable[[], Awaitable[None]]
T = TypeVar("T")


class Service:
    """One running replica with its store: what ``open_node`` and ``serve_node`` have in common."""

    def __init__(
        self,
        config: NodeConfig,
        start: Start,
        run: bytes,
        store: StoreLike,
        transport: Transport,
        clock: Clock,
        report: Report,
        probes: bool = False,
        own_thread: bool = False,
    ) -> None:
        assert isinstance(config.cell, Cell)
        cell = config.cell
        self.config = config
        self.serving = trio.Event()
        self._store = store
        self._clock = clock
        self._record = start.record
        self._to_write: NodeRecord | None = None
        self._wanted = trio.Event()
        self.broken = False
        self._complaints: set[str] = set()
        self._probes = probes
        self.life = Life()
        self._whereabouts: Whereabouts
        self._told_of: set[str] = set()
        sender = NodeSender(config.node_id, start.record.incarnation, run)
        settings = ReplicaSettings(
            node_id=config.node_id,
            configuration=cell.configuration,
            wall_offset=time.time() - clock.now(),
            revoked=Revoked(cell.generation, frozenset(cell.denied)),
            created=cell.created,
        )
        self.replica = Replica(settings, start, run=run, now=clock.now(), rng=Random(secrets.randbits(64)))
        self.endpoint = Endpoint(
            sender,
            keyring_of(cell.keys),
            cell_id=cell.cell_id,
            epoch=cell.epoch,
            members={},
            wall_offset=settings.wall_offset,
        )
        self.transport = transport
        self.driver = self._driver_in_thread() if own_thread else self._driver_in_loop()
        self.eyes = Observing(self.replica, self.driver, clock, report=report, probes=probes)

    def _driver_in_loop(self) -> Driver | ThreadDriver:
        return Driver(
            self.replica,
            self.endpoint,
            self.transport,
            self._clock,
            publish=self._publish,
            persist=self._persist,
            keep=self._keep,
            sync=self._sync if self.config.durability is Durability.SYNC else None,
        )

    def _driver_in_thread(self) -> ThreadDriver:
        assert isinstance(self.transport, (UdpTransport, TwoFamilies))
        return ThreadDriver(
            self.replica,
            self.endpoint,
            self.transport,
            self._clock,
            publish=self._publish,
            persist=self._persist,
            keep=self._keep,
            sync=self._sync_here if self.config.durability is Durability.SYNC else None,
        )

    @property
    def tasks(self) -> tuple[Task, ...]:
        resolving = partial(keep, self._whereabouts, self.driver)
        return self.driver.run, self.write, resolving, self.eyes.run, self.look_after_folder

    def noting_failure(self, task: Task) -> Task:
        """The task, noting if it fails: then this node's memory may not be trusted for a clean stop."""

        async def run() -> None:
            try:
                await task()
            except Exception:
                self.broken = True
                raise

        return run

    async def resolve(self) -> None:
        """Find the other members. A name that cannot be resolved yet is tried again later."""
        cell = self.config.cell
        found = await resolve_members(cell.members)
        self._whereabouts = Whereabouts(cell, self.endpoint, found, moved=self._check_reach)

    def _check_reach(self, found: Mapping[str, Sequence[Address]]) -> None:
        """Say once which other nodes cannot be reached from here, and when that has changed."""
        missing = out_of_reach(self.config.node_id, found, self.transport)
        for node_id in sorted(missing.keys() - self._told_of):
            self._say(Level.WARNING, "out_of_reach", missing[node_id], peer=node_id)
        self._told_of = set(missing)

    async def write(self) -> None:
        """Make records durable, in order, off the path of everything else."""
        while True:
            while self._to_write is not None and not self.life.over:
                record, self._to_write = self._to_write, None
                since = self._clock.now()
                await _in_thread(self._store, partial(self._store.write_record, record))
                self.eyes.wrote(since)
                with self.driver.lock:
                    self.replica.persisted(record, self._clock.now())
                self.driver.poke()
            self._wanted = trio.Event()
            await self._wanted.wait()

    async def look_after_folder(self) -> None:
        """Say once that the data folder was deleted or moved, and complain of it to whoever asks: the node
        serves on from its memory, but its next start finds none. Complain as well of a state file that was
        given up, which is said where that happens.
        """
        told = ""
        while self._probes and not isinstance(self._store, MemoryStore):
            await trio.sleep(FOLDER_LOOK_S)
            gone = "" if self.life.over else await _in_thread(self._store, self._store.gone)
            if gone and gone != told:
                self._say(Level.WARNING, "data_folder", f"{gone}: {WITHOUT_FOLDER}")
            told = gone
            self.eyes.data_folder_gone = bool(gone)
            complaint = FOLDER_GONE if gone else STATE_NOT_KEPT if self.eyes.state_not_kept else ""
            if complaint:
                with self.driver.lock:
                    self.replica.complain(complaint, self._clock.now())

    def _persist(self, record: object) -> None:
        assert isinstance(record, NodeRecord)
        self._to_write = record
        self._wanted.set()

    def _say(self, level: Level, event: str, sentence: str, **fields: object) -> None:
        self.eyes.say(LogLine(level, event, sentence, fields))

    def _keep(self, entry: Kept) -> None:
        """What must outlive this process before the effect is sent (protocol.md section 7)."""
        if self.life.over or not isinstance(self._clock, BootClock):
            return  # another clock than that of the boot tells a later process nothing
        warning = self._store.keep(self._record, entry, self.replica.kept_whole)
        if warning:  # said in trio's loop, wherever this is
            self.eyes.state_not_kept = True
            self.driver.call(lambda: self._say(Level.WARNING, "state_file", warning))

    async def _sync(self) -> None:
        """All that was kept is on the disk when this returns; the nodes of a group wait for it once."""
        since = self._clock.now()
        await _in_thread(self._store, self._store.sync)
        self.eyes.wrote(since)

    def _sync_here(self) -> None:
        """The same for a thread that may wait."""
        since = self._clock.now()
        self._store.sync()
        self.eyes.wrote(since)

    def _publish(self, notice: object) -> None:
        if isinstance(notice, PeerAnswered):
            self.eyes.answered(notice)
            return
        if isinstance(notice, HandleRefused):
            self.eyes.refused_handle(notice)
            return
        self._tell(notice)
        if isinstance(notice, ModeChanged):
            self.eyes.changed_mode(notice.mode)

    def _tell(self, notice: object) -> None:
        name = self.config.node_id
        match notice:
            case ModeChanged(NodeMode.SERVING):
                self.serving.set()
                self._say(Level.INFO, "serving", f"node {name} serves")
            case ModeChanged(NodeMode.RECOVERING, sits_out, joins=True):
                self._sits_out(sits_out, "until no lease is left that it might have known")
            case ModeChanged(NodeMode.RECOVERING, sits_out):
                self._sits_out(sits_out, "it may have promised what it does not know")
            case ModeChanged(NodeMode.STARTING, joins=True):
                self._say(
                    Level.INFO,
                    "joining",
                    f"node {name} has no memory (a new cell, or a lost disk): it waits until the other nodes "
                    "have noted that it joins",
                )
            case ModeChanged(NodeMode.STARTING):
                if self.replica.record.membership is Membership.CREATING:
                    self._say(
                        Level.INFO, "creating", f"node {name} waits for the other nodes of the new cell"
                    )
            case WaitsFor(nodes):
                self._say(Level.WARNING, "waits", _waiting(name, notice), peers=sorted(nodes))
            case Waived(nodes):
                self._say(Level.WARNING, "waived", _waived(name, nodes), peers=sorted(nodes))
            case Unconfirmed():
                self._say(
                    Level.WARNING,
                    "unconfirmed",
                    f"node {name} serves from its own memory, and no other node has confirmed that "
                    "this is the newest: if the data folder is a backup that was restored, stop it and start "
                    "it with --join",
                )
            case Stranger():
                self._complain(notice)
            case MemoryLost(explanation):
                raise StoreError(explanation)
            case _:
                raise AssertionError(notice)

    def _sits_out(self, sits_out: float, why: str) -> None:
        until = datetime.now(UTC) + timedelta(seconds=sits_out)
        mark = "," if why.startswith("until") else ":"
        self._say(
            Level.INFO,
            "sitting_out",
            f"node {self.config.node_id} sits out {sits_out:.1f} s{mark} {why}",
            seconds=round(sits_out, 3),
            until=until.isoformat(timespec="milliseconds"),
        )

    def _complain(self, stranger: Stranger) -> None:
        """Say once that somebody cannot be understood; whoever asks for the state of this node hears it."""
        if stranger.explanation not in self._complaints and len(self._complaints) < COMPLAINTS_MAX:
            self._complaints.add(stranger.explanation)
            self._say(Level.WARNING, "stranger", stranger.explanation)
        if stranger.members:
            with self.driver.lock:
                self.replica.complain(stranger.short, self._clock.now())

    async def stop(self) -> None:
        """A clean stop: nothing is answered any more; the snapshot, then the mark (protocol.md section 7)."""
        snapshot = self.replica.stop(self._clock.now())
        clean = False
        try:
            if snapshot is not None and self.config.durability is not Durability.MEMORY:
                record = attrs.evolve(self.replica.record, clean=True)
                await _in_thread(self._store, lambda: self._store.write_snapshot(snapshot))
                await _in_thread(self._store, lambda: self._store.write_record(record))
            clean = snapshot is not None
        finally:
            self.eyes.stops(clean=clean, served=snapshot is not None)


async def _in_thread(store: StoreLike, work: Callable[[], T]) -> T:
    """Do in a thread what may wait for a disk; what is in memory needs none."""
    if isinstance(store, MemoryStore):
        await trio.lowlevel.checkpoint()
        return work()
    return await in_thread(work)


def _waiting(node_id: str, waits: WaitsFor) -> str:
    if not waits.nodes and not waits.clock_is_set:
        return (
            f"node {node_id} cannot begin: the clock of this machine shows a time before the cell "
            "was made; set it, and start this node again"
        )
    whom = ", ".join(waits.nodes) or "nobody"
    text = (
        f"node {node_id} has sat out, and waits for node {whom}: without a memory it serves once the others "
        "say what they remember; start them, or wait until they serve"
        if waits.noted
        else f"node {node_id} waits for node {whom} to note that it has no memory: only then can it sit out, "
        "and serve; start them"
    )
    if waits.needed:
        text += f" (--by-clock waives who is gone for good, but {waits.needed} others have to answer)"
    return text


def _waived(node_id: str, nodes: tuple[str, ...]) -> str:
    return (
        f"node {node_id} serves without a word of node {', '.join(nodes)}, by the clock of this machine, as "
        "--by-clock says: take that word away again, and start no old process of these nodes"
    )


async def _incarnation_second() -> int:
    """A unix second of this start alone. As an incarnation no other start may have it: two runs with one
    incarnation cannot be told apart by those who hear late datagrams of the first.
    """
    now = time.time()
    second = int(now) + 1
    await trio.sleep(second - now)
    return second


def _begin(
    config: NodeConfig,
    store: StoreLike,
    previous: NodeRecord | None,
    durability: Durability,
    run: bytes,
    unix_seconds: int,
    clock: Clock,
    word: StartWord,
) -> Start:
    """Read what the last run left, and make this run's record durable before anything is answered (S12)."""
    assert isinstance(config.cell, Cell)
    cell = config.cell
    snapshot = store.read_snapshot(previous.incarnation) if previous is not None else None
    found = store.read_kept(previous) if previous is not None and isinstance(clock, BootClock) else None
    start = begin(
        previous,
        snapshot,
        cell_id=cell.cell_id,
        epoch=cell.epoch,
        node_id=config.node_id,
        nodes=len(cell.members),
        max_ttl_ms=cell.max_ttl_ms,
        drift=cell.configuration.drift,
        durability=durability,
        unix_seconds=unix_seconds,
        sit_out_ms=cell.sit_out_ms,
        run=run,
        word=word,
        kept=found.kept if found is not None else None,
        rebooted=found is not None and found.rebooted,
        now=clock.now(),
    )
    store.write_record(start.record)
    return start


@asynccontextmanager
async def run_service(
    config: NodeConfig,
    *,
    start: StartWord | str = StartWord.AUTO,
    create: bool = False,
    join: bool = False,
    report: Report | None = None,
    transport: Transport | None = None,
    store: StoreLike | None = None,
    clock: Clock | None = None,
    fresh_cell: bool = False,
    own_thread: bool = False,
) -> AsyncIterator[Service]:
    """Run a node around a body; leaving it is a clean stop. ``create`` and ``join`` are short for ``start``.

    A ``fresh_cell``, made in this process and gone with it, has no past: its nodes keep their record in
    memory and need not sit out. With ``own_thread`` the machine is run by a ThreadDriver, which costs half as
    much for each datagram: for a process that is a node and nothing else, on real sockets.
    """
    check_node_config(config)
    word = start_word(start, create=create, join=join)
    check_families(config)
    environment = environment_of(member.address for member in config.cell.members)
    clock = clock or environment.clock()
    probes = environment.probes and transport is None
    if transport is None:
        transport = await environment.bind(config)
    opened = store
    try:
        if opened is None:
            opened = await environment.open_store(config)
        found = opened
        run = secrets.token_bytes(RUN_BYTES)
        durability = Durability.RECORD if fresh_cell else Durability(config.durability)
        previous = await _in_thread(found, found.read_record)
        fresh = word is StartWord.JOIN or (previous is None and word is not StartWord.CREATE)
        counted = durability is not Durability.MEMORY and not fresh
        second = int(time.time()) if counted else await _incarnation_second()
        begun = await _in_thread(
            found, lambda: _begin(config, found, previous, durability, run, second, clock, word)
        )
        say = report or (lambda _: None)
        keep_junk_away(transport, config.cell.cell_id)
        service = Service(config, begun, run, opened, transport, clock, say, probes, own_thread)
        del begun  # of very many names it would be as large as what the node makes of it
        await service.resolve()
        try:
            service.eyes.starts(transport.address, warnings_at_start(config, transport))
            async with attended(*(service.noting_failure(task) for task in service.tasks)):
                yield service
        finally:
            # Nothing runs any more, so nothing is answered after this moment. A fork of this process that
            # unwinds stops nothing: the node goes on in its parent.
            if not service.broken and not service.life.over:
                with trio.CancelScope(shield=True):
                    await service.stop()
    finally:
        transport.close()
        if store is None and opened is not None:
            opened.close()


async def serve_node(
    config: NodeConfig,
    *,
    start: StartWord | str = StartWord.AUTO,
    create: bool = False,
    join: bool = False,
    report: Report | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve as a node until cancelled: then stop cleanly. ``report`` gets sentences for people, ``start`` is
    as in open_node.

    The task has started when the node's socket is bound. Raises ConfigError and StoreError.
    """
    async with run_service(config, start=start, create=create, join=join, report=report) as service:
        task_status.started(service)
        await trio.sleep_forever()


async def serve_alone(
    config: NodeConfig,
    *,
    start: StartWord | str = StartWord.AUTO,
    report: Report | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """As serve_node, for a process that is this node and nothing else: its machine has a thread."""
    async with run_service(config, start=start, report=report, own_thread=True) as service:
        task_status.started(service)
        await trio.sleep_forever()
