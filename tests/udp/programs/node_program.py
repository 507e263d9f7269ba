"""A node as a process: ``node_program.py CELLFILE NODE DATADIR [create | join]``.

Node a is run by the driver of programs that embed a node, the others as ``paxlock serve`` runs them, in a
thread: so both kinds are killed, flooded, and talk to each other.

Prints one JSON object a line. A line on stdin asks for the counters, and for the names whose lease the node
holds. SIGTERM stops it cleanly.
"""

from __future__ import annotations

import json
import signal
import sys
from functools import partial

import trio
from hosts import use_hosts

from paxlock import NodeConfig, PaxlockError, serve_node
from paxlock.node.server import Service, serve_alone


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


async def answer_questions(service: Service) -> None:
    async with trio.lowlevel.FdStream(0) as stdin:
        async for asked in stdin:
            for _ in range(asked.count(b"\n")):
                say(
                    "counters",
                    endpoint=dict(service.endpoint.statistics()),
                    transport=dict(service.transport.statistics()),
                    replica=dict(service.replica.statistics().messages),
                    holds=[
                        name
                        for name, record in service.replica._acceptor.records.items()
                        if record.lease is not None
                    ],
                )


async def main(cell: str, node_id: str, data_dir: str, start: str = "") -> None:
    use_hosts()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            service = await nursery.start(run, cell, node_id, data_dir, start)
            nursery.start_soon(answer_questions, service)
            say("bound")
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()
    say("stopped")


async def run(
    cell: str, node_id: str, data_dir: str, start: str, *, task_status: trio.TaskStatus[Service]
) -> None:
    try:
        serve = serve_node if node_id == "a" else serve_alone
        await serve(
            NodeConfig(cell, node_id, data_dir),
            start=start or "auto",
            report=lambda text: say("report", text=text),
            task_status=task_status,
        )
    except PaxlockError as error:
        say("refused", type=type(error).__name__, text=str(error))
        sys.exit(1)


if __name__ == "__main__":
    try:
        trio.run(partial(main, *sys.argv[1:]))
    except* SystemExit:
        sys.exit(1)
