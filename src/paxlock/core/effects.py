"""What a machine wants done, as a value, and in which order that is done (style: a pure core, a thin shell).

The same seam is offered by a node's machine (node/replica.py) and by a client's (session/session.py):
``receive(message, peer, now)``, ``tick(now)``, ``deadline()``, ``take_effects()``, and synchronous local
verbs; a client's has ``take_published()`` besides. In one turn the shell (runtime/driver.py) takes the
datagrams that have come, up to some number, each with the clock read after it came, and what is due. Then

- *a node* keeps, makes durable, sends, publishes. What it keeps is in the state file before anything of the
  turn is sent: a process that is killed knows it at its next start. A send that waits for a write is not
  told of before the write has been reported back, by ``persisted``, in a later turn.
- *a client* publishes; lets the tasks of the program that were told run once, which may call verbs in this
  very turn (release what was just granted, campaign again after a loss); publishes what those verbs brought;
  and only then sends all of it. So a program that is told of a loss, or that lets go, counts on nothing any
  more before the Release leaves (rule S2), and what is over in the turn of its grant is released without a
  Commit. A verb that is called while the shell sleeps sends at once, unless it brings something to be told.
  Threads of a program run when the system lets them: the shell for them sends all but the Commits, and holds
  these back for a moment, by ``hold_commits`` (blocking/engine.py).

Between any two of these steps the process may stand still for long: what the machine has counted in time may
be told too late (held.py: then it is over), and what is sent counts from the moment at which its number was
made. After a fork nothing of it happens in the child (forks.py). No rule of safety leans on the order of
publishing and sending but S2: the simulator plays both orders, stalls between the steps, and forks.
"""

from __future__ import annotations

from paxlock.core.durable import Kept, NodeRecord
from paxlock.core.lives import Lives
from paxlock.core.messages import Message, Peer
from paxlock.core.value import value

__all__ = ["NOTHING", "Effects"]


@value
class Effects:
    """To be kept, to be made durable, to be sent, to be published; the order is told above. What is sent
    from now on says ``lives``, where that has changed: a node's own incarnation, and those that it knows of
    the others.
    """

    persist: NodeRecord | None = None
    sends: tuple[tuple[Peer, Message], ...] = ()
    published: tuple[object, ...] = ()
    lives: Lives | None = None
    keep: Kept | None = None


NOTHING = Effects()
