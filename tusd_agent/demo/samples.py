"""The files the demonstration drops, each in the way a program on such a host might leave it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

BLOCK_BYTES = 1 << 20
KIB, MIB = 1 << 10, 1 << 20


class Way(Enum):
    """How a file comes into being."""

    WRITTEN = auto()
    """Under its own name, block after block."""

    RENAMED = auto()
    """Under a temporary name beside it, then renamed: as rsync, browsers and careful programs do."""

    MOVED_IN = auto()
    """With the whole new folder it lies in, which is filled elsewhere and moved in when it is complete."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A file to drop: its path below the watched folder, its size, how it comes."""

    path: str
    size_bytes: int
    way: Way = Way.WRITTEN


BIG = Sample("recording.mp4", 200 * MIB)
SAMPLES = (
    BIG,
    Sample("empty.flag", 0),
    Sample("note.txt", 26),
    Sample("sensors.csv", 64 * KIB, Way.RENAMED),
    Sample("Übersicht März.csv", 64 * KIB),
    Sample("photo.jpg", 1 * MIB, Way.RENAMED),
    Sample("run-7/scan.tif", 5 * MIB, Way.MOVED_IN),
    Sample("run-7/frames/0001.raw", 64 * KIB, Way.MOVED_IN),
)
"""The big one comes first, so that the others are seen to arrive while it is on its way."""


def drop(samples: tuple[Sample, ...], folder: Path, staging: Path, check: Callable[[], None]) -> None:
    """Writes the samples into `folder`; `staging`, on the same file system, is where folders are filled.

    `check` is called before each block: what it raises ends the dropping.
    """
    moved = [sample for sample in samples if sample.way is Way.MOVED_IN]
    for sample in moved:
        _write(staging / sample.path, sample, check)
    for sample in samples:
        target = folder / sample.path
        match sample.way:
            case Way.WRITTEN:
                _write(target, sample, check)
            case Way.RENAMED:
                temporary = target.with_name(f".{target.name}.part")
                _write(temporary, sample, check)
                temporary.rename(target)
    for top in sorted({sample.path.partition("/")[0] for sample in moved}):
        (staging / top).rename(folder / top)


def _write(path: Path, sample: Sample, check: Callable[[], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for block in content(sample):
            check()
            file.write(block)


def content(sample: Sample) -> Iterator[bytes]:
    """The sample's content in blocks: the same in every run, and no two of its blocks are equal.

    A block that were sent twice, left out or exchanged would change the digest. One random block, numbered: random
    bytes for the whole of a big file would take longer than its upload.
    """
    noise = random.Random(sample.path).randbytes(min(BLOCK_BYTES, sample.size_bytes))
    for start in range(0, sample.size_bytes, BLOCK_BYTES):
        number = (start // BLOCK_BYTES).to_bytes(8) if start else b""
        yield (number + noise[len(number) :])[: sample.size_bytes - start]
