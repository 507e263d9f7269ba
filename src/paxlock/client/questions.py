"""The questions of those who look after a cell, for every face: how the nodes are, what they remember, and
what they have counted. Each gives a ticket, and its answer goes to the receiver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paxlock.config.cell import check_name
from paxlock.core.rights import Verb
from paxlock.errors import ConfigError

if TYPE_CHECKING:
    from paxlock.client.desk import Desk, Receiver

__all__ = ["count", "journal", "ping", "survey"]


def survey(desk: Desk, receiver: Receiver) -> int:
    """How every node describes itself; Surveyed follows."""
    desk.check_open()
    return desk.expect(desk.session.survey(desk.now()), receiver)


def journal(desk: Desk, name: str, receiver: Receiver) -> int:
    """What every node remembers of a name; JournalRead follows."""
    desk.check_open()
    name = check_name(name)
    desk.allowed.check(Verb.OBSERVE, name)
    return desk.expect(desk.session.journal(name, desk.now()), receiver)


def ping(desk: Desk, nodes: Sequence[str] | None, receiver: Receiver) -> int:
    """One ping to each of these nodes, or to all; Pinged follows."""
    desk.check_open()
    known = desk.cell.configuration.nodes
    for node in nodes or ():
        if node not in known:
            raise ConfigError(f"the cell has no node {node!r}: its nodes are {', '.join(known)}")
    return desk.expect(desk.session.ping(known if nodes is None else nodes, desk.now()), receiver)


def count(desk: Desk, receiver: Receiver) -> int:
    """What every node has counted; CountersRead follows."""
    desk.check_open()
    return desk.expect(desk.session.count(desk.now()), receiver)
