"""What the agent's lives write down beside their work, for those who look at what is left of them.

Lines of JSON, each written at once: they outlive the process that is killed, as the page cache does.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Diary:
    """The writing side. Lines of several threads do not mix: each is one write to a file opened with O_APPEND."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, **entry: Any) -> None:
        os.write(self._descriptor, json.dumps(entry).encode() + b"\n")


@dataclass(frozen=True)
class Removal:
    """A file that the agent was about to delete or to move away, at the last moment at which it could be looked at.

    `proven`: the server had a complete upload of the very content, made for the file's job.
    """

    folder: str
    digest: str
    proven: bool


@dataclass
class Lived:
    """All lives together.

    `passed` are the points that were come to, `killed` counts the kills by moment and point. `posted` counts, by job,
    the uploads that were asked for, `recorded` those of them whose URL, one of `urls`, is in the queue.
    """

    passed: set[str] = field(default_factory=set)
    killed: Counter[tuple[str, str]] = field(default_factory=Counter)
    posted: Counter[str] = field(default_factory=Counter)
    recorded: Counter[str] = field(default_factory=Counter)
    urls: set[str] = field(default_factory=set)
    removals: list[Removal] = field(default_factory=list)


def read(path: Path) -> Lived:
    """What the lives have written so far."""
    lived = Lived()
    for line in path.read_text().splitlines() if path.exists() else ():
        match json.loads(line):
            case {"passed": point}:
                lived.passed.add(point)
            case {"killed": [moment, point]}:
                lived.killed[moment, point] += 1
            case {"posted": job}:
                lived.posted[job] += 1
            case {"recorded": job, "url": url}:
                lived.recorded[job] += 1
                lived.urls.add(url)
            case {"removed": folder, "digest": digest, "proven": proven}:
                lived.removals.append(Removal(folder, digest, proven))
            case entry:
                raise AssertionError(f"not an entry of a diary: {entry}")
    return lived
