"""What the comparison reads of the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.machine import (
    KIB,
    build,
    cpu_of,
    free_ports,
    missing_modules,
    missing_program,
    packets_here,
    packets_of,
    pss_bytes,
    pss_of,
    stat_cpu_ns,
    stat_ticks,
)

STAT = "{pid} ({name}) S 1 77 77 0 -1 4194560 900 0 0 0 {user} {system} 0 0 20 0 3 0 5000 1000 250\n"
ROLLUP = """55d0e0a00000-7ffd4b5f3000 ---p 00000000 00:00 0                          [rollup]
Rss:               15888 kB
Pss:                9231 kB
Pss_Dirty:          4000 kB
Pss_Anon:           3996 kB
Shared_Clean:       8000 kB
"""


@pytest.mark.parametrize("name", ["redis-server", "a b", "odd) S 9 (name", ")("])
def test_ticks_are_read_behind_any_name(name: str) -> None:
    assert stat_ticks(STAT.format(pid=7, name=name, user=123, system=45)) == (123, 45)


def test_memory_is_read_from_its_own_line() -> None:
    assert pss_bytes(ROLLUP) == 9231 * KIB


@pytest.mark.parametrize("text", ["", "Rss: 1 kB\n", "Pss_Dirty: 1 kB\n", "Pss: 5 MB\n"])
def test_a_text_without_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Pss"):
        pss_bytes(text)


def test_cpu_of_a_process_is_its_own() -> None:
    before = cpu_of([os.getpid()])
    own = time.process_time()
    while time.process_time() - own < 0.05:
        pass
    assert cpu_of([os.getpid()]) - before == pytest.approx(time.process_time() - own, abs=0.02)


def test_cpu_of_another_process_is_read_and_agrees_with_the_ticks() -> None:
    program = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used, ticks = cpu_of([process.pid]), stat_cpu_ns(process.pid) / 1e9
        memory = pss_of([process.pid])
        process.kill()
    assert used >= 0.2
    assert ticks == pytest.approx(used, abs=0.03)
    assert KIB * KIB < memory < 1024 * KIB * KIB


def test_a_process_that_is_gone_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert cpu_of([process.pid]) == 0.0


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(6)
    assert len(set(ports)) == 6
    for port in ports:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


def test_what_is_missing_is_told_by_its_package() -> None:
    assert missing_modules(json="never-asked-for") == []
    assert missing_modules(no_such_module_here="no-such-package") == ["no-such-package (PyPI)"]
    assert missing_program("sh", "dash") == []
    assert missing_program("no-such-program-here", "no-such-package") == ["no-such-package (Debian)"]


def test_a_build_by_profile_is_told(tmp_path: Path) -> None:
    assert build("'--enable-optimizations' '--with-lto'", "/opt/python") == "built with PGO"
    debian = tmp_path / "debian_version"
    assert build("'--prefix=/usr'", "/usr/bin/python3.11", debian).startswith("built without PGO")
    debian.touch()
    assert build("'--prefix=/usr'", "/usr/bin/python3.11", debian) == "of Debian, built with PGO"
    assert build("", "/home/me/.pyenv/bin/python3.11", debian).startswith("built without PGO")
    assert "built with" in build()


def test_packets_are_counted_by_name() -> None:
    text = (
        "Ip: Forwarding OutRequests\nIp: 1 99\nTcp: MaxConn OutSegs\nTcp: -1 40\nUdp: OutDatagrams\nUdp: 2\n"
    )
    assert packets_of(text) == 42
    before = packets_here()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(5):
            sock.sendto(b"", ("127.0.0.1", 9))
    assert packets_here() - before >= 5
