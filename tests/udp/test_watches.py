"""Watches as processes: across a kill, after a stop, and with a node that missed renewals (protocol.md 6)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from processes import Event, process_cell

pytestmark = pytest.mark.processes

TTL_S = 0.8


def states(changes: list[Event]) -> list[tuple[str, int]]:
    return [(change["state"], change["term"]) for change in changes]


def test_a_watch_across_a_kill_and_a_stop_of_its_own(tmp_path: Path) -> None:
    with process_cell(tmp_path) as cell:
        watcher, sleeper = cell.client("watcher"), cell.client("sleeper")
        one, two = cell.client("one"), cell.client("two")
        for client in (watcher, sleeper):
            client.tell("watch", name="x")
            assert client.expect("change")["state"] == "FREE"
        one.tell("lock", name="x", ttl=TTL_S)
        first = one.expect("acquired")["term"]
        sleeper.expect("change", state="LED", term=first)
        sleeper.signal(signal.SIGSTOP)
        one.kill()
        # led by the first, free after its ttl, led by the second, in this order and with a higher term
        watcher.expect("change", state="FREE", term=first)
        two.tell("lock", name="x", ttl=TTL_S)
        second = two.expect("acquired")["term"]
        watcher.expect("change", state="LED", term=second)
        assert states(watcher.told("change"))[1:] == [("LED", first), ("FREE", first), ("LED", second)]
        assert second > first
        # Whoever slept through it arrives at the last state.
        sleeper.signal(signal.SIGCONT)
        assert sleeper.expect("change", state="LED", term=second)["label"] == "two"


@pytest.mark.slow
def test_one_node_that_missed_renewals_does_not_make_a_watch_say_free(tmp_path: Path) -> None:
    with process_cell(tmp_path) as cell:
        holder, watcher = cell.client("holder"), cell.client("watcher")
        holder.tell("lock", name="x", ttl=TTL_S)
        term = holder.expect("acquired")["term"]
        watcher.tell("watch", name="x")
        watcher.expect("change", state="LED", term=term)
        stopped = cell.nodes["a"].signal(signal.SIGSTOP)
        # Past the ttl, as told by the renewals that go on without this node.
        while holder.expect("extended")["deadline"] < stopped + 2.2 * TTL_S:
            pass
        woken = cell.nodes["a"].signal(signal.SIGCONT)
        while holder.expect("extended")["deadline"] < woken + 2 * TTL_S:
            pass
        watcher.tell("poll", name="x")
        assert watcher.expect("polled")["state"] == "LED"
        assert states(watcher.told("change")) == [("LED", term)]
        assert holder.told("lost") == []
