"""The table of planted bugs: every rule of protocol.md that is marked S or L has one that must be caught
(docs/planted_bugs.md).
"""

from __future__ import annotations

from tests.planted.in_administration import IN_ADMINISTRATION
from tests.planted.in_exchanges import IN_EXCHANGES
from tests.planted.in_handles import IN_HANDLES
from tests.planted.in_journals import IN_JOURNALS
from tests.planted.in_keys import IN_KEYS
from tests.planted.in_learning import IN_LEARNING
from tests.planted.in_lives import IN_LIVES
from tests.planted.in_nodes import IN_NODES
from tests.planted.in_questions import IN_QUESTIONS
from tests.planted.in_restarts import IN_RESTARTS
from tests.planted.in_sessions import IN_SESSIONS
from tests.planted.in_shell import IN_SHELL
from tests.planted.in_starts import IN_STARTS
from tests.planted.in_state_files import IN_STATE_FILES
from tests.planted.in_thrift import IN_THRIFT
from tests.planted.in_tries import IN_TRIES
from tests.planted.in_turns import IN_TURNS
from tests.planted.in_wills import IN_WILLS
from tests.planted.mutations import Mutation

__all__ = ["PLANTED_BUGS"]

PLANTED_BUGS: tuple[Mutation, ...] = (
    *IN_NODES,
    *IN_RESTARTS,
    *IN_STATE_FILES,
    *IN_LEARNING,
    *IN_QUESTIONS,
    *IN_LIVES,
    *IN_STARTS,
    *IN_SESSIONS,
    *IN_THRIFT,
    *IN_EXCHANGES,
    *IN_TRIES,
    *IN_TURNS,
    *IN_SHELL,
    *IN_KEYS,
    *IN_HANDLES,
    *IN_WILLS,
    *IN_ADMINISTRATION,
    *IN_JOURNALS,
)
