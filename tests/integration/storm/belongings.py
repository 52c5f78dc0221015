"""The files that one writer owns: every change to them is made here, and written down as soon as it is made.

Paths are relative to the storm's base: below ``in/``, the watched folder, or ``out/``, on the same file system.
"""

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tests.support.files import sha256_of

INSIDE = "in/"
TEMPORARY = (".part", ".tmp")


@dataclass(eq=False)
class Content:
    """What lies in one inode, and under which names: more than one where it was hard-linked."""

    digest: str
    names: list[str] = field(default_factory=list)


@dataclass
class OpenWrite:
    """A file that is being written: not whole before `rest` is in it. Then it gets its `final` name."""

    file: BinaryIO
    path: str
    rest: bytes
    final: str


class Belongings:
    """A writer's files by path. Nobody else touches them, so what is written down is what is on disk.

    The log has a line of JSON for each act: ``at`` (since the epoch), ``act``, ``gone`` (names that ended) and
    ``lies``, a list of [path below the watched folder, SHA-256, whether it was made anew there]; outside it is null.
    Contents are written down when they are whole: closed, or never opened for writing since.
    """

    def __init__(self, base: Path, log: Path) -> None:
        self._base = base
        self._log = open(log, "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        self.files: dict[str, Content] = {}
        self.open: list[OpenWrite] = []
        self.events = 0
        """How many events inotify(7) has had to tell by these acts, about."""

    def close(self) -> None:
        """Ends what is being written, and the log."""
        while self.open:
            self.end_write(self.open[0])
        self._log.close()

    def on_disk(self, path: str) -> Path:
        return self._base / path

    def is_being_written(self, path: str) -> bool:
        content = self.files.get(path)
        return any(path in (each.path, each.final) or content is self.files.get(each.path, self) for each in self.open)

    def write(self, act: str, path: str, data: bytes, mode: str = "wb", at_byte: int | None = None) -> None:
        """Opens, writes and closes: a new file, or the content of all names that this one has."""
        with open(self.on_disk(path), mode) as file:
            if at_byte is not None:
                file.seek(at_byte)
            file.write(data)
        self._closed(act, path)

    def begin_write(self, path: str, data: bytes, mode: str, final: str | None = None) -> None:
        """Writes half of it and leaves the file open: what lies there now must never arrive."""
        file: BinaryIO = open(self.on_disk(path), mode)  # type: ignore[assignment] # noqa: SIM115 - see `end_write`
        file.write(data[: len(data) // 2])
        file.flush()
        self.open.append(OpenWrite(file, path, data[len(data) // 2 :], final or path))
        self.events += 1

    def end_write(self, write: OpenWrite) -> None:
        """Writes the other half, closes, and renames to the final name."""
        self.open.remove(write)
        write.file.write(write.rest)
        write.file.close()
        self._closed("written slowly", write.path)
        if write.final != write.path:
            self.rename("out of a temporary name", write.path, write.final)

    def _closed(self, act: str, path: str) -> None:
        digest = sha256_of(self.on_disk(path))
        content = self.files.setdefault(path, Content(digest, [path]))
        content.digest = digest
        self._note(act, lies=[(name, digest, True) for name in content.names], events=2)

    def rename(self, act: str, old: str, new: str) -> None:
        """A file gets another name; what had that name loses it."""
        if self.files.get(new) is self.files[old]:
            return  # rename(2) does nothing with two names of one file
        os.rename(self.on_disk(old), self.on_disk(new))
        self._forget(new)
        content = self.files.pop(old)
        content.names[content.names.index(old)] = new
        self.files[new] = content
        self._note(act, lies=[(new, content.digest, False)], gone=[old], events=2)

    def link(self, old: str, new: str) -> None:
        os.link(self.on_disk(old), self.on_disk(new))
        content = self.files[new] = self.files[old]
        content.names.append(new)
        self._note("linked", lies=[(new, content.digest, True)], events=1)

    def change_mode(self, path: str, mode: int) -> None:
        """Moves the ctime and nothing else."""
        os.chmod(self.on_disk(path), mode)
        self._note("mode changed", lies=[(path, self.files[path].digest, False)])

    def delete(self, path: str) -> None:
        os.unlink(self.on_disk(path))
        self._forget(path)
        self._note("deleted", gone=[path])

    def make_directories(self, path: str) -> None:
        os.makedirs(self.on_disk(path), exist_ok=True)
        self.events += 1

    def below(self, directory: str) -> list[str]:
        return [path for path in self.files if path.startswith(directory + "/")]

    def move_tree(self, act: str, old: str, new: str) -> None:
        """A directory with all that is in it gets a new name, which must be free."""
        os.rename(self.on_disk(old), self.on_disk(new))
        lies, gone = [], self.below(old)
        for path in gone:
            content = self.files.pop(path)
            moved = new + path[len(old) :]
            content.names[content.names.index(path)] = moved
            self.files[moved] = content
            lies.append((moved, content.digest, False))
        self._note(act, lies=lies, gone=gone, events=2)

    def remove_tree(self, directory: str) -> None:
        shutil.rmtree(self.on_disk(directory))
        gone = self.below(directory)
        for path in gone:
            self._forget(path)
        self._note("tree removed", gone=gone)

    def _forget(self, path: str) -> None:
        content = self.files.pop(path, None)
        if content is not None:
            content.names.remove(path)

    def _note(
        self,
        act: str,
        *,
        lies: list[tuple[str, str, bool]] | None = None,
        gone: list[str] | None = None,
        events: int = 0,
    ) -> None:
        line = {
            "at": time.time(),
            "act": act,
            "gone": [path.removeprefix(INSIDE) for path in gone or () if path.startswith(INSIDE)],
            "lies": [
                (path.removeprefix(INSIDE) if path.startswith(INSIDE) else None, digest, anew)
                for path, digest, anew in lies or ()
            ],
        }
        self._log.write(json.dumps(line) + "\n")
        self.events += events
