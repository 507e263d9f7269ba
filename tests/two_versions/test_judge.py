"""The judge: what it must find in the notes of a play, and what it must not mind."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from paxlock.testing import VirtualCell
from tests.two_versions.judge import FailedCall, Phase, Record, report, violations
from tests.two_versions.versions import Version
from tests.two_versions.worker import Journal, Lines, Worker

PHASES = (Phase("rolling upgrade", 0.0, 50.0), Phase("all nodes new", 50.0, 100.0))
ENDED_AT = 95.0


class Notes:
    """What clients would have written, at times of the test's choosing: at first, a short play in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 0.0
        self.failed: list[FailedCall] = []
        self._journals: dict[str, Journal] = {}
        self._notes: dict[str, Lines] = {}
        monkeypatch.setattr("tests.two_versions.worker.now", lambda: self.now)
        clients = ("worker-old", "worker-new", "cli-old", "cli-new")
        for at, client in enumerate((*clients, *clients), 1):
            self.turn(client, at, at=10.0 * at)
        for watcher in ("worker-old", "worker-new"):
            for term in range(1, 9):
                self.seen(watcher, "x", "led", term, at=10.0 * term + 0.1)
            self.seen(watcher, "kept", "unknown", 0, at=1.0)
            self.seen(watcher, "kept", "led", 1, at=2.0)
            self.seen(watcher, "kept", "free", 0, at=ENDED_AT + 1.0)

    def of(self, client: str) -> Journal:
        return self._journals.setdefault(client, Journal(self.folder, client))

    def turn(self, client: str, term: int, at: float, until: float | None = None, name: str = "x") -> None:
        """Acquired, and released a second later; with ``until`` not released."""
        self.now = at - 0.01
        call = self.of(client).call("acquire", name)
        self.now = at
        self.of(client).answer(call, "ok", term=term, until=until or at + 5.0)
        self.of(client).attempt(name, term, at)
        if until is None:
            self.now = at + 1.0
            call = self.of(client).call("release", name, term)
            self.of(client).answer(call, "ok")

    def seen(self, watcher: str, name: str, state: str, term: int, at: float) -> None:
        self.note(watcher, watch=name, state=state, term=term, at=at)

    def note(self, client: str, **facts: object) -> None:
        lines = self._notes.setdefault(client, Lines(self.folder / f"{client}.notes"))
        lines.write(**facts)

    def record(self) -> Record:
        return Record.read(self.folder, PHASES, kept=("kept",), ended=ENDED_AT, failed=self.failed)

    def verdict(self, *troubles: str) -> str:
        nothing = self.folder / "nothing"
        nothing.touch()
        return "\n".join(violations(self.record(), [], troubles, nothing))

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()
        for lines in self._notes.values():
            lines.close()


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    notes = Notes(tmp_path, monkeypatch)
    yield notes
    notes.close()


def test_a_play_in_good_order_is_not_minded(notes: Notes) -> None:
    assert notes.verdict() == ""
    told = report(notes.record(), [], ["starts of nodes"])
    assert "rolling upgrade, 50.0 s" in told
    assert "    old: 2 acquired, 2 released, 0 renewed, 0 polled (longest -)" in told
    assert "starts of nodes" in told
    assert "changes seen: 11 worker-new, 11 worker-old" in told
    assert told.endswith("failed calls: 0; lost leases: 0\nviolations: 0")


def test_two_holders_at_once_are_found(notes: Notes) -> None:
    notes.turn("worker-old", 9, at=82.0, until=86.0)
    notes.turn("cli-new", 10, at=85.9)
    assert "cli-new has token 10 at 85.900000, while worker-old holds token 9" in notes.verdict()


def test_a_renewal_counts_for_the_holder(notes: Notes) -> None:
    notes.turn("worker-old", 9, at=82.0, until=84.0)
    notes.now = 83.0
    notes.of("worker-old").extended("x", 9, 5.0, 88.0)
    notes.turn("cli-new", 10, at=86.0)
    assert "while worker-old holds token 9 until 88.000000" in notes.verdict()


def test_a_token_that_falls_is_found(notes: Notes) -> None:
    notes.turn("worker-old", 7, at=82.0)
    assert "token 7 of worker-old comes after token 8" in notes.verdict()


def test_a_failed_call_is_found_whoever_noted_it(notes: Notes) -> None:
    notes.note("worker-new", failed="poll", name="x", said="no quorum answered", at=30.5)
    notes.failed.append(FailedCall("cli-old", "renew", "x", "exit code 79: over", 31.0))
    found = notes.verdict()
    assert "worker-new: poll 'x' failed at 30.500000: no quorum answered" in found
    assert "cli-old: renew 'x' failed at 31.000000: exit code 79: over" in found


def test_a_call_that_never_came_back_is_found(notes: Notes) -> None:
    notes.now = 84.0
    notes.of("worker-new").call("poll", "x")
    assert "'x': worker-new was never answered" in notes.verdict()


def test_a_lost_lease_is_found(notes: Notes) -> None:
    notes.turn("worker-old", 9, at=82.0, until=84.0)
    notes.now = 84.0
    notes.of("worker-old").lost("x", 9, "EXPIRED")
    assert "'x': worker-old lost token 9 at 84.000000: EXPIRED" in notes.verdict()


@pytest.mark.parametrize(("state", "term"), [("free", 0), ("led", 2)])
def test_a_name_that_was_not_held_all_along_is_found(notes: Notes, state: str, term: int) -> None:
    notes.seen("worker-old", "kept", state, term, at=60.0)
    assert f"'kept': worker-old saw {state}, token {term} at 60.000000, after token 1" in notes.verdict()


def test_a_name_that_nobody_saw_held_is_found(notes: Notes) -> None:
    notes.seen("worker-other", "kept", "free", 0, at=60.0)
    assert "'kept': worker-other has never seen that it is held" in notes.verdict()


def test_a_watcher_whose_tokens_fall_or_that_is_told_too_late_is_found(notes: Notes) -> None:
    notes.seen("worker-old", "x", "led", 3, at=81.0)
    notes.turn("worker-new", 9, at=82.0)
    notes.seen("worker-new", "x", "led", 9, at=82.1)
    notes.seen("worker-old", "x", "led", 9, at=89.0)
    found = notes.verdict()
    assert "'x': worker-old saw token 3 after token" in found
    assert "'x': worker-old was not told of token 9 of worker-new in time" in found
    assert "worker-new was not told" not in found


def test_a_part_in_which_nobody_did_anything_proves_nothing(notes: Notes) -> None:
    record = notes.record()
    idle = Record(record.history, (*PHASES, Phase("rolling downgrade", 100.0, 150.0)), seen=record.seen)
    nothing = notes.folder / "nothing"
    nothing.touch()
    assert violations(idle, [], [], nothing) == [
        "rolling downgrade: worker-old acquired nothing",
        "rolling downgrade: worker-new acquired nothing",
    ]


def test_troubles_of_the_play_are_violations(notes: Notes) -> None:
    assert notes.verdict("node-a-new has ended with 1") == "node-a-new has ended with 1"


def test_what_clients_have_dropped_is_counted(notes: Notes) -> None:
    notes.note("worker-old", dropped={"dropped_malformed": 3})
    assert notes.verdict() == ""
    assert "dropped by clients: 3 worker-old, dropped_malformed" in report(notes.record(), [], [])


async def test_a_worker_notes_what_it_did_and_what_failed(paxlock_cell: VirtualCell, tmp_path: Path) -> None:
    async with paxlock_cell.open_client("other") as other, paxlock_cell.open_client("mine") as mine:
        orders = {"folder": str(tmp_path), "label": "worker-new", "seed": 1}
        worker = Worker(orders, mine)
        worker.over.set()
        await worker.turn("x", 5.0, worker.over.wait)
        async with other.lock("x"):
            await worker.poll("x")
            await worker.turn("x", 5.0, worker.over.wait)
        worker.journal.close()
        worker.notes.close()
    record = Record.read(tmp_path)
    told = [(op.kind.value, op.outcome.value, op.term) for op in record.history.operations]
    assert told == [("acquire", "ok", 1), ("release", "ok", 1), ("poll", "ok", 2), ("acquire", "refused", 0)]
    (failed,) = record.failed
    assert (failed.client, failed.verb, failed.name) == ("worker-new", "acquire", "x")
    assert failed.said.startswith("NotAcquired: ")


def test_a_version_that_would_be_run_from_elsewhere_is_refused(tmp_path: Path) -> None:
    python = sys.executable
    elsewhere = Version("old", (python,), {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, tmp_path)
    with pytest.raises(RuntimeError, match=r"the old version would be run from .*, not below"):
        elsewhere.number()
