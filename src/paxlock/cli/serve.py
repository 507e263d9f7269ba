"""``paxlock serve``: one node of a cell, until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click
import trio

from paxlock.cli.exits import ExitCode, Failure, epilog, unwrap
from paxlock.cli.gc_pauses import load, no_pauses, short_pauses
from paxlock.cli.options import Checked, cell_option, key_file_option, talk_options
from paxlock.cli.output import voice
from paxlock.cli.runtime import run_async, typed_values
from paxlock.config.cell import check_address, check_node_id, node_settings
from paxlock.config.starts import StartWord, start_word
from paxlock.errors import ConfigError, StoreError
from paxlock.node.reloading import cell_again, reload_node, say_failed
from paxlock.node.server import Service, serve_alone
from paxlock.observe.logs import logging_to_stderr
from paxlock.runtime.background import in_thread

__all__ = ["serve_command"]

ADDRESS = Checked("address", check_address)
STDERR = 2
NODE_ID = Checked("node id", check_node_id)


async def _open_http(address: str) -> tuple[Any, Any, Any]:
    """The pages, what listens, and what serves them. Raises ConfigError."""
    try:
        from paxlock.cli.http import Pages, listen, serve_http  # here, because few need it
    except ImportError as error:
        raise ConfigError(f"--http needs {error.name}: install it by pip install 'paxlock[http]'") from error
    return Pages(), await listen(address), serve_http


async def _reload_at(hups: AsyncIterator[int], service: Service, *, had_terminal: bool) -> None:
    """At each HUP read the keys anew. Returns where that one said that our terminal is gone."""
    async for _ in hups:
        if had_terminal and not os.isatty(STDERR):
            return
        try:
            found = await in_thread(partial(cell_again, service.config))
            reload_node(service, found)
        except ConfigError as error:
            say_failed(service, error)


@contextmanager
def _disk_trouble() -> Iterator[list[Service]]:
    """Once there is a running node in the list, a disk that fails it is no bad configuration: it may well
    start again.
    """
    running: list[Service] = []
    try:
        yield running
    except (StoreError, BaseExceptionGroup) as error:
        found = unwrap(error)
        if not (running and isinstance(found, StoreError) and isinstance(found.__cause__, OSError)):
            raise
        raise Failure(ExitCode.INTERNAL, str(found)) from error


@click.command("serve", epilog=epilog("0 stopped", 64, "70 its disk has failed it", 77, 78))
@cell_option
@click.option(
    "--node", "node_id", metavar="ID", type=NODE_ID, help="Which node of the cell this is [PAXLOCK_NODE]."
)
@click.option("--data-dir", metavar="FOLDER", help="Where this node keeps its record [PAXLOCK_DATA_DIR].")
@key_file_option
@click.option(
    "--start",
    metavar="WORD",
    type=click.Choice([word.value for word in StartWord]),
    default=StartWord.AUTO.value,
    show_default=True,
    help="What is known of the cell: auto finds out by itself, create says that it is new, join that this "
    "node's memory is lost, by-clock is auto where members are gone for good.",
)
@click.option("--create", is_flag=True, help="Short for --start create.")
@click.option("--join", is_flag=True, help="Short for --start join.")
@click.option("--by-clock", is_flag=True, help="Short for --start by-clock.")
@click.option(
    "--durability",
    type=click.Choice(["record", "sync", "memory"]),
    default="record",
    show_default=True,
    help="What is on disk: record has a small record and what a killed process needs, sync has all that is "
    "told before it is told, memory needs no folder.",
)
@click.option(
    "--http",
    metavar="ADDRESS",
    type=ADDRESS,
    help="Answer /metrics, /health and /ready here (extra 'http').",
)
@click.option(
    "--log",
    "log_form",
    type=click.Choice(["text", "json"]),
    help="How log lines on stderr are written [text on a terminal, json elsewhere].",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least level that is logged; with -q, warning.",
)
@click.option("--listen", type=ADDRESS, help="Bind this address instead of the node's own.")
@talk_options
def serve_command(
    cell: str | None,
    node_id: str | None,
    data_dir: str | None,
    key_file: str | None,
    start: str,
    create: bool,
    join: bool,
    by_clock: bool,
    durability: str,
    http: str | None,
    log_form: str | None,
    log_level: str,
    listen: str | None,
) -> int:
    """Run one node of a cell.

    Stops cleanly on TERM and INT: the leases that it knows survive a quick restart. On HUP it reads its
    keys anew, and 'generation' and 'denied' of the cell file; what cannot be read changes nothing.
    """
    with typed_values():
        word = start_word(start, create=create, join=join, by_clock=by_clock)
    load("tomllib")  # for the cell file
    config = node_settings(cell, node_id, data_dir, key_file=key_file, durability=durability, listen=listen)

    had_terminal = os.isatty(STDERR)

    async def serve() -> int:
        with trio.open_signal_receiver(signal.SIGHUP) as hups, _disk_trouble() as running:
            async with trio.open_nursery() as nursery:
                pages: Any = None
                if http is not None:
                    pages, listeners, serve_http = await _open_http(http)
                    nursery.start_soon(serve_http, listeners, pages)
                with no_pauses():  # what its disk has may be a million objects
                    service = await nursery.start(partial(serve_alone, config, start=word))
                running.append(service)
                if pages is not None:
                    pages.node = service.eyes.statistics
                await _reload_at(hups, service, had_terminal=had_terminal)
                nursery.cancel_scope.cancel()
        return ExitCode.DONE

    level = getattr(logging, log_level.upper())
    if voice.quiet:
        level = max(level, logging.WARNING)
    with short_pauses(), logging_to_stderr(log_form, level):
        return run_async(serve, stopped=ExitCode.DONE, hup=False)
