"""All nodes of a cell are restarted one after the other, as for an upgrade, while clients go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from processes import ProcessCell, process_cell

from paxlock.blocking import Client, open_client

pytestmark = [pytest.mark.processes, pytest.mark.slow]

WORKERS = 4
PAIRS = 20  #: of each worker, between one restart and the next
TTL_S = 10.0
PATIENCE_S = 60.0


class Traffic:
    """Threads that acquire and release names of their own, and one that holds a lease all along."""

    def __init__(self, client: Client) -> None:
        self.done = [0] * WORKERS
        self.failed: list[BaseException] = []
        self._client = client
        self._over = threading.Event()
        self._more = threading.Condition()
        works: list[Callable[[], None]] = [partial(self._pairs, number) for number in range(WORKERS)]
        works.append(self._hold)
        self._threads = [threading.Thread(target=self._watched, args=(work,)) for work in works]
        for thread in self._threads:
            thread.start()

    def _watched(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, a call has failed
            self.failed.append(error)
            with self._more:
                self._more.notify_all()

    def _pairs(self, number: int) -> None:
        last = 0
        while not self._over.is_set():
            with self._client.lock(f"worker-{number}", ttl=TTL_S) as held:
                assert held.term > last
                last = held.term
            with self._more:
                self.done[number] += 1
                self._more.notify_all()

    def _hold(self) -> None:
        with self._client.lock("held", ttl=TTL_S) as held:
            while not self._over.wait(0.05):
                held.check()

    def goes_on(self) -> None:
        """Wait until every worker has done some more."""
        wanted = [count + PAIRS for count in self.done]

        def enough() -> bool:
            return bool(self.failed) or all(now >= then for now, then in zip(self.done, wanted, strict=True))

        with self._more:
            assert self._more.wait_for(enough, PATIENCE_S), "the traffic stands still"
        assert self.failed == []

    def end(self) -> None:
        """Stop; every thread has ended without an error."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        assert self.failed == []


def restart(cell: ProcessCell, node_id: str, how: str) -> None:
    """As ``how`` says: a clean stop, or a process that is killed."""
    if how == "clean":
        cell.nodes[node_id].stop()
    else:
        cell.nodes[node_id].kill()
    cell.node(node_id)
    cell.serves(node_id)


@pytest.mark.parametrize("how", ["clean", "killed"])
def test_nodes_are_restarted_one_after_the_other_and_no_call_fails(tmp_path: Path, how: str) -> None:
    with process_cell(tmp_path, max_ttl=TTL_S) as cell, open_client(str(cell.path)) as client:
        traffic = Traffic(client)
        try:
            traffic.goes_on()
            for node_id in "abc":
                restart(cell, node_id, how)
                traffic.goes_on()
        finally:
            traffic.end()
