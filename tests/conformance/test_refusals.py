"""What every verb refuses: what does not fit, and everything once the client is closed."""

# What should have refused something is named within, and a block within a block is what is tested.
# ruff: noqa: PT012, SIM117

from __future__ import annotations

import copy
import datetime as dt
import fractions
import functools
import inspect
import math
import pickle
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import anyio.to_thread
import pytest

import paxlock
import paxlock.aio
import paxlock.blocking
from benchmarks.machine import free_ports
from paxlock import (
    BusyError,
    Cell,
    ClosedError,
    ConfigError,
    LeaseLost,
    NodeConfig,
    NodeMode,
    NotAcquired,
    Reason,
    State,
)
from paxlock.client.handle import Handle, format_handle
from tests.blocking.cells import ThreadCell, thread_cell, until
from tests.conformance.faces import Call, Client, Face, Lease, conforms

Verb = Callable[[Client, str], Awaitable[object]]


async def entered(block: Any) -> None:
    """Enter a block that must refuse it."""
    async with block:
        pytest.fail("it was entered")


async def nothing(*args: object) -> None:
    """What a verb that is refused must not call."""
    pytest.fail("it was called")


async def watched(client: Client, name: str) -> None:
    await entered(client.watch(name))


CAMPAIGNS: dict[str, Callable[..., Awaitable[object]]] = {
    "lock": lambda client, name, **how: entered(client.lock(name, **how)),
    "campaign": lambda client, name, **how: entered(client.campaign(name, **how)),
    "acquire": lambda client, name, **how: client.acquire(name, **how),
    "lead": lambda client, name, **how: client.lead(name, nothing, **how),
}
ON_NAMES: dict[str, Verb] = {
    **CAMPAIGNS,
    "watch": watched,
    "watch_forever": lambda client, name: client.watch_forever(name, nothing),
    "poll": lambda client, name: client.poll(name),
    "inspect": lambda client, name: client.inspect(name),
}
BAD_NAMES = ("", "x" * 2000, "a\x00b", "zero\u200bwidth", "\u202ebidi")
MISFITS: tuple[dict[str, Any], ...] = (
    {"ttl": 0.0},
    {"ttl": -1.0},
    {"ttl": 1e6},
    {"ttl": math.nan},
    {"ttl": math.inf},
    {"label": "x" * 65},
    {"label": "two\nlines"},
    {"data": bytes(513)},
    {"at_least": -1.0},
    {"at_least": math.nan},
    {"at_least": math.inf},
)
WAITS = (-1.0, math.nan, -math.inf)


@conforms
async def test_names_that_are_none(face: Face) -> None:
    async with face.open() as client:
        for name in BAD_NAMES:
            for verb, call in ON_NAMES.items():
                with pytest.raises(ConfigError):
                    await call(client, name)
                    pytest.fail(f"{verb} took {name!r}")
            if name:
                with pytest.raises(ConfigError):
                    await client.list(name)
                with pytest.raises(ConfigError):
                    await watched(client, name + "*")


@conforms
async def test_what_does_not_fit_a_campaign(face: Face, name: str) -> None:
    async with face.open() as client:
        for verb, call in CAMPAIGNS.items():
            waits = [{"wait": wait} for wait in WAITS] if verb != "lead" else []
            for how in (*MISFITS, *waits):
                with pytest.raises(ConfigError):
                    await call(client, name, **how)
                    pytest.fail(f"{verb} took {how}")
        assert client.statistics().session.campaigns == 0
        assert not (await client.poll(name)).term  # nothing was left in the cell either


@conforms
async def test_a_label_of_the_client_that_does_not_fit(face: Face) -> None:
    for label in ("x" * 65, "two\nlines"):
        with pytest.raises(ConfigError):
            await entered(face.open(label=label))


@conforms
async def test_the_limits_themselves_fit(face: Face, name: str) -> None:
    async with face.open() as client:
        async with client.lock(name, ttl=30.0, label="x" * 64, data=bytes(512), wait=30.0) as held:
            assert held.ttl == 30.0
            standing = await client.poll(name)
            assert (standing.label, standing.data) == ("x" * 64, bytes(512))


@conforms
async def test_a_name_is_one_name_however_it_is_composed(face: Face, name: str) -> None:
    composed, decomposed = name + " caf\u00e9", name + " cafe\u0301"
    async with face.open() as client, face.open() as other:
        async with client.lock(decomposed, label="cafe\u0301") as held:
            assert held.name == composed
            with pytest.raises(NotAcquired) as caught:
                await entered(other.lock(composed, wait=0))
            assert (caught.value.reason, caught.value.holder) == (Reason.HELD, "caf\u00e9")
            standing = await client.poll(decomposed)
            assert (standing.name, standing.term, standing.label) == (composed, held.term, "caf\u00e9")
            assert [found.name for found in await client.list(decomposed)] == [composed]
            async with other.watch(decomposed) as changes:
                assert (await changes.receive()).name == composed
        detached = await client.acquire(decomposed, wait=10.0)
        detached.detach()
        for each in (composed, decomposed):
            with pytest.raises(BusyError):
                await client.acquire(each, wait=0)
        await other.release_handle(detached.handle)


@conforms
async def test_without_a_quorum_nothing_is_acquired(face: Face, mortal: ThreadCell) -> None:
    async with face.open(mortal.cell) as client:
        await anyio.to_thread.run_sync(mortal.silence)

        async def block() -> None:
            async with client.lock("y", wait=0):
                pytest.fail("it holds")

        async with anyio.create_task_group() as group:
            for call in (Call(group, lambda: client.acquire("x", wait=0.2)), Call(group, block)):
                with pytest.raises(NotAcquired) as caught:
                    await call.result()
                assert (caught.value.reason, caught.value.holder) == (Reason.NO_QUORUM, None)


@pytest.fixture(scope="module")
def newborn() -> Iterator[Cell]:
    """A cell whose nodes sit out, as at the very first start."""
    ports = dict(zip("abc", free_ports(3), strict=True))
    cell = Cell.new({node: f"127.0.0.1:{port}" for node, port in ports.items()}, max_ttl=600.0)
    with ExitStack() as stack:
        for node in ports:
            config = NodeConfig(cell, node, durability="memory")
            stack.enter_context(paxlock.blocking.open_node(config))
        client = stack.enter_context(paxlock.blocking.open_client(cell))
        until(lambda: all(node.mode is NodeMode.RECOVERING for node in client.survey()), "all sit out")
        yield cell


@conforms
async def test_where_nodes_sit_out_it_is_told_for_how_long(face: Face, newborn: Cell) -> None:
    async with face.open(newborn) as client:
        handle = format_handle(
            Handle(cell_id=newborn.cell_id, name="x", session=bytes(16), attempt=1, term=1, secret=bytes(16))
        )
        for verb in (
            lambda: client.acquire("x", wait=0),
            lambda: client.renew_handle(handle, wait=0.1),
            lambda: client.release_handle(handle, wait=0.1),
            lambda: client.revoke("x", 1, wait=0),
            lambda: client.transfer("x", to="other", wait=0),
        ):
            with pytest.raises(NotAcquired) as caught:
                await verb()
            assert caught.value.reason is Reason.NO_QUORUM
            said = r"3 of 3 nodes answered, and none serves yet: sitting out, (\d+\.\d) s left"
            match = re.fullmatch(said, caught.value.detail)
            assert match is not None, str(caught.value)
            assert 400.0 < float(match[1]) < 620.0
            assert caught.value.detail in str(caught.value)


@conforms
async def test_every_verb_of_a_closed_client_says_so(face: Face, name: str) -> None:
    async with face.open() as client:
        held = await client.acquire(name)
        handle = held.handle
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "list": client.list,
        "survey": client.survey,
        "ping": client.ping,
        "counters": client.counters,
        "renew_handle": lambda: client.renew_handle(handle),
        "release_handle": lambda: client.release_handle(handle),
    }
    for verb, call in asked.items():
        with pytest.raises(ClosedError):
            await call()
            pytest.fail(f"{verb} of a closed client")
    for verb, on_name in ON_NAMES.items():
        with pytest.raises(ClosedError):
            await on_name(client, name)
            pytest.fail(f"{verb} of a closed client")


@conforms
async def test_a_lease_of_a_closed_client_is_lost_whatever_is_done_with_it(face: Face, name: str) -> None:
    async def left(act: Callable[[Lease], object]) -> None:
        async with face.open() as client:
            held = await client.acquire(name)
        done = act(held)
        if isinstance(done, Awaitable):
            await done
        assert (held.valid, held.remaining()) == (False, 0.0)
        with pytest.raises(LeaseLost):
            held.check()

    await left(lambda held: held.release())
    await left(lambda held: held.detach())
    await left(lambda held: held.wait_lost())
    await left(lambda held: held.on_extended(lambda deadline: None))


@conforms
async def test_the_counters_of_a_closed_client_can_still_be_read(face: Face, name: str) -> None:
    async with face.open() as client:
        await client.poll(name)
        before = client.statistics()
    after = client.statistics()
    assert after.session.messages["view"] >= before.session.messages["view"] > 0
    assert after.endpoint.keys() == before.endpoint.keys()
    assert after.transport.keys() == before.transport.keys()


# Functions of the wrong kind


async def asynchronous(*args: object) -> None:
    """An async function: of no use in blocking code."""


async def refused_function(face: Face, name: str, call: Callable[[Any], Awaitable[object]]) -> None:
    """Whatever is known beforehand to be of no use is refused before anything is acquired."""
    # The blocking client as it is: its wrapper makes a plain function of any.
    async with face.open() as client:
        accepted = client.statistics().session.messages.get("accepted", 0)
        bare = client if face.kind != "blocking" else client._client  # type: ignore[attr-defined]
        await call(bare)
        assert client.statistics().session.messages.get("accepted", 0) == accepted
        assert (await client.poll(name)).state is State.FREE


async def called(verb: Any, *args: object) -> None:
    """A verb of any face, which must raise TypeError."""
    if inspect.iscoroutinefunction(verb):
        await verb(*args)
    else:
        await anyio.to_thread.run_sync(verb, *args)


@conforms
async def test_what_is_no_function_of_this_face_is_refused_before_anything_is_acquired(
    face: Face, name: str
) -> None:
    async def generating(*args: object) -> AsyncIterator[int]:
        yield 1

    wrong: list[object] = [None, "work", 3]
    wrong += [asynchronous, functools.partial(asynchronous, 1)] if face.kind == "blocking" else [generating]

    async def check(client: Any) -> None:
        for one in wrong:
            for verb in (client.lead, client.watch_forever):
                with pytest.raises(TypeError, match="takes a"):
                    await called(verb, name, one)
        coroutine = asynchronous()
        with pytest.raises(TypeError, match="was called already"):
            await called(client.lead, name, coroutine)

    await refused_function(face, name, check)


@conforms
async def test_a_function_that_turns_out_to_be_of_the_wrong_kind(face: Face, name: str) -> None:
    def plain(*args: object) -> None:
        ran.append(args)

    def hidden(*args: object) -> Awaitable[None]:
        ran.append(args)
        return asynchronous(*args)

    ran: list[tuple[object, ...]] = []
    async with face.open() as client:
        bare: Any = client if face.kind != "blocking" else client._client  # type: ignore[attr-defined]
        wrong = hidden if face.kind == "blocking" else plain
        for verb in (bare.lead, bare.watch_forever):
            with pytest.raises(TypeError, match="takes a"):
                await called(verb, name, wrong)
        assert len(ran) == 2
        assert (await client.poll(name)).state is State.FREE


# Arguments of the wrong type


@conforms
async def test_what_is_no_number_of_seconds_is_refused_with_a_sentence(face: Face, name: str) -> None:
    wrong: tuple[Any, ...] = ("10s", b"1", dt.timedelta(seconds=10), [1.0])
    async with face.open() as client, client.lock(name + " held") as held:
        for value in wrong:
            for what in ("ttl", "at_least"):
                for verb, call in CAMPAIGNS.items():
                    with pytest.raises(TypeError, match=f"{what} must be seconds as a number, .* not "):
                        await call(client, name, **{what: value})
                        pytest.fail(f"{verb} took {value!r}")
            for waiting in (
                functools.partial(CAMPAIGNS["lock"], client, name),
                functools.partial(client.acquire, name),
                functools.partial(client.revoke, held.name, held.term),
                functools.partial(client.transfer, held.name, to="x"),
                functools.partial(client.renew_handle, held.handle),
                functools.partial(client.release_handle, held.handle),
            ):
                with pytest.raises(TypeError, match=r"wait must be seconds as a number, .* not "):
                    await waiting(wait=value)
        with pytest.raises(TypeError, match=r"give its total_seconds\(\)"):
            await client.acquire(name, wait=wrong[2])
        assert client.statistics().session.campaigns == 1
        held.check()


@conforms
async def test_any_kind_of_number_is_taken(face: Face, name: str) -> None:
    five: Any = fractions.Fraction(5)
    async with (
        face.open() as client,
        client.lock(name, ttl=five, wait=five, at_least=five - five) as held,
    ):
        assert held.ttl == 5.0


@conforms
async def test_names_handles_and_cells_of_the_wrong_type_are_refused_with_a_sentence(
    face: Face, name: str
) -> None:
    wrong: tuple[Any, ...] = (None, 3, b"x")
    async with face.open() as client:
        for value in wrong:
            for verb, call in ON_NAMES.items():
                with pytest.raises(ConfigError, match="must be text, not "):
                    await call(client, value)
                    pytest.fail(f"{verb} took {value!r}")
            with pytest.raises(ConfigError, match="a prefix must be text, not "):
                await client.list(value)
            for of_handle in (client.renew_handle, client.release_handle):
                with pytest.raises(TypeError, match=r"a handle is the text that held\.handle gives, not "):
                    await of_handle(value)
            data: Any = "text" if value is None else 3
            with pytest.raises(ConfigError, match="data must be bytes, not "):
                await client.acquire(name, data=data)
        no_cell: Any = 3
        with pytest.raises(TypeError, match="a cell is a path, a Cell, or a list of addresses, not 3"):
            await entered(face.open(no_cell))


@conforms
async def test_the_default_ttl_is_ten_seconds_or_what_the_cell_allows(face: Face, name: str) -> None:
    async def lead(held: Lease) -> float:
        return held.ttl

    async def ttls(client: Client) -> set[float]:
        async with client.lock(name) as one, client.campaign(name + "2") as two:
            three = await client.acquire(name + "3")
            found = {one.ttl, two.ttl, three.ttl, await client.lead(name + "4", lead)}
            return found | {(await client.poll(name)).ttl}

    async with face.open() as client:
        assert await ttls(client) == {10.0}
    with thread_cell(max_ttl=4.0) as short:
        async with face.open(short.cell) as client:
            assert await ttls(client) == {4.0}


@conforms
async def test_nothing_that_belongs_to_this_process_is_pickled(face: Face, name: str) -> None:
    async with face.open() as client, client.lock(name) as held:
        bare: Any = client if face.kind != "blocking" else client._client  # type: ignore[attr-defined]
        lease: Any = held if face.kind != "blocking" else held._held  # type: ignore[attr-defined]
        for refused in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="a client cannot be sent to another process: open one there"):
                refused(bare)
            with pytest.raises(TypeError, match="a lease cannot be sent to another process: its name, term"):
                refused(lease)
    for module in (paxlock, paxlock.aio, paxlock.blocking):
        assert module.Node._kind == "node"
