"""The guardian's vigil, played in this process: what it has not read when the program is killed counts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from paxlock.host.last_will import Vigil, will_words

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="no last wills without pidfd"
)

PATIENCE_S = 20.0


class Scene:
    """A guardian that has not been let run yet, its channel, a node, and a program that is killed."""

    def __init__(self, stack: ExitStack) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.node = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for sock in (self.node, self.sender):
            sock.bind(("127.0.0.1", 0))
        self.node.settimeout(PATIENCE_S)
        stack.callback(self.ours.close)
        stack.callback(self.theirs.close)
        self._program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.pidfd = os.pidfd_open(self._program.pid)
        stack.callback(os.close, self.pidfd)
        stack.callback(self.kill)

    def say(self, *lines: str) -> None:
        socket.send_fds(self.ours, [b"client 1 10000"], [self.sender.fileno()])
        for line in lines:
            self.ours.send(line.encode())

    def will(self, datagram: bytes) -> str:
        return will_words(1, 0, 0, self.node.getsockname(), (datagram,))

    def kill(self) -> None:
        self._program.kill()
        self._program.communicate()
        self.ours.close()

    def heard(self) -> list[bytes]:
        """What comes of the vigil."""
        vigil = Vigil(self.theirs, self.pidfd)
        vigil.watch()
        for sock in vigil._sockets.get(1, []):  # the guardian ends with its process
            sock.close()
        self.sender.sendto(b"the end", self.node.getsockname())
        return list(iter(partial(self.node.recv, 2048), b"the end"))


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack)


@pytest.mark.parametrize("spoke", [False, True], ids=["said nothing", "was not listened to"])
def test_a_guardian_that_was_not_let_run_before_the_death_hears_all_that_was_deposited(
    scene: Scene, spoke: bool
) -> None:
    if spoke:  # the program reads what its guardian says only when it has to
        scene.theirs.send(b"guardian 1 1")
    scene.say(scene.will(b"an older will"), scene.will(b"the will"))
    scene.kill()
    assert set(scene.heard()) == {b"the will"}


def test_a_question_of_the_dead_costs_no_will(scene: Scene) -> None:
    scene.say("sync 1", scene.will(b"the will"))
    scene.kill()
    assert set(scene.heard()) == {b"the will"}
