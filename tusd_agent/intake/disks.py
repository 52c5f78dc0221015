"""On what a folder lies: the kind of file system, and whether the disk it used to lie on is still there."""

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNT_TABLE = Path("/proc/self/mountinfo")

_REMOTE = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
        "nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
    }
)  # fmt: skip
"""File systems that others may write to: inotify tells of what this host does, and of nothing else (inotify(7))."""


def file_system_type(path: str, table: Path = MOUNT_TABLE) -> str | None:
    """The type of the file system that `path` lies on, as the mount table has it; `None` when that can't be told.

    The path is walked from mount to mount (proc_pid_mountinfo(5) tells on which one each of them lies): what was
    mounted on the same point later covers what was there, and what is mounted above covers everything below.
    """
    where = os.path.join(os.path.realpath(os.fsencode(path)), b"")
    try:
        mounts = [mount for line in table.read_bytes().splitlines() if (mount := _mount(line)) is not None]
    except OSError:
        return None
    on_the_way = [mount for mount in mounts if where.startswith(mount.point)]
    ids = {mount.id for mount in on_the_way}
    # The first one lies on a mount that we are not shown, as in a chroot; or on itself.
    below = [mount for mount in on_the_way if mount.parent not in ids or mount.parent == mount.id]
    found: _Mount | None = None
    while below:
        # Of those that lie on the same mount the uppermost is come to first; of those on one point the last covers.
        found = min(reversed(below), key=lambda mount: len(mount.point))
        on_the_way.remove(found)
        below = [mount for mount in on_the_way if mount.parent == found.id and mount.point.startswith(found.point)]
    return None if found is None else found.kind


class _Mount(NamedTuple):
    id: bytes
    parent: bytes
    point: bytes
    """With a slash at its end."""
    kind: str


def _mount(line: bytes) -> _Mount | None:
    fields, _, rest = line.partition(b" - ")
    columns = fields.split(b" ")
    if len(columns) < 5 or not rest:
        return None
    point = os.path.join(_unescaped(columns[4]), b"")
    return _Mount(columns[0], columns[1], point, rest.split(b" ")[0].decode("ascii", "replace"))


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 0xFF]), field)


def is_remote(kind: str) -> bool:
    """Whether events can't be relied on there. Of FUSE only the one for local disks (ntfs-3g and the like) can."""
    return kind.startswith("fuse.") or kind in _REMOTE


def disk_root(folder: str) -> bytes | None:
    """The top directory of the disk that `folder` lies on; `None` for the disk that also holds the root.

    Found by device, not by mount point: a bind mount of the same disk, as systemd's sandbox makes them, is no disk of
    its own. Raises `OSError` when the folder is not there.
    """
    path = os.path.realpath(os.fsencode(folder))
    device = os.stat(path).st_dev
    while True:
        parent = os.path.dirname(path)
        if parent == path:
            return None
        above = os.stat(parent).st_dev
        if above != device:
            return path
        path = parent


def is_unmounted(remembered: bytes | None, found: bytes | None) -> bool:
    """Whether the disk of `remembered` is no longer there: the folder lies on the disk that was beneath it."""
    if remembered is None or remembered == found:
        return False
    return found is None or remembered.startswith(found + b"/")
