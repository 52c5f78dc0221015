"""What lies in a folder, looked at directory by directory and compared with what the ledger knows.

The scan finds what no event told of: files from before the start, lost events, file systems without events. It holds
the rows of one directory at a time (of a part of it where there are many), and never a list of all paths. It goes on in
slices, so that whoever runs it can do something else in between.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from .. import beneath
from ..jobs.ledger import Known, KnownRow, Ledger, is_exactly
from ..jobs.model import ASIDE_PREFIX, Fingerprint, Place, shown
from ..jobs.states import State
from .asides import put_back
from .filters import Filter
from .folder import WatchedFolder

SLICE_ENTRIES = 1000
SLICE_DIRECTORIES = 100
ROWS_AT_ONCE = 5000
"""Of a directory with more rows than this those of `BATCH_ENTRIES` names are asked for at a time."""
BATCH_ENTRIES = 500
PROBLEMS_KEPT = 100
ENDED_BY_ABSENCE = frozenset({State.PENDING, State.FAILED, State.HELD})
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening a path below a folder says when it is not there: a component is gone, no directory, or a link."""


class FolderUnavailable(Exception):
    """The folder itself can't be looked at: nothing below it may be taken for gone. The message says why."""


@dataclass(slots=True)
class ScanResult:
    """What a scan has seen so far. `problems` has a sentence for each directory or file that could not be looked at;
    `absent` the directories where files are missing that have a job, `unwatched` those that no events come from."""

    files_seen: int = 0
    directories_seen: int = 0
    taken: int = 0
    settling: int = 0
    ignored: int = 0
    put_back: int = 0
    problems: dict[bytes, str] = field(default_factory=dict)
    absent: list[bytes] = field(default_factory=list)
    unwatched: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Slice:
    """A step of a scan: files that have been quiet long enough, and files that have yet to settle."""

    ready: list[tuple[Place, Fingerprint]] = field(default_factory=list)
    fresh: list[tuple[Place, Fingerprint]] = field(default_factory=list)


class Scan:
    """One scan of a folder, or of the directory `start` below it. Nothing is looked at before the first `step`."""

    def __init__(
        self,
        folder: WatchedFolder,
        rules: Filter,
        ledger: Ledger,
        start: bytes = b"",
        is_watched: Callable[[bytes], bool] = lambda directory: True,
    ) -> None:
        self.folder = folder
        self.start = start
        self.result = ScanResult()
        self._rules = rules
        self._ledger = ledger
        self._is_watched = is_watched
        self._stack = [start]
        self._slices: Iterator[Slice] | None = None
        self._slice = Slice()
        self._left_entries = SLICE_ENTRIES
        self._now = 0.0

    def step(self, now: float) -> Slice | None:
        """Looks at about `SLICE_ENTRIES` entries more; `None` when there are none. `now` is wall clock.

        Raises `FolderUnavailable`, and what the ledger raises; the scan is over then.
        """
        self._now = now
        if self._slices is None:
            self._slices = self._run()
        return next(self._slices, None)

    def _run(self) -> Iterator[Slice]:
        directories_left = SLICE_DIRECTORIES
        while self._stack:
            directory = self._stack.pop()
            try:
                yield from self._directory(directory)
            except OSError as error:
                self._failed(directory, error)
            directories_left -= 1
            if directories_left <= 0:
                yield self._cut()
                directories_left = SLICE_DIRECTORIES
        yield self._cut()
        if not self.start:
            self._look_for_lost_directories()

    def _look_for_lost_directories(self) -> None:
        """A directory that is gone is never come to, and its jobs would wait for ever."""
        for directory in self._ledger.unsent_directories(self.folder.path):
            try:
                with beneath.directory(self.folder.path, directory):
                    continue
            except OSError as error:
                _require_root(self.folder.path)
                if error.errno in ABSENT:
                    self.result.absent.append(directory)

    def _directory(self, directory: bytes) -> Iterator[Slice]:
        with beneath.directory(self.folder.path, directory) as descriptor, os.scandir(descriptor) as entries:
            self.result.directories_seen += 1
            if len(self.result.unwatched) < PROBLEMS_KEPT and not self._is_watched(directory):
                self.result.unwatched.append(directory)
            rows = self._ledger.known(self.folder.path, directory, ROWS_AT_ONCE)
            if rows is None:
                yield from self._large_directory(descriptor, directory, entries)
                return
            yield from self._entries(descriptor, directory, entries, rows)
            # What is left has not been seen under its name.
            if any(Known._make(row).state in ENDED_BY_ABSENCE for row in rows.values()):
                self.result.absent.append(directory)

    def _large_directory(
        self, descriptor: int, directory: bytes, entries: Iterator["os.DirEntry[str]"]
    ) -> Iterator[Slice]:
        while batch := list(islice(entries, BATCH_ENTRIES)):
            names = [os.fsencode(entry.name) for entry in batch]
            rows = self._ledger.known_among(self.folder.path, directory, names)
            yield from self._entries(descriptor, directory, batch, rows)
        # Which of its files are absent only a look at each tells.
        if self._ledger.unsent(self.folder.path, directory):
            self.result.absent.append(directory)

    def _entries(
        self, descriptor: int, directory: bytes, entries: Iterable["os.DirEntry[str]"], rows: dict[bytes, KnownRow]
    ) -> Iterator[Slice]:
        for entry in entries:
            name = os.fsencode(entry.name)
            row = rows.pop(name, None)
            try:
                # Most files are known, and the rules need no asking for those: rows come before patterns.
                if row is not None and is_exactly(row, entry.stat(follow_symlinks=False)):
                    self.result.files_seen += 1
                else:
                    self._entry(descriptor, directory, name, entry, row)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._problem(Place(self.folder.path, directory, name).relative, "", error)
            self._left_entries -= 1
            if self._left_entries <= 0:
                yield self._cut()

    def _entry(
        self, descriptor: int, directory: bytes, name: bytes, entry: "os.DirEntry[str]", row: KnownRow | None
    ) -> None:
        if entry.is_dir(follow_symlinks=False):
            relative = directory + b"/" + name if directory else name
            if self._rules.verdict(relative, is_directory=True).taken:
                self._stack.append(relative)
            return
        if not entry.is_file(follow_symlinks=False):
            return
        if name.startswith(ASIDE_PREFIX):
            self._aside(descriptor, directory, name)
            return
        fingerprint = Fingerprint.of(entry.stat(follow_symlinks=False))
        place = Place(self.folder.path, directory, name)
        if not self._is_taken(place, fingerprint):
            self.result.ignored += 1
            return
        self.result.files_seen += 1
        if row is not None and Known._make(row).covers(fingerprint):
            return
        if self._now - fingerprint.ctime_ns / 1e9 >= self.folder.settle_seconds:
            self._slice.ready.append((place, fingerprint))
            self.result.taken += 1
        else:
            self._slice.fresh.append((place, fingerprint))
            self.result.settling += 1

    def _is_taken(self, place: Place, fingerprint: Fingerprint) -> bool:
        if not self._rules.verdict(place.relative, is_directory=False).taken:
            return False
        verdict = self._rules.content(fingerprint, self._now)
        return verdict.taken or verdict.again_at is not None

    def _aside(self, descriptor: int, directory: bytes, name: bytes) -> None:
        try:
            back = put_back(descriptor, self.folder.path, directory, name, self._ledger)
            if back is None:
                return
            self.result.put_back += 1
            place = Place(self.folder.path, directory, back)
            if self._rules.verdict(place.relative, is_directory=False).taken:
                found = os.stat(back, dir_fd=descriptor, follow_symlinks=False)
                self._slice.fresh.append((place, Fingerprint.of(found)))
        except FileNotFoundError:
            return
        except OSError as error:
            path = directory + b"/" + name if directory else name
            self.result.problems[path] = f"{shown(path)} can't be put back: {error.strerror or error}"

    def _cut(self) -> Slice:
        done, self._slice = self._slice, Slice()
        self._left_entries = SLICE_ENTRIES
        return done

    def _failed(self, directory: bytes, error: OSError) -> None:
        """A directory could not be looked at: harmless if it is gone, as long as the folder itself is there."""
        if not directory:
            raise FolderUnavailable(unavailable_sentence(error)) from error
        _require_root(self.folder.path)
        if error.errno not in ABSENT:
            self._problem(directory, "the directory ", error)

    def _problem(self, relative: bytes, what: str, error: OSError) -> None:
        if len(self.result.problems) < PROBLEMS_KEPT:
            sentence = f"{what}{shown(relative)} can't be looked at: {error.strerror or error}"
            self.result.problems[relative] = sentence


def unavailable_sentence(error: OSError) -> str:
    """Why a watched folder can't be looked at, for the operator."""
    if error.errno == errno.ENOENT:
        return "the folder does not exist; it is taken up as soon as it does"
    if error.errno == errno.ENOTDIR:
        return "it is not a folder"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission: user {os.geteuid()} must be able to read and enter the folder"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"it can't be opened: {error.strerror or error}. Raise LimitNOFILE= of the unit"
    return f"its file system does not answer: {error.strerror or error}"


def end_absent(
    folder: WatchedFolder, directory: bytes, ledger: Ledger, now: float, is_same: Callable[[], bool]
) -> list[tuple[int, Place]]:
    """Ends the jobs of the directory whose files are not there; returns these, and where they were.

    `now` is wall clock.
    `is_same()`: whether the folder still is what it was, and no empty mount point; asked after the files were looked
    for. Raises `FolderUnavailable` when that can't be told.
    """
    waiting = ledger.unsent(folder.path, directory)
    try:
        with beneath.directory(folder.path, directory) as descriptor:
            gone = [(name, job_id) for name, job_id in waiting if _is_gone(descriptor, name)]
    except OSError as error:
        _require_root(folder.path)
        if error.errno not in ABSENT:
            return []
        gone = waiting
    if not gone or not is_same():
        return []
    return [(job_id, Place(folder.path, directory, name)) for name, job_id in gone if ledger.vanish(job_id, now)]


def _require_root(folder: str) -> None:
    try:
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise FolderUnavailable(unavailable_sentence(error)) from error


def _is_gone(descriptor: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False
