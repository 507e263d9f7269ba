"""What happened to a name at one node, and the question for it (protocol.md section 6)."""

from __future__ import annotations

import enum
from typing import TypeAlias

from paxlock.core.lease import Candidate
from paxlock.core.reasons import RefusalReason
from paxlock.core.value import value

__all__ = ["Happened", "Happening", "Recall", "Recalled", "Recollection"]


class Happening(enum.IntEnum):
    """What a node has done with a candidate, or with the name."""

    PROMISED = 1  #: the next term was promised to it
    ACCEPTED = 2  #: its lease is held from then on
    RENEWED = 3  #: the last time that its lease was prolonged
    RELEASED = 4  #: it has let go
    EXPIRED = 5  #: its lease has run out
    PASSED_OVER = 6  #: it made nothing of a promise
    REFUSED = 7  #: the last time that it was refused for this reason
    REVOKED = 8  #: ended by force: no renewal any more
    DROPPED = 9  #: the node has forgotten the name: it was idle
    RESTORED = 10  #: its lease was held already when the node started


@value
class Happened:
    """One entry of a journal; ``number`` grows with every entry of a node. ``held_ms``, of a lease: for how
    long it is held from then on unless it is renewed. ``times`` is how often it was refused so.
    """

    number: int
    what: Happening
    age_ms: int
    candidate: Candidate | None
    term: int
    label: str
    held_ms: int
    reason: RefusalReason | None
    times: int


@value
class Recall:
    """What has happened to this name, after the entry of this number?"""

    request: int
    name: str
    after: int


@value
class Recalled:
    """A page of what has happened to a name here; ``more`` where others follow. Nothing is missing that
    happened less than ``reach_ms`` ago.
    """

    request: int
    name: str
    after: int
    reach_ms: int
    more: bool
    entries: tuple[Happened, ...]


Recollection: TypeAlias = Recall | Recalled
