"""The kernel's limits of inotify(7), as sentences for the operator: which one was met, its number, and the way out."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

SYSCTLS = Path("/proc/sys")


@dataclass(frozen=True, slots=True)
class Limit:
    """A sysctl by its name, and the number it stands at."""

    sysctl: str
    number: int


def inotify_limit(what: str, sysctls: Path = SYSCTLS) -> Limit | None:
    """The limit of ``"watches"`` or ``"instances"`` that is met first; `None` when none can be read.

    That of the host is counted by user, and a user namespace, such as a container may be, has one of its own
    (user_namespaces(7), proc_sys_user(5)). Outside of such they are one and the same number.
    """
    found = [
        Limit(sysctl, number)
        for sysctl in (f"fs.inotify.max_user_{what}", f"user.max_inotify_{what}")
        if (number := _number(sysctls.joinpath(*sysctl.split(".")))) is not None
    ]
    return min(found, key=lambda limit: limit.number, default=None)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def partly_watched_sentence(folder: str) -> str:
    """What to say when the kernel has no more watches for some directories of a folder; `folder` is printable."""
    return (
        f"not every directory below {folder} can be watched: {_used_up('watches')}. "
        "Until then files there are found by scans only"
    )


def unwatched_sentence(error: OSError, what: str) -> str:
    """Why nothing of it can be watched; `what` is printable."""
    if error.errno == errno.ENOSPC:
        return f"{what} can't be watched: {_used_up('watches')}"
    if error.errno == errno.EMFILE:
        return (
            f"{what} can't be watched: {_used_up('instances')}. If it is the agent's file descriptors that are used "
            "up, raise LimitNOFILE= of the unit"
        )
    if error.errno == errno.ENOENT:
        return f"{what} can't be watched: it does not exist. Make it, or correct the configuration"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{what} can't be watched: no permission. Let user {os.geteuid()} read and enter it"
    return f"{what} can't be watched: {error.strerror or error}"


def _used_up(what: str) -> str:
    limit = inotify_limit(what)
    if limit is None:
        return f"all inotify {what} of this user are in use. Raise the limit fs.inotify.max_user_{what} (sysctl(8))"
    # A limit of 0 is allowed, and doubled it would still be 0.
    raised = max(2 * limit.number, 128)
    return (
        f"all {limit.number} inotify {what} of this user are in use. "
        f"Raise the limit: sysctl -w {limit.sysctl}={raised} (and in /etc/sysctl.d to keep it)"
    )
