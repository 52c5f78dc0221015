"""The writers: each a process that does to its files what programs do, in an order that only its seed decides."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from .belongings import TEMPORARY, Belongings

SHARED = ("in/shared/0", "in/shared/1", "in/shared/2")
"""Directories that all writers write to, each under names of its own."""

BURST_FILES = 250
KEPT_OF_BURST = 12
MOST_BYTES = (200, 4_000, 4_000, 30_000, 300_000)
SLOW_WRITES = 4
LATEST = 40
ROTATED = 4


@dataclass
class Signals:
    """What the weather tells the writers, and what they tell it: how many events they have caused together."""

    stop: Event
    flood: Event
    events: "Synchronized[int]"

    def caused(self) -> int:
        return self.events.value


class Writer:
    """Chooses what happens next, and to which files."""

    def __init__(self, name: str, seed: int, belongings: Belongings) -> None:
        self.belongings = belongings
        self._name = name
        self._random = random.Random(f"{seed} {name}")
        self._flood_random = random.Random(f"{seed} {name} flood")
        self._home, self._outside = f"in/{name}", f"out/{name}"
        self._trees: list[str] = []
        self._trees_outside: list[str] = []
        self._left_names: list[str] = []
        self._count = 0
        self._bursts = 0
        for directory in (self._home, self._outside, *SHARED):
            belongings.make_directories(directory)

    def act(self) -> None:
        """One act, or none where there is nothing to do it to."""
        (act,) = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        act(self)

    def burst(self) -> None:
        """Many short-lived files: events by the hundred. A few of them stay.

        In directories that are watched already: of what happens in a new one the kernel has nothing to tell.
        """
        self._bursts += 1
        directory = self._flood_random.choice((self._home, *SHARED))
        paths = [f"{directory}/{self._name}-burst{self._bursts}-{number}.dat" for number in range(BURST_FILES)]
        for path in paths:
            self.belongings.write("written in a burst", path, self._flood_random.randbytes(100))
        kept = set(self._flood_random.sample(paths, KEPT_OF_BURST))
        for path in paths:
            if path not in kept:
                self.belongings.delete(path)

    def create(self) -> None:
        self.belongings.write("created", self._free_path(), self._data())

    def append(self) -> None:
        if path := self._pick():
            self.belongings.write("appended to", path, self._data(), "ab")

    def overwrite_in_place(self) -> None:
        if path := self._pick():
            size = self.belongings.on_disk(path).stat().st_size
            self.belongings.write("overwritten in place", path, self._data(), "r+b", self._random.randrange(size))

    def write_anew(self) -> None:
        if path := self._pick():
            self.belongings.write("written anew", path, self._data())

    def write_the_same_again(self) -> None:
        if path := self._pick():
            self.belongings.write("written with the same bytes", path, self.belongings.on_disk(path).read_bytes())

    def replace(self) -> None:
        """As editors and careful programs do: written beside it, renamed over it."""
        if path := self._pick():
            self.belongings.write("written beside", path + TEMPORARY[1], self._data())
            self.belongings.rename("replaced", path + TEMPORARY[1], path)

    def write_part(self) -> None:
        path = self._free_path()
        self.belongings.write("written as part", path + TEMPORARY[0], self._data())
        self.belongings.rename("out of a temporary name", path + TEMPORARY[0], path)

    def begin_slow_write(self) -> None:
        """A new file, one under a temporary name, or an append: half of it now, the other half some acts later."""
        if len(self.belongings.open) == SLOW_WRITES:
            self.belongings.end_write(self._random.choice(self.belongings.open))
        kind = self._random.randrange(3)
        if kind == 0:
            self.belongings.begin_write(self._free_path(), self._data(), "wb")
        elif kind == 1:
            path = self._free_path()
            self.belongings.begin_write(path + TEMPORARY[0], self._data(), "wb", final=path)
        elif path_or_none := self._pick():
            self.belongings.begin_write(path_or_none, self._data(), "ab")

    def end_slow_write(self) -> None:
        if self.belongings.open:
            self.belongings.end_write(self._random.choice(self.belongings.open))

    def rename_in(self) -> None:
        """From outside: a file that was there before, or one written for it."""
        path = self._pick(self._outside)
        if path is None or self._random.random() < 0.7:
            path = f"{self._outside}/{self._new_name()}"
            self.belongings.write("written outside", path, self._data())
        self.belongings.rename("renamed in", path, self._free_path())

    def rename_out(self) -> None:
        if path := self._pick():
            self._left_names.append(path)
            self.belongings.rename("renamed out", path, f"{self._outside}/{self._new_name()}")

    def rename_within(self) -> None:
        if path := self._pick():
            target = self._free_path()
            self._left_names.append(path)
            self.belongings.rename("renamed", path, target)

    def rename_over(self) -> None:
        path, other = self._pick(), self._pick()
        if path and other and path != other:
            self._left_names.append(path)
            self.belongings.rename("renamed over another", path, other)

    def rotate(self) -> None:
        """As logrotate does: log.2 becomes log.3, log.1 log.2, log log.1, and a new log begins."""
        names = [f"{self._home}/log", *(f"{self._home}/log.{number}" for number in range(1, ROTATED))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer in self.belongings.files and not any(map(self.belongings.is_being_written, (older, newer))):
                self.belongings.rename("rotated", newer, older)
        if not self.belongings.is_being_written(names[0]):
            self.belongings.write("log begun", names[0], self._data())

    def link(self) -> None:
        if path := self._pick():
            self.belongings.link(path, self._free_path())

    def change_mode(self) -> None:
        if path := self._pick():
            self.belongings.change_mode(path, self._random.choice((0o600, 0o640, 0o644)))

    def delete(self) -> None:
        if path := self._pick():
            self._left_names.append(path)
            self.belongings.delete(path)

    def make_tree(self) -> None:
        """Directories and files in them at once: faster than watches can be put on them."""
        self._trees.append(self._filled_tree(self._home))

    def move_tree_in(self) -> None:
        if self._trees_outside and self._random.random() < 0.3:
            tree = self._trees_outside.pop(self._random.randrange(len(self._trees_outside)))
        else:
            tree = self._filled_tree(self._outside)
        self._move_tree("tree moved in", tree, self._home)

    def move_tree_within(self) -> None:
        if tree := self._take_tree():
            above = self._random.choice([self._home, *(f"{other}/a" for other in self._trees)])
            self._move_tree("tree moved", tree, above)

    def move_tree_out(self) -> None:
        if tree := self._take_tree():
            target = f"{self._outside}/{self._new_name('tree')}"
            self.belongings.move_tree("tree moved out", tree, target)
            self._trees_outside.append(target)

    def remove_tree(self) -> None:
        if tree := self._take_tree():
            self._left_names += self.belongings.below(tree)
            self.belongings.remove_tree(tree)

    def _filled_tree(self, above: str) -> str:
        tree = f"{above}/{self._new_name('tree')}"
        for directory in (f"{tree}/a/b/c", f"{tree}/d"):
            self.belongings.make_directories(directory)
            for number in range(self._random.randrange(1, 5)):
                self.belongings.write("written into a new tree", f"{directory}/{number}.dat", self._data())
        return tree

    def _move_tree(self, act: str, tree: str, above: str) -> None:
        target = f"{above}/{self._new_name('tree')}"
        self.belongings.move_tree(act, tree, target)
        self._trees.append(target)

    def _take_tree(self) -> str | None:
        """A tree in the folder that no longer counts as one; those that lie in it are no trees of their own then."""
        if not self._trees:
            return None
        tree = self._random.choice(self._trees)
        if any(write.final.startswith(tree + "/") for write in self.belongings.open):
            return None
        self._trees = [other for other in self._trees if other != tree and not other.startswith(tree + "/")]
        return tree

    def _pick(self, below: str = "in") -> str | None:
        """A file that is not being written; `None` where chance finds none.

        Often one of the latest: those are settling or being sent just now.
        """
        paths = list(self.belongings.files)
        for _ in range(10 if paths else 0):
            path = self._random.choice(paths[-LATEST:] if self._random.random() < 0.4 else paths)
            if path.startswith(below + "/") and not self.belongings.is_being_written(path):
                return path
        return None

    def _free_path(self) -> str:
        """Where no file is: mostly a name that never was, now and then one that another file has had."""
        if self._left_names and self._random.random() < 0.2:
            path = self._left_names.pop(self._random.randrange(len(self._left_names)))
            free = path not in self.belongings.files and not self.belongings.is_being_written(path)
            if free and self.belongings.on_disk(path).parent.is_dir():
                return path
        directory = self._random.choice([self._home, *SHARED, *(f"{tree}/a" for tree in self._trees[-10:])])
        return f"{directory}/{self._new_name()}"

    def _new_name(self, kind: str = "file") -> str:
        self._count += 1
        return f"{self._name}-{kind}{self._count}"

    def _data(self) -> bytes:
        """Bytes that are nowhere else: their digest says which write they are of."""
        return self._random.randbytes(self._random.randint(16, self._random.choice(MOST_BYTES)))


WEIGHTS: dict[Callable[[Writer], None], int] = {
    Writer.create: 20,
    Writer.append: 8,
    Writer.overwrite_in_place: 5,
    Writer.write_anew: 4,
    Writer.write_the_same_again: 2,
    Writer.replace: 6,
    Writer.write_part: 6,
    Writer.begin_slow_write: 5,
    Writer.end_slow_write: 4,
    Writer.rename_in: 8,
    Writer.rename_out: 4,
    Writer.rename_within: 8,
    Writer.rename_over: 2,
    Writer.rotate: 3,
    Writer.link: 5,
    Writer.change_mode: 3,
    Writer.delete: 6,
    Writer.make_tree: 3,
    Writer.move_tree_in: 2,
    Writer.move_tree_within: 3,
    Writer.move_tree_out: 1,
    Writer.remove_tree: 2,
}
"""How often each act is chosen, relative to the others."""


def run(base: Path, log: Path, name: str, seed: int, acts_per_second: float, signals: Signals) -> None:
    """A writer's whole life, in a process of its own: until it is told to stop, at its pace, faster in a flood."""
    belongings = Belongings(base, log)
    writer = Writer(name, seed, belongings)
    begun, done, told = time.monotonic(), 0, 0
    while not signals.stop.is_set():
        if signals.flood.is_set():
            writer.burst()
        elif (early := begun + done / acts_per_second - time.monotonic()) > 0:
            signals.stop.wait(early)
        else:
            writer.act()
            done += 1
        with signals.events.get_lock():
            signals.events.value += belongings.events - told
        told = belongings.events
    belongings.close()
