"""The will of `paxlock run` in the hands of its supervisor, in this process: real children, no cell."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time

import pytest

from paxlock.cli.heir import Heir
from paxlock.cli.supervisor import Supervisor, boot_ns
from paxlock.host.last_will import will_words

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="no last wills without pidfd"
)

LONG_NS = 600_000_000_000
PATIENCE_MS = 10_000


def supervisor_of(child: subprocess.Popen[bytes]) -> Supervisor:
    found = Supervisor(-1, boot_ns() + LONG_NS, boot_ns() + LONG_NS, 0)
    found.pid = child.pid
    return found


def test_nothing_is_sent_while_the_command_or_its_kin_live() -> None:
    with subprocess.Popen(["sleep", "600"]) as child, subprocess.Popen(["sleep", "600"]) as kin:
        supervisor = supervisor_of(child)
        try:
            assert not supervisor.may_bequeath()
            child.kill()
            supervisor.child_ended = True  # as `reap` notes it
            assert not supervisor.may_bequeath()  # a process that it had started still lives
            kin.kill()
            kin.wait()
            assert [p.pid for p in supervisor.survivors()] == []
            assert supervisor.may_bequeath()
            supervisor.untouchable.add((1, 1))  # one that may not be killed
            assert not supervisor.may_bequeath()
        finally:
            child.kill()
            kin.kill()


class Sink:
    """A socket that a will is sent to, and what the will needs."""

    def __init__(self, holder: subprocess.Popen[bytes], not_before: int = 0) -> None:
        self.node = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.node.bind(("127.0.0.1", 0))
        self.node.setblocking(False)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.bind(("127.0.0.1", 0))
        self.pidfd = os.pidfd_open(holder.pid)
        self.heir = Heir(f"{not_before}:{self.pidfd}:{os.dup(self.sender.fileno())}")
        self.control, write = os.pipe()
        os.set_blocking(self.control, False)
        line = will_words(0, 0, 0, self.node.getsockname(), (b"the will",))
        os.write(write, f"deadline 1 2\n{line}\n".encode())
        os.close(write)

    def got(self) -> list[bytes]:
        """What has come, and from whom it must come."""
        found = []
        while select.select([self.node], [], [], 0)[0]:
            datagram, address = self.node.recvfrom(2048)
            assert address == self.sender.getsockname()
            found.append(datagram)
        return found

    def close(self) -> None:
        self.node.close()
        self.sender.close()
        os.close(self.pidfd)
        os.close(self.control)
        for sock in self.heir._sockets:
            sock.close()


@pytest.mark.parametrize("dead", [True, False], ids=["dead", "alive"])
def test_the_will_is_sent_where_the_holder_is_dead_and_only_there(dead: bool) -> None:
    with subprocess.Popen(["sleep", "600"]) as holder:
        sink = Sink(holder)
        try:
            if dead:
                holder.kill()
            sink.heir.carry_out(boot_ns, boot_ns() + (LONG_NS if dead else 50_000_000), sink.control)
            got = sink.got()
            assert set(got) == ({b"the will"} if dead else set())
            assert len(got) > 1 or not dead  # what is lost is sent again
        finally:
            holder.kill()
            sink.close()


def test_nothing_is_sent_before_its_time() -> None:
    with subprocess.Popen(["sleep", "600"]) as holder:
        sink = Sink(holder, boot_ns() + LONG_NS)
        try:
            holder.kill()
            began = time.monotonic()
            sink.heir.carry_out(boot_ns, boot_ns() + LONG_NS, sink.control)
            assert sink.got() == []
            assert time.monotonic() - began < PATIENCE_MS / 1000  # and it is not waited for
        finally:
            sink.close()


def test_a_line_that_makes_no_sense_is_ignored() -> None:
    with subprocess.Popen(["sleep", "600"]) as holder:
        sink = Sink(holder)
        try:
            sink.heir.take_rest(sink.control)
            for line in (
                b"will",
                b"will 0 0",
                b"will 0 0 0 x 127.0.0.1 00",
                b"will 0 0 0 1 127.0.0.1 0g",
                b"will 0 0 0 1",
            ):
                sink.heir.take(line)
            sink.heir.will.process_dead = sink.heir.will.pipe_ended = True
            assert [datagram for _, _, datagram in sink.heir.will.due()] == [b"the will"]
        finally:
            holder.kill()
            sink.close()
