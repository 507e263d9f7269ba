"""Finding a cell, as far as no event loop is needed: what a program gives, and what a node tells of its cell
(contract.md section 1).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from paxlock.config.cell import Cell, ClientSettings, client_settings
from paxlock.core.messages import Welcome
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Address

__all__ = ["SEED_RETRY_S", "cell_told", "settings_of"]

SEED_RETRY_S = 0.25


def settings_of(
    cell: Cell | ClientSettings | str | Path | Sequence[str], key: bytes | None
) -> ClientSettings:
    """How to find the cell that a program names. Raises ConfigError."""
    if isinstance(cell, ClientSettings):
        return cell
    if isinstance(cell, Cell | str | os.PathLike):
        return client_settings(cell=cell, environ={})
    return ClientSettings(None, tuple(cell), key)


def cell_told(
    settings: ClientSettings, endpoint: Endpoint, found: tuple[bytes, Address] | None
) -> Cell | None:
    """The configuration that a datagram tells, if it is one that does."""
    received = endpoint.receive_untrusted(*found) if found is not None else None
    for message in received.messages if received is not None else ():
        if isinstance(message, Welcome) and received is not None:
            return Cell(
                cell_id=received.cell_id,
                epoch=received.epoch,
                members=message.members,
                max_ttl=message.max_ttl_ms / 1000.0,
                drift=message.drift_ppm / 1e6,
                grace=message.grace_ms / 1000.0,
                keys=settings.keys,
                unsealed=not settings.keys,
            )
    return None
