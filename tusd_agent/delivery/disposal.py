"""What becomes of a file once the server has it: kept, deleted, moved or given to a command.

Deleting is the one thing that can lose data. So: the server proves that it has everything; the row says so durably;
the file is at rest and is the very one that was sent; it is renamed aside within its folder, looked at once more, and
only then removed. A crash between any two of these steps leaves an aside file, and every disposal begins by looking
for its own.

A command is the operator's own act, and yet asks for the same proof: what it does to the file may well be as final.
"""

import errno
import logging
import os
from dataclasses import dataclass

from .. import beneath
from ..jobs.model import Fingerprint, Job, shown
from ..jobs.story import about
from ..tus import TUSClient
from ..tus.errors import UploadCancelled, UploadGone
from .command import Command, run
from .marker import remove_marker
from .moving import move_into, numbered
from .ratelimit import Stoppable
from .rules import DeleteProof, FolderRules
from .source import digest_of

log = logging.getLogger("tusd_agent.delivery")


class NotProven(Exception):
    """The server does not confirm that it has everything, so the file stays. The message says what to do."""


class NotAtRest(Exception):
    """Somebody has the file open for writing."""


class PutBack(Exception):
    """The file was aside already and is at its place again; the cause says why.

    `fingerprint` is what it has now: the two renames moved its ctime.
    """

    def __init__(self, fingerprint: Fingerprint) -> None:
        super().__init__("put back")
        self.fingerprint = fingerprint


@dataclass(frozen=True, slots=True)
class Disposed:
    """How it ended, in words for the row.

    `newer_content`: the path holds something that has yet to be sent. `gone`: the file is no longer in its folder.
    """

    words: str
    newer_content: bool = False
    gone: bool = False


GONE_ALREADY = Disposed("the file was gone already", gone=True)


def prove(client: TUSClient, job: Job, delete_proof: DeleteProof, stop: Stoppable) -> None:
    """Asks the server once more: offset == length == size. Raises `NotProven`, or what the client raises.

    Servers that take finished uploads away at once can't be asked; with `delete_proof = "answer"` their answer to the
    last PATCH, on which the row was marked delivered, counts instead.
    """
    if delete_proof == "answer":
        return
    if job.upload_url is None:
        raise NotProven("no upload URL is known, so the server can't be asked")
    try:
        info = client.get_upload_info(job.upload_url, cancel=stop)
    except UploadGone as error:
        raise NotProven(
            "the server no longer knows the upload, so its arrival can't be proven; if your server takes finished "
            'uploads away, set delete_proof = "answer" for this endpoint'
        ) from error
    if not info.offset == info.length == job.size_bytes:
        raise NotProven(
            f"the server says offset {info.offset} of {info.length}, the file had {job.size_bytes} bytes; "
            "look at the upload on the server"
        )


def dispose(job: Job, rules: FolderRules, stop: Stoppable) -> Disposed:
    """Deletes or moves the job's file, or runs the command for it; repeatable after a crash at any point.

    Raises `NotAtRest`, `UploadCancelled` (stopped while comparing or copying, or while the command ran), `OSError`,
    `CommandRefused`, `CommandFailed`, or `PutBack` from one of these; then the file is where the agent found it.
    """
    if rules.command is not None:
        return _run_command(job, rules.command, stop)
    disposed = _take_away(job, rules, stop)
    if disposed.gone and rules.marker_suffix is not None:
        remove_marker(job, rules.marker_suffix)
    return disposed


def _run_command(job: Job, command: Command, stop: Stoppable) -> Disposed:
    """Runs the command, unless the path holds newer content: that one has yet to be sent, and has its own run then.

    A file that is gone does not hold it up: the command may have taken it away before a crash, and not come to its
    end.
    """
    place = job.place
    try:
        descriptor = beneath.open_regular(place.folder, place.directory, place.name)
    except beneath.NotRegular:
        return Disposed("the command was not run: what lies at its path now is no regular file")
    except (FileNotFoundError, NotADirectoryError):
        with beneath.directory(place.folder, b""):
            pass  # raises where the whole folder is out of reach: the command would not find its file either
    else:
        try:
            # Without a digest a moved ctime tells nothing; to the intake it is the file that was sent, too.
            if _difference(job, descriptor, stop, ctime_tells=job.whole_digest is not None):
                return Disposed("the command was not run: its path holds newer content", newer_content=True)
            if beneath.at_rest(descriptor) is False:
                raise NotAtRest("the file is open for writing; the command is run once it is closed")
        finally:
            os.close(descriptor)
    output = run(command, job, stop)
    if output:
        about(log, job).info("the end of the command's output: %s", output)
    return Disposed("the command was run")


def _take_away(job: Job, rules: FolderRules, stop: Stoppable) -> Disposed:
    place = job.place
    try:
        with beneath.directory(place.folder, place.directory) as parent:
            left_by_a_crash = _exists(parent, job.aside_name)
            if not left_by_a_crash:
                ended = _set_aside(job, parent, stop)
                if ended is not None:
                    return ended
            return _remove(job, rules, parent, stop, left_by_a_crash=left_by_a_crash)
    except (FileNotFoundError, NotADirectoryError):
        with beneath.directory(place.folder, b""):
            pass  # raises where the whole folder is out of reach: then nothing is known of the file
        return GONE_ALREADY


def _set_aside(job: Job, parent: int, stop: Stoppable) -> Disposed | None:
    """Renames the file aside if it is the one that was sent; else says how the disposal ends."""
    name = job.place.name
    try:
        descriptor = beneath.open_regular_at(parent, name)
    except beneath.NotRegular:
        return Disposed("kept: what lies at its path now is no regular file")
    except FileNotFoundError:
        return GONE_ALREADY
    try:
        if difference := _difference(job, descriptor, stop, ctime_tells=True):
            return difference
        if beneath.at_rest(descriptor) is False:
            raise NotAtRest("the file is open for writing; it is disposed of once it is closed")
        before = Fingerprint.of(os.fstat(descriptor))
        beneath.rename_noreplace(parent, name, parent, job.aside_name)
        aside = os.stat(job.aside_name, dir_fd=parent, follow_symlinks=False)
        ours = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (aside.st_dev, aside.st_ino) == (ours.st_dev, ours.st_ino) and Fingerprint.of(aside).same_identity(before):
        return None
    return _put_back(job, parent)


def _remove(job: Job, rules: FolderRules, parent: int, stop: Stoppable, *, left_by_a_crash: bool) -> Disposed:
    """Deletes or moves the aside file, looked at once more.

    The rename itself moved its ctime, which tells nothing any more: where a crash left it there, and nobody watched
    it since, the digest decides.
    """
    descriptor = beneath.open_regular_at(parent, job.aside_name)
    try:
        if left_by_a_crash and job.whole_digest is not None and digest_of(descriptor, stop) != job.whole_digest:
            return _put_back(job, parent)
        if _difference(job, descriptor, stop, ctime_tells=False):
            return _put_back(job, parent)
        if beneath.at_rest(descriptor) is False:
            raise NotAtRest("the file is open for writing; it is disposed of once it is closed")
        if rules.after_upload == "move" and rules.move_to is not None:
            target = move_into(rules.move_to, job, parent, descriptor, stop)
            return Disposed(f"moved to {shown(target)}", gone=True)
        os.unlink(job.aside_name, dir_fd=parent)
        return Disposed("deleted", gone=True)
    except (NotAtRest, OSError, UploadCancelled) as error:
        _put_back(job, parent)  # not to lie hidden until the next attempt, which may be far
        raise PutBack(Fingerprint.of(os.fstat(descriptor))) from error
    finally:
        os.close(descriptor)


def _difference(job: Job, descriptor: int, stop: Stoppable, *, ctime_tells: bool) -> Disposed | None:
    """How the disposal ends when the open file is not the content that was sent; `None` when it is.

    Where `ctime_tells`, a moved ctime (chmod, or a rewrite with the times put back) leaves it to the digest.
    """
    now = Fingerprint.of(os.fstat(descriptor))
    if not now.same_identity(job.fingerprint):
        return Disposed("kept: its path holds newer content", newer_content=True)
    if not ctime_tells or now.ctime_ns == job.fingerprint.ctime_ns:
        return None
    if job.whole_digest is None:
        return Disposed("kept: it was touched since, and without a digest nothing tells whether it is the same")
    if digest_of(descriptor, stop) != job.whole_digest or Fingerprint.of(os.fstat(descriptor)) != now:
        return Disposed("kept: its path holds newer content", newer_content=True)
    return None


def _put_back(job: Job, parent: int) -> Disposed:
    """The aside file is not the one that was sent: back to its name, or beside it where that is taken."""
    for number in range(1000):
        name = numbered(job.place.name, number)
        try:
            beneath.rename_noreplace(parent, job.aside_name, parent, name)
        except FileExistsError:
            continue
        if number:
            about(log, job).warning("its path was taken meanwhile; the older file is kept as %s", shown(name))
        return Disposed("kept: its path holds newer content", newer_content=True)
    raise FileExistsError(errno.EEXIST, "a thousand files of that name", os.fsdecode(job.place.name))


def _exists(parent: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
