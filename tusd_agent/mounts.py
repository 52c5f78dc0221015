"""On which mount a path lies, and what kind of file system that is."""

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNT_TABLE = Path("/proc/self/mountinfo")

_NETWORK = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs",
        "pvfs2", "smb3", "smbfs", "vboxsf", "vmhgfs",
    }
)  # fmt: skip
"""Other hosts write there (or the host of this virtual machine), without the memory that processes share."""

_NETWORK_IN_USER_SPACE = frozenset(
    {
        "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "curlftpfs", "davfs", "davfs2", "gcsfuse", "glusterfs",
        "goofys", "gvfsd-fuse", "juicefs", "lizardfs", "mfs", "moosefs", "mount-s3", "mountpoint-s3", "rclone",
        "s3fs", "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse",
    }
)  # fmt: skip
"""The same, as FUSE's subtypes (mount.fuse(8))."""

_SHARED = frozenset({"9p", "gfs2", "ocfs2", "virtiofs"})
"""Others may write there, and yet its locks and shared memory may well hold: it depends on how it is set up."""


class Mount(NamedTuple):
    """Where a file system is mounted, and of which type it is."""

    point: str
    kind: str


def file_system_type(path: str, table: Path | None = None) -> str | None:
    """The type of the file system that `path` lies on, as the mount table has it; `None` when that can't be told."""
    mount = mount_of(path, table)
    return None if mount is None else mount.kind


def mount_of(path: str, table: Path | None = None) -> Mount | None:
    """The mount that `path` lies on, which need not exist, by the mount table; `None` when that can't be told.

    The path is walked from mount to mount (proc_pid_mountinfo(5) tells on which one each of them lies): what was
    mounted on the same point later covers what was there, and what is mounted above covers everything below.
    """
    where = os.path.join(os.path.realpath(os.fsencode(path)), b"")
    try:
        mounts = [
            mount for line in (table or MOUNT_TABLE).read_bytes().splitlines() if (mount := _mount(line)) is not None
        ]
    except OSError:
        return None
    on_the_way = [mount for mount in mounts if where.startswith(mount.point)]
    ids = {mount.id for mount in on_the_way}
    # The first one lies on a mount that we are not shown, as in a chroot; or on itself.
    below = [mount for mount in on_the_way if mount.parent not in ids or mount.parent == mount.id]
    found: _Line | None = None
    while below:
        # Of those that lie on the same mount the uppermost is come to first; of those on one point the last covers.
        found = min(reversed(below), key=lambda mount: len(mount.point))
        on_the_way.remove(found)
        below = [mount for mount in on_the_way if mount.parent == found.id and mount.point.startswith(found.point)]
    if found is None:
        return None
    return Mount(os.fsdecode(found.point.rstrip(b"/")) or "/", found.kind)


class _Line(NamedTuple):
    id: bytes
    parent: bytes
    point: bytes
    """With a slash at its end."""
    kind: str


def _mount(line: bytes) -> _Line | None:
    fields, _, rest = line.partition(b" - ")
    columns = fields.split(b" ")
    if len(columns) < 5 or not rest:
        return None
    point = os.path.join(_unescaped(columns[4]), b"")
    return _Line(columns[0], columns[1], point, rest.split(b" ")[0].decode("ascii", "replace"))


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 0xFF]), field)


def is_remote(kind: str) -> bool:
    """Whether others may write there: inotify tells of what this host does, and of nothing else (inotify(7)).

    Of FUSE only the one for local disks (ntfs-3g and the like) is known to be of this host alone.
    """
    return is_network(kind) or is_in_doubt(kind)


def is_network(kind: str) -> bool:
    """Whether it is a network file system: no place for a database in WAL mode, nor for locks.

    "WAL does not work over a network filesystem" (https://sqlite.org/wal.html); and what flock(2) promises there
    differs from one to the next.
    """
    return kind in _NETWORK or (kind.startswith("fuse.") and kind.removeprefix("fuse.") in _NETWORK_IN_USER_SPACE)


def is_in_doubt(kind: str) -> bool:
    """Whether what lies behind it can't be told from its type: it may be a network, or a disk of this host."""
    return not is_network(kind) and (kind in _SHARED or kind == "fuse" or kind.startswith("fuse."))
