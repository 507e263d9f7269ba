"""What one node takes that knows very much: three real nodes, and tables in Markdown.

    python -m benchmarks.big_nodes [--quick] [--parts leases,names] [--leases N] [--data BYTES]
                                   [--names N] [--nodes N]

``leases``: a client holds so many leases. One node is stopped cleanly, started from its snapshot, killed, and
started from its state file, while the client goes on. Of each step: CPU of that node's process, the whole of
it, interpreter and all, and the most memory that it ever had (VmHWM).

``names``: the nodes, three unless told, begin with a snapshot of so many names that are held, and ``paxlock
ls`` lists them.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

import paxlock
from benchmarks.holding import cpu_of, free_addresses
from benchmarks.in_memory import NODES, session_id
from paxlock.cli.gc_pauses import short_pauses
from paxlock.core.durable import Durability, Membership, NodeRecord, Snapshot, SnapshotName
from paxlock.core.lease import Candidate, Lease
from paxlock.store.folder import Store

PARTS = ("leases", "names")
AT_A_TIME = 100
TTL_S = 30.0
LONG_TTL_S = 3600.0  #: of names that nobody renews while they are listed
CEILING = 1 << 40
PATIENCE_S = 600.0
LOOK_EVERY_S = 0.01
SETTLES_S = 45.0  #: after a start with 100,000 leases, until what it makes necessary has been done
SERVES = b'"event":"serving"'
MIB = 1024.0  #: in kB, as /proc counts


@attrs.frozen
class Step:
    """What one node did in one step: CPU and wall-clock seconds, and its memory then, in MiB."""

    what: str
    cpu: float
    took: float
    peak: float
    resident: float | None = None  #: at the end; None where it has ended
    lost: int = 0  #: leases of the client, so far


@attrs.frozen
class Listed:
    """What ``paxlock ls`` took: CPU and wall-clock seconds, its memory in MiB; and each node's."""

    names: int
    cpu: float
    took: float
    peak: float
    nodes_cpu: float
    node_peak: float
    node_resident: float


def memory_of(process: int) -> dict[str, float]:
    """The memory of another process in MiB: VmHWM, VmRSS. Empty once it has ended."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("VmHWM", "VmRSS")))
    return {field[0].rstrip(":"): int(field[1]) / MIB for field in fields}


@attrs.frozen
class Ended:
    """A process that has ended: its exit code, all its CPU seconds, the most memory it had in MiB."""

    code: int
    cpu: float
    peak: float


def until_ended(process: subprocess.Popen[bytes]) -> Ended:
    """Wait for a process, and look how large it grows; raises TimeoutError."""
    peak, end = 0.0, time.monotonic() + PATIENCE_S
    # Not the kernel's ru_maxrss: that begins with the size of the process by which it was started.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak = max(peak, memory_of(process.pid).get("VmHWM", 0.0))
        if time.monotonic() > end:
            raise TimeoutError(f"process {process.pid} has not ended within {PATIENCE_S:.0f} s")
        time.sleep(LOOK_EVERY_S)
    cpu = cpu_of(process.pid)  # it waits to be waited for, and still tells
    return Ended(process.wait(), cpu, peak)


class NodeProcess:
    """One ``paxlock serve`` with a data folder, started and ended again and again."""

    def __init__(self, cell_file: Path, node: str, folder: Path) -> None:
        self._command = [sys.executable, "-m", "paxlock", "serve", "--cell", str(cell_file), "--node", node]
        self._command += ["--data-dir", str(folder), "--log", "json"]
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def begin(self, *words: str) -> None:
        """Start it, with these options too, and do not wait until it serves."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*self._command, *words], stdin=subprocess.DEVNULL, stderr=log)

    def wait_serving(self) -> None:
        """Raises RuntimeError where it ends instead, TimeoutError where it takes too long."""
        assert self._process is not None
        end = time.monotonic() + PATIENCE_S
        while SERVES not in self._log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > end:
                error = TimeoutError if self._process.poll() is None else RuntimeError
                raise error(f"a node does not serve; it said {self._log.read_text()!r}")
            time.sleep(LOOK_EVERY_S)

    def starts(self, what: str) -> Step:
        """Start it, and wait until it serves; the peak is that of SETTLES_S more."""
        begin = time.perf_counter()
        self.begin()
        self.wait_serving()
        cpu, took = cpu_of(self.pid), time.perf_counter() - begin
        time.sleep(SETTLES_S)
        memory = memory_of(self.pid)
        return Step(what, cpu, took, memory["VmHWM"], memory["VmRSS"])

    def ends(self, what: str, number: signal.Signals) -> Step:
        """Send it this signal, and wait until it has ended."""
        assert self._process is not None
        before, begin = cpu_of(self.pid), time.perf_counter()
        self._process.send_signal(number)
        ended = until_ended(self._process)
        self._process = None
        if number is signal.SIGTERM and ended.code:
            raise RuntimeError(f"a node ended with {ended.code}: {self._log.read_text()!r}")
        return Step(what, ended.cpu - before, time.perf_counter() - begin, ended.peak)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def cell_of_nodes(
    max_ttl: float, nodes: Sequence[str] = NODES
) -> Iterator[tuple[paxlock.Cell, Path, dict[str, NodeProcess]]]:
    """A new cell, its file, and its nodes, not started yet. Killed at the end."""
    with tempfile.TemporaryDirectory(prefix="paxlock-") as name:
        folder = Path(name)
        places = dict(zip(nodes, free_addresses(len(nodes)), strict=True))
        cell = paxlock.Cell.new(places, max_ttl=max_ttl)
        cell_file = folder / "cell.toml"
        cell.save(cell_file)
        processes = {node: NodeProcess(cell_file, node, folder / node) for node in nodes}
        try:
            yield cell, cell_file, processes
        finally:
            for process in processes.values():
                process.close()


# Leases that are held


async def restarts(cell: paxlock.Cell, node: NodeProcess, count: int, data: bytes) -> list[Step]:
    """Hold so many leases while this node is stopped, killed and started."""
    leases: list[paxlock.HeldLease] = []
    async with paxlock.open_client(cell) as client:
        async with client.lock("first"):
            pass
        before, begin = cpu_of(node.pid), time.perf_counter()

        async def take(part: range) -> None:
            for number in part:
                lease = await client.acquire(f"held-{number:06d}", ttl=TTL_S, data=data)
                leases.append(lease)

        async with trio.open_nursery() as nursery:
            for number in range(min(AT_A_TIME, count)):
                nursery.start_soon(take, range(number, count, AT_A_TIME))
        cpu, took = cpu_of(node.pid) - before, time.perf_counter() - begin
        memory = memory_of(node.pid)
        steps = [Step("all are acquired", cpu, took, memory["VmHWM"], memory["VmRSS"])]
        for end, start, number in (
            ("clean stop", "start from the snapshot", signal.SIGTERM),
            ("killed", "start from the state file", signal.SIGKILL),
        ):
            for step in (partial(node.ends, end, number), partial(node.starts, start)):
                done = await trio.to_thread.run_sync(step)
                steps.append(attrs.evolve(done, lost=sum(not lease.valid for lease in leases)))
    return steps


def leases_part(count: int, data: bytes) -> str:
    with cell_of_nodes(TTL_S) as (cell, _, nodes):
        for node in nodes.values():
            node.begin("--create")
        for node in nodes.values():
            node.wait_serving()
        with short_pauses():  # the client is as large as a node
            steps = trio.run(restarts, cell, nodes["a"], count, data)
    rows = [
        (
            *(step.what, f"{step.cpu:.2f} s", f"{step.took:.1f} s", shown(step.peak), shown(step.resident)),
            f"{step.lost:,}",
        )
        for step in steps
    ]
    head = ("what", "CPU", "wall clock", "peak", "resident after it", "leases lost")
    return table(f"One node of three, {count:,} leases with {len(data)} bytes of data", head, rows)


def shown(mib: float | None) -> str:
    return f"{mib:.0f} MiB" if mib else ""


# Names that are known


def known_names(count: int) -> Iterator[SnapshotName]:
    """So many names, each held for LONG_TTL_S by somebody who is not here."""
    absent, ttl_ms = session_id(999), int(LONG_TTL_S * 1000)
    for number in range(count):
        lease = Lease(Candidate(absent, number + 1), ttl_ms, "absent", b"", 2)
        name = f"name-{number:07d}"
        yield SnapshotName(name, 2, lease, 2, absent, 1, ttl_ms, (), lease, 2, released=False)


def leave_behind(cell: paxlock.Cell, node: str, folder: Path, snapshot: Snapshot) -> None:
    """Write what a node leaves that knew these names and was stopped cleanly."""
    record = NodeRecord(
        *(cell.cell_id, cell.epoch, node, snapshot.incarnation, CEILING, Durability.RECORD),
        *(Membership.MEMBER, cell.max_ttl_ms),
        clean=True,
    )
    store = Store.open(folder, create_folder=True)
    try:
        store.write_snapshot(snapshot)
        store.write_record(record)
    finally:
        store.close()


def listed(cell_file: Path, nodes: Sequence[NodeProcess], count: int) -> Listed:
    """Run ``paxlock ls --jsonl``, and count what it says. Raises RuntimeError where it fails, or names are
    missing.
    """
    before, begin = sum(cpu_of(node.pid) for node in nodes), time.perf_counter()
    command = [sys.executable, "-m", "paxlock", "ls", "--jsonl", "--cell", str(cell_file)]
    lines = 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None

        def read() -> None:
            nonlocal lines
            assert process.stdout is not None
            for _ in process.stdout:
                lines += 1

        reader = threading.Thread(target=read)
        reader.start()
        ended = until_ended(process)
        reader.join()
    took = time.perf_counter() - begin
    if ended.code or lines != count:
        raise RuntimeError(f"ls ended with {ended.code}, and has told {lines} of {count} names")
    memory = memory_of(nodes[0].pid)
    nodes_cpu = sum(cpu_of(node.pid) for node in nodes) - before
    return Listed(lines, ended.cpu, took, ended.peak, nodes_cpu, memory["VmHWM"], memory["VmRSS"])


def names_part(count: int, places: int) -> Iterator[str]:
    """One table of the start, and one of the list."""
    with cell_of_nodes(LONG_TTL_S, NODES[:places]) as (cell, cell_file, nodes):
        snapshot = Snapshot(2, 1, tuple(known_names(count)))
        for name in nodes:
            leave_behind(cell, name, cell_file.parent / name, snapshot)
        del snapshot
        begin = time.perf_counter()
        for node in nodes.values():
            node.begin()
        for node in nodes.values():
            node.wait_serving()
        took = time.perf_counter() - begin
        yield table(
            f"{count:,} names that are held, known to each of {places} nodes",
            ("what", "found"),
            [("start of a node, with the others", f"{cpu_of(nodes['a'].pid):.1f} s CPU, {took:.1f} s")],
        )
        found = listed(cell_file, list(nodes.values()), count)
    yield table(
        "They are listed",
        ("what", "found"),
        [
            ("`paxlock ls --jsonl`, all names", f"{found.cpu:.1f} s CPU, {found.took:.1f} s"),
            ("all nodes meanwhile", f"{found.nodes_cpu:.1f} s CPU"),
            ("memory of `paxlock ls`, peak", f"{found.peak:.0f} MiB"),
            ("memory of a node, peak; resident", f"{found.node_peak:.0f} MiB; {found.node_resident:.0f} MiB"),
        ],
    )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"{title}\n", *lines, ""])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2,000 leases and 5,000 names, for a check")
    parser.add_argument("--leases", type=int, help="100,000 unless given")
    parser.add_argument("--names", type=int, help="1,000,000 unless given")
    parser.add_argument("--nodes", type=int, default=len(NODES), choices=(1, 2, 3), help="that know names")
    parser.add_argument("--data", type=int, default=0, help="bytes of data in each lease")
    parser.add_argument("--parts", default=",".join(PARTS), help="only these, with commas")
    options = parser.parse_args(words)
    parts = options.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"there are no parts but {', '.join(PARTS)}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs\n", flush=True)
    if "leases" in parts:
        count = options.leases or (2_000 if options.quick else 100_000)
        print(leases_part(count, bytes(options.data)), flush=True)
    if "names" in parts:
        for part in names_part(options.names or (5_000 if options.quick else 1_000_000), options.nodes):
            print(part, flush=True)


if __name__ == "__main__":
    main()
