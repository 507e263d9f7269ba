"""The processes of a run: nodes, clients, and the network between them.

Each is a process of its own whose pid is the one that is signalled: clocks are skewed by preloading
libfaketime, not by a wrapper, and where ``setpriv`` exists the kernel ends a child whose parent has died.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import attrs

from paxlock import Cell
from paxlock.core.lease import quarantine

from .contender import Orders
from .guard import Guard
from .journal import RATE_VARIABLE
from .relay import Address, Relay, udp_socket

__all__ = ["SERVES", "Child", "Cluster", "Failed", "Layout", "boot_time", "libfaketime"]

ROOT = Path(__file__).parents[2]
PORT = 7400
NETS_BITS = 14  #: 127.64.0.0 to 127.127.255.0
LOOK_S = 0.02
PATIENCE_S = 60.0
END_PATIENCE_S = 20.0
SERVES = '"event":"serving"'  #: what a node says of itself; that others serve it says as well
TEXT_MAX_LINES = 2000
FAST, SLOW = 1.01, 0.99
NODE_IDS = "abcde"
FAKETIME_PATHS = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")


class Failed(Exception):
    """A process did what it must not, or did not do in time what it must."""


def boot_time() -> float:
    """True seconds: the clock of all processes of this machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def libfaketime() -> str | None:
    """The library that makes clocks run fast or slow; None where it is not installed."""
    found = itertools.chain.from_iterable(Path("/").glob(path[1:]) for path in FAKETIME_PATHS)
    return next((str(path) for path in found), None)


@attrs.frozen
class Layout:
    """Who is there. Times are seconds."""

    nodes: int = 3
    clients: int = 5
    names: tuple[str, ...] = ("alpha", "beta", "gamma")
    ttls: tuple[float, ...] = (1.0, 1.5, 2.0)
    max_ttl: float = 2.0
    drift: float = 0.01
    grace: float = 0.1  #: a busy machine is slower to answer than a network
    skewed: bool = True  #: one node 1 % fast, one client 1 % slow: as far apart as the cell allows
    node_plants: tuple[str, ...] = ()
    client_plants: tuple[str, ...] = ()
    heedless: bool = False  #: clients that go on writing when their lease is lost or released
    revokes: float = 0.05  #: the share of turns in which a client ends the tenure of somebody else

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(NODE_IDS[: self.nodes])

    @property
    def minority(self) -> int:
        return (self.nodes - 1) // 2

    @property
    def sits_out(self) -> float:
        """How long a node sits out at most, in true time."""
        return quarantine(self.max_ttl, self.drift) / (1.0 - self.drift)


class Child:
    """One process, and the sentences that it said on stderr. ``expected`` are exit codes that may come.

    Without ``env`` it runs this tree.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        talk: Path,
        *,
        rate: float = 1.0,
        fds: tuple[int, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.expected: set[int] = set()
        self.stopped = False
        self.started = boot_time()
        self.first_rss = 0
        self.peak_rss = 0
        self.said: list[str] = []
        self._silent = False
        self._heard = threading.Condition()
        self._talk = talk
        guardian = [shutil.which("setpriv") or "", "--pdeathsig", "KILL"]
        self.process = subprocess.Popen(
            [*(guardian if guardian[0] else []), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(rate) if env is None else env,
            cwd=ROOT,
            pass_fds=fds,
            start_new_session=True,  # the terminal's Ctrl-C is for the controller alone
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self._talk.open("a") as file:
            for line in self.process.stderr:
                text = line.decode(errors="replace").rstrip("\n")
                file.write(f"{boot_time():.6f} {text}\n")
                file.flush()
                with self._heard:
                    if len(self.said) < TEXT_MAX_LINES:
                        self.said.append(text)
                    self._heard.notify_all()
        with self._heard:
            self._silent = True
            self._heard.notify_all()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def has_said(self, *words: str) -> bool:
        """Whether there was a sentence with one of these words."""
        return any(word in line for word in words for line in self.said)

    def wait_says(self, *words: str) -> None:
        """Wait until a sentence with one of these words was said."""
        with self._heard:
            self._heard.wait_for(lambda: self.has_said(*words) or self._silent, PATIENCE_S)
            if not self.has_said(*words):
                raise Failed(f"{self.name} did not say {' or '.join(words)!r}, but {self.said[-3:]}")

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.stopped = number == signal.SIGSTOP

    def wait_end(self, *codes: int) -> None:
        """Wait until it has ended, with one of these exit codes."""
        self.expected.update(codes)
        try:
            code = self.process.wait(END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} was to end and has not, {END_PATIENCE_S:g} s long") from None
        if code not in self.expected:
            raise Failed(f"{self.name} ended with {code}, not {sorted(self.expected)}: {self.said[-3:]}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait_end(-signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, and wait for the clean end."""
        self.signal(signal.SIGTERM)
        self.wait_end(0)

    def limit_files(self, size: int) -> None:
        """From now on no file of this process grows above ``size`` bytes: its disk is full."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def measure(self) -> None:
        """Look at the memory in use, in KiB."""
        with suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            rss = int(status.split("VmRSS:")[1].split()[0])
            self.first_rss = self.first_rss or rss
            self.peak_rss = max(self.peak_rss, rss)

    def close(self) -> None:
        """End it however it can be ended, and give back what it used."""
        if self.running:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def _environment(rate: float) -> dict[str, str]:
    """The environment of a process, with clocks that run at ``rate``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))}
    if rate != 1.0:
        library = libfaketime()
        assert library is not None
        environment |= {"LD_PRELOAD": library, "FAKETIME": f"+0 x{rate}", RATE_VARIABLE: str(rate)}
    return environment


def _python(module: str, plants: tuple[str, ...]) -> list[str]:
    """The command that runs a module, with bugs planted."""
    bugs = ["tests.chaos.planted", ",".join(plants)] if plants else []
    return [sys.executable, "-m", *bugs, module]


class Cluster:
    """All of it: made, started, and in any case closed, by the runner."""

    def __init__(self, layout: Layout, folder: Path, seed: int) -> None:
        self.layout = layout
        self.folder = folder
        self.skewed = layout.skewed and libfaketime() is not None
        self.nodes: dict[str, Child] = {}
        self.clients: dict[str, Child] = {}
        self.all: list[Child] = []
        self._rng = Random(f"cluster {seed}")
        self._count = itertools.count(1)
        # Addresses of loopback that no other run, and no program that binds 127.0.0.1, will be in the way of.
        self._net = ipaddress.ip_address("127.64.0.0") + (secrets.randbits(NETS_BITS) << 8)
        public = {node: self._address(1 + at) for at, node in enumerate(layout.node_ids)}
        self._listen = {node: self._address(101 + at) for at, node in enumerate(layout.node_ids)}
        self.relay = Relay(public, self._listen, Random(f"relay {seed}"))
        self.guard = Guard(folder)
        self._cell = folder / "cell.toml"
        addresses = {node: f"{host}:{port}" for node, (host, port) in public.items()}
        Cell.new(addresses, max_ttl=layout.max_ttl, drift=layout.drift, grace=layout.grace).save(self._cell)

    def _address(self, last: int) -> Address:
        return str(self._net + last), PORT

    def start(self) -> None:
        """The first start of all nodes, then the clients."""
        self.relay.start()
        self.guard.start()
        for node in self.layout.node_ids:
            self.start_node(node, "--create")
        for child in self.nodes.values():
            child.wait_says(SERVES)
        self.start_client(prober=True)
        for number in range(self.layout.clients):
            self.start_client(slow=number == 0)

    def start_node(self, node: str, *how: str) -> Child:
        """Start a node on its folder; its earlier process must be gone."""
        host, port = self._listen[node]
        command = [
            *_python("paxlock", self.layout.node_plants),
            *("serve", "--cell", str(self._cell), "--node", node),
            *("--data-dir", str(self.data_dir(node)), "--listen", f"{host}:{port}", *how),
        ]
        rate = FAST if self.skewed and node == NODE_IDS[0] else 1.0
        child = Child(f"node {node}", command, self.folder / f"node-{node}.stderr", rate=rate)
        self.all.append(child)
        self.nodes[node] = child
        return child

    def data_dir(self, node: str) -> Path:
        return self.folder / f"data-{node}"

    def start_client(self, *, prober: bool = False, slow: bool = False) -> Child:
        """Start a client under a new label."""
        rate = SLOW if slow and self.skewed else 1.0
        label = "prober" if prober else f"client-{next(self._count)}{'-slow' if slow else ''}"
        host = str(self._net + 201)
        with udp_socket((host, 0)) as sock:
            orders = Orders(
                cell=str(self._cell),
                label=label,
                journal=str(self.folder / f"{label}.journal"),
                guard=str(self.guard.address),
                fd=sock.fileno(),
                names=self.layout.names,
                ttls=self.layout.ttls,
                seed=self._rng.randrange(1 << 32),
                prober=prober,
                heedless=self.layout.heedless,
                revokes=self.layout.revokes,
            )
            self.relay.add_client(label, sock.getsockname(), str(self._net + 202))
            program = _python("tests.chaos.contender", self.layout.client_plants)
            command = [*program, json.dumps(attrs.asdict(orders))]
            talk = self.folder / f"{label}.stderr"
            child = Child(label, command, talk, rate=rate, fds=(sock.fileno(),))
        self.all.append(child)
        self.clients[label] = child
        return child

    def replace_client(self, label: str) -> Child:
        """Another client in the place of one that has been killed."""
        del self.clients[label]
        self.relay.remove_client(label)
        return self.start_client(slow=label.endswith("-slow"))

    def journals(self) -> list[Path]:
        return sorted(self.folder.glob("*.journal"))

    def unexpected_ends(self) -> list[str]:
        """Who has ended without being asked to, or in another way."""
        ended = [child for child in self.all if not child.running]
        return [
            f"{child.name} ended with {child.process.returncode}: {child.said[-3:]}"
            for child in ended
            if child.process.returncode not in child.expected
        ]

    def finish(self) -> None:
        """See that every node has come back to serve, then end all in good order."""
        for child in self.nodes.values():
            child.wait_says(SERVES)
        for label, child in self.clients.items():
            self._wait_begun(label)
            child.terminate()
        for child in self.nodes.values():
            child.terminate()

    def _wait_begun(self, label: str) -> None:
        """Until a client hears signals: from then on it has a journal."""
        until = boot_time() + PATIENCE_S
        while not (self.folder / f"{label}.journal").exists():
            if boot_time() > until or not self.clients[label].running:
                raise Failed(f"{label} has not begun")
            threading.Event().wait(LOOK_S)

    def close(self) -> None:
        """Whatever has happened: nothing of this run goes on."""
        for child in self.all:
            child.close()
        self.relay.close()
        self.guard.close()
