"""This machine: CPU time and memory of processes, free ports, versions of what is installed."""

from __future__ import annotations

import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

KIB = 1024
PORTS = range(15_000, 32_000)  #: below the ports that Linux gives to clients
LOOPBACK = "127.0.0.1"
CPU_CLOCK = 2  #: the clock of a whole process: CPUCLOCK_SCHED of the kernel


def cpu_clock_id(pid: int) -> int:
    """The clock of another process's CPU time, as clock_getcpuclockid(3) computes it."""
    return (~pid << 3) | CPU_CLOCK


def cpu_of(pids: Iterable[int]) -> float:
    """CPU seconds, user and system, that these processes have used, to the nanosecond of the scheduler.

    /proc/PID/stat tells the same in ticks of 10 ms, too coarse for short measurements. A process that has
    ended counts as nothing.
    """
    total = 0
    for pid in pids:
        try:
            total += time.clock_gettime_ns(cpu_clock_id(pid))
        except OSError:
            total += stat_cpu_ns(pid)
    return total / 1e9


class Meter:
    """What is used from now on: time, and the CPU time of this process and of its servers."""

    def __init__(self, servers: Sequence[int]) -> None:
        self._servers = servers
        self._servers_cpu, self._own_cpu = cpu_of(servers), time.process_time()
        self._begin = time.monotonic_ns()

    def read(self) -> dict[str, float]:
        """The time in nanoseconds, as ``elapsed``; the CPU time in seconds."""
        return {
            "elapsed": time.monotonic_ns() - self._begin,
            "servers_cpu": cpu_of(self._servers) - self._servers_cpu,
            "client_cpu": time.process_time() - self._own_cpu,
        }


def stat_cpu_ns(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(stat_ticks(text)) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def stat_ticks(text: str) -> tuple[int, int]:
    """User and system ticks of the text of /proc/PID/stat. The name in brackets may hold anything."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def packets_here() -> int:
    """How many UDP datagrams and TCP segments have been sent in the network of this process."""
    return packets_of(Path("/proc/self/net/snmp").read_text())


def packets_of(text: str) -> int:
    """The same of the text of /proc/net/snmp: for each protocol a line of names, and one of numbers."""
    lines = [line.split() for line in text.splitlines()]
    found = {
        (names[0], name): int(number)
        for names, numbers in zip(lines[::2], lines[1::2], strict=True)
        for name, number in zip(names[1:], numbers[1:], strict=True)
    }
    return found["Udp:", "OutDatagrams"] + found["Tcp:", "OutSegs"]


def pss_of(pids: Iterable[int]) -> int:
    """Bytes of memory of these processes; pages that several share are divided among them (PSS)."""
    return sum(pss_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids)


def pss_bytes(text: str) -> int:
    """The total of the text of /proc/PID/smaps_rollup. Raises ValueError where it has none."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            amount, unit = rest.split()
            if unit != "kB":
                raise ValueError(f"unknown unit of memory: {line!r}")
            return int(amount) * KIB
    raise ValueError("no line 'Pss:' in smaps_rollup")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has bound now, neither for TCP nor for UDP."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)
        if port not in found and all(map(_is_free, [port] * 2, (socket.SOCK_STREAM, socket.SOCK_DGRAM))):
            found.append(port)
    return found


def _is_free(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def missing_modules(**packages: str) -> list[str]:
    """PyPI packages whose module (the key) cannot be imported."""
    return [f"{package} (PyPI)" for module, package in packages.items() if find_spec(module) is None]


def missing_program(program: str, package: str) -> list[str]:
    """The Debian package, if the program is nowhere on the PATH or in /usr/sbin."""
    return [] if find_program(program) else [f"{package} (Debian)"]


def find_program(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def package_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} (unknown)"


def program_says(*command: str) -> str:
    """The first line of a program's output, for its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def build(
    arguments: str | None = None, executable: str | None = None, debian: Path = Path("/etc/debian_version")
) -> str:
    """How this Python was built: by profile (PGO) it does the same work in about four fifths of the time.

    Debian's does not tell how it was configured; its packages are built by profile.
    """
    if arguments is None:
        arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    if executable is None:
        executable = str(Path(sys.executable).resolve())
    if "--enable-optimizations" in arguments:
        return "built with PGO"
    if executable.startswith("/usr/bin/") and debian.exists():
        return "of Debian, built with PGO"
    return "built without PGO: a Python with it is faster (--python)"


def description() -> dict[str, str]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "CPUs": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "Python": f"{platform.python_version()}, {build()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }
