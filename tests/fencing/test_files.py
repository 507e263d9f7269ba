"""The guard for files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from paxlock import ConfigError
from paxlock.fencing import StaleToken, Token, files
from tests.fencing.holders import Holder
from tests.fencing.rules import Rules
from tests.fencing.tokens import Held


class Folder:
    """A folder with a file, and a fence for each name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fence(self, held: Token) -> Path:
        return self.path / (held.name.encode().hex() + ".fence")

    def claim(self, held: Token) -> None:
        files.claim(self.fence(held), held)

    def write(self, held: Token, value: str) -> None:
        files.replace(self.path / "effect", value.encode(), held, fence=str(self.fence(held)))

    def value(self) -> str | None:
        path = self.path / "effect"
        return path.read_text(encoding="utf-8") if path.exists() else None


class TestRules(Rules):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    storage.claim(Held(7))
    storage.write(Held(7), "one")
    storage.claim(Held(8))
    with pytest.raises(StaleToken):
        storage.write(Held(7), "two")
    fence = storage.fence(Held(7)).name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["effect", fence, f"{fence}.lock"])


def test_the_mode_of_the_target_stays(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    storage.claim(Held(7))
    storage.write(Held(7), "one")
    (tmp_path / "effect").chmod(0o604)
    storage.write(Held(7), "two")
    assert (tmp_path / "effect").stat().st_mode & 0o777 == 0o604


def test_a_fence_is_for_one_name(tmp_path: Path) -> None:
    files.claim(tmp_path / "fence", Held(7))
    with pytest.raises(ConfigError, match="is the fence of 'primary', not of 'other'"):
        files.claim(tmp_path / "fence", Held(9, "other"))


@pytest.mark.parametrize("content", ["", "7", "{}", '{"name":"primary","cell":"","term":7}', "\xff", "[[["])
def test_what_is_no_fence_is_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "fence"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match="is not a fence"):
        files.claim(path, Held(7))
    assert path.read_text(encoding="latin-1") == content


def test_a_claim_waits_for_the_block_of_an_older_guard(tmp_path: Path) -> None:
    files.claim(tmp_path / "fence", Held(7))
    lock = os.open(tmp_path / "fence.lock", os.O_RDWR)
    with files.begin(tmp_path / "fence", Held(7)), pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


@pytest.mark.processes
def test_a_stopped_holder(tmp_path: Path) -> None:
    fence = tmp_path / "fence"
    files.claim(fence, Held(7))
    with Holder("files", str(tmp_path), Held(7)) as old:
        old.expect("inside")
        old.go_on()
        old.expect("committed")
        old.stop()  # between two blocks
        files.claim(fence, Held(8))
        files.replace(tmp_path / "effect", b"new", Held(8), fence=fence)
        old.go_on()
        old.expect("StaleToken 7 8")
    assert (tmp_path / "effect").read_bytes() == b"new"
    with Holder("files", str(tmp_path), Held(8)) as old:
        old.expect("inside")
        old.stop()  # within a block: its end frees the successor
    files.claim(fence, Held(9))
