"""What is inherited by the child of a fork is dead there, also where the fork passed by Python's hooks."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paxlock import forks
from paxlock.core.messages import Hello
from paxlock.errors import StoreError
from paxlock.limits import KEY_BYTES
from paxlock.runtime.udp import UdpTransport
from paxlock.store.folder import Store
from paxlock.wire.endpoint import Endpoint, SessionSender
from paxlock.wire.keyring import Keyring

ADDRESS = ("127.0.0.1", 9)


def by_the_hook() -> int:
    return os.fork()


def behind_its_back() -> int:
    return int(ctypes.PyDLL(None).fork())


both_ways = pytest.mark.parametrize("fork", [by_the_hook, behind_its_back])


def in_child(fork: Callable[[], int], check: Callable[[], bool]) -> bool:
    """What ``check`` says in a child."""
    pid = fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def an_endpoint() -> Endpoint:
    keyring = Keyring.of([bytes(KEY_BYTES)])
    return Endpoint(SessionSender(bytes(16)), keyring, cell_id=bytes(16), members={"a": [ADDRESS]})


@both_ways
def test_an_endpoint_seals_nothing_in_the_child(fork: Callable[[], int]) -> None:
    endpoint = an_endpoint()
    endpoint.queue("a", Hello(1))  # queued before the fork, and once more after it

    def silent() -> bool:
        found = endpoint.flush()
        endpoint.queue("a", Hello(2))
        endpoint.greet_seeds([ADDRESS], 3)
        return found == [] and endpoint.flush() == [] and endpoint._sealing._sequence == 0

    assert in_child(fork, silent)
    assert len(endpoint.flush()) == 1


@both_ways
def test_a_store_reads_and_writes_nothing_in_the_child(tmp_path: Path, fork: Callable[[], int]) -> None:
    store = Store.open(tmp_path, create_folder=False)

    def refuses() -> bool:
        for verb in (store.read_record, lambda: store.read_snapshot(1)):
            try:
                verb()
            except StoreError as error:
                if "fork" not in str(error):
                    return False
            else:
                return False
        store.close()
        return True

    assert in_child(fork, refuses)
    assert store.read_record() is None
    with pytest.raises(StoreError, match="in use"):
        Store.open(tmp_path, create_folder=False)  # the child's close has unlocked nothing
    store.close()


@both_ways
def test_what_the_child_opens_is_its_own(fork: Callable[[], int]) -> None:
    inherited = an_endpoint()

    def speaks() -> bool:
        own = an_endpoint()
        inherited.queue("a", Hello(1))
        own.queue("a", Hello(1))
        return inherited.flush() == [] and len(own.flush()) == 1

    assert in_child(fork, speaks)


async def test_the_socket_is_closed_in_the_child_and_goes_on_in_the_parent() -> None:
    transport = UdpTransport.bind("127.0.0.1", 0)
    assert in_child(by_the_hook, lambda: transport._socket.fileno() == -1)
    transport.send_nowait(b"hello", transport.address)
    assert transport.statistics()["sent"] == 1
    transport.close()


def test_a_grandchild_is_no_parent_either() -> None:
    endpoint = an_endpoint()
    endpoint.queue("a", Hello(1))
    assert in_child(by_the_hook, lambda: in_child(behind_its_back, lambda: endpoint.flush() == []))


def test_what_is_gone_is_not_kept() -> None:
    gc.collect()
    before = len(forks._dead)
    endpoints = [an_endpoint() for _ in range(10)]
    assert len(forks._dead) == before + 10
    endpoints.clear()
    gc.collect()
    assert len(forks._dead) == before
