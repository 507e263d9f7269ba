"""What a node says at its start of files that others may write, of a missing key, of a small buffer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import attrs
import pytest

from paxlock.config.cell import Cell, NodeConfig
from paxlock.host.udp import RECEIVE_BUFFER_BYTES, UdpSocket
from paxlock.node.premises import warnings_at_start

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there are no modes here")


@attrs.frozen
class Socket:
    size: int = RECEIVE_BUFFER_BYTES

    def receive_buffer(self) -> int:
        return self.size


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    for folder in ("etc", "keys", "data"):
        (tmp_path / folder).mkdir(mode=0o700)
    Cell.new({"a": "127.0.0.1:7400"}).save(tmp_path / "etc" / "cell.toml")
    (tmp_path / "etc" / "cell.key").rename(tmp_path / "keys" / "cell.key")
    cell = Cell.load(tmp_path / "etc" / "cell.toml", key_file=tmp_path / "keys" / "cell.key")
    return NodeConfig(cell, "a", tmp_path / "data")


def said(config: NodeConfig, size: int = RECEIVE_BUFFER_BYTES) -> list[tuple[str, str]]:
    lines = warnings_at_start(config, Socket(size))  # type: ignore[arg-type]
    return [(line.event, line.sentence) for line in lines]


def test_nothing_is_said_where_all_is_as_it_should_be(config: NodeConfig) -> None:
    assert said(config) == []


@pytest.mark.parametrize("place", ["etc/cell.toml", "etc", "keys", "data"])
def test_what_everybody_may_write_is_said(config: NodeConfig, tmp_path: Path, place: str) -> None:
    (tmp_path / place).chmod(0o777)
    ((event, sentence),) = said(config)
    assert event == "writable" and f" {tmp_path / place} can be changed by everybody" in sentence
    assert f"chmod go-w {tmp_path / place}" in sentence


def test_a_folder_where_others_may_only_add_is_no_danger_to_a_key_but_to_a_record(
    config: NodeConfig, tmp_path: Path
) -> None:
    (tmp_path / "keys").chmod(0o1777)
    assert said(config) == []
    (tmp_path / "data").chmod(0o1777)
    assert [event for event, _ in said(config)] == ["writable"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_others_is_said(config: NodeConfig, tmp_path: Path) -> None:
    os.chown(tmp_path / "data", 12345, 0)
    assert "by the user 12345" in said(config)[0][1]
    os.chown(tmp_path / "data", 0, 12345)
    (tmp_path / "data").chmod(0o770)
    assert "by the group 12345" in said(config)[0][1]
    os.chown(tmp_path / "data", 0, os.getegid())
    assert said(config) == []


def test_a_cell_without_a_key_that_says_so_is_told_at_every_start(config: NodeConfig) -> None:
    assert isinstance(config.cell, Cell)
    bare = attrs.evolve(config.cell, keys=(), unsealed=True, insecure=True)
    for _ in range(2):
        ((event, sentence),) = said(attrs.evolve(config, cell=bare))
        assert event == "insecure" and "without a key (insecure = true)" in sentence
    on_loopback = attrs.evolve(bare, insecure=False)
    assert said(attrs.evolve(config, cell=on_loopback)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such sysctl")
def test_a_buffer_that_is_smaller_than_asked_for_is_told_with_what_to_set(config: NodeConfig) -> None:
    ((event, sentence),) = said(config, 212_992)
    assert event == "small_buffer" and "208 KiB" in sentence
    assert f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}" in sentence


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such sysctl")
def test_the_buffer_of_a_real_socket_is_what_the_kernel_grants() -> None:
    granted = int(Path("/proc/sys/net/core/rmem_max").read_text())
    sock = UdpSocket.bind("127.0.0.1", 0)
    try:
        assert sock.receive_buffer() == min(granted, RECEIVE_BUFFER_BYTES)
    finally:
        sock.close()
