"""Which boot of which machine this is, and on what kind of file system a folder lies (protocol.md section 7).

All of it is read from /proc. Where something cannot be read, nothing is known, and a state file counts for
nothing: the safe side.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LOCAL_FILE_SYSTEMS", "boot_identity", "mount_identity", "same_mount"]

PROC = Path("/proc")
#: What keeps written pages in the memory of this machine until they are on its disk. Others are refused:
#: network file systems and those of a user's process may lose, or bring back, what was written.
LOCAL_FILE_SYSTEMS = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "xfs", "zfs")
)


def boot_identity(proc: Path = PROC) -> str | None:
    """This boot, with what its boot-time clock is off by for this process; None where that is not known."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text("ascii").strip()
        try:
            offsets = " ".join((proc / "self/timens_offsets").read_text("ascii").split())
        except FileNotFoundError:  # a kernel without namespaces of time
            offsets = ""
    except (OSError, ValueError):
        return None
    return f"{boot} {offsets}" if boot else None


def mount_identity(handle: int, proc: Path = PROC) -> str | None:
    """The mount and the device on which an open folder lies; None where it is not known to be a local file
    system.

    A mount number means something within its namespace only, so that is told too.
    """
    try:
        told = (proc / f"self/fdinfo/{handle}").read_text("ascii")
        mount = next(line.split()[1] for line in told.splitlines() if line.startswith("mnt_id:"))
        mounts = (proc / "self/mountinfo").read_text("utf-8", "replace").splitlines()
        kind = next(_kind(line) for line in mounts if line.split()[0] == mount)
        namespace = str((proc / "self/ns/mnt").readlink())
        device = os.fstat(handle).st_dev
    except (OSError, ValueError, StopIteration, IndexError):
        return None
    return f"{device} {namespace} {mount}" if kind in LOCAL_FILE_SYSTEMS else None


def _kind(line: str) -> str:
    """The file system of a line of mountinfo: after the separator, for before it the fields may be any
    number.
    """
    return line.partition(" - ")[2].split()[0]


def same_mount(before: str, now: str) -> bool:
    """Whether a folder lies where it lay before. Seen from another namespace the number of the mount is
    another one: then only the device is compared.
    """
    device_before, namespace_before, mount_before = before.split(" ", 2)
    device, namespace, mount = now.split(" ", 2)
    return device == device_before and (namespace != namespace_before or mount == mount_before)
