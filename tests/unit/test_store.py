from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import paxlock
from paxlock.core.durable import Durability, Membership, NodeRecord, SeenNode, Snapshot, SnapshotName
from paxlock.core.handles import lock_stone
from paxlock.core.lease import TERM_MAX, Candidate, Lease
from paxlock.errors import StoreError
from paxlock.store import folder as store_module
from paxlock.store import format as format_module
from paxlock.store import snapshot as snapshots
from paxlock.store.damage import DamagedError
from paxlock.store.folder import MemoryStore, Store, StoreLike
from paxlock.store.format import decode_record, encode_record
from paxlock.store.snapshot import decode_snapshot, encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROCESS_TIMEOUT_S = 20.0

RECORD = NodeRecord(
    cell_id=bytes(range(16)),
    epoch=1,
    node_id="a",
    incarnation=7,
    ceiling=TERM_MAX,
    durability=Durability.RECORD,
    membership=Membership.MEMBER,
    max_ttl_ms=30_000,
    clean=True,
    seen=(SeenNode("b", 3, b"\x00\xff" * 4), SeenNode("c", 0, b"")),
)
LEASE = Lease(Candidate(b"s" * 16, 4), 10_000, 'a "label" of Zoë', bytes(range(256)), 12, 3)
NAME = SnapshotName(
    name="näme\n",
    term=12,
    lease=LEASE,
    lease_term=12,
    sender=b"s" * 16,
    seq=99,
    remaining_ms=8_123,
    tombstones=(Candidate(b"t" * 16, 1), Candidate(b"u" * 16, 2), lock_stone(b"v" * 16)),
    chosen=LEASE,
    chosen_term=11,
    released=False,
    revoked=Candidate(b"u" * 16, 2),
    lock=bytes(range(16)),
    chosen_lock=bytes(range(16)),
)
EMPTY_NAME = SnapshotName("x", 3, None, 0, b"", 0, 0, (), None, 0, True)
SNAPSHOT = Snapshot(incarnation=7, floor=3, names=(NAME, EMPTY_NAME))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    opened = Store.open(folder, create_folder=True)
    yield opened
    opened.close()


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def reseal(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The same file with another body, and a right checksum again."""
    body = json.loads(content[: content.rindex(b"sha256 ")])
    change(body)
    text = json.dumps(body).encode() + b"\n"
    return text + b"sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n"


# --- the folder ---


def test_open_makes_the_folder_and_those_above_for_its_owner_only(tmp_path: Path) -> None:
    deep = tmp_path / "var" / "paxlock" / "a"
    Store.open(deep, create_folder=True).close()
    assert deep.stat().st_mode & 0o777 == 0o700
    Store.open(deep, create_folder=True).close()
    Store.open(str(deep), create_folder=False).close()


def test_a_missing_folder_is_not_made_unasked(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"does not exist"):
        Store.open(folder, create_folder=False)
    assert not folder.exists()


@pytest.mark.parametrize("create_folder", [False, True])
def test_a_file_in_the_place_of_the_folder(folder: Path, create_folder: bool) -> None:
    folder.write_text("")
    with pytest.raises(StoreError, match="is not a folder, or lies below a file"):
        Store.open(folder, create_folder=create_folder)
    with pytest.raises(StoreError, match="is not a folder, or lies below a file"):
        Store.open(folder / "below", create_folder=create_folder)


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(StoreError, match="the data folder /proc/self cannot be written"):
        Store.open("/proc/self", create_folder=False)


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(StoreError, match="/proc/nowhere"):
        Store.open("/proc/nowhere", create_folder=True)


def test_a_folder_that_cannot_be_made_or_opened_is_told_without_the_number_of_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(store_module, "_make_folder", read_only)
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path / "a", create_folder=True)
    assert str(caught.value) == (
        f"the data folder '{tmp_path / 'a'}' cannot be opened: Read-only file system"
    )


@pytest.mark.parametrize("path", ["x" * 5000, "nul\0byte"])
def test_a_path_that_the_system_refuses(path: str) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(path, create_folder=True)


def test_a_folder_whose_lock_file_is_no_file(folder: Path) -> None:
    (folder / store_module.LOCK_FILE).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be written"):
        Store.open(folder, create_folder=False)


def test_a_second_process_is_locked_out_until_the_first_lets_go(folder: Path) -> None:
    script = (
        "import sys; from paxlock.store.folder import Store\n"
        "store = Store.open(sys.argv[1], create_folder=True)\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    source = str(Path(paxlock.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "PYTHONPATH": source},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"locked\n"
            with pytest.raises(StoreError, match="already in use by another process"):
                Store.open(folder, create_folder=False)
            process.kill()
            process.wait(PROCESS_TIMEOUT_S)
            Store.open(folder, create_folder=False).close()
        finally:
            process.kill()


def test_one_process_cannot_open_a_folder_twice(store: Store, folder: Path) -> None:
    before = handles()
    with pytest.raises(StoreError, match="already in use"):
        Store.open(folder, create_folder=False)
    assert handles() == before
    store.close()
    Store.open(folder, create_folder=False).close()


def test_everything_but_close_fails_after_close(store: Store) -> None:
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        store.read_record,
        lambda: store.write_record(RECORD),
        lambda: store.read_snapshot(7),
        lambda: store.write_snapshot(SNAPSHOT),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="was closed"):
            call()


# --- round trips ---


@pytest.mark.parametrize("in_memory", [False, True])
def test_what_is_written_is_read_back(store: Store, in_memory: bool) -> None:
    kept: StoreLike = MemoryStore() if in_memory else store
    assert kept.read_record() is None
    assert kept.read_snapshot(7) is None
    kept.write_record(RECORD)
    kept.write_snapshot(SNAPSHOT)
    assert kept.read_record() == RECORD
    assert kept.read_snapshot(7) == SNAPSHOT
    assert kept.read_snapshot(6) is None
    assert kept.read_snapshot(8) is None
    newer = attrs.evolve(RECORD, incarnation=8, clean=False, seen=())
    kept.write_record(newer)
    assert kept.read_record() == newer
    kept.close()


def test_what_is_written_outlives_the_store(store: Store, folder: Path) -> None:
    store.write_record(RECORD)
    store.write_snapshot(attrs.evolve(SNAPSHOT, names=()))
    store.close()
    again = Store.open(folder, create_folder=False)
    assert again.read_record() == RECORD
    assert again.read_snapshot(7) == Snapshot(7, 3, ())
    again.close()


def test_memory_outlives_close() -> None:
    kept = MemoryStore()
    kept.write_record(RECORD)
    kept.close()
    assert kept.read_record() == RECORD


@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize("membership", Membership)
def test_every_mode_and_membership_is_kept(durability: Durability, membership: Membership) -> None:
    record = attrs.evolve(RECORD, durability=durability, membership=membership)
    assert decode_record(encode_record(record)) == record


def test_files_are_private_and_the_record_is_readable_by_people(store: Store, folder: Path) -> None:
    store.write_record(RECORD)
    store.write_snapshot(SNAPSHOT)
    for name in (store_module.RECORD_FILE, store_module.SNAPSHOT_FILE):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    content = (folder / store_module.RECORD_FILE).read_bytes()
    assert content.isascii()
    text = content.decode()
    assert '"cell_id": "000102030405060708090a0b0c0d0e0f"' in text
    assert '"incarnation": 7' in text
    assert not list(folder.glob("*.tmp"))


# --- damage ---


def test_a_record_torn_at_any_byte_is_an_error(store: Store, folder: Path) -> None:
    store.write_record(RECORD)
    path = folder / store_module.RECORD_FILE
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(StoreError, match="torn"):
            store.read_record()
    path.write_bytes(content)
    assert store.read_record() == RECORD


def test_a_record_with_any_byte_changed_is_an_error(store: Store) -> None:
    content = encode_record(RECORD)
    for place in range(len(content)):
        for flip in (1, 0x20, 0x80):
            changed = bytearray(content)
            changed[place] ^= flip
            with pytest.raises(DamagedError):
                decode_record(bytes(changed))
    with pytest.raises(DamagedError):
        decode_record(content + b"\n")


def test_a_snapshot_torn_at_any_byte_counts_as_missing(store: Store, folder: Path) -> None:
    store.write_snapshot(SNAPSHOT)
    path = folder / store_module.SNAPSHOT_FILE
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        assert store.read_snapshot(7) is None
    path.write_bytes(content)
    assert store.read_snapshot(7) == SNAPSHOT


RECORD_CHANGES: list[tuple[str, object, str]] = [
    ("cell_id", "00", "cell_id is not 16 to 16 bytes"),
    ("cell_id", "00 " * 16, "cell_id is not 16 to 16 bytes in hexadecimal"),
    ("cell_id", "zz" * 16, "cell_id is not hexadecimal"),
    ("cell_id", 5, "cell_id is not a string"),
    ("epoch", True, "epoch is not an integer"),
    ("epoch", 1.0, "epoch is not an integer"),
    ("incarnation", -1, "incarnation is not an integer"),
    ("incarnation", 1 << 63, "incarnation is not an integer"),
    ("ceiling", TERM_MAX + 1, "ceiling is not an integer"),
    ("ceiling", None, "ceiling is not an integer"),
    ("node_id", "", "node_id is not 1 to 16 characters"),
    ("durability", "twice", "twice"),
    ("membership", "guest", "guest"),
    ("clean", 1, "clean is not true or false"),
    ("seen", {}, "seen is not a list"),
    ("seen", [{"node_id": "b"}], "an object with the keys node_id, incarnation, run"),
    ("seen", ["b"], "an object with the keys"),
    ("seen", [{"node_id": "b", "incarnation": 1, "run": "00" * 65}], "run is not 0 to 64 bytes"),
    ("extra", 1, "an object with the keys"),
]


@pytest.mark.parametrize(("key", "value", "message"), RECORD_CHANGES)
def test_a_malformed_field_of_the_record(
    store: Store, folder: Path, key: str, value: object, message: str
) -> None:
    changed = reseal(encode_record(RECORD), lambda body: body["record"].update({key: value}))
    (folder / store_module.RECORD_FILE).write_bytes(changed)
    with pytest.raises(StoreError, match=message) as caught:
        store.read_record()
    assert "--join" in str(caught.value)


@pytest.mark.parametrize("key", [field.name for field in attrs.fields(NodeRecord)])
def test_a_missing_field_of_the_record(key: str) -> None:
    with pytest.raises(DamagedError, match="an object with the keys"):
        decode_record(reseal(encode_record(RECORD), lambda body: body["record"].pop(key)))


def test_another_format_is_refused_by_its_version() -> None:
    with pytest.raises(DamagedError, match="format version 2, and this paxlock knows version 1"):
        decode_record(reseal(encode_record(RECORD), lambda body: body.update(version=2)))
    with pytest.raises(DamagedError, match="not a paxlock record"):
        decode_record(reseal(encode_record(RECORD), lambda body: body.update(format="other")))
    with pytest.raises(DamagedError, match="torn"):
        decode_record(b"".join(encode_snapshot(SNAPSHOT)))


def test_a_record_of_a_later_format_is_left_to_the_version_that_wrote_it(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr(format_module, "FORMAT_VERSION", 2)
        store.write_record(RECORD)
    content = (folder / store_module.RECORD_FILE).read_bytes()
    with pytest.raises(StoreError, match=r"written by a later version .*version 2.*: start that version"):
        store.read_record()
    assert (folder / store_module.RECORD_FILE).read_bytes() == content


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{\n", "not JSON"),
        (b'{"format": 1, "format": 2}\n', "a key is given twice"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b"[]\n", "an object with the keys"),
        (b"\xff\n", "not JSON"),
    ],
)
def test_a_right_checksum_over_something_else(body: bytes, message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        decode_record(body + b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n")


def test_a_snapshot_with_any_byte_changed_counts_as_missing() -> None:
    content = b"".join(encode_snapshot(SNAPSHOT))
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x20
        with pytest.raises(DamagedError):
            decode_snapshot(bytes(changed))


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def test_a_snapshot_that_is_none_under_a_right_checksum_counts_as_missing() -> None:
    body = b"".join(encode_snapshot(SNAPSHOT))[: -snapshots.DIGEST_BYTES]
    assert decode_snapshot(sealed(body)) == SNAPSHOT
    term = snapshots.HEAD.size + snapshots.BEGIN.size
    flags = term + 40
    for wrong in (
        *(body[:size] for size in range(len(body))),
        body + b"x",
        b"P" + body[1:],
        body[:term] + (TERM_MAX + 1).to_bytes(8, "big") + body[term + 8 :],
        body[:flags] + bytes((16,)) + body[flags + 1 :],
        body[:flags] + bytes((snapshots.SAME,)) + body[flags + 1 :],
    ):
        with pytest.raises(DamagedError):
            decode_snapshot(sealed(wrong))


def test_a_snapshot_of_an_older_format_counts_as_missing(store: Store, folder: Path) -> None:
    """It has no locks: nothing is taken from it, and the node starts as after an unclean stop."""
    store.write_snapshot(SNAPSHOT)
    body = (folder / store_module.SNAPSHOT_FILE).read_bytes()[: -snapshots.DIGEST_BYTES]
    newest, older = ((number).to_bytes(4, "big") for number in (snapshots.SNAPSHOT_VERSION, 2))
    at = len(snapshots.MARK)
    assert body[at : at + 4] == newest
    (folder / store_module.SNAPSHOT_FILE).write_bytes(sealed(body[:at] + older + body[at + 4 :]))
    assert store.read_snapshot(SNAPSHOT.incarnation) is None


def test_every_shape_of_a_name_is_kept() -> None:
    other = attrs.evolve(LEASE, token=11)
    for lease in (None, LEASE):
        for chosen in (None, LEASE, other):
            for released in (False, True):
                name = attrs.evolve(NAME, lease=lease, chosen=chosen, released=released)
                snapshot = Snapshot(1, 2, (EMPTY_NAME, name, NAME))
                assert decode_snapshot(b"".join(encode_snapshot(snapshot))) == snapshot


# --- a disk that fails ---


@pytest.mark.parametrize("name", [store_module.RECORD_FILE, store_module.SNAPSHOT_FILE])
def test_a_file_that_cannot_be_read_is_not_a_missing_file(store: Store, folder: Path, name: str) -> None:
    (folder / name).mkdir()
    before = handles()
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        store.read_record() if name == store_module.RECORD_FILE else store.read_snapshot(7)
    assert handles() == before


def test_a_pipe_in_the_place_of_the_record_does_not_block(store: Store, folder: Path) -> None:
    os.mkfifo(folder / store_module.RECORD_FILE)
    with pytest.raises(StoreError, match="torn"):
        store.read_record()


def test_a_link_in_the_place_of_the_record_is_refused(store: Store, folder: Path) -> None:
    (folder / store_module.RECORD_FILE).symlink_to(folder / "elsewhere")
    with pytest.raises(StoreError, match="cannot be read"):
        store.read_record()


def test_an_oversized_record_is_damage(store: Store, folder: Path) -> None:
    (folder / store_module.RECORD_FILE).write_bytes(b" " * (store_module.RECORD_MAX_BYTES + 10))
    with pytest.raises(StoreError, match="torn"):
        store.read_record()


def test_a_failed_write_keeps_the_old_record_and_stops_all_writing(store: Store, folder: Path) -> None:
    store.write_record(RECORD)
    blocked = folder / (store_module.RECORD_FILE + ".tmp")
    blocked.mkdir()
    with pytest.raises(StoreError, match=r"record\.json cannot be written"):
        store.write_record(attrs.evolve(RECORD, incarnation=8))
    blocked.rmdir()
    assert store.read_record() == RECORD
    with pytest.raises(StoreError, match=r"an earlier write .* failed: this node must stop"):
        store.write_record(attrs.evolve(RECORD, incarnation=8))
    with pytest.raises(StoreError, match="an earlier write"):
        store.write_snapshot(SNAPSHOT)


def test_a_failed_rename_is_an_error(store: Store, folder: Path) -> None:
    (folder / store_module.SNAPSHOT_FILE / "below").mkdir(parents=True)
    with pytest.raises(StoreError, match="snapshot cannot be written"):
        store.write_snapshot(SNAPSHOT)


def test_a_folder_removed_underneath(store: Store, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(StoreError, match="cannot be written"):
        store.write_record(RECORD)


def test_a_left_over_temporary_file_does_no_harm(store: Store, folder: Path) -> None:
    (folder / (store_module.RECORD_FILE + ".tmp")).write_bytes(b"torn" * 1000)
    assert store.read_record() is None
    store.write_record(RECORD)
    assert store.read_record() == RECORD


def test_a_write_is_synced_before_it_is_renamed_and_the_folder_after(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        steps.append("fsync " + os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))  # noqa: PTH115, PTH119
        real_fsync(handle)

    def replace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append(f"rename {source} {target}")
        real_replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    store.write_record(RECORD)
    assert steps == ["fsync record.json.tmp", "rename record.json.tmp record.json", "fsync data"]


def test_what_could_not_be_read_back_is_never_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_record(RECORD)
    for wrong in (attrs.evolve(RECORD, ceiling=-1), attrs.evolve(RECORD, cell_id=b"short")):
        with pytest.raises(StoreError, match="a record that cannot be stored"):
            store.write_record(wrong)
    with pytest.raises(StoreError, match="it would read back differently"):
        store.write_record(attrs.evolve(RECORD, seen=list(RECORD.seen)))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="snapshot cannot be written"):
        store.write_snapshot(attrs.evolve(SNAPSHOT, names=(attrs.evolve(NAME, remaining_ms=-5),)))
    monkeypatch.setattr(store_module, "SNAPSHOT_MAX_BYTES", 10)
    with pytest.raises(StoreError, match="above the limit of 10 bytes"):
        store.write_snapshot(SNAPSHOT)
    store.write_record(attrs.evolve(RECORD, incarnation=8))
    assert store.read_record() == attrs.evolve(RECORD, incarnation=8)


def test_what_the_names_of_a_snapshot_have_in_common_is_there_once() -> None:
    session, term = b"s" * 16, 70_000
    names = []
    for attempt in (1_000, 2_000):
        held = Lease(Candidate(session, attempt), 10_000, "label", b"")
        names.append(
            SnapshotName(
                str(attempt), term, held, term, session, 1, 5, (), held.with_token(term), term, released=False
            )
        )
    again = decode_snapshot(b"".join(encode_snapshot(Snapshot(1, 2, tuple(names)))))
    assert again == Snapshot(1, 2, tuple(names))
    for name in again.names:
        assert name.lease is not None and name.chosen is not None
        assert name.chosen.candidate is name.lease.candidate
        assert name.lease_term is name.term and name.chosen_term is name.term
        assert name.chosen.token is name.term
        assert name.sender is name.lease.candidate.session
    first, second = (name.lease for name in again.names)
    assert first is not None and second is not None
    assert first.candidate.session is second.candidate.session and first.label is second.label


# --- a folder that is taken away ---


def test_a_folder_that_is_there_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = Store.open("data", create_folder=True)
    store.write_record(RECORD)
    monkeypatch.chdir("elsewhere")
    assert store.gone() == "" == MemoryStore().gone()
    store.close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: shutil.rmtree(data), "was deleted"),
        (lambda data: [file.unlink() for file in data.iterdir()], "what was in it"),
        (lambda data: (data / "record.json").unlink(), "record.json was deleted"),
        (lambda data: data.rename(data.with_name("aside")), "any more"),
        (lambda data: (data.rename(data.with_name("aside")), data.mkdir()), "is another folder"),
    ],
)
def test_what_was_deleted_or_moved_is_gone(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    data = tmp_path / "data"
    store = Store.open(data, create_folder=True)
    store.write_record(RECORD)
    damage(data)
    assert said in store.gone() and str(data) in store.gone()
    store.close()


def test_a_folder_that_is_put_back_is_there_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = Store.open(data, create_folder=True)
    store.write_record(RECORD)
    data.rename(tmp_path / "aside")
    assert store.gone()
    (tmp_path / "aside").rename(data)
    assert store.gone() == ""
    store.close()
