"""``paxlock stats``: what every node has counted since its start."""

from __future__ import annotations

from collections.abc import Sequence

import click

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.options import CellOptions, client_options, json_option
from paxlock.cli.output import JSON_VERSION, Facts, emit, format_table, printable, say, to_json
from paxlock.cli.runtime import connect, run_async
from paxlock.cli.status import ANSWER_WAIT_S
from paxlock.cli.waiting import why_no_quorum
from paxlock.core.quorum import majority
from paxlock.core.session.events import NodeCounters
from paxlock.observe.counting import readable

__all__ = ["stats_command"]


def counters_facts(nodes: Sequence[NodeCounters]) -> Facts:
    """The JSON object: every counter of every node that answered."""
    told: list[Facts] = []
    for node in nodes:
        facts: Facts = {"id": node.node_id, "answered": node.answered}
        if node.answered:
            facts["counters"] = readable(node.counters)
        told.append(facts)
    return {"v": JSON_VERSION, "nodes": told}


def format_counters(nodes: Sequence[NodeCounters]) -> str:
    """A table: a row for each counter that is not 0 everywhere, a column for each node."""
    columns = [readable(node.counters) for node in nodes]
    rows = [
        (name, *(str(column.get(name, 0)) if column else "-" for column in columns))
        for name in sorted(set().union(*columns))
        if any(column.get(name) for column in columns)
    ]
    lines = [format_table(("COUNTER", *(node.node_id for node in nodes)), rows)]
    lines += [f"node {printable(node.node_id)} did not answer" for node in nodes if not node.answered]
    return "\n".join(lines)


@click.command("stats", epilog=epilog(0, 64, 69, 77, 78))
@json_option
@client_options
def stats_command(options: CellOptions, as_json: bool) -> int:
    """Show what every node has counted since its start.

    The counters have the names of the metrics (docs/metrics.md). Counters that are 0 at every node are left
    out, but not of the JSON. Exit code 69 if no quorum answered.
    """
    settings = options.settings()

    async def show() -> int:
        async with connect(settings, wait=ANSWER_WAIT_S) as client:
            nodes = await client.counters()
            told = sum(node.answered for node in nodes) >= majority(len(nodes))
            trouble = "" if told else await why_no_quorum(client)
        emit(to_json(counters_facts(nodes)) if as_json else format_counters(nodes))
        if trouble:
            say(trouble)
        return ExitCode.DONE if told else ExitCode.NO_QUORUM

    return run_async(show)
