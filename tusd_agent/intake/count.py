"""How many files of a folder its rules would take: for a word beforehand, without a queue."""

import os
import stat

from .. import beneath
from ..jobs.model import Fingerprint
from .filters import Filter
from .folder import WatchedFolder


def count_taken(folder: WatchedFolder, now: float) -> int:
    """The number of regular files in the folder that are taken now (wall clock), whether they are at rest or not.

    Where a marker file says that they are complete, those without one don't count. What can't be read below the folder
    is left out; raises `OSError` when the folder itself can't be read.
    """
    rules = Filter(folder)
    marker = os.fsencode(folder.marker_suffix) if folder.contract == "marker" else None
    taken = 0
    stack = [b""]
    while stack:
        directory = stack.pop()
        try:
            with beneath.directory(folder.path, directory) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    relative = directory + b"/" + name if directory else name
                    if entry.is_dir(follow_symlinks=False):
                        if rules.verdict(relative, is_directory=True).taken:
                            stack.append(relative)
                    elif rules.verdict(relative, is_directory=False).taken:
                        taken += _is_taken(entry, rules, now) and (
                            marker is None or _is_regular(descriptor, name + marker)
                        )
        except OSError:
            if not directory:
                raise
    return taken


def _is_taken(entry: "os.DirEntry[str]", rules: Filter, now: float) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return False
    verdict = rules.content(Fingerprint.of(found), now)
    return verdict.taken or verdict.again_at is not None


def _is_regular(directory: int, name: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False
