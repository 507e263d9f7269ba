"""``paxlock status`` and ``paxlock ls``: what there is at this moment; history when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import click
import trio

from paxlock.cli.exits import NO_ANSWER, ExitCode, Failure, epilog
from paxlock.cli.gc_pauses import short_pauses
from paxlock.cli.options import NAME, PREFIX, CellOptions, client_options, json_option
from paxlock.cli.output import (
    JSON_VERSION,
    Facts,
    emit,
    format_table,
    paint,
    printable,
    say,
    seconds,
    standing_facts,
    to_json,
    voice,
)
from paxlock.cli.pinging import answered, loss_facts, ping_for
from paxlock.cli.runtime import connect, run_async
from paxlock.cli.waiting import nodes_serving, why_no_quorum
from paxlock.client.client import Client
from paxlock.client.standing import Standing, State
from paxlock.config.cell import ClientSettings
from paxlock.core.messages import NodeMode
from paxlock.core.quorum import majority
from paxlock.core.session.events import NodePing, NodeStanding

__all__ = ["ls_command", "status_command"]

NO_PINGS: Mapping[str, Sequence[NodePing]] = {}
PINGS_S = 0.2  #: how long nodes are pinged, after they have told how they are
PINGS_EVERY_S = 0.02
ANSWER_WAIT_S = 5.0  # how long a client without a cell file looks for its cell, and a list waits in silence
LOOKS_WITHIN_WAIT = 10
ANSWERS_OF_LIST = ("names", "view")

CHECK_CODES = {State.LED: 0, State.FREE: 1, State.UNKNOWN: 2}
MODES = {
    NodeMode.SERVING: "serving",
    NodeMode.RECOVERING: "sitting out",
    NodeMode.STARTING: "starting",
    None: "no answer",
}


# --- the nodes -------------------------------------------------------------------------------------------


def cell_facts(nodes: Sequence[NodeStanding], pings: Mapping[str, Sequence[NodePing]] = NO_PINGS) -> Facts:
    """The JSON object of a cell: whether a quorum serves, and every node, with what was lost of its pings."""
    serving = nodes_serving(nodes)
    members = []
    for node in nodes:
        member: Facts = {"id": node.node_id, "address": node.address, "state": MODES[node.mode]}
        if node.mode is NodeMode.RECOVERING:
            member["sits_out_ms"] = int(node.sits_out * 1000)
        if node.round_trip is not None:
            member["round_trip_ms"] = round(node.round_trip * 1000, 3)
        if sent := pings.get(node.node_id):
            member |= loss_facts(len(sent), answered(sent))
        if node.incarnation:
            member["incarnation"] = node.incarnation
        if node.outlived:
            member["outlived"] = True
        if node.complaint:
            member["complaint"] = node.complaint
        members.append(member)
    return {
        "v": JSON_VERSION,
        "quorum": serving >= majority(len(nodes)),
        "nodes": {"up": serving, "total": len(nodes)},
        "members": members,
    }


def format_cell(nodes: Sequence[NodeStanding], pings: Mapping[str, Sequence[NodePing]] = NO_PINGS) -> str:
    """The nodes as a table, and whether a quorum serves."""
    rows = []
    for node in nodes:
        state = MODES[node.mode]
        if node.mode is NodeMode.RECOVERING:
            state += f" for {seconds(node.sits_out)}"
        if node.outlived:
            state = "outlived"
        trip = f"{node.round_trip * 1000:.1f} ms" if node.round_trip is not None else "-"
        sent = pings.get(node.node_id, ())
        lost = f"{(1.0 - answered(sent) / len(sent)) * 100:.0f} %" if sent else "-"
        rows.append((node.node_id, node.address, state, trip, lost, str(node.incarnation or "-")))
    serving, needed = nodes_serving(nodes), majority(len(nodes))
    word = "yes" if serving >= needed else "no"
    summary = f"quorum: {paint(word)} ({serving} of {len(nodes)} serve, {needed} needed)"
    table = format_table(("NODE", "ADDRESS", "STATE", "ROUND TRIP", "LOSS", "INCARNATION"), rows, painted=2)
    complaints = [
        f"{node.node_id} complains: {printable(node.complaint)}" for node in nodes if node.complaint
    ]
    complaints += [
        f"{node.node_id} is an old process, and nobody counts it: the node was started elsewhere; end it"
        for node in nodes
        if node.outlived
    ]
    return "\n".join([table, *complaints, summary])


async def _show_cell(settings: ClientSettings, as_json: bool) -> int:
    async with connect(settings, wait=ANSWER_WAIT_S) as client:
        nodes = await client.survey()
        there = [node.node_id for node in nodes if node.mode is not None]
        pings = await ping_for(client, PINGS_S, every=PINGS_EVERY_S, nodes=there) if there else {}
    emit(to_json(cell_facts(nodes, pings)) if as_json else format_cell(nodes, pings))
    if nodes_serving(nodes) >= majority(len(nodes)):
        return ExitCode.DONE
    if all(node.mode is None for node in nodes):
        say(NO_ANSWER)
    return ExitCode.NO_QUORUM


# --- one name --------------------------------------------------------------------------------------------


def _quorum_told(standing: Standing) -> bool:
    return standing.nodes_up >= majority(standing.nodes_total)


def format_standing(standing: Standing) -> str:
    """A name for people: its state, its holder, its data, who waits, and how many nodes answered."""
    words = [printable(standing.name), paint(standing.state.value)]
    lines = []
    if standing.state is State.LED:
        words += [f"term {standing.term}", f"by {printable(standing.label) or '-'}"]
        words += [f"{seconds(standing.remaining)} left of {seconds(standing.ttl)}"]
        if standing.data:
            lines.append(f"data     {printable(standing.data.decode('utf-8', 'backslashreplace'))}")
    lines.insert(0, "  ".join(words))
    lines += [
        f"waiting  {number}. {printable(waiter.label) or '-'} for {seconds(waiter.waiting)}"
        for number, waiter in enumerate(standing.waiters, start=1)
    ]
    word = "answered" if _quorum_told(standing) else "could tell"
    lines.append(f"nodes    {standing.nodes_up} of {standing.nodes_total} {word}")
    return "\n".join(lines)


async def _show_name(settings: ClientSettings, name: str, as_json: bool, check: bool) -> int:
    async with connect(settings, wait=ANSWER_WAIT_S) as client:
        standing = await client.inspect(name)
        told = _quorum_told(standing)
        trouble = "" if told or voice.quiet else await why_no_quorum(client)
    if not (check and voice.quiet):
        emit(to_json(standing_facts(standing)) if as_json else format_standing(standing))
    if trouble:
        say(trouble)
    if check:
        return CHECK_CODES[standing.state]
    return ExitCode.DONE if told else ExitCode.NO_QUORUM


@click.command("status", epilog=epilog(0, 64, 69, 77, 78, "with --check 0 led, 1 free, 2 unknown"))
@click.argument("name", required=False, type=NAME)
@click.option(
    "--check", is_flag=True, help="Tell by the exit code: 0 led, 1 free, 2 unknown; with -q by nothing else."
)
@json_option
@client_options
def status_command(options: CellOptions, name: str | None, check: bool, as_json: bool) -> int:
    """Show the nodes, or one name.

    Without NAME: every node of the cell, and whether a quorum serves (exit code 69 if not). With NAME: its
    state, holder, term, time left, and who waits in which order.
    """
    if name is None:
        if check:
            raise click.UsageError("--check needs a NAME")
        settings = options.settings()
        return run_async(lambda: _show_cell(settings, as_json))
    checked = name
    settings = options.settings()
    return run_async(lambda: _show_name(settings, checked, as_json, check))


# --- all names -------------------------------------------------------------------------------------------


def format_names(standings: Sequence[Standing]) -> str:
    """The names as a table."""
    rows = []
    for standing in standings:
        led = standing.state is State.LED
        rows.append(
            (
                standing.name,
                standing.state.value,
                str(standing.term) if standing.term else "-",
                seconds(standing.remaining) if led else "-",
                (standing.label or "-") if led else "-",
            )
        )
    return format_table(("NAME", "STATE", "TERM", "LEFT", "LABEL"), rows, painted=1)


async def _nodes_up(client: Client) -> int:
    """How many nodes answer: of each name in a list only a quorum was asked."""
    return sum(1 for node in await client.survey() if node.mode is not None)


async def _list_while_answers_come(client: Client, prefix: str) -> list[Standing] | None:
    """The names, however many, and however long that takes; None where nothing has come for ANSWER_WAIT_S."""
    found = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_in_silence, client, nursery.cancel_scope)
        found = await client.list(prefix)
        nursery.cancel_scope.cancel()
    return found


async def _cancel_in_silence(client: Client, scope: trio.CancelScope) -> None:
    """Cancel the scope once no page of names, and nothing of a name, has come for ANSWER_WAIT_S."""
    answers, since = 0, trio.current_time()
    while trio.current_time() < since + ANSWER_WAIT_S:
        await trio.sleep(ANSWER_WAIT_S / LOOKS_WITHIN_WAIT)
        messages = client.statistics().session.messages
        heard = sum(messages.get(kind, 0) for kind in ANSWERS_OF_LIST)
        if heard > answers:
            answers, since = heard, trio.current_time()
    scope.cancel()


@click.command("ls", epilog=epilog(0, 64, 69, 77, 78))
@click.argument("prefix", default="", type=PREFIX)
@json_option
@click.option("--jsonl", "as_lines", is_flag=True, help="Print JSON, one object a line.")
@client_options
def ls_command(options: CellOptions, prefix: str, as_json: bool, as_lines: bool) -> int:
    """List the names in use.

    With PREFIX (a star at its end is allowed): only names that begin so.
    """
    settings = options.settings()

    async def list_names() -> int:
        async with connect(settings, wait=ANSWER_WAIT_S) as client:
            standings = await _list_while_answers_come(client, prefix)
            if standings is None:
                raise Failure(ExitCode.NO_QUORUM, await why_no_quorum(client))
            up = await _nodes_up(client) if standings and (as_json or as_lines) else 0
        told = (attrs.evolve(standing, nodes_up=up) for standing in standings)
        if as_lines:
            for standing in told:
                emit(to_json(standing_facts(standing, waiters=False)))
        elif as_json:
            names = [standing_facts(standing, waiters=False) for standing in told]
            emit(to_json({"v": JSON_VERSION, "names": names}))
        elif standings:
            emit(format_names(standings))
        else:
            say(f"no name that begins with {prefix!r} is in use" if prefix else "no name is in use")
        return ExitCode.DONE

    with short_pauses():  # there may be as many names as nodes know
        return run_async(list_names)
