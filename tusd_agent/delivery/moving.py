"""Moving a file that was sent to where the settings want it: never over another one, across file systems too."""

import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import beneath
from ..jobs.model import Fingerprint, Job
from ..tus.errors import UploadCancelled
from .ratelimit import Stoppable
from .source import READ_BYTES, digest_of

NAME_MAX_BYTES = 255


def numbered(name: bytes, number: int) -> bytes:
    """`name`, or for a number above 0 ``name~number``, cut so that a file system takes it."""
    suffix = b"~%d" % number if number else b""
    return name[: NAME_MAX_BYTES - len(suffix)] + suffix


def move_into(move_to: str, job: Job, parent: int, descriptor: int, stop: Stoppable) -> bytes:
    """Moves the job's aside file (open as `descriptor`, in the directory `parent`) below `move_to`.

    Its relative path is kept; where the name is taken it becomes ``name~1``. Returns the path it has then. Across file
    systems it is copied, synced and compared before the original goes; after a crash in between the copy is found
    again. Raises `UploadCancelled` when stopped while copying, `OSError`; then the original is where it was.

    When it returns all of that is on the disk: the directories that were made, the new name before the end of the old
    one. A row that says "moved" is durable, and after a power cut it must be true.
    """
    _make(move_to)
    with _directory(move_to, job.place.directory) as target:
        try:
            name = _rename(parent, job.aside_name, target, job.place.name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            name = _copy(job, descriptor, target, stop)
            os.unlink(job.aside_name, dir_fd=parent)
        else:
            os.fsync(target)
        os.fsync(parent)
    return os.path.join(os.fsencode(move_to), job.place.directory, name)


def _rename(parent: int, old: bytes, target: int, new: bytes) -> bytes:
    for number in itertools.count():
        name = numbered(new, number)
        try:
            beneath.rename_noreplace(parent, old, target, name)
        except FileExistsError:
            continue
        return name
    raise AssertionError("counting does not end")


def _copy(job: Job, descriptor: int, target: int, stop: Stoppable) -> bytes:
    """Copies the open file under its name into `target`, durably; returns the name."""
    digest = hashlib.sha256()
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    copy = os.open(job.aside_name, flags, 0o600, dir_fd=target)
    try:
        buffer = memoryview(bytearray(READ_BYTES))
        offset = 0
        while count := os.preadv(descriptor, [buffer], offset):
            if stop.is_set():
                raise UploadCancelled("stopped while a file was copied to its new place")
            digest.update(buffer[:count])
            offset += _write_all(copy, buffer[:count])
        found = os.fstat(descriptor)
        if digest.digest() != (job.whole_digest or digest.digest()) or not Fingerprint.of(found).same_identity(
            job.fingerprint
        ):
            raise OSError(errno.ESTALE, "it was changed while it was copied", os.fsdecode(job.place.name))
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fchmod(copy, stat.S_IMODE(found.st_mode))
        os.fsync(copy)
        if digest_of(copy, stop) != digest.digest():
            raise OSError(errno.EIO, "the copy differs from the original", os.fsdecode(job.place.name))
    except BaseException:
        os.unlink(job.aside_name, dir_fd=target)
        raise
    finally:
        os.close(copy)
    twin = _twin(target, job.place.name, offset, digest.digest(), stop)
    if twin is not None:  # a crash fell between the copy and the removal of the original
        os.unlink(job.aside_name, dir_fd=target)
        os.fsync(target)
        return twin
    name = _rename(target, job.aside_name, target, job.place.name)
    os.fsync(target)
    return name


def _twin(target: int, name: bytes, size_bytes: int, digest: bytes, stop: Stoppable) -> bytes | None:
    """The name under which this content lies there already, among those that a moved file of that name may have."""
    for number in itertools.count():
        taken = numbered(name, number)
        try:
            os.stat(taken, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if _same_content_at(target, taken, size_bytes, digest, stop):
            return taken
    raise AssertionError("counting does not end")


def _same_content_at(target: int, name: bytes, size_bytes: int, digest: bytes, stop: Stoppable) -> bool:
    try:
        descriptor = beneath.open_regular_at(target, name)
    except OSError:
        return False
    try:
        return os.fstat(descriptor).st_size == size_bytes and digest_of(descriptor, stop) == digest
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: memoryview) -> int:
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])
    return written


def _make(directory: str) -> None:
    """Makes the directory and those above it that are missing, durably: each is an entry of the one above."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for each in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(each)
        above = os.open(os.path.dirname(each), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)


@contextmanager
def _directory(root: str, relative: bytes) -> Iterator[int]:
    """A descriptor of the directory `relative` below `root`, its missing parts made; links are not followed."""
    made = b""
    for component in relative.split(b"/") if relative else ():
        with beneath.directory(root, made) as parent:
            try:
                os.mkdir(component, dir_fd=parent)
                os.fsync(parent)
            except FileExistsError:
                pass
        made = made + b"/" + component if made else component
    with beneath.directory(root, relative) as descriptor:
        yield descriptor
