"""What the intake is told of a folder, and what it tells of it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class WatchedFolder:
    """A folder to be watched; the composition root makes it from the settings.

    `include` and `exclude` are gitignore-style patterns. `renamed`: whether a file that gets a new name keeps its job
    (``"same"``) or gets another one (``"new"``).
    """

    path: str
    endpoint: str
    recursive: bool = True
    settle_seconds: float = 2.0
    renamed: Literal["same", "new"] = "same"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FolderState:
    """How the intake stands with a folder, as `status` shows it.

    `available`: the folder is there and can be read. `problem` is a sentence for the operator; a folder with a problem
    may still be available, and is then scanned. `settling` counts files that are not quiet yet. `last_scan_at` (since
    the epoch), `last_scan_seconds` and `files_seen` are of the last complete scan.
    """

    path: str
    mode: str
    available: bool
    problem: str | None
    settling: int
    scanning: bool
    last_scan_at: float | None
    last_scan_seconds: float | None
    files_seen: int
