"""What clients and nodes stand on: the sockets of this host, its clock of leases, its disk.

A virtual cell (paxlock.testing) puts another environment in the place of this one, for its own addresses and
within its own trio run: so the program under test opens clients and nodes by the same calls as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from paxlock.config.cell import NodeConfig
from paxlock.config.syntax import normal_address
from paxlock.core.durable import Durability
from paxlock.errors import ConfigError
from paxlock.host.clock import BootClock, Clock
from paxlock.host.labels import default_label
from paxlock.host.udp import bind_beside
from paxlock.runtime.background import in_thread
from paxlock.runtime.udp import TwoFamilies, UdpTransport, bind_all, resolve
from paxlock.store.folder import MemoryStore, Store, StoreLike
from paxlock.wire.transport import Address, Transport

__all__ = ["Environment", "environment_of", "open_store", "substitute"]

T = TypeVar("T")


class Environment:
    """The real one."""

    #: Whether nodes ask each other once a second how they are; what is played from a seed does without.
    probes = True

    def clock(self) -> Clock:
        """The clock of leases for one client or node."""
        return BootClock()

    def label(self) -> str:
        """Who somebody is who did not say so."""
        return default_label()

    def kind(self, kind: type[T]) -> type[T]:
        """What is made where a ``kind`` of client is opened: itself, or a subclass."""
        return kind

    def bind_beside(self, addresses: Sequence[Address], *, named: bool = False) -> Transport:
        """A transport for a client, from which these addresses can be reached; and others, where nodes are
        ``named``: tomorrow a host name may have an address of the other family.
        """
        return bind_beside(addresses, UdpTransport.bind, TwoFamilies, named=named)

    async def bind(self, config: NodeConfig) -> Transport:
        """The transport of a node. Raises ConfigError where its address cannot be bound."""
        addresses = await resolve(config.bind_address)
        if not addresses:
            raise ConfigError(f"{config.bind_address!r} has no address to listen on")
        if addresses[0][0] == "::":
            addresses.append(("0.0.0.0", addresses[0][1]))  # all addresses, of both families
        return bind_all(addresses)

    async def open_store(self, config: NodeConfig) -> StoreLike:
        """What a node keeps its record in; in a thread, which may wait for a disk. Raises StoreError."""
        return await in_thread(lambda: open_store(config))


def open_store(config: NodeConfig) -> StoreLike:
    """The data folder of a node, or what stands for it in memory. Raises StoreError."""
    if config.durability is Durability.MEMORY:
        if config.data_dir is not None and config.data_dir.exists():
            _outdate(config.data_dir)
        return MemoryStore()
    assert config.data_dir is not None
    return Store.open(config.data_dir, create_folder=True)


def _outdate(folder: Path) -> None:
    """A run in memory outdates what an earlier one left on disk: the next start must not trust that."""
    store = Store.open(folder, create_folder=False)
    try:
        store.forget_kept()
        record = store.read_record()
        if record is not None and record.clean:
            store.write_record(attrs.evolve(record, clean=False))
    finally:
        store.close()


_REAL = Environment()
# Of this trio run, the newest last: the addresses of the nodes in there, and the environment.
_STAND_INS: trio.lowlevel.RunVar[tuple[tuple[frozenset[Address], Environment], ...]] = trio.lowlevel.RunVar(
    "paxlock worlds", ()
)


@contextmanager
def substitute(environment: Environment, addresses: Iterable[str]) -> Iterator[None]:
    """Within the block and this trio run, who looks for nodes at these addresses is in ``environment``."""
    entry = frozenset(map(normal_address, addresses)), environment
    _STAND_INS.set((*_STAND_INS.get(), entry))
    try:
        yield
    finally:
        _STAND_INS.set(tuple(one for one in _STAND_INS.get() if one is not entry))


def environment_of(addresses: Iterable[str]) -> Environment:
    """The environment in which there are nodes at these addresses."""
    stand_ins = _STAND_INS.get()
    if stand_ins:
        wanted = frozenset(map(normal_address, addresses))
        for known, environment in stand_ins:
            if known & wanted:
                return environment
    return _REAL
