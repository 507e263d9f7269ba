"""The collector of programs: of an embedded node, and of a client in each state."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import attrs
import trio
from prometheus_client import CollectorRegistry, generate_latest

import paxlock
from paxlock.metrics import Collector
from paxlock.observe.statistics import NodeStatistics

ROWS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text().splitlines()
DOCUMENTED = {match[1]: match[2] for row in ROWS if (match := re.match(r"\| `(\w+)` \| (\w+) \|", row))}


def free_addresses() -> dict[str, str]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
        for sock in found:
            sock.bind(("127.0.0.1", 0))
        ports = [sock.getsockname()[1] for sock in found]
    return {node: f"127.0.0.1:{port}" for node, port in zip("abc", ports, strict=True)}


@contextmanager
def logged(event: str, **facts: str) -> Iterator[trio.Event]:
    """An event that is set when the library logs this."""
    told = trio.Event()
    wanted = {"event": event, **facts}

    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if wanted.items() <= vars(record)["paxlock_facts"].items():
                told.set()

    logger, handler = logging.getLogger("paxlock.node"), Listen()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield told
    logger.removeHandler(handler)
    logger.setLevel(before)


def scrape(source: paxlock.Client) -> str:
    registry = CollectorRegistry()
    registry.register(Collector(source))
    return generate_latest(registry).decode()


def kinds(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))


def test_a_field_of_the_statistics_and_its_metric_have_one_name() -> None:
    """But for what is the value of a label, and how the node and its cell are."""
    labels = {"node_id", "mode", "quorum", "peers", "messages", "endpoint", "transport"}
    fields = {field.name for field in attrs.fields(NodeStatistics)} - labels
    metrics = {n.removeprefix("paxlock_node_").removesuffix("_total") for n in DOCUMENTED if "_node_" in n}
    words = {"serving", "starting", "messages", "datagrams", "dropped"}
    words |= {"send_errors", "receive_errors", "kernel_drops"}  # of ``transport``
    assert fields == metrics - words


async def test_a_client_tells_its_leases_and_every_name_is_documented() -> None:
    with trio.fail_after(60):
        async with paxlock.open_dev_cell(3) as cell, paxlock.open_client(cell) as client:
            assert "paxlock_client_leases 0.0" in scrape(client)
            async with client.lock("job"):
                text = scrape(client)
                assert "paxlock_client_leases 1.0" in text
                assert 'paxlock_client_messages_total{kind="accepted"}' in text
            found = kinds(text)
            assert found.items() <= DOCUMENTED.items()
            assert {name for name in DOCUMENTED if "client" in name} == set(found)
        assert isinstance(scrape(client), str)  # closed: whatever is left to tell, a scrape does not fail


async def test_an_embedded_node_tells_of_itself_of_its_peers_and_as_a_client(tmp_path: Path) -> None:
    """Of three nodes two run: they see each other, and the third by its silence."""
    cell = paxlock.Cell.new(free_addresses(), max_ttl=5.0)
    async with AsyncExitStack() as stack:
        with trio.fail_after(60):
            peer_up = stack.enter_context(logged("peer_up", node="a", peer="b"))
            a = await stack.enter_async_context(
                paxlock.open_node(paxlock.NodeConfig(cell, "a", tmp_path / "a"), create=True)
            )
            await stack.enter_async_context(
                paxlock.open_node(paxlock.NodeConfig(cell, "b", tmp_path / "b"), create=True)
            )
            await peer_up.wait()
            seen = a.node_statistics().peers
            assert seen["b"].up and seen["b"].answered and not seen["c"].up and seen["c"].asked > 0
            text = scrape(a)
            await stack.aclose()
    assert 'paxlock_peer_up{node="a",peer="b"} 1.0' in text
    assert 'paxlock_peer_up{node="a",peer="c"} 0.0' in text
    assert 'paxlock_peer_round_trip_seconds{node="a",peer="b"}' in text
    assert 'paxlock_peer_round_trip_seconds{node="a",peer="c"}' not in text
    assert kinds(text) == DOCUMENTED
