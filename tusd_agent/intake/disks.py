"""On what a folder lies: the kind of file system, and whether the disk it used to lie on is still there."""

import os
from pathlib import Path

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

    Of mounts on the same point the last one counts, which covers the others (proc_pid_mountinfo(5)).
    """
    where = os.path.join(os.path.realpath(os.fsencode(path)), b"")
    found: tuple[int, str] | None = None
    try:
        lines = table.read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        point = os.path.join(_unescaped(fields.split(b" ")[4]), b"")
        if where.startswith(point) and (found is None or len(point) >= found[0]):
            found = len(point), rest.split(b" ")[0].decode("ascii", "replace")
    return None if found is None else found[1]


def _unescaped(field: bytes) -> bytes:
    for octal in (b"\\040", b"\\011", b"\\012", b"\\134"):
        field = field.replace(octal, bytes([int(octal[1:], 8)]))
    return field


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
