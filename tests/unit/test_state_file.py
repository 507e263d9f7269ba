"""The state file of a node: what is taken from it, and what is refused (protocol.md section 7)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from paxlock.config.cell import Cell, NodeConfig
from paxlock.core.durable import Durability, Kept, KeptName, KeptRenewal, KeptStone, Membership, NodeRecord
from paxlock.core.handles import lock_stone
from paxlock.core.node.keeping import recovered, replay
from paxlock.errors import StoreError
from paxlock.runtime.environment import open_store
from paxlock.store import boot, folder, state_file
from paxlock.store.folder import STATE_FILE, Store

RECORD = NodeRecord(b"c" * 16, 1, "a", 7, 5_000, Durability.RECORD, Membership.MEMBER, 30_000, clean=False)
HELD = KeptName("x", 4, 4, b"s" * 16, 2, 10_000, "label", b"data", 4, b"s" * 16, 9, 130.0, lock=b"k" * 16)
BEGUN = Kept(True, 3, 90.0, (), (KeptName("old", 3),))
STONE, BY_LOCK = KeptStone("x", b"t" * 16, 1), KeptStone("x", *lock_stone(b"k" * 16))
TAKEN = Kept(False, 3, 90.0, (), (HELD,), (STONE, BY_LOCK))
RENEWED = Kept(False, 3, 90.0, (KeptRenewal(b"s" * 16, (2,), b"h" * 16, 11, 125.5),))
DROPPED = Kept(False, 8, 90.0, (), (), (), ("old",))


def never() -> Kept:
    raise AssertionError("the file is not large")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folder of a node that was killed after three entries."""
    store = Store.open(tmp_path / "data", create_folder=True)
    for entry in (BEGUN, TAKEN, RENEWED):
        assert store.keep(RECORD, entry, never) == ""
    store.close()
    return tmp_path / "data"


def read(path: Path, record: NodeRecord = RECORD) -> Kept | None:
    store = Store.open(path, create_folder=False)
    try:
        found = store.read_kept(record)
        return found.kept if found is not None else None
    finally:
        store.close()


# What is taken


def test_what_was_written_is_read(written: Path) -> None:
    found = read(written)
    assert found is not None
    assert (found.floor, found.serves_at) == (3, 90.0)
    assert {name.name: name for name in found.names} == {
        "old": KeptName("old", 3),
        "x": HELD._replace(sender=b"h" * 16, seq=11, deadline=135.5),
    }
    assert found.stones == (STONE, BY_LOCK)


def test_a_file_of_an_older_format_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no locks: the node starts as after an unclean stop."""
    with monkeypatch.context() as older:
        older.setattr(state_file, "FORMAT", state_file.FORMAT - 1)
        store = Store.open(tmp_path / "data", create_folder=True)
        assert store.keep(RECORD, BEGUN, never) == ""
        store.close()
        assert read(tmp_path / "data") is not None
    assert read(tmp_path / "data") is None


def test_a_renewal_never_moves_a_deadline_back() -> None:
    late = RENEWED._replace(renewals=(RENEWED.renewals[0]._replace(at=100.0),))
    found = replay([BEGUN, TAKEN, late])
    assert found is not None
    assert found.names[1].deadline == HELD.deadline


def test_a_renewal_of_what_has_been_released_changes_nothing() -> None:
    released = TAKEN._replace(names=(KeptName("x", 4),))
    found = replay([BEGUN, TAKEN, released, RENEWED])
    assert found is not None
    assert found.names[1] == KeptName("x", 4)


def test_a_name_is_dropped_with_the_floor_in_one_entry() -> None:
    found = replay([BEGUN, DROPPED])
    assert found is not None
    assert (found.floor, found.names) == (8, ())


def test_what_does_not_begin_with_everything_is_nothing() -> None:
    assert replay([TAKEN, RENEWED]) is None
    assert replay([]) is None


def test_what_is_past_its_deadline_is_gone_and_its_term_closed() -> None:
    kept = Kept(True, 3, 90.0, (), (HELD,))
    (held,) = recovered(kept, 7, 129.0).names
    (over,) = recovered(kept, 7, 130.0).names
    assert (held.remaining_ms, held.lease is not None, held.term) == (1000, True, 4)
    assert (over.remaining_ms, over.lease, over.term, over.lease_term) == (0, None, 4, 0)


def test_of_renewals_the_latest_receipt_and_the_last_sender_count() -> None:
    first = KeptRenewal(b"s" * 16, (2, 9), b"h" * 16, 11, 140.0)
    second = KeptRenewal(b"s" * 16, (2,), b"i" * 16, 12, 135.0)
    found = replay([BEGUN, TAKEN, RENEWED._replace(renewals=(first,)), RENEWED._replace(renewals=(second,))])
    assert found is not None
    assert found.names[1] == HELD._replace(sender=b"i" * 16, seq=12, deadline=150.0)


def test_a_renewal_before_a_name_is_taken_again_does_not_count() -> None:
    found = replay([BEGUN, TAKEN, RENEWED, TAKEN._replace(names=(HELD._replace(deadline=120.0),))])
    assert found is not None
    assert found.names[1].deadline == 120.0


def test_a_renewal_of_a_name_that_was_dropped_changes_nothing() -> None:
    found = replay([BEGUN, TAKEN, DROPPED._replace(dropped=("x",)), RENEWED])
    assert found is not None
    assert [name.name for name in found.names] == ["old"]


def test_a_large_file_is_read_in_parts(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(written)
    assert whole is not None
    for size in (1, 7, 64):
        monkeypatch.setattr(state_file, "READS_BYTES", size)
        assert read(written) == whole


def test_what_lies_beyond_the_commitment_was_not_sent(written: Path) -> None:
    """A process that is killed between its two writes leaves an entry whose effect was not sent."""
    whole = read(written)
    content = (written / STATE_FILE).read_bytes()
    for tail in (b"\0", state_file.FRAME.pack(100, 1), state_file.FRAME.pack(100, 1) + b"torn"):
        (written / STATE_FILE).write_bytes(content + tail)
        assert read(written) == whole


def test_a_file_that_has_grown_is_begun_anew(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "GROWS_BY_BYTES", 2_000)
    store = Store.open(written, create_folder=False)
    now = Kept(True, 50, 90.0, (), (HELD,))
    sizes = []
    for floor in range(100):
        assert store.keep(RECORD, BEGUN if floor == 0 else TAKEN, lambda: now) == ""
        sizes.append((written / STATE_FILE).stat().st_size)
    store.close()
    assert max(sizes) < 3_500
    found = read(written)
    assert found is not None
    assert found.floor in {3, 50}
    assert len(found.names) == 1


# What is refused


def test_every_flipped_bit_is_found_or_changes_nothing(written: Path) -> None:
    whole = read(written)
    content = bytearray((written / STATE_FILE).read_bytes())
    refused = 0
    for at in range(len(content)):
        for bit in (0x01, 0x80):
            content[at] ^= bit
            (written / STATE_FILE).write_bytes(content)
            found = read(written)
            assert found in (None, whole), (at, bit)
            refused += found is None
            content[at] ^= bit
    assert refused == 2 * len(content)


def test_a_dropped_tail_is_found_wherever_it_begins(written: Path) -> None:
    content = (written / STATE_FILE).read_bytes()
    for length in range(len(content)):
        (written / STATE_FILE).write_bytes(content[:length])
        assert read(written) is None, length


def test_a_block_of_zeros_in_the_middle_is_found(written: Path) -> None:
    content = bytearray((written / STATE_FILE).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    (written / STATE_FILE).write_bytes(content)
    assert read(written) is None


def test_an_older_commitment_that_came_back_is_found(written: Path) -> None:
    """A write-back that failed may leave one page old and the next one as it was written."""
    old = (written / STATE_FILE).read_bytes()
    store = Store.open(written, create_folder=False)
    store.keep(RECORD, BEGUN, never)
    first = (written / STATE_FILE).read_bytes()[: state_file.HEAD_AT]
    for entry in (TAKEN, RENEWED):
        store.keep(RECORD, entry, never)
    store.close()
    content = (written / STATE_FILE).read_bytes()
    assert len(content) == len(old)
    (written / STATE_FILE).write_bytes(first + content[state_file.HEAD_AT :])
    assert read(written) is None


@pytest.mark.parametrize(
    "change", [{"incarnation": 6}, {"incarnation": 8}, {"node_id": "b"}, {"cell_id": b"d" * 16}, {"epoch": 2}]
)
def test_the_file_of_another_run_cell_or_node_counts_for_nothing(
    written: Path, change: dict[str, Any]
) -> None:
    assert read(written, attrs.evolve(RECORD, **change)) is None


@pytest.mark.parametrize("now", ["another boot  ", None])
def test_the_file_of_another_boot_counts_for_nothing(
    written: Path, monkeypatch: pytest.MonkeyPatch, now: str | None
) -> None:
    monkeypatch.setattr(folder, "boot_identity", lambda: now)
    assert read(written) is None


def test_a_copied_folder_is_another_place(written: Path) -> None:
    shutil.copytree(written, written.with_name("copy"))
    assert read(written.with_name("copy")) is None
    assert read(written) is not None


def test_a_folder_that_was_moved_back_from_a_copy_is_another_place(written: Path) -> None:
    shutil.copytree(written, written.with_name("backup"))
    shutil.rmtree(written)
    written.with_name("backup").rename(written)
    assert read(written) is None


# Errors of writing


def fails(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_after_a_failed_write_the_file_counts_for_nothing(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(written, create_folder=False)
    store.keep(RECORD, BEGUN, never)
    monkeypatch.setattr(os, "pwrite", fails)
    assert "No space left" in store.keep(RECORD, TAKEN, never)
    assert store.keep(RECORD, RENEWED, never) == ""
    monkeypatch.undo()
    assert store.keep(RECORD, RENEWED, never) == ""
    store.close()
    assert read(written) is None


def test_what_was_begun_anew_on_a_full_disk_leaves_nothing_there(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the disk would stay as full as it is."""
    store = Store.open(written, create_folder=False)
    monkeypatch.setattr(os, "pwrite", fails)
    assert "No space left" in store.keep(RECORD, BEGUN, never)
    store.close()
    assert not list(written.glob("state*"))


def test_where_it_cannot_even_be_spoilt_the_node_must_stop(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(written, create_folder=False)
    store.keep(RECORD, BEGUN, never)
    monkeypatch.setattr(os, "pwrite", fails)
    monkeypatch.setattr(os, "ftruncate", fails)
    with pytest.raises(StoreError, match="state"):
        store.keep(RECORD, TAKEN, never)
    monkeypatch.undo()
    store.close()


# Synchronous mode: what a crash of the machine leaves

SYNCED = attrs.evolve(RECORD, durability=Durability.SYNC)
PAGE_BYTES = 512  #: what a disk writes whole, or not at all


class CrashingDisk:
    """Notes what was written to the state file since it was last synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.unsynced: list[tuple[int, bytes]] = []
        self.synced: list[int] = []
        write, sync = os.pwrite, os.fdatasync

        def pwrite(handle: int, content: bytes, at: int) -> int:
            self.unsynced.append((at, bytes(content)))
            return write(handle, content, at)

        def fdatasync(handle: int) -> None:
            sync(handle)
            self.synced.append(len(self.unsynced))
            self.unsynced.clear()

        monkeypatch.setattr(os, "pwrite", pwrite)
        monkeypatch.setattr(os, "fdatasync", fdatasync)

    def images(self, synced: bytes) -> Iterator[bytes]:
        """Everything that a crash may leave: of what was not synced, any of its pages."""
        pieces = []
        for at, content in self.unsynced:
            while content:
                size = PAGE_BYTES - at % PAGE_BYTES
                pieces.append((at, content[:size]))
                at, content = at + size, content[size:]
        for taken in range(1 << len(pieces)):
            image = bytearray(synced)
            for number, (at, content) in enumerate(pieces):
                if taken >> number & 1:
                    image.extend(bytes(max(0, at + len(content) - len(image))))
                    image[at : at + len(content)] = content
            yield bytes(image)


def test_whatever_a_crash_of_the_machine_leaves_has_all_that_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "data", create_folder=True)
    path = tmp_path / "data" / STATE_FILE
    store.keep(SYNCED, BEGUN._replace(floor=0), never)
    disk = CrashingDisk(monkeypatch)
    found = []
    for floor in range(1, 12):
        before = path.read_bytes()
        names = (HELD._replace(data=bytes(100 * (floor % 5))),) * (floor % 3 + 1)
        store.keep(SYNCED, TAKEN._replace(floor=floor, names=names), never)
        written = path.read_bytes()
        for image in disk.images(before):
            path.write_bytes(image)
            kept = after_a_crash(path.parent, monkeypatch)
            assert kept is not None, floor
            assert kept.floor in {floor - 1, floor}  # the last one was not told yet
            found.append(kept.floor - floor)
        path.write_bytes(written)
        store.sync()
    store.close()
    assert set(found) == {-1, 0}


def after_a_crash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Kept | None:
    """What another boot reads there."""
    handle = os.open(folder / STATE_FILE, os.O_RDONLY)
    try:
        found = state_file.read_state(handle, SYNCED, "another boot", "1 2 3")
    finally:
        os.close(handle)
    assert found is None or found.rebooted
    return found.kept if found is not None else None


def test_a_turn_in_synchronous_mode_is_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "data", create_folder=True)
    store.keep(SYNCED, BEGUN, never)
    disk = CrashingDisk(monkeypatch)
    store.keep(SYNCED, TAKEN, never)
    assert not disk.synced
    store.sync()
    assert disk.synced == [2]
    store.close()


def test_a_synced_file_that_is_damaged_or_copied_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "data", create_folder=True)
    for entry in (BEGUN, TAKEN, RENEWED):
        store.keep(SYNCED, entry, never)
        store.sync()
    store.close()
    path = tmp_path / "data" / STATE_FILE
    content = path.read_bytes()
    whole = after_a_crash(path.parent, monkeypatch)
    assert whole is not None
    committed, _ = state_file.COMMIT.unpack_from(content, state_file.COMMIT_AT)
    for at in range(committed):
        path.write_bytes(content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :])
        assert after_a_crash(path.parent, monkeypatch) is None, at
    path.write_bytes(content)
    assert after_a_crash(path.parent, monkeypatch) == whole
    shutil.copytree(path.parent, tmp_path / "copy")
    assert after_a_crash(tmp_path / "copy", monkeypatch) is None


def keep_and_sync(store: Store) -> None:
    store.keep(SYNCED, TAKEN, never)
    store.sync()


def test_in_synchronous_mode_a_failed_write_or_sync_stops_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in ("pwrite", "fdatasync"):
        store = Store.open(tmp_path / call, create_folder=True)
        store.keep(SYNCED, BEGUN, never)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fails)
            with pytest.raises(StoreError, match="No space left"):
                keep_and_sync(store)
        with pytest.raises(StoreError, match="must stop"):
            store.sync()
        store.close()


def test_where_nothing_can_be_kept_there_is_no_synchronous_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "mount_identity", lambda handle: None)
    store = Store.open(tmp_path / "data", create_folder=True)
    with pytest.raises(StoreError, match="or another data folder"):
        store.keep(SYNCED, BEGUN, never)
    store.close()


def test_a_run_in_memory_outdates_the_state_file(written: Path) -> None:
    """What it has told is in no file: an older one must not pass for it."""
    store = Store.open(written, create_folder=False)
    store.write_record(RECORD)
    store.close()
    cell = Cell.new({"a": "127.0.0.1:7400"})
    open_store(NodeConfig(cell, "a", written, Durability.MEMORY)).close()
    assert not (written / STATE_FILE).exists()


# Where a file may lie


def proc_of(tmp_path: Path, kind: str) -> Path:
    """What the kernel tells of an open file on a file system of this kind."""
    proc = tmp_path / f"proc {kind}"
    (proc / "self/fdinfo").mkdir(parents=True)
    (proc / "self/ns").mkdir()
    (proc / "self/ns/mnt").symlink_to("mnt:[4026531832]")
    (proc / "self/fdinfo/0").write_text("pos:\t0\nflags:\t0\nmnt_id:\t44\nino:\t5\n")
    (proc / "self/mountinfo").write_text(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        f"44 27 0:31 / /var/lib rw,relatime shared:1 master:2 - {kind} somewhere rw\n"
    )
    return proc


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay"])
def test_a_file_system_of_this_machine_is_taken(tmp_path: Path, kind: str) -> None:
    assert boot.mount_identity(0, proc_of(tmp_path, kind)) is not None


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p", "ceph", "virtiofs", "unheard-of"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    assert boot.mount_identity(0, proc_of(tmp_path, kind)) is None


def test_on_a_network_file_system_nothing_is_kept_and_that_is_said(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "mount_identity", lambda handle: None)
    assert read(written) is None
    store = Store.open(written, create_folder=False)
    assert "sits out" in store.keep(RECORD, BEGUN, never)
    store.close()
    assert not (written / STATE_FILE).exists()


def test_where_the_kernel_tells_nothing_nothing_is_known(tmp_path: Path) -> None:
    assert boot.mount_identity(0, tmp_path) is None
    assert boot.boot_identity(tmp_path) is None


@pytest.mark.parametrize(
    ("now", "same"),
    [("1 m1 5", True), ("1 m1 6", False), ("2 m1 5", False), ("1 m2 9", True), ("2 m2 5", False)],
)
def test_a_folder_that_was_mounted_anew_is_another_place(now: str, same: bool) -> None:
    """From another namespace the numbers of mounts are others: a container that was started again."""
    assert boot.same_mount("1 m1 5", now) is same


def test_processes_with_clocks_apart_are_as_on_different_boots(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "sys/kernel/random/boot_id").write_text("3c1e\n")
    found: list[str | None] = []
    for offset in ("0", "86400"):
        (tmp_path / "self/timens_offsets").write_text(f"monotonic  0  0\nboottime  {offset}  0\n")
        found.append(boot.boot_identity(tmp_path))
    assert None not in found
    assert found[0] != found[1]
