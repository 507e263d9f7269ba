"""Three copies of one program elect a leader. The leader is killed, and another takes over.

    python examples/embedded_election.py

Each copy is a process of its own and one node of the cell; there is no other service. The script starts the
three, watches the election, kills the leader with SIGKILL and prints how long nobody led.
"""

import signal
import socket
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

import paxlock

TTL = 1.0  # seconds: how long a dead leader's lease stands in the way of the next one


async def work(held: paxlock.HeldLease) -> None:
    """What only the leader does. Cancelled if the lease is lost; ``held.term`` is the fencing token."""
    await trio.sleep_forever()


async def take_part(cell_file: str, node_id: str, data_dir: str) -> None:
    """One copy of the program: it is a node of the cell, and it wants to lead."""
    config = paxlock.NodeConfig(cell_file, node_id, data_dir)
    # create=True: this cell is new for sure, so its nodes need not sit out. In earnest leave it away.
    async with paxlock.open_node(config, create=True, label=node_id) as node:
        await node.lead("primary", work, ttl=TTL)


async def take_part_until_told(cell_file: str, node_id: str, data_dir: str) -> None:
    """SIGTERM cancels the work: what is held is released, and the node stops cleanly."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_part, cell_file, node_id, data_dir)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def wait_serving(client: paxlock.Client) -> None:
    """Wait until every node serves: a new cell is complete when all of them have greeted each other."""
    while True:
        nodes = await client.survey()
        if all(node.mode is not None and node.mode is paxlock.NodeMode.SERVING for node in nodes):
            return
        await trio.sleep(0.05)


async def next_leader(changes: paxlock.Changes, after: int = 0) -> paxlock.Change:
    """Wait until the watch shows a leader with a term above ``after``."""
    while True:
        change = await changes.receive()
        if change.state is paxlock.State.LED and change.term > after:
            return change


async def demonstrate(folder: Path) -> None:
    """Start three copies, kill the one that leads, wait for the next, stop the others cleanly."""
    cell = paxlock.Cell.new({node_id: free_address() for node_id in ("a", "b", "c")})
    cell_file = folder / "cell.toml"
    cell.save(cell_file)
    processes: dict[str, trio.Process] = {}
    async with trio.open_nursery() as nursery:
        for node_id in cell.node_ids:
            command = [sys.executable, __file__, str(cell_file), node_id, str(folder / node_id)]
            processes[node_id] = await nursery.start(partial(trio.run_process, command, check=False))
        async with paxlock.open_client(cell) as client, client.watch("primary") as changes:
            await wait_serving(client)
            first = await next_leader(changes)
            print(f"{first.label} leads with term {first.term}; killing it with SIGKILL")
            processes[first.label].kill()
            killed_at = time.monotonic()
            second = await next_leader(changes, after=first.term)
            gap_ms = (time.monotonic() - killed_at) * 1000
        print(f"{second.label} leads with term {second.term}, {gap_ms:.0f} ms after the kill")
        print(f"terms only grow: {first.term} < {second.term}")
        nursery.cancel_scope.cancel()  # SIGTERM to the other two
    codes = {node_id: process.returncode for node_id, process in processes.items() if node_id != first.label}
    print(f"stopped the others cleanly: exit codes {codes}")
    if first.label == second.label or any(codes.values()):
        raise SystemExit("this should not have happened")


def free_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="paxlock-") as folder, trio.fail_after(30):
        await demonstrate(Path(folder))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        trio.run(main)
    else:
        trio.run(take_part_until_told, sys.argv[1], sys.argv[2], sys.argv[3])
