"""Which files are taken, by name, size and age. Pure: values in, values out, never a look at the disk.

Patterns are those of gitignore (https://git-scm.com/docs/gitignore), relative to the watched folder. What lies below
an excluded directory is excluded, as there.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

from pathspec import GitIgnoreSpec

from ..jobs.model import ASIDE_PREFIX, NAME_MAX_BYTES, Fingerprint
from .folder import WatchedFolder

_HIDDEN_BEGINNING = b"."
_TEMPORARY_BEGINNING = b"~$"
_TEMPORARY_ENDS = (b"~", b".tmp", b".part", b".partial", b".filepart", b".crdownload", b".swp")
_DIRECTORY_VERDICTS_KEPT = 4096
_DEEP_DIRECTORIES = 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a file is taken, and in words which rule decided.

    `again_at` (since the epoch): it is not taken yet, and will be then if it does not change.
    """

    taken: bool
    rule: str
    again_at: float | None = None


class Filter:
    """The rules of one folder. Raises `ValueError` for a pattern that is none."""

    def __init__(self, folder: WatchedFolder) -> None:
        self._folder = folder
        self._marker = os.fsencode(folder.marker_suffix) if folder.contract == "marker" else None
        self._guard = os.fsencode(folder.guard_file) if folder.guard_file else None
        self._include = _Patterns(folder.include)
        self._exclude = _Patterns(folder.exclude)
        self._directory = lru_cache(_DIRECTORY_VERDICTS_KEPT)(self._judge_directory)

    def verdict(self, relative: bytes, is_directory: bool) -> Verdict:
        """What becomes of the path, relative to the folder; for a directory: whether it is entered."""
        if is_directory:
            return self._way(relative)
        parent, _, name = relative.rpartition(b"/")
        if name.startswith(ASIDE_PREFIX):
            return Verdict(False, "a file that the agent itself has put aside")
        if parent and not (way := self._way(parent)).taken:
            return way
        if rule := self._temporary(name):
            return Verdict(False, f"a temporary name: {rule}")
        if relative == self._guard:
            return Verdict(False, f"the folder's guard_file: {self._folder.guard_file}")
        if self._marker is not None:
            if name.endswith(self._marker):
                return Verdict(False, f"a marker file: *{self._folder.marker_suffix}")
            if len(name) + len(self._marker) > NAME_MAX_BYTES:
                return Verdict(False, f"its name is too long to have a marker file: *{self._folder.marker_suffix}")
        if pattern := self._exclude.match(relative):
            return Verdict(False, f"exclude pattern {pattern!r}")
        if not self._include:
            return Verdict(True, "no rule speaks against it")
        if pattern := self._include.match(relative):
            return Verdict(True, f"include pattern {pattern!r}")
        return Verdict(False, "no include pattern matches")

    def content(self, fingerprint: Fingerprint, now: float) -> Verdict:
        """Whether a file of this size and age is taken; `now` is wall clock.

        The age is that of the mtime, or of the ctime where that is older: an mtime may lie in the future.
        """
        limits = self._folder
        size = fingerprint.size_bytes
        if size < limits.min_size_bytes:
            return Verdict(False, f"smaller than min_size: {size} bytes, not {limits.min_size_bytes} or more")
        if limits.max_size_bytes and size > limits.max_size_bytes:
            return Verdict(False, f"larger than max_size: {size} bytes, not {limits.max_size_bytes} or fewer")
        written_at = min(fingerprint.mtime_ns, fingerprint.ctime_ns) / 1e9
        if limits.max_age_seconds and now - written_at > limits.max_age_seconds:
            return Verdict(False, f"older than max_age_seconds = {limits.max_age_seconds:g}")
        if now - written_at < limits.min_age_seconds:
            rule = f"younger than min_age_seconds = {limits.min_age_seconds:g}"
            return Verdict(False, rule, written_at + limits.min_age_seconds)
        return Verdict(True, "no limit of size or age speaks against it")

    def _judge_directory(self, relative: bytes) -> Verdict:
        if not self._folder.recursive:
            return Verdict(False, "the folder is not watched recursively")
        parent, _, name = relative.rpartition(b"/")
        if parent and not (way := self._directory(parent)).taken:
            return way
        deepest = self._folder.max_depth
        if deepest and relative.count(b"/") + 2 > deepest:
            return Verdict(False, f"deeper than max_depth = {deepest}")
        if name.startswith(_HIDDEN_BEGINNING) and not self._folder.hidden:
            return Verdict(False, "below a hidden directory: .*")
        if pattern := self._exclude.match(relative + b"/"):
            return Verdict(False, f"exclude pattern {pattern!r}")
        return Verdict(True, "a directory on the way")

    def _way(self, relative: bytes) -> Verdict:
        """The verdict on a directory, asked for from the top down where there are too many for a recursion."""
        if relative.count(b"/") > _DEEP_DIRECTORIES:
            end = relative.find(b"/")
            while end >= 0:
                self._directory(relative[:end])
                end = relative.find(b"/", end + 1)
        return self._directory(relative)

    def _temporary(self, name: bytes) -> str | None:
        if name.startswith(_HIDDEN_BEGINNING) and not self._folder.hidden:
            return ".*"
        if name.startswith(_TEMPORARY_BEGINNING):
            return f"{_TEMPORARY_BEGINNING.decode()}*"
        for end in _TEMPORARY_ENDS:
            if name.endswith(end):
                return f"*{end.decode()}"
        return None


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
