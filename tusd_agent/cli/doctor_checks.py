"""What ``tusd-agent doctor`` looks at on this machine: folders, state, database, limits of the kernel."""

import os
import pwd
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..config import WatchSettings, printable
from ..intake.limits import inotify_limit
from ..jobs.checking import look_at
from .stored import size_bytes
from .words import size

LITTLE_BYTES, HARDLY_ANY_BYTES = 256 << 20, 1 << 20
"""So much room on the state folder's disk is worth a word; with so little the agent can't write any more."""
LOOK_SECONDS = 10.0
"""No look at a large database or tree takes longer."""
EARLIEST = 1_735_689_600.0
"""The beginning of 2025: a clock that says less was never set."""


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and, unless all is well, what to do."""

    name: str
    verdict: Verdict
    words: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    """Who the agent is: what it may do is found out by doing it as that user, which only root can."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def name(self) -> str:
        """``root``, or a number where the user has no name."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"user {self.uid}"

    @property
    def can_be_tried(self) -> bool:
        """Whether this process is that user, or may be."""
        return os.geteuid() in (0, self.uid)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Within it this process has that user's rights, where it may."""
        if os.geteuid() != 0 or self.uid == 0:
            yield
            return
        before = (os.getegid(), os.getgroups())
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(before[0])
            os.setgroups(before[1])


def who_runs(pid: int | None, state_dir: Path) -> Who:
    """The user of the running agent, else the owner of its state folder, else this one."""
    if pid is not None:
        with suppress(OSError, ValueError, IndexError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()  # proc_pid_status(5)
            fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
            return Who(int(fields["Uid"][1]), int(fields["Gid"][1]), tuple(map(int, fields["Groups"])))
    try:
        uid = os.stat(state_dir).st_uid
        user = pwd.getpwuid(uid)
        return Who(uid, user.pw_gid, tuple(os.getgrouplist(user.pw_name, user.pw_gid)))
    except (OSError, KeyError):
        return Who(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def folder(watch: WatchSettings, who: Who) -> Iterator[Check]:
    """A watched folder: is it there, and may the agent do there what it is to do?"""
    name, path = "folder", watch.path
    shown = printable(str(path))
    with who.acting():
        try:
            with os.scandir(path) as entries:
                next(entries, None)
        except FileNotFoundError:
            yield Check(name, Verdict.FAIL, f"{shown} does not exist", "make it, mount its disk, or correct its path")
            return
        except OSError as error:
            remedy = f"give {who.name} the right to read and enter it"
            yield Check(name, Verdict.FAIL, f"{shown} can't be read by {who.name}: {error.strerror}", remedy)
            return
        if watch.after_upload in ("delete", "move") and not _may_write(path):
            words = f'{who.name} may not write to {shown}, which after_upload = "{watch.after_upload}" needs'
            yield Check(name, Verdict.FAIL, words, f"give {who.name} the right to write there")
            return
        if watch.after_upload == "move" and watch.move_to is not None:
            target = _nearest(watch.move_to)
            if not _may_write(target):
                words = f"{who.name} may not write to {printable(str(target))}, where move_to lies"
                yield Check(name, Verdict.FAIL, words, f"give {who.name} the right to write there")
                return
    yield Check(name, Verdict.OK, f"{shown} can be read" + ("" if who.can_be_tried else " by this user"))


def state(state_dir: Path, who: Who) -> Iterator[Check]:
    """The state folder and the room on its disk."""
    shown = printable(str(state_dir))
    there = _nearest(state_dir)
    with who.acting():
        if who.can_be_tried and not _may_write(there):
            remedy = f"chown it to {who.name}, or set agent.state_dir to another folder"
            yield Check("state", Verdict.FAIL, f"{who.name} may not write to {printable(str(there))}", remedy)
            return
    exists = there == state_dir
    if exists and os.stat(state_dir).st_mode & 0o022:
        yield Check("state", Verdict.WARN, f"others may write to {shown}", f"chmod go-w {shown}")
    else:
        words = f"{shown} can be written by {who.name}" if exists else f"{shown} will be made at the first start"
        yield Check("state", Verdict.OK, words)
    free = shutil.disk_usage(there).free
    words = f"{size(free)} free for {shown}"
    if free < HARDLY_ANY_BYTES:
        yield Check("disk", Verdict.FAIL, words, "make room there: nothing is sent until there is")
    elif free < LITTLE_BYTES:
        yield Check("disk", Verdict.WARN, words, "make room there before it is full: then nothing is sent")
    else:
        yield Check("disk", Verdict.OK, words)


def database(path: Path) -> Check:
    """Is the database sound, and of this version?"""
    name, shown = "database", printable(str(path))
    if not os.path.lexists(path):
        if not os.access(_nearest(path.parent), os.X_OK):
            return Check(name, Verdict.WARN, f"{shown} can't be looked at by this user", "ask as root")
        return Check(name, Verdict.OK, f"{shown} will be made at the first start")
    if not os.access(path, os.R_OK):
        return Check(name, Verdict.WARN, f"{shown} can't be read by this user", "ask as root or as the agent's user")
    try:
        found = look_at(path, LOOK_SECONDS)
    except sqlite3.Error as error:
        return Check(name, Verdict.FAIL, f"{shown} can't be read: {error}", "look at its disk and its permissions")
    if found.damage is not None:
        remedy = "restart the agent: it keeps the file, and saves what can be read of it"
        return Check(name, Verdict.FAIL, f"{shown} is damaged: {found.damage}", remedy)
    if found.schema > found.known:
        words = f"{shown} was written by a newer version (schema {found.schema}, this one knows {found.known})"
        return Check(name, Verdict.FAIL, words, "install the newer version again")
    facts = f"{size(size_bytes(path))}, schema {found.schema}"
    if not found.finished:
        return Check(name, Verdict.OK, f"{shown}: {facts}, no damage found in {LOOK_SECONDS:g} s")
    return Check(name, Verdict.OK, f"{shown}: {facts}, sound")


def inotify(watches: Sequence[WatchSettings], used: int | None) -> Check:
    """Does the kernel have enough watches? `used`: so many the running agent has."""
    limit = inotify_limit("watches")
    if limit is None:
        return Check("inotify", Verdict.WARN, "the kernel's limits can't be read", 'use watch = "poll" if it has none')
    needed, all_counted = _directories(watches)
    asked = max(needed, used or 0)
    words = f"{'' if all_counted else 'at least '}{asked} directories, {limit.number} watches ({limit.sysctl})"
    raised = max(2 * asked, 2 * limit.number, 128)
    remedy = f"sysctl -w {limit.sysctl}={raised} (and in /etc/sysctl.d to keep it)"
    if asked >= limit.number:
        return Check("inotify", Verdict.FAIL, words, remedy)
    return Check("inotify", *((Verdict.WARN, words, remedy) if asked > 0.8 * limit.number else (Verdict.OK, words)))


def clock(now: float, servers: dict[str, float]) -> Check:
    """Is the clock right? `servers`: by how many seconds those of the endpoints are ahead."""
    remedy = "set it, and keep it right: timedatectl set-ntp true"
    if now < EARLIEST:
        return Check("clock", Verdict.FAIL, f"it says {time.strftime('%Y-%m-%d', time.gmtime(now))}", remedy)
    if not servers:
        return Check("clock", Verdict.OK, "no server told its time to compare")
    name, ahead = max(servers.items(), key=lambda one: abs(one[1]))
    words = f"{abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} the server of endpoint {name}"
    if abs(ahead) > 300:
        return Check("clock", Verdict.WARN, f"{words}: tokens and certificates may not hold", remedy)
    return Check("clock", Verdict.OK, words if abs(ahead) > 5 else "as the servers' clocks")


def _directories(watches: Sequence[WatchSettings]) -> tuple[int, bool]:
    until = time.monotonic() + LOOK_SECONDS / 2
    count = 0
    for watch in watches:
        if watch.watch == "poll":
            continue
        for _ in os.walk(watch.path):
            count += 1
            if time.monotonic() > until:
                return count, False
            if not watch.recursive:
                break
    return count, True


def _nearest(path: Path) -> Path:
    """The path, or what there is above it."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK | os.X_OK, effective_ids=True)
