"""The marker file that said a file was complete: it goes when its file has gone."""

import os
import stat
from contextlib import suppress

from .. import beneath
from ..jobs.model import Job

ASIDE_END = b".marker"


def remove_marker(job: Job, suffix: str) -> None:
    """Deletes the marker of the job's file, which is gone; repeatable after a crash at any point.

    Only a regular file, and only one that has not been touched since the delivery: a marker that was set later is of
    newer content. Between the look and the removal it lies aside, so that one set in that moment is not lost. Raises
    `OSError`.
    """
    place = job.place
    name = place.name + os.fsencode(suffix)
    aside = job.aside_name + ASIDE_END
    with suppress(FileNotFoundError, NotADirectoryError), beneath.directory(place.folder, place.directory) as parent:
        with suppress(FileNotFoundError):  # of a crash
            os.unlink(aside, dir_fd=parent)
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or _later(found, job):
            return
        beneath.rename_noreplace(parent, name, parent, aside)
        moved = os.stat(aside, dir_fd=parent, follow_symlinks=False)
        if (moved.st_ino, moved.st_mtime_ns) != (found.st_ino, found.st_mtime_ns):
            with suppress(FileExistsError):
                beneath.rename_noreplace(parent, aside, parent, name)
                return
        os.unlink(aside, dir_fd=parent)


def _later(found: os.stat_result, job: Job) -> bool:
    return job.delivered_at is not None and found.st_ctime > job.delivered_at
