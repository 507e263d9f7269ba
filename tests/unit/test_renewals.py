"""Renewals at the holder: numbers, groups of one ttl, who is asked again."""

from __future__ import annotations

from random import Random

import pytest

from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.messages import Renew, Renewed
from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.pacing import Pacing
from paxlock.core.session.renewals import ATTEMPTS_PER_RENEW, TOGETHER_MAX, Renewals
from paxlock.core.session.sequence import SequenceNumbers
from paxlock.core.session.shared import Shared
from paxlock.core.session.tenures import Tenure, Tenures
from paxlock.core.timers import Timers

SESSION = b"athens".ljust(16, b".")


class Holder:
    """Tenures and their renewals, whose messages are caught."""

    def __init__(self) -> None:
        self.out = Outbox()
        self.timers = Timers()
        self.numbers = SequenceNumbers(30.0)
        self.pacing = Pacing(0.2, Random(1), RoundTrips(("a", "b", "c")))
        shared = Shared(SESSION, bytes(16), ("a", "b", "c"), self.out, self.pacing, self.numbers, self.timers)
        self.renewals = Renewals(shared)
        self.lapsed: list[Tenure] = []
        self.tenures = Tenures(
            shared, lapsed=lambda tenure, _: self.lapsed.append(tenure), kept=lambda *_: pytest.fail("kept")
        )

    def take(self) -> list[tuple[str, Renew]]:
        return [(str(node), sent) for node, sent in self.out.take_sends() if isinstance(sent, Renew)]

    def remove(self, attempt: int) -> Tenure | None:
        tenure = self.tenures.remove(attempt)
        if tenure is not None:
            self.renewals.remove(tenure)
        return tenure

    def hold(self, attempt: int, ttl: float = 9.0, now: float = 0.0) -> Tenure:
        timing = Timing.for_ttl(ttl, max_ttl=30.0, drift=0.01)
        validity = Validity(3, timing.span)
        for node in "ab":
            validity.acknowledge(node, now)
        lease = Lease(Candidate(SESSION, attempt), round(ttl * 1000), "", b"", token=4)
        deadline = validity.until() - timing.margin
        tenure = Tenure(attempt, f"name-{attempt}", lease, timing, validity, 4, deadline)
        self.tenures.add(tenure)
        self.renewals.add(tenure)
        return tenure

    def due(self, now: float) -> None:
        """Renew whatever is due."""
        self.timers.run(now)

    def answer(self, node: str, asked: Renew, now: float) -> list[Tenure]:
        held = tuple((attempt, 4) for attempt in asked.attempts)
        moved, _ = self.tenures.renewed(
            node, Renewed(asked.request, SESSION, SESSION, asked.seq, held, ()), now
        )
        return moved


def test_numbers_only_grow_and_remember_when_they_were_first_sent() -> None:
    numbers = SequenceNumbers(keep=10.0)
    first, second = numbers.next(1.0), numbers.next(2.0)
    assert second > first
    assert (numbers.sent_at(first), numbers.sent_at(second)) == (1.0, 2.0)
    assert numbers.sent_at(second + 1) == float("-inf")
    numbers.next(11.5)
    assert numbers.sent_at(first) == float("-inf")  # too old to make anything valid
    assert numbers.sent_at(second) == 2.0


def test_leases_of_one_ttl_are_renewed_together_and_datagrams_are_bounded() -> None:
    holder = Holder()
    for attempt in range(1, ATTEMPTS_PER_RENEW + 3):
        holder.hold(attempt)
    holder.hold(9_000, ttl=20.0)
    holder.renewals.due(1_234, 0, 3.0)  # no such ttl: nothing
    assert holder.take() == []
    holder.due(3.0)
    sent = [message for node, message in holder.take() if node == "a"]
    assert [len(message.attempts) for message in sent] == [ATTEMPTS_PER_RENEW, 2]
    assert 9_000 not in {attempt for message in sent for attempt in message.attempts}


def test_many_leases_that_came_due_together_draw_apart_and_none_is_late() -> None:
    holder = Holder()
    for attempt in range(1, 20 * ATTEMPTS_PER_RENEW + 1):
        holder.hold(attempt)
    renewed = dict.fromkeys((tenure.candidate.attempt for tenure in holder.tenures), 0.0)
    moments: list[float] = []
    now = 0.0
    while now < 60.0:
        now = holder.timers.deadline()
        holder.due(now)
        for node, asked in holder.take():
            assert len(asked.attempts) <= ATTEMPTS_PER_RENEW
            moments.append(now)
            for attempt in asked.attempts if node == "a" else ():
                assert now - renewed[attempt] <= 3.0 + 1e-9  # a third of the ttl
                renewed[attempt] = now
            holder.answer(node, asked, now)
    busiest = max(moments.count(moment) for moment in set(moments[-180:]))
    assert 3 < busiest <= 3 * (1 + TOGETHER_MAX)  # of 60: 20 batches at three nodes
    assert len(set(moments)) < len(moments) / 3 / 2  # a node is woken for two or more batches at once
    assert len(moments) < 3 * 20 * (60.0 / 3.0) * 1.1


def test_what_is_left_of_two_batches_becomes_one() -> None:
    holder = Holder()
    for attempt in range(1, 3 * ATTEMPTS_PER_RENEW + 1):
        holder.hold(attempt)
    for attempt in range(1, 3 * ATTEMPTS_PER_RENEW + 1):
        if attempt % ATTEMPTS_PER_RENEW > 30:
            holder.remove(attempt)
    holder.due(3.0)
    sent = [message for node, message in holder.take() if node == "a"]
    assert [len(message.attempts) for message in sent] == [3 * 31]
    for tenure in holder.tenures:
        holder.remove(tenure.candidate.attempt)
    assert holder.timers.deadline() == float("inf")


def test_a_quorum_that_answered_is_not_asked_again_in_this_round() -> None:
    holder = Holder()
    tenure = holder.hold(1)
    holder.renewals.due(9_000, 0, 3.0)
    asked = dict(holder.take())
    holder.renewals.due(9_000, 0, 3.1)
    assert [node for node, _ in holder.take()] == ["a", "b", "c"]
    assert holder.answer("a", asked["a"], 3.2) == []  # one node moves nothing
    holder.renewals.due(9_000, 0, 3.3)
    again = dict(holder.take())
    assert set(again) == {"b", "c"}
    before = tenure.deadline
    assert holder.answer("b", asked["b"], 3.4) == [tenure]
    assert tenure.deadline == pytest.approx(before + 3.0)
    holder.renewals.due(9_000, 0, 3.5)
    assert holder.take() == []


def test_a_removed_lease_is_neither_renewed_nor_timed() -> None:
    holder = Holder()
    tenure = holder.hold(1)
    assert holder.remove(1) is tenure
    assert holder.remove(1) is None
    assert holder.timers.deadline() == float("inf")
    holder.renewals.due(9_000, 0, 3.0)
    assert holder.take() == []


def test_the_lapse_timer_follows_a_deadline_that_moved() -> None:
    holder = Holder()
    tenure = holder.hold(1)
    first = tenure.deadline
    holder.renewals.due(9_000, 0, 3.0)
    for node, asked in holder.take():
        holder.answer(node, asked, 3.0)
    holder.due(first)
    assert holder.lapsed == []
    while (now := holder.timers.deadline()) < tenure.deadline:
        holder.due(now)
    assert holder.lapsed == []
    holder.due(now)
    assert (holder.lapsed, now) == ([tenure], tenure.deadline)


def test_a_lapsed_tenure_takes_no_answer() -> None:
    holder = Holder()
    tenure = holder.hold(1)
    holder.renewals.due(9_000, 0, 3.0)
    asked = dict(holder.take())
    for node in "abc":
        assert holder.answer(node, asked[node], tenure.deadline) == []
    assert tenure.lapsed(tenure.deadline)


def test_the_next_round_is_a_third_of_the_ttl_later() -> None:
    holder = Holder()
    holder.hold(1)
    holder.due(3.0)
    for node, asked in holder.take():
        holder.answer(node, asked, 3.0)
    holder.renewals.due(9_000, 0, 5.9)
    assert holder.take() == []
    holder.renewals.due(9_000, 0, 6.0)
    assert [node for node, _ in holder.take()] == ["a", "b", "c"]


def survives(begins: float, lasts: float, ttl: float) -> bool:
    """Whether a tenure outlives a time in which nothing arrives; every other answer comes at once."""
    holder = Holder()
    tenure = holder.hold(1, ttl)
    while (now := holder.timers.deadline()) < begins + 2.0 * ttl:
        if now >= tenure.deadline:
            return False
        holder.due(now)
        for node, asked in holder.take():
            if not begins <= now < begins + lasts:
                holder.answer(node, asked, now)
    return True


@pytest.mark.parametrize("ttl", [2.0, 5.0, 10.0, 30.0])
def test_half_a_ttl_without_an_answer_costs_hardly_any_tenure(ttl: float) -> None:
    """Whatever moment it begins at: repetitions do not become rarer while the end comes nearer."""
    moments = 300
    begins = [ttl + ttl / 3.0 * at / moments for at in range(moments)]  # a round of renewals has a third
    lost = sum(not survives(begin, ttl / 2.0, ttl) for begin in begins)
    assert lost / moments <= 0.007


def test_a_renewal_is_not_repeated_before_its_answer_can_come() -> None:
    holder = Holder()
    for node in "abc":
        holder.pacing.round_trips.measured(node, 0.2)
    holder.hold(1)
    holder.due(3.0)
    assert len(holder.take()) == 3
    first = holder.timers.deadline()
    assert first == pytest.approx(3.72)  # a quarter of the round at the latest
    for at in range(60):
        holder.pacing.round_trips.measured("abc"[at % 3], 0.2)
    holder.due(6.0)
    holder.take()
    assert holder.timers.deadline() == pytest.approx(6.28, abs=0.02)
