"""What the writers wrote down, read back: which contents there were, where, how often made, and what stayed."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .belongings import TEMPORARY


@dataclass
class Content:
    """A content that was whole at some instant.

    `places` are the paths below the watched folder where it lay under a name that is no temporary one. `made` counts
    how often it came to be under a name that it did not have: written there, or linked. A rename makes nothing. It may
    arrive as often at most.
    """

    places: set[str] = field(default_factory=set)
    made: int = 0


class Ledger:
    """All logs together; `stayed` is the SHA-256 of each file that is there at the end, by path.

    `acts` counts the acts, `anew` those of them that put a content there.
    """

    def __init__(self, logs: Iterable[Path]) -> None:
        self.contents: defaultdict[str, Content] = defaultdict(Content)
        self.stayed: dict[str, str] = {}
        self.acts = 0
        self._logs = sorted(logs)
        for log in self._logs:
            with open(log, encoding="utf-8") as lines:
                for line in lines:
                    self._read(json.loads(line))

    def _read(self, entry: dict[str, object]) -> None:
        self.acts += 1
        gone, lies = entry["gone"], entry["lies"]
        assert isinstance(gone, list)
        assert isinstance(lies, list)
        for path in gone:
            self.stayed.pop(path, None)
        for path, digest, anew in lies:
            content = self.contents[digest]
            content.made += anew
            if path is not None:
                self.stayed[path] = digest
                if not path.endswith(TEMPORARY):
                    content.places.add(path)

    def history(self, *words: str) -> list[str]:
        """The lines that tell of a path or a digest, in the order of time; trees are told of by what concerns it."""
        found = []
        for log in self._logs:
            with open(log, encoding="utf-8") as lines:
                for line in lines:
                    if any(word in line for word in words):
                        found.append(_shortened(json.loads(line), words))
        return [f"{at:.3f} {text}" for at, text in sorted(found)]


def _shortened(entry: dict[str, object], words: tuple[str, ...]) -> tuple[float, str]:
    gone, lies = entry["gone"], entry["lies"]
    assert isinstance(gone, list)
    assert isinstance(lies, list)
    of_these = [lie for lie in lies if lie[0] in words or lie[1] in words]
    of_those = [path for path in gone if path in words or len(gone) == 1]
    return float(str(entry["at"])), f"{entry['act']}: lies {of_these}, gone {of_those}"
