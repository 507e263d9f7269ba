"""IPv4 and IPv6 in one cell: which nodes can reach which (protocol.md section 8).

A node is known by the addresses that the configuration gives it, or the resolver under its name. Another node
hears it only from there: so two nodes need addresses of one family in common, and a socket of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from paxlock.config.cell import Cell, NodeConfig
from paxlock.errors import ConfigError
from paxlock.wire.transport import Address, Transport, is_literal, split_address

__all__ = ["apart", "check_families", "out_of_reach"]

_ADVICE = (
    "give all nodes addresses of one family, or host names with addresses of both, and let every node listen "
    'on both (listen = "[::]:PORT")'
)


def apart(addresses: Mapping[str, str], node_id: str) -> str:
    """A sentence where the addresses of a cell, by node id, say by themselves that this node and another
    cannot reach each other; else ``""``.
    """
    literal = {other: [split_address(address)] for other, address in addresses.items() if is_literal(address)}
    mine = _families(literal.get(node_id, []))
    for other in sorted(literal):
        if mine and not mine & _families(literal[other]):
            return _sentence(node_id, mine, other, literal[other])
    return ""


def check_families(config: NodeConfig) -> None:
    """Raise ConfigError where the cell file alone says that this node and another cannot reach each other."""
    assert isinstance(config.cell, Cell)
    addresses = {member.node_id: member.address for member in config.cell.members}
    if trouble := apart(addresses, config.node_id):
        raise ConfigError(trouble)


def out_of_reach(
    node_id: str, found: Mapping[str, Sequence[Address]], transport: Transport
) -> dict[str, str]:
    """A sentence for each other node that this one cannot reach, or that cannot know it, as far as addresses
    are known.
    """
    own = [address for address in found.get(node_id, ()) if transport.reaches(address)]
    return {
        other: _sentence(node_id, _families(own), other, addresses)
        for other, addresses in found.items()
        if other != node_id and found.get(node_id) and addresses and not _families(own) & _families(addresses)
    }


def _families(addresses: Iterable[Address]) -> set[str]:
    return {"IPv6" if ":" in host else "IPv4" for host, _ in addresses}


def _sentence(node_id: str, own: set[str], other: str, addresses: Sequence[Address]) -> str:
    theirs = " and ".join(sorted(_families(addresses)))
    ours = f"listens on {' and '.join(sorted(own))} only" if own else "does not listen on its own address"
    return (
        f"node {node_id} and node {other} cannot reach each other: {other} has {theirs} addresses only, "
        f"{node_id} {ours}; {_ADVICE}"
    )
