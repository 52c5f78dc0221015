"""Paths beneath a watched folder, walked by directory descriptors so that no link can lead out of it.

Whoever may write into a watched folder may replace any directory in it by a symbolic link, at any moment. Every
component below the folder is therefore opened relative to its parent with O_NOFOLLOW (open(2)); the folder's own
path is the operator's, and may be a link. Shared by intake and delivery.
"""

import ctypes
import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RENAME_NOREPLACE = 1
_F_SETSIG = 10  # fcntl(2); the module fcntl has no name for it


class NotRegular(OSError):
    """What lies there is no regular file: a directory, a link, a FIFO, a device, a socket."""


@contextmanager
def directory(folder: str, relative: bytes) -> Iterator[int]:
    """A descriptor of the directory `relative` (``b""``: the folder itself); closed afterwards.

    Raises `OSError`: ENOENT or ENOTDIR when it is not there, ELOOP or ENOTDIR when a component is a link.
    """
    descriptor = os.open(folder, _DIRECTORY)
    try:
        for component in relative.split(b"/") if relative else ():
            if component in (b"", b".", b".."):
                raise OSError(errno.EINVAL, "not a path below the folder", os.fsdecode(relative))
            below = os.open(component, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def status(folder: str, parent: bytes, name: bytes) -> os.stat_result:
    """What ``lstat(2)`` says of the name in that directory; raises `OSError`."""
    with directory(folder, parent) as descriptor:
        return os.stat(name, dir_fd=descriptor, follow_symlinks=False)


def open_regular(folder: str, parent: bytes, name: bytes) -> int:
    """Opens a regular file for reading; the descriptor is the caller's.

    O_NONBLOCK, so that a FIFO put in its place can't stop us. Raises `NotRegular`, or `OSError`.
    """
    with directory(folder, parent) as descriptor:
        return open_regular_at(descriptor, name)


def open_regular_at(parent: int, name: bytes) -> int:
    """As `open_regular`, in a directory that is open already."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotRegular(error.errno, "not a regular file", os.fsdecode(name)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "not a regular file", os.fsdecode(name))
    return descriptor


def at_rest(descriptor: int) -> bool | None:
    """Whether nobody has the file open for writing or mapped writable; `None` where the system can't tell.

    A read lease is refused while there is a writer (fcntl(2), F_SETLEASE); only the file's owner, or CAP_LEASE, may
    ask, and network file systems don't answer. The lease is given back at once. Who opens the file in between makes the
    kernel send us a signal: SIGIO would kill a process that does not expect it, SIGURG is ignored by default.
    """
    try:
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        # We were stopped in between for so long that the kernel took the lease away, for somebody who opened the file.
        return False
    return True


def rename_noreplace(old_parent: int, old: bytes, new_parent: int, new: bytes) -> None:
    """Renames, and never over something: raises `FileExistsError` instead.

    renameat2(2) with RENAME_NOREPLACE; where the file system lacks it, link and unlink.
    """
    if _renameat2 is not None:
        if _renameat2(old_parent, old, new_parent, new, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code), os.fsdecode(new))
    os.link(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent, follow_symlinks=False)
    os.unlink(old, dir_fd=old_parent)


def _find_renameat2() -> "ctypes._NamedFuncPointer | None":
    found = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if found is not None:
        found.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
        found.restype = ctypes.c_int
    return found


_renameat2 = _find_renameat2()
