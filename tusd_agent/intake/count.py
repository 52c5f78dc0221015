"""How many files of a folder its rules would take: for a word beforehand, without a queue."""

import os

from .. import beneath
from ..jobs.model import Fingerprint
from .filters import Filter
from .folder import WatchedFolder


def count_taken(folder: WatchedFolder, now: float) -> int:
    """The number of regular files in the folder that are taken now (wall clock), whether they are complete or not.

    What can't be read below the folder is left out; raises `OSError` when the folder itself can't be read.
    """
    rules = Filter(folder)
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
                    elif entry.is_file(follow_symlinks=False) and rules.verdict(relative, is_directory=False).taken:
                        found = Fingerprint.of(entry.stat(follow_symlinks=False))
                        verdict = rules.content(found, now)
                        taken += verdict.taken or verdict.again_at is not None
        except OSError:
            if not directory:
                raise
    return taken
