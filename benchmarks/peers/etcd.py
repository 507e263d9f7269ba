"""etcd: three servers, and its own lock service over grpc.aio.

A session is one lease, kept alive every third of its time to live, as etcd's own client does it; a lock is
one ``Lock`` call under that lease, a release one ``Unlock``. etcd grants a lock that is held again to the
same lease, so callers that compete must have a lease, and thus a session, each.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.machine import (
    find_program,
    free_ports,
    missing_program,
    package_version,
    program_says,
)
from benchmarks.peers.base import Cluster, Connection, Peer, Session
from benchmarks.processes import Failed
from benchmarks.runtimes import Asyncio

PROTO = Path(__file__).with_name("etcd.proto")
CALL_PATIENCE_S = 10.0


def compile_messages(folder: Path) -> None:
    """Generate the message classes into a folder, as the module ``etcd_pb2``."""
    protoc: Any = import_module("grpc_tools.protoc")
    code = protoc.main(["protoc", f"--proto_path={PROTO.parent}", f"--python_out={folder}", str(PROTO)])
    if code:
        raise Failed(f"protoc ended with {code}")


class EtcdCluster(Cluster):
    def prepare(self) -> None:
        ports = free_ports(6)
        hosts = [self.places.address(number) for number in range(3)]
        self.clients = [f"{host}:{port}" for host, port in zip(hosts, ports[:3], strict=True)]
        self.peers = [f"{host}:{port}" for host, port in zip(hosts, ports[3:], strict=True)]
        compile_messages(self.folder)

    def commands(self) -> list[list[str]]:
        program = find_program("etcd")
        assert program is not None
        urls = [f"http://{address}" for address in self.peers]
        initial = ",".join(f"n{number}={url}" for number, url in enumerate(urls))
        return [
            [
                program,
                *("--name", f"n{number}", "--data-dir", str(self.folder / f"n{number}")),
                *("--listen-peer-urls", urls[number], "--initial-advertise-peer-urls", urls[number]),
                *("--listen-client-urls", f"http://{client}"),
                *("--advertise-client-urls", f"http://{client}"),
                *("--initial-cluster", initial, "--initial-cluster-state", "new"),
                *("--log-level", "error"),
            ]
            for number, client in enumerate(self.clients)
        ]

    def connection(self) -> Connection:
        return {"addresses": self.clients, "messages": str(self.folder), "round_trip": self.places.round_trip}

    def victim(self) -> int | None:
        return asyncio.run(self._leader())

    async def _leader(self) -> int | None:
        grpc: Any = import_module("grpc")
        for number, address in enumerate(self.clients):
            async with grpc.aio.insecure_channel(address) as channel:
                with suppress(grpc.RpcError):
                    status = await Calls(channel, str(self.folder)).status(timeout=1.0)
                    if status.leader and status.leader == status.header.member_id:
                        return number
        return None


class Calls:
    """The calls of etcd's API that the comparison makes."""

    def __init__(self, channel: Any, folder: str) -> None:
        if folder not in sys.path:
            sys.path.append(folder)
        self.messages: Any = import_module("etcd_pb2")
        self._channel = channel
        self.lock = self._unary("/v3lockpb.Lock/Lock", "Lock")
        self.unlock = self._unary("/v3lockpb.Lock/Unlock", "Unlock")
        self.grant = self._unary("/etcdserverpb.Lease/LeaseGrant", "LeaseGrant")
        self.keep_alive = self._stream("/etcdserverpb.Lease/LeaseKeepAlive", "LeaseKeepAlive")
        self.range = self._unary("/etcdserverpb.KV/Range", "Range")
        self.watch = self._stream("/etcdserverpb.Watch/Watch", "Watch")
        self._status = self._unary("/etcdserverpb.Maintenance/Status", "Status")

    async def status(self, timeout: float) -> Any:  # noqa: ASYNC109 - grpc's own word
        return await self._status(self.messages.StatusRequest(), timeout=timeout)

    def _coding(self, name: str) -> dict[str, Any]:
        return {
            "request_serializer": getattr(self.messages, f"{name}Request").SerializeToString,
            "response_deserializer": getattr(self.messages, f"{name}Response").FromString,
        }

    def _unary(self, path: str, name: str) -> Callable[..., Any]:
        call: Callable[..., Any] = self._channel.unary_unary(path, **self._coding(name))
        return call

    def _stream(self, path: str, name: str) -> Callable[..., Any]:
        call: Callable[..., Any] = self._channel.stream_stream(path, **self._coding(name))
        return call


class EtcdSession:
    def __init__(self, calls: Calls, lease: int) -> None:
        self._calls = calls
        self._lease = lease
        self._tasks: list[asyncio.Task[None]] = []

    async def acquire(self, name: str) -> bytes:
        request = self._calls.messages.LockRequest(name=name.encode(), lease=self._lease)
        key: bytes = (await self._calls.lock(request)).key
        return key

    async def release(self, grant: bytes) -> None:
        await self._calls.unlock(self._calls.messages.UnlockRequest(key=grant), timeout=CALL_PATIENCE_S)

    async def held(self, grants: Sequence[bytes]) -> int:
        request = self._calls.messages.RangeRequest(key=b"\0", range_end=b"\0", count_only=True)
        found: int = (await self._calls.range(request, timeout=CALL_PATIENCE_S)).count
        return min(found, len(grants))

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        """Of a lock that one client at a time asks for: its key is there exactly while the lock is held."""
        messages = self._calls.messages
        stream = self._calls.watch()
        prefix = name.encode() + b"/"
        create = messages.WatchCreateRequest(key=prefix, range_end=name.encode() + b"0")
        await stream.write(messages.WatchRequest(create_request=create))
        await stream.read()

        async def listen() -> None:
            while response := await stream.read():
                for event in response.events:
                    tell(event.type == messages.Event.PUT)

        self._tasks.append(asyncio.create_task(listen()))

    def start_renewing(self, ttl: float) -> None:
        self._tasks.append(asyncio.create_task(self._renew(ttl / 3)))

    async def _renew(self, every: float) -> None:
        grpc: Any = import_module("grpc")
        request = self._calls.messages.LeaseKeepAliveRequest(ID=self._lease)
        while True:
            with suppress(grpc.RpcError, asyncio.InvalidStateError):
                stream = self._calls.keep_alive()
                while True:
                    await stream.write(request)
                    await stream.read()
                    await asyncio.sleep(every)
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Etcd(Peer):
    name = "etcd"
    title = "etcd"
    runtime = Asyncio
    cluster = EtcdCluster
    packages = (("grpc", "grpcio"), ("grpc_tools", "grpcio-tools"))
    scenarios = "ABCDEFGHWK"
    modules = ("grpc", "google.protobuf.internal.builder")
    settings = (
        "defaults; its lock service by grpc.aio with generated messages, one lease a session kept alive "
        "every third of its ttl; clients reconnect after 50 to 100 ms and ten round trips, not after 1 s"
    )

    def missing(self) -> list[str]:
        return [*missing_program("etcd", "etcd-server"), *super().missing()]

    def versions(self) -> str:
        said = program_says("etcd", "--version").removeprefix("etcd Version: ")
        return f"etcd {said}, {package_version('grpcio')}"

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        grpc: Any = import_module("grpc")
        target = "ipv4:" + ",".join(connection["addresses"])
        soon = 50 + round(1000 * 10 * connection["round_trip"])  # a connection that takes longer is given up
        options = [
            ("grpc.initial_reconnect_backoff_ms", soon),
            ("grpc.min_reconnect_backoff_ms", soon),
            ("grpc.max_reconnect_backoff_ms", 2 * soon),
        ]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            calls = Calls(channel, connection["messages"])
            request = calls.messages.LeaseGrantRequest(TTL=max(1, round(ttl)))
            granted = await calls.grant(request, timeout=CALL_PATIENCE_S)
            session = EtcdSession(calls, granted.ID)
            session.start_renewing(ttl)
            try:
                yield session
            finally:
                await session.close()
