"""Which names are taken. Pure: looks at names only, never at the disk.

Patterns are those of gitignore (https://git-scm.com/docs/gitignore), relative to the watched folder. What lies below
an excluded directory is excluded, as there.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

from pathspec import GitIgnoreSpec

from ..jobs.model import ASIDE_PREFIX
from .folder import WatchedFolder

_TEMPORARY_BEGINNINGS = (b".", b"~$")
_TEMPORARY_ENDS = (b"~", b".tmp", b".part", b".partial", b".filepart", b".crdownload", b".swp")
_DIRECTORY_VERDICTS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a name is taken, and in words which rule decided."""

    taken: bool
    rule: str


class Filter:
    """The rules of one folder. Raises `ValueError` for a pattern that is none."""

    def __init__(self, folder: WatchedFolder) -> None:
        self._recursive = folder.recursive
        self._include = _Patterns(folder.include)
        self._exclude = _Patterns(folder.exclude)
        self._directory = lru_cache(_DIRECTORY_VERDICTS_KEPT)(self._judge_directory)

    def verdict(self, relative: bytes, is_directory: bool) -> Verdict:
        """What becomes of the path, relative to the folder; for a directory: whether it is entered."""
        if is_directory:
            return self._directory(relative)
        parent, _, name = relative.rpartition(b"/")
        if name.startswith(ASIDE_PREFIX):
            return Verdict(False, "a file that the agent itself has put aside")
        if parent and not (way := self._directory(parent)).taken:
            return way
        if rule := _temporary(name):
            return Verdict(False, f"a temporary name: {rule}")
        if pattern := self._exclude.match(relative):
            return Verdict(False, f"exclude pattern {pattern!r}")
        if not self._include:
            return Verdict(True, "no rule speaks against it")
        if pattern := self._include.match(relative):
            return Verdict(True, f"include pattern {pattern!r}")
        return Verdict(False, "no include pattern matches")

    def _judge_directory(self, relative: bytes) -> Verdict:
        if not self._recursive:
            return Verdict(False, "the folder is not watched recursively")
        parent, _, name = relative.rpartition(b"/")
        if parent and not (way := self._directory(parent)).taken:
            return way
        if name.startswith(b"."):
            return Verdict(False, "below a directory with a temporary name: .*")
        if pattern := self._exclude.match(relative + b"/"):
            return Verdict(False, f"exclude pattern {pattern!r}")
        return Verdict(True, "a directory on the way")


class _Patterns:
    def __init__(self, lines: tuple[str, ...]) -> None:
        self._lines = lines
        # The simple backend: the others, used where they happen to be installed, refuse names that are not UTF-8.
        self._spec = GitIgnoreSpec.from_lines(lines, backend="simple") if lines else None

    def __bool__(self) -> bool:
        return self._spec is not None

    def match(self, relative: bytes) -> str | None:
        """The pattern that decides for the path; `None` when none matches, or one with ``!`` takes it out again."""
        if self._spec is None:
            return None
        # The compiled patterns stop at a newline. No name holds a NUL, so it can stand for the newline.
        result = self._spec.check_file(os.fsdecode(relative).replace("\n", "\0"))
        return self._lines[result.index] if result.include and result.index is not None else None


def _temporary(name: bytes) -> str | None:
    for beginning in _TEMPORARY_BEGINNINGS:
        if name.startswith(beginning):
            return f"{beginning.decode()}*"
    for end in _TEMPORARY_ENDS:
        if name.endswith(end):
            return f"*{end.decode()}"
    return None
