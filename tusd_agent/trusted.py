"""Whether somebody else may change a file: asked before what it says is done with the agent's rights.

A file is as trustworthy as every folder on the way to it, links included: who may write to one of them may put
another file there.
"""

import errno
import os
import stat
from dataclasses import dataclass

MOST_LINKS = 40  # as the kernel follows, path_resolution(7)


@dataclass(frozen=True, slots=True)
class Weakness:
    """Where others come in: what is wrong there, and what to do."""

    wrong: str
    remedy: str


def weakness_of(path: str, uid: int) -> Weakness | None:
    """What lets others than root and the user `uid` change the file at the absolute `path`; `None`: nothing.

    Each component must belong to one of the two and be writable by its owner alone. A folder with the sticky bit, such
    as /tmp, may be writable by all: there nobody can replace what belongs to root or to `uid` (unlink(2)). An access
    list that lets others write shows in the bits of the group (acl(5)). Raises `OSError` where a component is missing
    or can't be looked at.
    """
    at, left = "/", [part for part in path.split("/") if part]
    links = 0
    while True:
        found = os.lstat(at)
        if found.st_uid not in (0, uid):
            return Weakness(
                f"{at} belongs to the user with the id {found.st_uid}, who is neither root nor the user of the agent",
                f"chown root {at}",
            )
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(at)
            left = [part for part in target.split("/") if part] + left
            at = "/" if target.startswith("/") else os.path.dirname(at)
        else:
            by_others = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
            if by_others and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
                who = "anybody" if by_others & stat.S_IWOTH else "its group"
                return Weakness(f"{who} may write to {at}", f"chmod go-w {at}")
        while left and left[0] in (".", ".."):
            at = os.path.dirname(at) if left.pop(0) == ".." else at
        if not left:
            return None
        at = os.path.join(at, left.pop(0))
