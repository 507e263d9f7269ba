"""The table of planted bugs: every rule of protocol.md that is marked S or L has one that must be caught
(docs/planted_bugs.md).
"""

from __future__ import annotations

from paxlock.testing.mutations import Mutation
from paxlock.testing.planted_in_learning import IN_LEARNING
from paxlock.testing.planted_in_lives import IN_LIVES
from paxlock.testing.planted_in_nodes import IN_NODES
from paxlock.testing.planted_in_sessions import IN_SESSIONS
from paxlock.testing.planted_in_shell import IN_SHELL
from paxlock.testing.planted_in_tries import IN_TRIES
from paxlock.testing.planted_in_turns import IN_TURNS

__all__ = ["PLANTED_BUGS"]

PLANTED_BUGS: tuple[Mutation, ...] = (
    *IN_NODES,
    *IN_LEARNING,
    *IN_LIVES,
    *IN_SESSIONS,
    *IN_TRIES,
    *IN_TURNS,
    *IN_SHELL,
)
