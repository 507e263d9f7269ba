"""Opening and closing clients: seeds, configurations that differ, bugs in the background, the machine's sleep
(contract.md sections 1 and 2; rule S14).
"""

# A body that is cut off is several statements, and a block within a block is what is tested.
# ruff: noqa: PT012

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from cells import HandClock, open_odd_cell, service_of, until_lost, with_hosts
from trio.testing import MockClock

from paxlock import (
    Client,
    ClosedError,
    ConfigError,
    InternalError,
    LeaseLost,
    LossReason,
    NotAcquired,
    Reason,
    State,
    open_client,
)
from paxlock.config.cell import ClientSettings
from paxlock.testing import VirtualCell, open_virtual_cell


def seeds_of(cell: VirtualCell, *node_ids: str) -> ClientSettings:
    addresses = tuple(map(cell.cell.address_of, node_ids))
    return ClientSettings(None, addresses, cell.cell.keys[0][1])


async def test_one_seed_is_enough_to_learn_all_nodes(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        address = cell.cell.address_of("b")
        async with open_client([address], key=cell.cell.keys[0][1]) as client:
            assert client.cell.members == cell.cell.members
            assert client.cell.cell_id == cell.cell.cell_id
            assert client.cell.max_ttl == cell.cell.max_ttl
            async with client.lock("x") as held:
                assert held.valid
                assert (await client.inspect("x")).nodes_up == 3


async def test_a_client_whose_block_is_kept_by_nobody_else_stays_open(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        client = await open_client(cell.cell).__aenter__()
        gc.collect()
        async with client.lock("x") as held:
            await trio.sleep(30.0)
            assert held.valid
        assert client.block is not None
        await client.block.__aexit__(None, None, None)
        with pytest.raises(ClosedError):
            await client.acquire("x")


async def test_opening_by_seeds_waits_until_one_answers(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        cell.partition("a")

        async def heal() -> None:
            await trio.sleep(5.0)
            cell.heal("a")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(heal)
            async with open_client(seeds_of(cell, "a")) as client:
                assert 5.0 < trio.current_time() < 6.0
                assert len(client.cell.members) == 3


async def test_a_quorum_is_never_the_length_of_the_list_of_seeds(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        cell.partition("b", "c")
        async with open_client(seeds_of(cell, "a")) as client:
            with pytest.raises(NotAcquired) as caught:
                await client.acquire("x", wait=5.0)
            assert caught.value.reason is Reason.NO_QUORUM
            assert (await client.poll("x")).state is State.UNKNOWN


class Resolver(trio.abc.HostnameResolver):
    """Knows the nodes of a virtual cell by their ids, except for those unknown at the moment."""

    def __init__(self) -> None:
        self.unknown: set[str] = set()

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that trio uses
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        assert host is not None and port is not None
        if host.decode() in self.unknown:
            raise socket.gaierror("not known at the moment")
        number = "abc".index(host.decode().removesuffix(".test")) + 1
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (f"192.0.2.{number}", int(port)))]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_a_host_name_that_cannot_be_resolved_is_tried_again(autojump_clock: MockClock) -> None:
    resolver = Resolver()
    trio.socket.set_custom_hostname_resolver(resolver)

    async def learn() -> None:
        await trio.sleep(5.0)
        resolver.unknown.clear()

    async with trio.open_nursery() as nursery:
        resolver.unknown = {"c.test"}
        nursery.start_soon(learn)
        # The nodes of a new cell wait for each other, so for the second look at the name.
        async with open_odd_cell(hosts={"c": "c.test"}) as cell:
            assert 5.0 < trio.current_time() < 12.0
            resolver.unknown = {"c.test"}
            async with cell.open_client() as client, client.lock("x"):
                assert (await client.inspect("x")).nodes_up == 2
                nursery.start_soon(learn)
                await trio.sleep(12.0)
                assert (await client.inspect("x")).nodes_up == 3
                resolver.unknown = {"c.test"}  # what is known stays
                await trio.sleep(12.0)
                assert (await client.inspect("x")).nodes_up == 3
            resolver.unknown = {"a.test", "b.test", "c.test"}
            cell.cell = with_hosts(cell, {"a": "a.test", "b": "b.test"})
            with pytest.raises(ConfigError, match="cannot be resolved"):
                async with cell.open_client():
                    pytest.fail("no node can be found")


async def test_another_key_is_never_answered(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        address = cell.cell.address_of("a")
        with trio.move_on_after(5.0) as scope:
            async with open_client([address], key=bytes(32)):
                pytest.fail("nobody can have answered")
        assert scope.cancelled_caught
        counts = service_of(cell, "a").endpoint.statistics()
        # One key in 255 has the id of the cell's own.
        assert counts.get("dropped_key", 0) + counts.get("dropped_seal", 0) >= 5


async def test_a_node_with_another_max_ttl_is_a_config_error_from_the_body(
    autojump_clock: MockClock,
) -> None:
    async with open_odd_cell(max_ttl_of={"c": 20.0}) as cell:
        with pytest.raises(ConfigError, match="node 'c' runs with another configuration"):
            async with cell.open_client():
                await trio.sleep(5.0)
                pytest.fail("the body was not cancelled")


async def test_a_node_with_another_max_ttl_that_comes_later_is_noticed_too(
    autojump_clock: MockClock,
) -> None:
    async with open_odd_cell(max_ttl_of={"c": 20.0}) as cell:
        cell.partition("c")
        with pytest.raises(ConfigError, match="node 'c' runs with another configuration"):
            async with cell.open_client() as client, client.lock("x"):
                await trio.sleep(5.0)
                cell.heal("c")
                await trio.sleep(60.0)
                pytest.fail("the body was not cancelled")


async def test_a_bug_in_the_background_is_an_internal_error_with_its_cause(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(now: float) -> None:
        raise ZeroDivisionError("planted")

    async with open_virtual_cell() as cell:
        began = 0.0
        with pytest.raises(InternalError) as caught:
            async with cell.open_client() as client, client.lock("x", ttl=1.0):
                monkeypatch.setattr(client._session, "tick", broken)
                began = trio.current_time()
                await trio.sleep_forever()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert trio.current_time() - began < 0.5


async def test_a_bug_in_the_background_is_told_to_leases_without_a_block(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(now: float) -> None:
        raise ZeroDivisionError("planted")

    async with open_virtual_cell() as cell:
        with pytest.raises(InternalError):
            async with cell.open_client() as client:
                held = await client.acquire("x", ttl=1.0)
                monkeypatch.setattr(client._session, "tick", broken)
                with trio.CancelScope(shield=True):
                    await until_lost(held)
                assert not held.valid
                await trio.sleep_forever()
        with pytest.raises(LeaseLost) as caught:
            held.check()
        assert caught.value.reason is LossReason.CLOSED


async def test_a_bug_in_the_background_is_told_to_whoever_watches_or_waits(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(now: float) -> None:
        raise ZeroDivisionError("planted")

    told: list[str] = []

    async def wait(what: str, call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await call()
        told.append(what)
        if len(told) == 2:
            both.set()

    both = trio.Event()
    async with (
        open_virtual_cell() as cell,
        cell.open_client() as other,
        other.lock("x", ttl=30.0),
        trio.open_nursery() as nursery,
    ):
        with pytest.raises(InternalError):
            async with cell.open_client() as client, client.watch("x") as changes:
                await changes.receive()
                nursery.start_soon(wait, "watch", changes.receive)
                nursery.start_soon(wait, "acquire", lambda: client.acquire("x"))
                await trio.testing.wait_all_tasks_blocked()
                monkeypatch.setattr(client._session, "tick", broken)
                with trio.CancelScope(shield=True), trio.fail_after(30):
                    await both.wait()
                await trio.sleep_forever()
    assert sorted(told) == ["acquire", "watch"]


async def test_an_error_of_the_body_keeps_the_bug_in_its_chain(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(now: float) -> None:
        raise ZeroDivisionError("planted")

    async with open_virtual_cell() as cell:
        with pytest.raises(KeyError) as caught:
            async with cell.open_client() as client:
                held = await client.acquire("x", ttl=1.0)
                monkeypatch.setattr(client._session, "tick", broken)
                with trio.CancelScope(shield=True):
                    await until_lost(held)
                raise KeyError("mine")
        assert isinstance(caught.value.__context__, InternalError)


async def test_a_bug_in_a_node_comes_out_of_the_node(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    with pytest.raises(InternalError):
        async with open_virtual_cell() as cell:
            monkeypatch.setattr(service_of(cell, "a").replica, "receive", broken)
            async with cell.open_client() as client:
                await client.acquire("x")
                await trio.sleep_forever()


async def test_a_closed_client_says_so(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        async with cell.open_client() as client:
            pass
        for ask in (
            lambda: client.acquire("x"),
            lambda: client.poll("x"),
            lambda: client.inspect("x"),
            lambda: client.list(),
            lambda: client.survey(),
            lambda: client.release_handle("pl1.x"),
            lambda: client.renew_handle("pl1.x"),
            lambda: client.lock("x").__aenter__(),
        ):
            with pytest.raises(trio.ClosedResourceError, match="closed"):
                await ask()
        with pytest.raises(trio.ClosedResourceError, match="closed"):
            client.watch("x")
        client.statistics()


async def test_leases_without_a_block_are_lost_when_the_client_is_closed(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as other:
        async with cell.open_client() as client:
            held = await client.acquire("x", ttl=20.0)
        assert await held.wait_lost() is LossReason.CLOSED
        assert not held.valid
        with pytest.raises(LeaseLost):
            held.check()
        await held.release()
        began = trio.current_time()
        await other.acquire("x")
        assert trio.current_time() - began < 0.05


async def test_who_waits_is_told_when_the_client_is_closed(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as other, other.lock("x"):
        async with trio.open_nursery() as nursery:

            async def wait(client: Client) -> None:
                with pytest.raises(trio.ClosedResourceError, match="was closed"):
                    await client.acquire("x")

            async with cell.open_client() as client:
                nursery.start_soon(wait, client)
                await trio.sleep(1.0)
        await trio.sleep(0.1)
        assert (await other.inspect("x")).waiters == ()


async def test_closing_without_any_node_is_bounded_in_time(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        async with cell.open_client() as client:
            await client.acquire("x")
            cell.partition("a", "b", "c")
            left = trio.current_time()
        assert trio.current_time() - left <= 1.0 + 1e-6


@pytest.mark.parametrize("ttl", [0.5, 30.0])
async def test_a_sleep_of_the_machine_is_a_loss_soon_after(autojump_clock: MockClock, ttl: float) -> None:
    clock = HandClock()
    async with open_virtual_cell() as cell, open_client(cell.cell, clock=clock) as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=ttl):
                await trio.sleep(1.03)
                clock.offset += 100.0
                slept = trio.current_time()
                await trio.sleep_forever()
        assert caught.value.reason is LossReason.CLOCK_JUMPED
        assert trio.current_time() - slept < 0.2


async def test_a_short_sleep_brings_the_end_nearer(autojump_clock: MockClock) -> None:
    """Less than the ttl: the lease is kept if a renewal comes through, and ends in time if none does."""
    clock = HandClock()
    async with open_virtual_cell() as cell, open_client(cell.cell, clock=clock) as client:
        async with client.lock("x", ttl=10.0) as held:
            clock.offset += 5.0
            await trio.sleep(1.0)
            held.check()
            assert held.remaining() > 7.0
        with pytest.raises(LeaseLost):
            async with client.lock("y", ttl=10.0) as held:
                cell.partition("a", "b", "c")
                began = trio.current_time()
                clock.offset += 5.0
                await trio.sleep_forever()
        assert trio.current_time() - began < 4.0


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("/nowhere/cell.toml", "cell.toml"),
        ([], "1 to"),
        (["no address"], "address"),
        (["10.0.0.1:7400"], "without a key"),
    ],
)
async def test_what_cannot_be_opened_is_refused_with_a_sentence(cell: str | list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        async with open_client(cell):
            pytest.fail("opened")


def test_after_a_fork_every_call_says_why() -> None:
    program = """
        import os, sys, trio, paxlock

        def expect(what, call):
            try:
                found = call()
                if hasattr(found, "send"):
                    found.send(None)
            except trio.ClosedResourceError as error:
                assert "fork" in str(error), error
            else:
                print("no error from", what, flush=True)
                os._exit(1)

        async def main():
            async with paxlock.open_dev_cell() as cell, paxlock.open_client(cell) as client:
                async with client.lock("x") as held, client.watch("x") as changes:
                    pid = os.fork()
                    if pid == 0:
                        expect("acquire", lambda: client.acquire("x"))
                        expect("lock", lambda: client.lock("x").__aenter__())
                        expect("campaign", lambda: client.campaign("x").__aenter__())
                        expect("watch", lambda: client.watch("x"))
                        expect("receive", lambda: changes.receive())
                        expect("receive_nowait", lambda: changes.receive_nowait())
                        for verb in ("poll", "inspect", "release_handle", "renew_handle"):
                            expect(verb, lambda: getattr(client, verb)("x"))
                        for verb in ("list", "survey", "statistics"):
                            expect(verb, lambda: getattr(client, verb)())
                        for verb in ("check", "remaining", "release", "detach", "wait_lost"):
                            expect(verb, lambda: getattr(held, verb)())
                        expect("valid", lambda: held.valid)
                        os._exit(0)
                    _, status = os.waitpid(pid, 0)
                    held.check()
                    print("child", os.waitstatus_to_exitcode(status))

        trio.run(main)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("child 0\n", 0), done.stderr
