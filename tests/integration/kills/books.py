"""The files that the agent is given, and what became of them by others than the agent: known to nobody else."""

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.files import content, sha256_of, write

SIZES_BYTES = (0, 0, 1, 5_000, 70_000, 262_144, 300_001, 1_000_000, 1_100_000, 1_300_000, 3 << 20)
SMALL_BYTES = 5_000
DIRECTORIES = ("", "", "a", "a/b")


@dataclass
class Content:
    """One content of one folder. `made` counts how often it was, `overwritten` how often it may not have been sent
    because other content had taken its name. `places`: the names that it had, below the folder."""

    made: int = 0
    overwritten: int = 0
    renamed: bool = False
    places: set[str] = field(default_factory=set)


class Books:
    """What is done to the files below `base`, by chance as `seed` has it, and what is known of them by that.

    `targets` are the folders that files are moved to: that of ``far`` is on another file system where there is one.
    """

    def __init__(self, base: Path, elsewhere: Path, seed: int) -> None:
        self.folders = {name: base / name for name in ("keep", "delete", "move", "far")}
        self.targets = {"move": base / "sent", "far": elsewhere / "sent"}
        self.contents: dict[tuple[str, str], Content] = {}
        self.lies: dict[tuple[str, str], str] = {}
        """The digest of the last content of each name (folder, path below it) that nobody but the agent removed."""
        self.planted: dict[Path, str] = {}
        """Files of others in the targets, under names that moved files would have."""
        self.written_bytes = 0
        self.acts: Counter[str] = Counter()
        self._outside = base / "outside"
        self._random = random.Random(seed)
        self._count = 0
        for folder in (*self.folders.values(), *self.targets.values(), self._outside):
            folder.mkdir(parents=True, exist_ok=True)

    def act(self, *, small: bool = False) -> None:
        """Does something to some file: most often makes one."""
        chosen = self._random.choices((self.make, self.replace, self.rename, self.change_mode), (6, 2, 2, 1))[0]
        if chosen == self.make or not self.lies:
            self.make(small=small)
        else:
            chosen()

    def make(self, *, small: bool = False) -> None:
        """A new file: written where it is to lie, or renamed to there."""
        folder = self._random.choice(list(self.folders))
        directory = self._random.choice(DIRECTORIES)
        self._count += 1
        name = os.path.join(directory, f"{self._count}.dat")
        path = self.folders[folder] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder in self.targets and self._random.random() < 0.2:
            self._plant(self.targets[folder] / name)
        size = self._random.choice([size for size in SIZES_BYTES if not small or size <= SMALL_BYTES])
        if self._random.random() < 0.5:
            digest = write(path, size, self._count)
        else:
            outside = self._outside / "new"
            digest = write(outside, size, self._count)
            outside.rename(path)
        self._note("made", folder, name, digest, size)

    def replace(self) -> None:
        """Other content under a name that there is, or was until the agent removed its file."""
        folder, name = self._random.choice(list(self.lies)[-20:])
        self._count += 1
        size = self._random.choice(SIZES_BYTES[:-1])
        outside = self._outside / "newer"
        digest = write(outside, size, self._count)
        self.contents[folder, self.lies[folder, name]].overwritten += 1
        outside.rename(self.folders[folder] / name)
        self._note("replaced", folder, name, digest, size)

    def rename(self) -> None:
        folder, old = self._random.choice(list(self.lies)[-20:])
        self._count += 1
        new = os.path.join(os.path.dirname(old), f"{self._count}-renamed.dat")
        try:
            os.rename(self.folders[folder] / old, self.folders[folder] / new)
        except FileNotFoundError:  # the agent has removed it, or put it aside
            return
        digest = self.lies[folder, new] = self.lies.pop((folder, old))
        self.contents[folder, digest].places.add(new)
        self.contents[folder, digest].renamed = True
        self.acts["renamed"] += 1

    def change_mode(self) -> None:
        """Moves the ctime and nothing else."""
        folder, name = self._random.choice(list(self.lies)[-20:])
        try:
            os.chmod(self.folders[folder] / name, self._random.choice((0o600, 0o640, 0o644)))
        except FileNotFoundError:
            return
        self.acts["mode changed"] += 1

    def _plant(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(1000, -self._count))
        self.planted[path] = sha256_of(path)

    def _note(self, act: str, folder: str, name: str, digest: str, size: int) -> None:
        noted = self.contents.setdefault((folder, digest), Content())
        noted.made += 1
        noted.places.add(name)
        self.lies[folder, name] = digest
        self.written_bytes += size
        self.acts[act] += 1
