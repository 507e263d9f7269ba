"""What a machine wants done, as a value (style: persist, then send, then publish).

The same seam is offered by a node's machine (replica.py) and by a client's (session.py): ``receive(message,
peer, now)``, ``tick(now)``, ``deadline()``, ``take_effects()``, and synchronous local verbs.
"""

from __future__ import annotations

from paxlock.core.durable import NodeRecord
from paxlock.core.lives import Lives
from paxlock.core.messages import Message, Peer
from paxlock.core.value import value

__all__ = ["NOTHING", "Effects"]


@value
class Effects:
    """In this order: make ``persist`` durable, send, publish. What is sent from now on says ``lives``, where
    that has changed: a node's own incarnation, and those that it knows of the others.

    A send that depends on a write is not in here until the write has been reported back, so that a slow
    disk holds up nothing else.
    """

    persist: NodeRecord | None = None
    sends: tuple[tuple[Peer, Message], ...] = ()
    published: tuple[object, ...] = ()
    lives: Lives | None = None


NOTHING = Effects()
