"""How the members of a cell are found and trusted: their addresses, and the key that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from paxlock.config import Cell
from paxlock.core.messages import Member
from paxlock.errors import ConfigError
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.keyring import Keyring
from paxlock.wire.transport import Address, resolve

__all__ = ["keep_resolving", "keyring_of", "resolve_members"]

RESOLVE_AGAIN_S = 10.0


async def resolve_members(members: Sequence[Member]) -> dict[str, list[Address]]:
    """The addresses of the nodes, host names resolved; none for those that cannot be resolved at the moment.
    Raises ConfigError where not one can be.
    """
    found: dict[str, list[Address]] = {}
    trouble: ConfigError | None = None
    for member in members:
        try:
            found[member.node_id] = await resolve(member.address)
        except ConfigError as error:
            found[member.node_id] = []
            trouble = error
    if trouble is not None and not any(found.values()):
        raise trouble
    return found


def _is_literal(address: str) -> bool:
    host = address.rpartition(":")[0]
    return host.startswith("[") or host.replace(".", "").isdigit()


async def keep_resolving(cell: Cell, endpoint: Endpoint, known: Mapping[str, Sequence[Address]]) -> None:
    """Resolve host names again from time to time: a node may have moved. ``known`` is what was found so far;
    where the resolver is out of order, it stays.
    """
    if all(_is_literal(member.address) for member in cell.members):
        return
    while True:
        await trio.sleep(RESOLVE_AGAIN_S)
        try:
            found = await resolve_members(cell.members)
            known = {node: addresses or known.get(node, ()) for node, addresses in found.items()}
        except ConfigError:
            continue
        endpoint.configure(cell.cell_id, cell.epoch, known)


def keyring_of(keys: Sequence[tuple[int, bytes]]) -> Keyring:
    """The keyring of a configuration; without keys, the unsealed one."""
    return Keyring(dict(keys)) if keys else Keyring.unsealed()
