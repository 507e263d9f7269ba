"""Host names without an event loop: each look-up is a thread, as the resolver can be silent for long."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from paxlock.blocking.waiting import new_gate
from paxlock.core.messages import Member
from paxlock.errors import ConfigError
from paxlock.host.native import start_thread
from paxlock.host.udp import look_up
from paxlock.host.whereabouts import OTHERS_PATIENCE_S, Whereabouts
from paxlock.limits import NEVER
from paxlock.wire.transport import Address, is_literal

__all__ = ["NameKeeper", "addresses_of_members", "addresses_of_seeds"]

Found = list[Address] | ConfigError


def addresses_of_members(members: Sequence[Member]) -> dict[str, list[Address]]:
    """The addresses of the nodes, host names looked up side by side; none for those that cannot be resolved
    at the moment, or take longer than the others. Raises ConfigError where not one can be.
    """
    return _look_up_all({member.node_id: member.address for member in members})


def addresses_of_seeds(seeds: Iterable[str]) -> list[Address]:
    """The same for addresses of which nothing else is known."""
    found = _look_up_all({address: address for address in seeds})
    return [address for several in found.values() for address in several]


def _look_up_all(wanted: Mapping[str, str]) -> dict[str, list[Address]]:
    answers: deque[tuple[str, Found]] = deque()
    news = new_gate()  #: open where there may be another answer

    def came(key: str, answer: Found) -> None:
        answers.append((key, answer))
        with suppress(RuntimeError):  # it is open already
            news.release()

    for key, address in wanted.items():
        _look_up_aside(address, partial(came, key))
    found: dict[str, list[Address]] = {}
    trouble: ConfigError | None = None
    until = NEVER
    for _ in wanted:
        while not answers and (left := until - time.monotonic()) > 0.0:
            news.acquire(timeout=-1 if left == NEVER else left)
        if not answers:
            break
        key, answer = answers.popleft()
        if isinstance(answer, ConfigError):
            trouble = trouble or answer
        else:
            found[key] = answer
            until = min(until, time.monotonic() + OTHERS_PATIENCE_S)
    if trouble is not None and not found:
        raise trouble
    return {key: found.get(key, []) for key in wanted}


def _look_up_aside(address: str, then: Callable[[Found], object]) -> None:
    """Look up, in a thread where the resolver may have to be asked."""

    def work() -> None:
        answer: Found
        try:
            answer = look_up(address)
        except ConfigError as trouble:
            answer = trouble
        then(answer)

    try:
        literal = is_literal(address)
    except ConfigError as trouble:
        then(trouble)
        return
    if literal:
        work()
    else:
        start_thread(work, "paxlock look-up")


class NameKeeper:
    """Looks host names up again from time to time, and when there is a reason to, each by itself."""

    def __init__(self, whereabouts: Whereabouts, *, do: Callable[[Callable[[], None]], None]) -> None:
        """``do`` runs what it is given with the machine to itself."""
        self._whereabouts = whereabouts
        self._do = do
        self._asked: set[str] = set()

    def due(self, now: float) -> float:
        """When the next look-up is due."""
        waiting = self._whereabouts.named.keys() - self._asked
        return min((self._whereabouts.due(node_id, now) for node_id in waiting), default=NEVER)

    def tick(self, now: float) -> None:
        """Begin the look-ups that are due."""
        for node_id in sorted(self._whereabouts.named.keys() - self._asked):
            if self._whereabouts.due(node_id, now) <= now:
                self._whereabouts.begin(node_id, now)
                self._asked.add(node_id)
                with suppress(RuntimeError):  # no thread can be started: the interpreter ends
                    _look_up_aside(
                        self._whereabouts.named[node_id],
                        lambda answer, node_id=node_id: self._do(  # type: ignore[misc]
                            lambda: self._end(node_id, answer)
                        ),
                    )

    def _end(self, node_id: str, answer: Found) -> None:
        self._asked.discard(node_id)
        self._whereabouts.end(node_id, None if isinstance(answer, ConfigError) else answer)
