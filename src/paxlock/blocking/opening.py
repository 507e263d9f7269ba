"""Opening a session from a thread: finding the cell, its addresses and its configuration (contract.md
section 1).
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence

from paxlock.blocking.engine import BlockingSocket
from paxlock.blocking.names import addresses_of_members, addresses_of_seeds
from paxlock.blocking.running import Running
from paxlock.client.discovery import SEED_RETRY_S, cell_told
from paxlock.config.cell import Cell, ClientSettings
from paxlock.host.clock import BootClock
from paxlock.host.hosting import check_host
from paxlock.host.labels import default_label
from paxlock.host.udp import TwoSockets, UdpSocket, bind_beside
from paxlock.host.whereabouts import Whereabouts, has_names, keyring_of
from paxlock.wire.endpoint import Endpoint, SessionSender
from paxlock.wire.grants import draw_session
from paxlock.wire.transport import Address

__all__ = ["open_session"]


def open_session(
    settings: ClientSettings,
    *,
    label: str | None,
    last_will: bool,
    thrifty: bool,
    check_wanted: Callable[[], None],
) -> Running:
    """Open a session, and start its thread. Where only seeds are given, waits until one of them answers;
    ``check_wanted`` raises where nobody wants the session any more.
    """
    check_host()
    sender = SessionSender(draw_session(), settings.grant)
    cell = settings.cell
    keys = cell.keys if cell is not None else settings.keys
    clock = BootClock()
    endpoint = Endpoint(
        sender,
        keyring_of(keys, settings.grant),
        wall_offset=time.time() - clock.now(),
    )
    members: dict[str, list[Address]] = {}
    if cell is not None:
        members = addresses_of_members(cell.members)
        reach = [address for addresses in members.values() for address in addresses]
    else:
        reach = addresses_of_seeds(settings.seeds)
    wanted = [member.address for member in cell.members] if cell is not None else settings.seeds
    transport: BlockingSocket = bind_beside(reach, UdpSocket.bind, TwoSockets, named=has_names(wanted))
    try:
        if cell is None:
            cell = _discover(settings, endpoint, transport, reach, check_wanted)
            members = addresses_of_members(cell.members)
        return Running(
            cell,
            sender.session,
            label=default_label() if label is None else label,
            endpoint=endpoint,
            transport=transport,
            clock=clock,
            whereabouts=Whereabouts(cell, endpoint, members),
            last_will=last_will,
            thrifty=thrifty,
        )
    except BaseException:
        transport.close()
        raise


def _discover(
    settings: ClientSettings,
    endpoint: Endpoint,
    transport: BlockingSocket,
    seeds: Sequence[Address],
    check_wanted: Callable[[], None],
) -> Cell:
    """Ask the seeds until one of them tells the configuration."""
    with selectors.PollSelector() as selector:
        for fileno in transport.filenos():
            selector.register(fileno, selectors.EVENT_READ)
        while True:
            check_wanted()
            endpoint.greet_seeds(seeds, 1)
            for datagram, address in endpoint.flush():
                transport.send_nowait(datagram, address)
            until = time.monotonic() + SEED_RETRY_S
            while (left := until - time.monotonic()) > 0:
                selector.select(left)
                cell = cell_told(settings, endpoint, transport.receive_nowait())
                if cell is not None:
                    return cell
