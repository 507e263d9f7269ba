"""How much a session has under way at the same moment; the rest waits for its turn (protocol.md section 5).

Fifty thousand requests that are sent at once overflow the buffers of the sockets, answers come late, and what
is repeated makes them later still. So the window follows what comes back: it grows while answers take no
longer than they must, and shrinks where they do not come in time. This is about progress only: no rule of
safety rests on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from paxlock.core.session.pacing import LONG_AGO, NEVER, RETRY_MAX_S, Pacing
from paxlock.core.timers import Timers

__all__ = ["Turns"]

TURNS_FIRST = 64
TURNS_MIN = 16
TURNS_MAX = 1024
TURN_MAX_S = 1.0
TURN_MAX_ROUND_TRIPS = 8.0
QUEUEING = 2.0  #: an answer that took so many times the shortest has waited somewhere on its way


class Turns:
    """What is under way, by number, and what waits for that, in the order of its ranks.

    Where one is done, the turn of another comes a moment later, with a timer: of many that end together none
    is begun in order to be ended at once.

    What is ``brief`` waits in a line of its own, and the two lines go in turns: who gives up soon must not
    stand behind thousands that have time.
    """

    __slots__ = (
        *("_began", "_brief_next", "_lines", "_pacing", "_quorum", "_room", "_shortest", "_shrunk_at"),
        *("_timers", "_waiting", "size"),
    )

    def __init__(self, room: Callable[[float], None], *, pacing: Pacing, timers: Timers, quorum: int) -> None:
        """``room`` is called when there is room for some that wait: they ``begin``."""
        self.size = TURNS_FIRST
        self._room = room
        self._timers = timers
        self._pacing = pacing
        self._quorum = quorum
        self._began: dict[int, float] = {}
        self._waiting: dict[int, bool] = {}  #: whether each is brief
        self._lines: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        self._brief_next = True
        self._shortest = NEVER
        self._shrunk_at = LONG_AGO

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._began)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def waits(self, number: int) -> bool:
        """Whether its turn has not come yet."""
        return number in self._waiting

    def ask(self, number: int, now: float, *, rank: int, brief: bool = False) -> bool:
        """Whether it may go at once; otherwise it waits, before those of higher rank, until ``begin``."""
        if not self._waiting and len(self._began) < self.size:
            self._began[number] = now
            return True
        self._waiting[number] = brief
        heapq.heappush(self._lines[brief], (rank, number))
        return False

    def begin(self, now: float) -> Iterator[int]:
        """Those whose turn has come, while there is room."""
        while self._waiting and len(self._began) < self.size:
            number = self._first()
            self._began[number] = now
            yield number

    def _first(self) -> int:
        for brief in (self._brief_next, not self._brief_next):
            line = self._lines[brief]
            while line:
                _, number = heapq.heappop(line)
                if self._waiting.pop(number, None) is not None:
                    self._brief_next = not brief
                    return number
        raise AssertionError(self._waiting)

    def done(self, number: int, now: float, *, answered: bool = False) -> None:
        """It is under way no more, and waits no more; ``answered`` where a quorum has said its word."""
        began = self._began.pop(number, None)
        if began is None:
            self._waiting.pop(number, None)
        elif answered:
            took = now - began
            self._shortest = min(self._shortest, took)
            if took <= self._shortest * QUEUEING:
                self.size = min(self.size + 1, TURNS_MAX)
        if self._waiting:
            self._timers.add(now, self._room)

    def late(self, number: int, now: float) -> bool:
        """It is repeated. Where it has been under way for longer than answers take, too much is: once for all
        that were under way at that moment. True where it has had its turn for so long, while others were
        answered, that the others should have theirs.
        """
        began = self._began.get(number)
        if began is None:
            return False
        timeout = self._pacing.round_trips.timeout(RETRY_MAX_S)
        if now - began >= timeout and began >= self._shrunk_at:
            self._shrunk_at = now
            self.size = max(self.size // 2, TURNS_MIN)
        longest = max(TURN_MAX_S, TURN_MAX_ROUND_TRIPS * timeout)
        return now - began >= longest and self._pacing.heard_by(self._quorum) > began

    def failure_reason(self) -> str:
        """Why the turn of one that waits has not come, although a quorum answers."""
        return f"not asked yet: {len(self)} others of this client were asked for first"
