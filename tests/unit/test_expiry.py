"""When records are looked at: early at most, never late, and rarely."""

from __future__ import annotations

from random import Random

from paxlock.core.node.expiry import STALE_MIN_ALARMS, STEP_S, ExpiryWheel
from paxlock.core.node.record import NEVER, Record
from paxlock.core.timers import Timers


class Alarmed:
    """Records with alarms, and a clock."""

    def __init__(self, names: int) -> None:
        self.timers = Timers()
        self.records = {f"n{number}": Record(f"n{number}", 0) for number in range(names)}
        self.looked: list[float] = []
        self.alarms = ExpiryWheel(self.records, self.timers, self.looked.append)

    def due(self, now: float) -> list[str]:
        self.timers.run(now)
        return [record.name for record in self.alarms.due(now)]


def test_nobody_is_late_and_who_is_early_asks_again() -> None:
    rng = Random(3)
    environment = Alarmed(200)
    due = {name: rng.uniform(100.0, 110.0) for name in environment.records}
    for name, when in due.items():
        environment.alarms.set(environment.records[name], when)
    ran_out: dict[str, float] = {}
    while (now := environment.timers.deadline()) < NEVER:
        environment.timers.run(now)
        for record in environment.alarms.due(now):
            if due[record.name] <= now:
                ran_out[record.name] = now
            else:
                environment.alarms.set(record, due[record.name])
    assert ran_out == due
    assert len(environment.alarms) == 0


def test_a_deadline_that_moves_costs_one_look_in_a_ttl() -> None:
    environment = Alarmed(1)
    record = environment.records["n0"]
    ttl, looks = 10.0, 0
    now = deadline = 1_000.0
    while now < 1_300.0:
        deadline = now + ttl
        environment.alarms.set(record, deadline)
        now += ttl / 3
        for found in environment.due(now):
            looks += 1
            environment.alarms.set(environment.records[found], deadline)
    assert 300.0 / ttl <= looks + 1 <= 300.0 / (ttl * 2 / 3) + 1


def test_the_earliest_time_counts() -> None:
    environment = Alarmed(1)
    record = environment.records["n0"]
    environment.alarms.set(record, 50.0)
    environment.alarms.set(record, 20.0 + STEP_S / 2)
    environment.alarms.set(record, 90.0)
    assert environment.due(20.0 - 1e-6) == []
    assert environment.due(20.0 + STEP_S / 2) == ["n0"]
    assert environment.due(100.0) == []


def test_alarms_that_were_moved_earlier_do_not_pile_up() -> None:
    environment = Alarmed(3)
    for number in range(10_000):
        for record in environment.records.values():
            environment.alarms.set(record, 1e6 - number)
        assert len(environment.alarms) <= STALE_MIN_ALARMS + 2 * 3 + 1
    assert sorted(environment.due(1e6)) == ["n0", "n1", "n2"]
    assert environment.timers.deadline() == NEVER


def test_a_record_that_was_dropped_is_not_looked_at() -> None:
    environment = Alarmed(2)
    for record in environment.records.values():
        environment.alarms.set(record, 5.0)
    environment.alarms.forget(environment.records.pop("n0"))
    assert environment.due(6.0) == ["n1"]
