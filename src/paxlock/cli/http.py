"""``serve --http``: /metrics, /health and /ready of one node (extra ``http``: h11 and prometheus-client).

It runs in the node's own event loop, so that an answer means that the process turns; and so that nobody can
hold the node up: connections, sizes and times are bounded, and a page is made at most twice a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import h11
import trio
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from paxlock.core.messages import NodeMode
from paxlock.errors import ConfigError
from paxlock.host.udp import bind_trouble
from paxlock.metrics import Collector
from paxlock.wire.transport import format_address, split_address

if TYPE_CHECKING:
    from paxlock.observe.statistics import NodeStatistics

__all__ = ["CONNECTIONS_MAX", "CONNECTION_S", "HEADER_MAX_BYTES", "Pages", "listen", "serve_http"]

CONNECTIONS_MAX = 32  #: what comes beyond is closed at once
HEADER_MAX_BYTES = 8192
CONNECTION_S = 10.0  #: for all requests of a connection, and their answers
REQUESTS_MAX = 100  #: of one connection
PAGE_S = 0.5  #: so old may the metrics be: whoever asks all the time costs the node no more
READ_BYTES = 4096

STATES = {NodeMode.SERVING: "serving", NodeMode.RECOVERING: "sitting out", NodeMode.STARTING: "starting"}
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


class Pages:
    """What there is to read. ``node`` is set once the node has been started."""

    def __init__(self) -> None:
        self.node: Callable[[], NodeStatistics] | None = None
        self._registry = CollectorRegistry()
        self._registry.register(Collector(self))
        self._made_at, self._metrics = -PAGE_S, b""

    def node_statistics(self) -> NodeStatistics:
        """For the collector. Raises RuntimeError while there is no node."""
        if self.node is None:
            raise RuntimeError("the node has not been started")
        return self.node()

    def page(self, path: str) -> tuple[int, str, bytes]:
        """Status, type and content of a page."""
        if path == "/metrics":
            now = trio.current_time()
            if now >= self._made_at + PAGE_S:
                self._made_at, self._metrics = now, generate_latest(self._registry)
            return 200, CONTENT_TYPE_LATEST, self._metrics
        if path == "/health":
            return 200, TEXT, self._health()
        if path == "/ready":
            return self._ready()
        return 404, TEXT, b"there are /metrics, /health and /ready\n"

    def _health(self) -> bytes:
        found = None if self.node is None else self.node()
        if found is not None and found.data_folder_gone:
            return b"the process turns, but its data folder was deleted or moved\n"
        if found is not None and found.state_not_kept:
            return b"the process turns, but its state file is not kept\n"
        return b"the process turns\n"

    def _ready(self) -> tuple[int, str, bytes]:
        facts: dict[str, object] = {"ready": False, "state": "starting"}
        if self.node is not None:
            found = self.node()
            facts = {"ready": found.mode is NodeMode.SERVING, "state": STATES[found.mode]}
            if found.mode is NodeMode.RECOVERING:
                facts["sits_out_ms"] = int(found.sits_out_seconds * 1000)
            if found.data_folder_gone:
                facts["data_folder_gone"] = True
            if found.state_not_kept:
                facts["state_not_kept"] = True
        return (200 if facts["ready"] else 503), JSON, json.dumps(facts).encode() + b"\n"


async def listen(address: str) -> list[trio.SocketListener]:
    """Listen at ``host:port``. Raises ConfigError where that cannot be."""
    host, port = split_address(address)
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise ConfigError(f"--http: {bind_trouble(format_address((host, port)), error)}") from error


async def serve_http(listeners: list[trio.SocketListener], pages: Pages) -> None:
    """Answer until cancelled."""
    connections = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        try:
            if connections <= CONNECTIONS_MAX:
                with trio.move_on_after(CONNECTION_S):
                    await _talk(stream, pages)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            pass  # whoever it was has gone, or does not speak HTTP
        finally:
            connections -= 1
            # Not awaited: a peer that does not read must not keep this task.
            stream.socket.close()

    await trio.serve_listeners(handle, listeners)


async def _talk(stream: trio.SocketStream, pages: Pages) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_MAX_BYTES)
    for _ in range(REQUESTS_MAX):
        request = await _next_request(stream, connection)
        if request is None or not await _answer(stream, connection, pages, request):
            return
        connection.start_next_cycle()


async def _next_request(stream: trio.SocketStream, connection: h11.Connection) -> h11.Request | None:
    """The next request, read to its end; None where there is none."""
    request: h11.Request | None = None
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                status = error.error_status_hint
                await _send(stream, connection, status, TEXT, b"not understood\n", head=False)
            raise
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(READ_BYTES))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            await _send(stream, connection, 413, TEXT, b"no content is taken\n", head=False)
            return None
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


async def _answer(
    stream: trio.SocketStream, connection: h11.Connection, pages: Pages, request: h11.Request
) -> bool:
    """Send the answer; True where another request may follow."""
    head = request.method == b"HEAD"
    path = request.target.partition(b"?")[0].decode("ascii", "replace")
    if head or request.method == b"GET":
        status, kind, content = pages.page(path)
    else:
        status, kind, content = 405, TEXT, b"only GET and HEAD\n"
    await _send(stream, connection, status, kind, content, head=head)
    return connection.our_state is h11.DONE and connection.their_state is h11.DONE


async def _send(
    stream: trio.SocketStream,
    connection: h11.Connection,
    status: int,
    kind: str,
    content: bytes,
    *,
    head: bool,
) -> None:
    headers = [("Content-Type", kind), ("Content-Length", str(len(content))), ("Cache-Control", "no-store")]
    if status == 405:
        headers.append(("Allow", "GET, HEAD"))
    parts = [connection.send(h11.Response(status_code=status, headers=headers))]
    if not head:
        parts.append(connection.send(h11.Data(data=content)))
    parts.append(connection.send(h11.EndOfMessage()))
    await stream.send_all(b"".join(part for part in parts if part))
