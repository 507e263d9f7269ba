"""A node's durable folder: its record, its snapshot, and the lock against a second process (protocol.md
section 7).

A file of both is replaced as a whole: a temporary file, fsync, rename, fsync of the folder. So after a crash
there is the old content or the new one, and whatever else is found there is damage, never an empty record.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from paxlock.core.durable import Durability, Kept, NodeRecord, Snapshot
from paxlock.errors import StoreError
from paxlock.forks import INHERITED, dies_in_child, same_process
from paxlock.store.boot import boot_identity, mount_identity
from paxlock.store.damage import DamagedError, LaterFormatError
from paxlock.store.format import decode_record, encode_record
from paxlock.store.snapshot import decode_snapshot, encode_snapshot
from paxlock.store.state_file import Found, StateFile, read_state

__all__ = ["MemoryStore", "Store", "StoreLike"]

RECORD_FILE = "record.json"
SNAPSHOT_FILE = "snapshot"
STATE_FILE = "state"
LOCK_FILE = "lock"
RECORD_MAX_BYTES = 65_536
SNAPSHOT_MAX_BYTES = 256 * 1024 * 1024

StrPath: TypeAlias = str | os.PathLike[str]


class StoreLike(Protocol):
    """What a node needs of its store; the methods are described at Store.

    Every method is synchronous and may block on the disk: call it in a thread.
    """

    def read_record(self) -> NodeRecord | None: ...
    def write_record(self, record: NodeRecord) -> None: ...
    def read_snapshot(self, incarnation: int) -> Snapshot | None: ...
    def write_snapshot(self, snapshot: Snapshot) -> None: ...
    def read_kept(self, record: NodeRecord) -> Found | None: ...
    def keep(self, record: NodeRecord, entry: Kept, whole: Callable[[], Kept]) -> str: ...
    def sync(self) -> None: ...
    def gone(self) -> str: ...
    def close(self) -> None: ...


class MemoryStore:
    """A StoreLike without a disk. It survives ``close``, so that a test can restart a node on it."""

    def __init__(self) -> None:
        self._record: NodeRecord | None = None
        self._snapshot: Snapshot | None = None

    def read_record(self) -> NodeRecord | None:
        """The record last written, or None."""
        return self._record

    def write_record(self, record: NodeRecord) -> None:
        """Keep the record."""
        self._record = record

    def read_snapshot(self, incarnation: int) -> Snapshot | None:
        """The snapshot last written, or None where it is tied to another incarnation."""
        found = self._snapshot
        return found if found is not None and found.incarnation == incarnation else None

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Keep the snapshot."""
        self._snapshot = snapshot

    def read_kept(self, record: NodeRecord) -> Found | None:
        """None: without a disk there is no state file."""
        return None

    def keep(self, record: NodeRecord, entry: Kept, whole: Callable[[], Kept]) -> str:
        """Nothing is kept."""
        return ""

    def sync(self) -> None:
        """Nothing is kept."""

    def gone(self) -> str:
        """Nothing: there is no folder."""
        return ""

    def close(self) -> None:
        """Nothing to let go of."""


class Store:
    """The durable folder of one node, locked for this process until ``close``.

    Every method that touches the disk raises StoreError with one sentence on what is wrong. After a write
    has failed, what is on the disk is not known: every further write is refused, and the node must stop.
    In the child of a fork it is closed, and refuses everything.
    """

    def __init__(self, folder: Path, folder_handle: int, lock_handle: int) -> None:
        self.folder = folder
        self._path = folder.absolute()  # whatever the working directory is later
        self._folder_handle = folder_handle
        self._lock_handle = lock_handle
        self._closed = False
        self._failed = False
        self._inherited = False
        self._state: StateFile | None = None
        self._keeps = True
        self._boot, self._mount = boot_identity(), mount_identity(folder_handle)
        dies_in_child(self)

    @classmethod
    def open(cls, folder: StrPath, *, create_folder: bool) -> Store:
        """Open and lock a data folder, making it (for its owner only) if ``create_folder``.

        Raises StoreError where it is missing, is no folder, cannot be written, or is in use by another
        process.
        """
        path = Path(folder)
        try:
            if create_folder:
                _make_folder(path)
            folder_handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as error:
            if create_folder:
                raise StoreError(
                    f"the data folder {path} cannot be made: {error.strerror}; choose another"
                ) from None
            raise StoreError(f"the data folder {path} does not exist") from None
        except (FileExistsError, NotADirectoryError):
            raise StoreError(
                f"the data folder {path} is not a folder, or lies below a file: choose another"
            ) from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise StoreError(f"the data folder {str(path)!r} cannot be opened: {why}") from error
        try:
            lock_handle = _lock(path, folder_handle)
        except BaseException:
            os.close(folder_handle)
            raise
        return cls(path, folder_handle, lock_handle)

    def read_record(self) -> NodeRecord | None:
        """The record, or None if there is no record file.

        Raises StoreError where the record is torn, damaged or of another format: it is never taken for none.
        """
        content = self._read(RECORD_FILE, RECORD_MAX_BYTES)
        if content is None:
            return None
        try:
            return decode_record(content)
        except LaterFormatError as error:
            raise StoreError(
                f"the record {self.folder / RECORD_FILE} was written by a later version of paxlock "
                f"({error}): start that version again; or move the folder away, and this node starts "
                "without a memory"
            ) from error
        except DamagedError as error:
            raise StoreError(
                f"the record {self.folder / RECORD_FILE} cannot be used ({error}): restore nothing by hand; "
                "move the folder away and start this node with --join"
            ) from error

    def write_record(self, record: NodeRecord) -> None:
        """Replace the record; it is on the disk when this returns. Raises StoreError."""
        self._replace(RECORD_FILE, [_encode_checked(record)], RECORD_MAX_BYTES)

    def read_snapshot(self, incarnation: int) -> Snapshot | None:
        """The snapshot of the node's run ``incarnation``, or None.

        None also for one that is damaged: the node then counts as stopped uncleanly, which is the safe side.
        Raises StoreError where the disk cannot be read.
        """
        content = self._read(SNAPSHOT_FILE, SNAPSHOT_MAX_BYTES)
        if content is None:
            return None
        try:
            snapshot = decode_snapshot(content)
        except DamagedError:
            return None
        return snapshot if snapshot.incarnation == incarnation else None

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the snapshot; it is on the disk when this returns. Raises StoreError.

        It is not read back first: one that cannot be read counts as none, and so does the one before it.
        """
        self._replace(SNAPSHOT_FILE, encode_snapshot(snapshot), SNAPSHOT_MAX_BYTES)

    def read_kept(self, record: NodeRecord) -> Found | None:
        """What the state file of the run of this record says, if it is whole, and of this very boot or of a
        run in synchronous mode; or None.
        """
        self._check_open()
        if self._boot is None or self._mount is None:
            return None
        try:
            handle = self._opener(STATE_FILE, os.O_RDONLY)
            try:
                return read_state(handle, record, self._boot, self._mount)
            finally:
                os.close(handle)
        except OSError:
            return None

    def keep(self, record: NodeRecord, entry: Kept, whole: Callable[[], Kept]) -> str:
        """Write an entry to the state file of the run of this record; it outlives this process when this
        returns, but not this boot. A file that has grown large is begun anew with ``whole``.

        After an error the file counts for nothing, and nothing more is kept in this run: the answer is a
        sentence on that, once. Raises StoreError where the file can be neither written nor spoilt, and in
        synchronous mode after every error: the node must stop.
        """
        if not self._keeps:
            return ""
        self._check_open()
        synchronous = record.durability is Durability.SYNC
        if self._boot is None or self._mount is None:
            why = "it is not on a file system of this machine, or this boot has no number"
            if synchronous:
                raise StoreError(
                    f'{self.folder / STATE_FILE} cannot be kept ({why}): use durability "record", '
                    "or another data folder"
                )
            return self._keep_no_more(why)
        try:
            if self._state is None:
                self._state = self._new_state(record, entry if entry.whole else whole())
            elif self._state.full:
                older, self._state = self._state, self._new_state(record, whole())
                older.close()
            else:
                self._state.add(entry)
        except OSError as error:
            if synchronous:
                raise self._write_error(STATE_FILE, error) from error
            return self._keep_no_more(error.strerror or str(error))
        return ""

    def sync(self) -> None:
        """Wait until all that was kept is on the disk. Raises StoreError: the node must stop."""
        self._check_writable()
        try:
            if self._state is not None:
                self._state.sync()
        except OSError as error:
            raise self._write_error(STATE_FILE, error) from error

    def gone(self) -> str:
        """A sentence where the folder, or a file in it that the next start needs, was deleted or moved under
        this process; ``""`` where all is there, or where that cannot be seen.
        """
        self._check_open()
        try:
            opened = os.fstat(self._folder_handle)
            if not opened.st_nlink or not os.fstat(self._lock_handle).st_nlink:
                return f"the data folder {self.folder} was deleted, or what was in it"
            os.stat(RECORD_FILE, dir_fd=self._folder_handle, follow_symlinks=False)
            found = self._path.stat()
        except FileNotFoundError as error:
            if error.filename == RECORD_FILE:
                return f"{self.folder / RECORD_FILE} was deleted"
            return f"the data folder is not at {self.folder} any more"
        except OSError:
            return ""
        if (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino):
            return f"at {self.folder} is another folder than the one that was opened there"
        return ""

    def _new_state(self, record: NodeRecord, whole: Kept) -> StateFile:
        """A state file in the place of the one there is: that counts until it is replaced."""
        assert self._boot is not None
        assert self._mount is not None
        temporary = STATE_FILE + ".tmp"
        handle = self._opener(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            state = StateFile(handle, record, self._boot, self._mount, whole)
            synchronous = record.durability is Durability.SYNC
            if synchronous:
                os.fsync(handle)
            os.replace(temporary, STATE_FILE, src_dir_fd=self._folder_handle, dst_dir_fd=self._folder_handle)
            if synchronous:
                os.fsync(self._folder_handle)
        except OSError:
            os.close(handle)
            with suppress(OSError):  # of a full disk it would take the rest
                os.unlink(temporary, dir_fd=self._folder_handle)
            raise
        return state

    def forget_kept(self) -> None:
        """A run that keeps nothing follows: the state file counts for nothing any more. Raises StoreError."""
        self._check_writable()
        try:
            os.unlink(STATE_FILE, dir_fd=self._folder_handle)
            os.fsync(self._folder_handle)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._write_error(STATE_FILE, error) from error

    def _keep_no_more(self, why: str) -> str:
        self._keeps = False
        try:
            if self._state is not None:
                self._state.spoil()
                self._state.close()
                self._state = None
            with suppress(FileNotFoundError):
                os.unlink(STATE_FILE, dir_fd=self._folder_handle)
        except OSError as error:
            raise self._write_error(STATE_FILE, error) from error
        return f"{self.folder / STATE_FILE} is not kept ({why}): killed, this node sits out at its next start"

    def close(self) -> None:
        """Unlock the folder. Afterwards every other method raises StoreError; closing again does nothing."""
        if not self._closed:
            self._closed = True
            if self._state is not None:
                self._state.close()
                self._state = None
            os.close(self._lock_handle)
            os.close(self._folder_handle)

    def forked(self) -> None:
        """This is the child of a fork. Its handles are closed, which unlocks nothing as long as the parent
        has its own: kept open, they would lock the folder for as long as the child lives.
        """
        self._inherited = True
        self.close()

    def _check_open(self) -> None:
        same_process()
        if self._inherited:
            raise StoreError(f"the data folder {self.folder}: {INHERITED}")
        if self._closed:
            raise StoreError(f"the data folder {self.folder} was closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._failed:
            raise StoreError(f"an earlier write to the data folder {self.folder} failed: this node must stop")

    def _write_error(self, name: str, error: OSError) -> StoreError:
        self._failed = True
        return StoreError(f"{self.folder / name} cannot be written: {error.strerror or error}")

    def _opener(self, name: str, flags: int) -> int:
        # O_NONBLOCK, so that a pipe in the place of a file cannot block the node.
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=self._folder_handle)

    def _read(self, name: str, max_bytes: int) -> bytes | None:
        """The content of a file, None if it is missing; one too long is cut, which no checksum survives."""
        self._check_open()
        try:
            with open(name, "rb", opener=self._opener) as file:
                return file.read(max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.folder / name} cannot be read: {error.strerror or error}") from error

    def _replace(self, name: str, pieces: Iterable[bytes], max_bytes: int) -> None:
        self._check_writable()
        temporary = name + ".tmp"
        written = 0
        try:
            with open(temporary, "wb", opener=self._opener) as file:
                for piece in pieces:
                    written += file.write(piece)
                    if written > max_bytes:
                        raise StoreError(
                            f"{self.folder / name} would be above the limit of {max_bytes} bytes"
                        )
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, name, src_dir_fd=self._folder_handle, dst_dir_fd=self._folder_handle)
            os.fsync(self._folder_handle)
        except OSError as error:
            raise self._write_error(name, error) from error
        except ValueError as error:
            raise StoreError(f"{self.folder / name} cannot be written: {error}") from error


def _make_folder(path: Path) -> None:
    """Make a folder and those above it; each new one is durable in the one above."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(path: Path, folder_handle: int) -> int:
    """Lock the folder for this process and return the handle on which the lock rests."""
    try:
        handle = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder_handle)
    except OSError as error:
        raise StoreError(f"the data folder {path} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreError(
            f"the data folder {path} is already in use by another process: "
            "every node needs a folder of its own"
        ) from None
    except OSError as error:
        os.close(handle)
        raise StoreError(f"the data folder {path} cannot be locked: {error.strerror or error}") from error
    return handle


def _encode_checked(record: NodeRecord) -> bytes:
    """Encode, and read back before the disk is touched: what cannot be read must never replace what can."""
    try:
        content = encode_record(record)
        if decode_record(content) == record:
            return content
        detail = "it would read back differently"
    except ValueError as error:
        detail = str(error)
    raise StoreError(f"a record that cannot be stored: {detail}")
