"""Other keys for an endpoint that goes on (protocol.md section 8): its numbers, cookies and peers stay.

Whoever speaks by a key that both sides have is heard in the next datagram as in the last one, so keys are
changed in steps: everybody opens by the new one before anybody seals by it. A key that is gone opens nothing
from here on, not even on the short way, and what is still sent to those who were heard by it is sealed by
the first one, which they cannot open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paxlock.errors import ConfigError
from paxlock.wire.grants import rights_of
from paxlock.wire.header import SessionSender

if TYPE_CHECKING:
    from paxlock.wire.endpoint import Endpoint
    from paxlock.wire.keyring import Keyring

__all__ = ["rekey"]


def rekey(endpoint: Endpoint, keyring: Keyring) -> None:
    """Seal and open by these keys from now on. A session keeps the key of its client: the same id, perhaps
    with other rights. Raises ConfigError, and changes nothing, for any other.
    """
    sealing, sender = endpoint._sealing, endpoint.sender  # noqa: SLF001 - the other half of the endpoint
    if keyring.sealed is not endpoint._keyring.sealed:  # noqa: SLF001
        raise ConfigError("a cell cannot become sealed, or unsealed, while it runs: stop it for that")
    if isinstance(sender, SessionSender):
        if bool(sender.grant) is not bool(keyring.grant) or (
            sender.grant and rights_of(sender.grant).key != rights_of(keyring.grant).key
        ):
            raise ConfigError(
                "this is the key of another client: start the program anew, or make a key with the same --id"
            )
        sender = SessionSender(sender.drawn, keyring.grant)
    elif keyring.grant:
        raise ConfigError("a node needs the cell's own key, not the key of a client")
    sealing.rekey(sender, keyring)
    endpoint._keyring = keyring  # noqa: SLF001
    endpoint._lanes.clear()  # noqa: SLF001
    endpoint.key_changes += 1
