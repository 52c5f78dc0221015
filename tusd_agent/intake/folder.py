"""What the intake is told of a folder, and what it tells of it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class WatchedFolder:
    """A folder to be watched; the composition root makes it from the settings, where each is explained.

    `include` and `exclude` are gitignore-style patterns. `renamed`: whether a file that gets a new name keeps its job
    (``"same"``) or gets another one (``"new"``). `contract`: what says that a file is complete. Of the limits 0 is
    none; `max_depth` counts directories, the folder's own being the first. `guard_file` is relative to the folder.
    """

    path: str
    endpoint: str
    recursive: bool = True
    settle_seconds: float = 2.0
    renamed: Literal["same", "new"] = "same"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    watch: Literal["auto", "inotify", "poll"] = "auto"
    poll_interval_seconds: float = 10.0
    contract: Literal["settle", "rename", "marker"] = "settle"
    marker_suffix: str = ".done"
    growing_after_seconds: float = 3600.0
    existing: Literal["upload", "ignore"] = "upload"
    hidden: bool = False
    max_depth: int = 0
    min_size_bytes: int = 0
    max_size_bytes: int = 0
    min_age_seconds: float = 0.0
    max_age_seconds: float = 0.0
    guard_file: str | None = None
    mount_check: bool = True


@dataclass(frozen=True, slots=True)
class FolderState:
    """How the intake stands with a folder, as `status` shows it.

    `mode`: inotify or poll, with a reason for the latter. `available`: the folder is there and can be read. `problem`
    is a sentence for the operator; a folder with a problem may still be available, and is then scanned. `settling`
    counts files that are not complete yet, `growing` those among them that did not come to rest for
    `growing_after_seconds`, `growing_example` is the path of one. `scan_files_seen` is of the scan that runs.
    `last_scan_at` (since the epoch), `last_scan_seconds` and `files_seen` are of the last complete one.
    """

    path: str
    mode: str
    available: bool
    problem: str | None
    settling: int
    growing: int
    growing_example: bytes | None
    scanning: bool
    scan_files_seen: int
    last_scan_at: float | None
    last_scan_seconds: float | None
    files_seen: int


@dataclass(frozen=True, slots=True)
class WatcherHealth:
    """How the watching as a whole is doing.

    `alive`: events are read. `watches`: directories that the kernel reports from. Counted since the start: `overflows`
    of the kernel's queue, `restarts` of threads that had died or gone deaf, `gaps` of directories that had no watch and
    got it again. `canary_at`: when the last canary came back, seconds since the epoch, `None` before the first.
    """

    alive: bool
    watches: int
    overflows: int
    restarts: int
    gaps: int
    canary_at: float | None
