"""The pure machines: one acceptor, and a session with three acceptors in memory."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from paxlock.core.configuration import Configuration
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Accept, Accepted, Member, Message, Prepare, Promise, Release, Released
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.session.events import Ended, Granted
from paxlock.core.session.session import Session, SessionSettings
from paxlock.core.timers import Timers

Benchmark = Callable[..., Any]

SESSION = b"athens".ljust(16, b".")
MEMBERS = tuple(Member(node, f"{node}.example:7400") for node in "abc")
STEP_S = 0.001


def acceptor() -> Acceptor:
    return Acceptor(floor=0, ceiling=1 << 40, max_ttl=30.0, grace=0.01, timers=Timers(), wall_offset=0.0)


class Clock:
    """Time that goes on by a millisecond with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += STEP_S
        return self.now


def test_acceptor_prepare_accept_release(benchmark: Benchmark) -> None:
    """Both phases and the release of one candidate at one acceptor."""
    node, clock = acceptor(), Clock()
    attempts = iter(range(1, 1 << 40))

    def once() -> object:
        attempt = next(attempts)
        candidate = Candidate(SESSION, attempt)
        promise = node.prepare(Prepare(attempt, "n", 1, candidate, 0, 0, 10, "w"), clock())
        assert isinstance(promise, Promise)
        lease = Lease(candidate, 10_000, "w", b"")
        accepted = node.accept(Accept(attempt, "n", promise.term, lease, attempt, 0), clock())
        assert isinstance(accepted, Accepted)
        return node.release(
            Release(attempt, "n", candidate, promise.term), candidate.session, clock(), candidate
        )

    assert isinstance(benchmark(once), Released)


class Cell:
    """One session whose messages three acceptors answer at once."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._nodes = {member.node_id: acceptor() for member in MEMBERS}
        settings = SessionSettings(Configuration(MEMBERS, 30_000, 10_000, 10), "w")
        self._session = Session(settings, session=SESSION, secret=SESSION, now=0.0, rng=Random(1))

    def acquire(self) -> int:
        ticket = self._session.campaign("n", ttl=10.0, now=self._clock())
        assert any(isinstance(notice, Granted) for notice in self._exchange())
        return ticket

    def release(self, ticket: int) -> None:
        self._session.release(ticket, self._clock())
        assert any(isinstance(notice, Ended) for notice in self._exchange())

    def _exchange(self) -> list[object]:
        """Carry messages until there are no more; gives what was published."""
        published: list[object] = []
        while True:
            effects = self._session.take_effects()
            published += effects.published
            if not effects.sends:
                return published
            now = self._clock()
            for node, message in effects.sends:
                answer = self._answer(str(node), message, now)
                if answer is not None:
                    self._session.receive(answer, node, now)

    def _answer(self, node: str, message: Message, now: float) -> Message | None:
        match message:
            case Prepare():  # a StandingPrepare too
                return self._nodes[node].prepare(message, now)
            case Accept():
                return self._nodes[node].accept(message, now)
            case Release():
                return self._nodes[node].release(message, message.candidate.session, now, message.candidate)
            case _:
                return None


def test_session_pair_with_three_acceptors(benchmark: Benchmark) -> None:
    """Acquire and release, with everything that both sides compute, and nothing on the way."""
    cell = Cell()
    benchmark(lambda: cell.release(cell.acquire()))
