"""Which cell is meant, and what its nodes say of it, without an event loop: addresses are only seeds
(contract.md section 1).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from paxlock.config.cell import Cell, ClientSettings, client_settings
from paxlock.config.cell_file import given_keys
from paxlock.config.durations import abbreviate
from paxlock.core.configuration import Configuration
from paxlock.core.messages import Welcome
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Address

__all__ = ["SEED_RETRY_S", "CellSource", "cell_told", "settings_of"]

CellSource: TypeAlias = Cell | ClientSettings | str | Path | Sequence[str]

SEED_RETRY_S = 0.25  #: the seeds are asked again after so long


def settings_of(cell: CellSource, key: bytes | str | None) -> ClientSettings:
    """The settings that a path, a Cell, or a list of addresses with ``key`` gives: the 32 bytes of the cell's
    key, or the text of a key file. Raises ConfigError.
    """
    if isinstance(cell, ClientSettings):
        return cell
    if isinstance(cell, Cell | str | os.PathLike):
        return client_settings(cell=cell, environ={})
    if not isinstance(cell, Iterable):
        raise TypeError(f"a cell is a path, a Cell, or a list of addresses, not {abbreviate(cell)}")
    if isinstance(key, str):
        keys, grant = given_keys(None, key)
        return ClientSettings(None, tuple(cell), keys[0][1], keys, grant)
    return ClientSettings(None, tuple(cell), key)


def cell_told(
    settings: ClientSettings, endpoint: Endpoint, found: tuple[bytes, Address] | None
) -> Cell | None:
    """The cell that a datagram from a seed tells, if there is one that does."""
    received = endpoint.receive_untrusted(*found) if found is not None else None
    for message in received.messages if received is not None else ():
        if isinstance(message, Welcome) and received is not None:
            told = Configuration.told(message)
            return Cell(
                cell_id=received.cell_id,
                epoch=received.epoch,
                members=told.members,
                max_ttl=told.max_ttl,
                drift=told.drift,
                grace=told.grace,
                keys=settings.keys,
                unsealed=not settings.keys,
                grant=settings.grant,
                source=settings.source,
            )
    return None
