"""``paxlock doctor``: the network, the cell and this machine, measured for some seconds and judged."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import trio

from paxlock.cli.exits import NO_ANSWER, ExitCode, Failure, epilog
from paxlock.cli.options import DEFAULT_TTL, DURATION, CellOptions, client_options, json_option
from paxlock.cli.output import JSON_VERSION, Facts, emit, format_table, printable, say, to_json
from paxlock.cli.pinging import loss_facts, ping_for
from paxlock.cli.runtime import connect, run_async
from paxlock.cli.status import ANSWER_WAIT_S, MODES
from paxlock.client.client import Client
from paxlock.config.cell import ClientSettings
from paxlock.config.durations import format_duration
from paxlock.core.messages import NodeMode
from paxlock.core.quorum import majority
from paxlock.observe.clocks import rate_of
from paxlock.observe.judging import (
    Diagnosis,
    Examination,
    NodeExamined,
    judge,
    proposed_ttl,
    worst_takeover,
)

__all__ = ["doctor_command"]

SOMETHING_WRONG = 1
BEAT_S = 0.01
BETWEEN_S = 0.05
WRITES = 10
WRITE_BYTES = 4096
BUFFER_FILE = Path("/proc/sys/net/core/rmem_max")


class _Pauses:
    """The longest time that this process did not run."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            due = time.monotonic() + BEAT_S
            await trio.sleep(BEAT_S)
            self.longest = max(self.longest, time.monotonic() - due)


async def _ask_nodes(client: Client, duration: float) -> list[NodeExamined]:
    await client.survey()  # then every node that is there knows this session
    pings = await ping_for(client, duration, every=BETWEEN_S)
    drift = client.cell.configuration.drift
    examined = []
    for node in await client.survey():
        mine = pings[node.node_id]
        trips = [ping.round_trip for ping in mine if ping.round_trip is not None]
        rate = rate_of(mine, drift)
        examined.append(NodeExamined(node.node_id, node.mode, node.complaint, len(mine), trips, rate))
    return examined


def _longest_write(folder: str) -> float:
    """Write and fsync some times in this folder, and leave nothing there. Raises Failure where that fails."""
    longest = 0.0
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(WRITES):
                began = time.monotonic()
                file.write(b"\0" * WRITE_BYTES)
                file.flush()
                os.fsync(file.fileno())
                longest = max(longest, time.monotonic() - began)
    except OSError as error:
        raise Failure(
            ExitCode.CONFIG, f"the data folder {folder} cannot be written: {error.strerror}"
        ) from error
    return longest


def _buffer_bytes() -> int | None:
    try:
        return int(BUFFER_FILE.read_text())
    except (OSError, ValueError):
        return None


async def _examine(
    settings: ClientSettings, ttl: float | None, duration: float, folder: str | None
) -> Examination:
    fsync = await trio.to_thread.run_sync(_longest_write, folder) if folder is not None else None
    pauses = _Pauses()
    async with connect(settings, wait=ANSWER_WAIT_S) as client:
        ttl = client.lease_ttl(ttl)
        if ttl > client.cell.max_ttl:
            most = format_duration(client.cell.max_ttl)
            sentence = f"a ttl of {format_duration(ttl)} is above the cell's max_ttl of {most}"
            raise Failure(ExitCode.USAGE, f"{sentence}: give --ttl {most}, or less")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pauses.run)
            nodes = await _ask_nodes(client, duration)
            nursery.cancel_scope.cancel()
        cell = client.cell
        return Examination(
            nodes, cell.max_ttl, cell.configuration.drift, ttl, pauses.longest, fsync, _buffer_bytes()
        )


def _facts(found: Examination, findings: Sequence[Diagnosis]) -> Facts:
    return {
        "v": JSON_VERSION,
        "fine": not any(finding.problem for finding in findings),
        "nodes": [
            {
                "id": node.node_id,
                "state": MODES[node.mode],
                "round_trip_ms": [round(trip * 1000, 3) for trip in _least_and_most(node)],
                **loss_facts(node.asked, len(node.round_trips)),
                "clock_rate": round(node.rate.middle, 6) if node.rate is not None else None,
                "clock_error": round(node.rate.error, 6) if node.rate is not None else None,
            }
            for node in found.nodes
        ],
        "pause_ms": round(found.pause * 1000, 3),
        "fsync_ms": round(found.fsync * 1000, 3) if found.fsync is not None else None,
        "buffer_bytes": found.buffer_bytes,
        "proposed_ttl_ms": round(proposed_ttl(found) * 1000),
        "ttl_ms": round(found.ttl * 1000),
        "worst_takeover_ms": round(worst_takeover(found) * 1000),
        "findings": [
            {"problem": finding.problem, "about": finding.about, "sentence": finding.sentence}
            for finding in findings
        ],
    }


def _least_and_most(node: NodeExamined) -> tuple[float, ...]:
    trips = sorted(node.round_trips)
    return (trips[0], trips[len(trips) // 2], trips[-1]) if trips else ()


def _clock(node: NodeExamined) -> str:
    if node.rate is None:
        return "-"
    return f"{(node.rate.middle - 1.0) * 100:+.3f} % (within {node.rate.error * 100:.3f} %)"


def _text(found: Examination, findings: Sequence[Diagnosis]) -> str:
    rows = []
    for node in found.nodes:
        trips = " / ".join(f"{trip * 1000:.1f}" for trip in _least_and_most(node)) or "-"
        rows.append((node.node_id, MODES[node.mode], trips, f"{node.loss * 100:.0f} %", _clock(node)))
    lines = [
        format_table(
            ("NODE", "STATE", "ROUND TRIP MS (LEAST / MEDIAN / MOST)", "LOSS", "CLOCK AGAINST THIS ONE"),
            rows,
            painted=1,
        )
    ]
    lines.append(f"this process stood still for {found.pause * 1000:.1f} ms at most")
    if found.fsync is not None:
        lines.append(f"writing the data folder took {found.fsync * 1000:.1f} ms at most")
    lines.append(f"a ttl of {proposed_ttl(found):.0f} s or more holds here")
    lines.append(
        f"with a ttl of {found.ttl:.1f} s, whoever waits leads at most {worst_takeover(found):.1f} s after a "
        "holder's death"
    )
    lines += [
        f"{'PROBLEM' if finding.problem else 'advice'}: {printable(finding.sentence)}" for finding in findings
    ]
    if not any(finding.problem for finding in findings):
        lines.append("nothing is wrong")
    return "\n".join(lines)


@click.command(
    "doctor", epilog=epilog("0 nothing is wrong", "1 something is wrong", 64, 69, 77, 78, durations=True)
)
@click.option(
    "--for", "duration", type=DURATION, default="3s", show_default=True, help="How long to measure."
)
@click.option("--ttl", type=DURATION, help=f"The ttl to judge {DEFAULT_TTL}.")
@click.option("--data-dir", metavar="FOLDER", help="Measure writes in this data folder too; it must exist.")
@json_option
@client_options
def doctor_command(
    options: CellOptions, duration: float, ttl: float | None, data_dir: str | None, as_json: bool
) -> int:
    """Judge the cell, the network and this machine.

    Measures round trips, what is lost, how fast the clocks run, and the pauses of this machine, and
    proposes a ttl. Run it on the hosts that hold
    leases, while they are as busy as they get.
    """
    settings = options.settings()

    async def examine() -> int:
        found = await _examine(settings, ttl, duration, data_dir)
        findings = judge(found)
        emit(to_json(_facts(found, findings)) if as_json else _text(found, findings))
        serving = sum(node.mode is NodeMode.SERVING for node in found.nodes)
        if serving < majority(len(found.nodes)):
            if all(node.mode is None for node in found.nodes):
                say(NO_ANSWER)
            return ExitCode.NO_QUORUM
        return SOMETHING_WRONG if any(finding.problem for finding in findings) else ExitCode.DONE

    return run_async(examine)
