"""The words of the three faces: names, arguments, defaults, and the differences that are meant."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest

import paxlock
import paxlock.aio
import paxlock.blocking
from tests.conformance.faces import KINDS

FACES: dict[str, ModuleType] = {"trio": paxlock, "asyncio": paxlock.aio, "blocking": paxlock.blocking}
IN_ALL = {"Changes", "Client", "HeldLease", "LeaseBlock", "open_client"}

VERBS = [
    *(
        "acquire",
        "campaign",
        "counters",
        "inspect",
        "journal",
        "lead",
        "list",
        "lock",
        "ping",
        "poll",
        "release_handle",
        "renew_handle",
    ),
    *("statistics", "survey", "watch", "watch_forever"),
]
OF_LEASES = [
    *("cell", "check", "deadline", "detach", "handle", "on_extended", "release", "remaining", "valid"),
    "wait_lost",
]
OF_WATCHES = ["close", "receive"]

#: What one face has and another has not: arguments by "Class.method", and nothing else.
ONLY_IN: dict[str, dict[str, set[str]]] = {
    "trio": {
        "open_client": {"transport", "clock"},  # for tests
        "Client.acquire": {"kill_after"},  # for `paxlock run`
        "Client.watch_forever": {"task_status"},
        "Changes.close": {"why"},  # for the client
    },
    "asyncio": {
        "Client.acquire": {"kill_after"},
        "Client.lock": {"exit_after"},
        "Client.campaign": {"exit_after"},
        "Client.lead": {"exit_after"},
        "Client.watch_forever": {"started"},
        "Changes.close": {"why"},
    },
    "blocking": {
        "Client.lock": {"on_lost", "interrupt", "renew"},
        "Client.campaign": {"on_lost", "interrupt", "renew"},
        "Client.acquire": {"on_lost", "renew"},
        "Client.lead": {"on_lost", "interrupt", "renew"},
        "HeldLease.wait_lost": {"timeout"},
        "Changes.receive": {"timeout"},
    },
}
#: A function that is given is called what it is.
SAME_WORD = {"fn": "async_fn"}
#: What only some faces can do at all.
METHODS_ONLY_IN = {
    "HeldLease.heartbeat": {"blocking"},
    "Changes.receive_nowait": {"trio", "asyncio"},  # receive(0.0) of the blocking one
    "Client.aclose": {"asyncio"},  # in trio a client is a block of one task
    "Client.close": {"trio", "asyncio", "blocking"},
}


def functions() -> Iterator[str]:
    """What is compared, by name."""
    yield "open_client"
    for kind, names in (("Client", VERBS), ("HeldLease", OF_LEASES), ("Changes", OF_WATCHES)):
        yield from (f"{kind}.{name}" for name in names)


def found(face: str, path: str) -> object:
    """What a face has by this name."""
    thing: object = FACES[face]
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def arguments(face: str, path: str) -> list[tuple[str, object, object]] | None:
    """Name, kind and default of each argument; None for a property."""
    function = found(face, path)
    if isinstance(function, property):
        return None
    assert callable(function)
    return [
        (SAME_WORD.get(one.name, one.name), one.kind, one.default)
        for one in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("path", list(functions()))
def test_arguments_and_defaults_are_the_same(path: str) -> None:
    common = {}
    for face in KINDS:
        meant = ONLY_IN[face].get(path, set())
        given = arguments(face, path)
        assert meant <= {name for name, *_ in given or ()}, (
            f"{face} has {meant} no more: take it from ONLY_IN"
        )
        common[face] = given and [argument for argument in given if argument[0] not in meant]
    assert common["asyncio"] == common["trio"]
    assert common["blocking"] == common["trio"]


def test_what_is_meant_to_differ_is_compared() -> None:
    for differences in ONLY_IN.values():
        assert set(differences) <= set(functions())


@pytest.mark.parametrize(("path", "faces"), list(METHODS_ONLY_IN.items()))
def test_methods_of_some_faces(path: str, faces: set[str]) -> None:
    kind, name = path.split(".")
    assert {face for face in KINDS if hasattr(found(face, kind), name)} == faces


def test_the_words_of_each_package() -> None:
    names = {face: set(module.__all__) for face, module in FACES.items()}
    assert IN_ALL <= names["asyncio"] <= names["trio"]
    assert IN_ALL <= names["blocking"] <= names["trio"]
    for face in ("asyncio", "blocking"):
        # What is not of a loop is the same object everywhere, and so is not there twice.
        assert names[face] <= IN_ALL | {"Node", "open_node"}
        assert not any(getattr(FACES[face], name) is getattr(paxlock, name) for name in names[face])
        assert FACES[face].__all__ == sorted(FACES[face].__all__)


@pytest.mark.parametrize("kind", ["Client", "HeldLease", "Changes", "LeaseBlock"])
def test_what_the_faces_share_says_the_same(kind: str) -> None:
    for face in KINDS:
        assert inspect.getdoc(found(face, kind))
