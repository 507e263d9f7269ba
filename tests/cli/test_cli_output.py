"""What the command line prints: JSON of stable shape, and text that cannot steer a terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import trio

from paxlock.cli.output import (
    change_facts,
    format_table,
    name_facts,
    paint,
    printable,
    standing_facts,
    to_json,
    voice,
)
from paxlock.cli.runtime import logs_as_talk, room_on_stdout
from paxlock.cli.status import cell_facts, format_cell, format_names, format_standing
from paxlock.cli.watch import EndCondition, format_change
from paxlock.client.standing import Change, Standing, State, Waiter
from paxlock.core.messages import NodeMode
from paxlock.core.session.events import NodePing, NodeStanding

LED = Standing(
    name="job",
    state=State.LED,
    term=7,
    label="host:1",
    data=b"10.0.0.7:8080",
    remaining=8.1239,
    ttl=10.0,
    waiters=(Waiter("other", 0.5121),),
    nodes_up=3,
    nodes_total=3,
)
NODES = (
    NodeStanding("a", "10.0.0.7:7400", NodeMode.SERVING, 0.0, round_trip=0.00123, incarnation=7),
    NodeStanding("b", "10.0.0.8:7400", NodeMode.RECOVERING, 12.34),
    NodeStanding("c", "10.0.0.9:7400", None, 0.0),
)


def test_the_json_of_a_led_name_is_that_of_the_contract() -> None:
    assert to_json(standing_facts(LED)) == (
        '{"v":1,"name":"job","state":"led","term":7,"label":"host:1","data":"10.0.0.7:8080",'
        '"remaining_ms":8123,"ttl_ms":10000,"waiters":[{"label":"other","waiting_ms":512}],'
        '"nodes":{"up":3,"total":3}}'
    )


@pytest.mark.parametrize("state", [State.FREE, State.UNKNOWN])
def test_what_a_name_that_nobody_leads_does_not_have_is_left_out(state: State) -> None:
    facts = standing_facts(Standing("job", state, nodes_up=1, nodes_total=3))
    assert facts == {
        "v": 1,
        "name": "job",
        "state": state.value,
        "waiters": [],
        "nodes": {"up": 1, "total": 3},
    }


def test_data_that_is_not_text_is_base64() -> None:
    facts = name_facts("job", "led", data=b"\xff\x00")
    assert facts["data_b64"] == "/wA="
    assert "data" not in facts


def test_the_json_of_a_change_has_no_field_that_is_unknown() -> None:
    free = Change("job", State.FREE, 7, "", b"")
    assert change_facts(free) == {"v": 1, "name": "job", "state": "free", "term": 7}
    led = Change("job", State.LED, 8, "host:1", b"x", skipped=2)
    assert change_facts(led) == {
        "v": 1,
        "name": "job",
        "state": "led",
        "term": 8,
        "label": "host:1",
        "data": "x",
        "skipped": 2,
    }


def test_json_is_one_line_of_ascii() -> None:
    line = to_json(name_facts("jöb\u2028", "free"))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["name"] == "jöb\u2028"


@pytest.mark.parametrize("nasty", ["\x1b[2J", "\x07", "\u202e", "a\nb", "\x9b"])
def test_nothing_from_the_network_steers_the_terminal(nasty: str) -> None:
    assert printable(nasty).isprintable()
    led = Standing("job", State.LED, 1, nasty, nasty.encode(), 1.0, 2.0, (Waiter(nasty, 1.0),), 3, 3)
    for text in (
        format_standing(led),
        format_names([led]),
        format_change(Change("job", State.LED, 1, nasty, b"")),
        format_table(("A",), [(nasty,)]),
    ):
        assert all(line.isprintable() for line in text.split("\n"))
    assert len(format_names([led]).split("\n")) == 2


def test_a_line_of_watch() -> None:
    assert format_change(Change("job", State.LED, 7, "host:1", b"")) == "job led 7 host:1"
    assert format_change(Change("job", State.FREE, 7, "", b"")) == "job free 7"
    assert format_change(Change("job", State.UNKNOWN, 0, "", b"")) == "job unknown"


async def test_what_is_printed_waits_for_its_reader_and_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A write to a pipe that is full hears no signal: `paxlock watch | less` could only be killed."""
    end, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while True:
            os.write(full, bytes(65_536))
    os.set_blocking(full, True)
    with os.fdopen(full, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with trio.move_on_after(0.05) as scope:
            await room_on_stdout()
        assert scope.cancelled_caught
        os.close(end)  # whoever writes now hears that nobody reads
        with trio.fail_after(30):
            await room_on_stdout()


async def test_what_is_printed_into_a_file_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out").open("w") as out:
        for stdout in (out, io.StringIO(), None):
            monkeypatch.setattr(sys, "stdout", stdout)
            with trio.fail_after(30):
                await room_on_stdout()


@pytest.mark.parametrize("quiet", [False, True])
def test_what_a_client_logs_is_talk_of_the_command(
    quiet: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice, "quiet", quiet)
    log = logging.getLogger("paxlock")
    before = log.handlers[:]
    with logs_as_talk():
        log.info("too much")
        log.warning("this key has used up its %s", "quota\x1b[2J")
    said = f"paxlock: {printable('this key has used up its quota' + chr(27) + '[2J')}\n"
    assert chr(27) not in said
    assert capsys.readouterr().err == ("" if quiet else said)
    assert log.handlers == before and log.propagate


def test_a_watch_ends_when_every_name_was_seen_once() -> None:
    ending = EndCondition(["a", "b"], once=True, until=None)
    change = Change("a", State.FREE, 0, "", b"")
    assert not ending.reached("a", change)
    assert not ending.reached("a", change)
    assert ending.reached("b", change)


def test_a_watch_ends_at_the_state_asked_for() -> None:
    ending = EndCondition(["a"], once=False, until="free")
    assert not ending.reached("a", Change("a", State.LED, 1, "", b""))
    assert not ending.reached("a", Change("a", State.UNKNOWN, 0, "", b""))
    assert ending.reached("a", Change("a", State.FREE, 1, "", b""))


PINGS = {
    "a": [NodePing("a", 0.001)] * 4,
    "b": [*[NodePing("b", 0.001)] * 3, NodePing("b")],
}


def test_the_table_of_nodes() -> None:
    assert format_cell(NODES, PINGS).split("\n") == [
        "NODE  ADDRESS        STATE                   ROUND TRIP  LOSS  INCARNATION",
        "a     10.0.0.7:7400  serving                 1.2 ms      0 %   7",
        "b     10.0.0.8:7400  sitting out for 12.3 s  -           25 %  -",
        "c     10.0.0.9:7400  no answer               -           -     -",
        "quorum: no (1 of 3 serve, 2 needed)",
    ]


def test_an_old_process_of_a_node_is_told_and_not_counted() -> None:
    old = attrs.evolve(NODES[0], outlived=True)
    table = format_cell((old, *NODES[1:]))
    assert "a     10.0.0.7:7400  outlived" in table
    assert "a is an old process, and nobody counts it" in table
    assert "quorum: no (0 of 3 serve, 2 needed)" in table
    assert cell_facts((old, *NODES[1:]))["members"][0]["outlived"] is True


def test_the_json_of_a_cell() -> None:
    facts = cell_facts(NODES, PINGS)
    assert facts["quorum"] is False
    assert facts["nodes"] == {"up": 1, "total": 3}
    assert facts["members"][0]["round_trip_ms"] == 1.23
    assert facts["members"][0]["incarnation"] == 7
    assert facts["members"][1] == {
        "id": "b",
        "address": "10.0.0.8:7400",
        "state": "sitting out",
        "sits_out_ms": 12340,
        "pings": 4,
        "answered": 3,
        "loss": 0.25,
    }


def test_a_standing_shows_the_line_in_order() -> None:
    lines = format_standing(LED).split("\n")
    assert lines[0] == "job  led  term 7  by host:1  8.1 s left of 10.0 s"
    assert lines[1:] == [
        "data     10.0.0.7:8080",
        "waiting  1. other for 0.5 s",
        "nodes    3 of 3 answered",
    ]


class Terminal:
    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("led") == "led"
    monkeypatch.setattr("sys.stdout", Terminal())
    assert paint("led") == "\x1b[32mled\x1b[0m"
    assert paint("something else") == "something else"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("led") == "led"
