"""The course of a run: what the agent is made with, where each of its lives ends, and what happens meanwhile."""

import itertools
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.support.files import wait_for

from .books import Books
from .lives import END_SECONDS, Lives, Subject
from .points import End

RATE_BYTES_PER_SECOND = 8 << 20
LIFE_SECONDS = 1.5
"""So long may a life take to come to its end, then it is killed: longer than from one note of progress to the next."""
LONGEST_BACKLOG_BYTES = 8 << 20
SECONDS_BETWEEN_ACTS = 0.4
MOMENTS = ("before", "after")
CLOSING = "commit of Database.close"
MOST_BIRTHS = 10
PROMISES = ("enqueue", "recover", "claim", "created", "read_whole", "deliver", "finish")
"""The verbs whose commits must each have been the instant of a kill, on both sides."""


@dataclass(frozen=True)
class Plan:
    """How many kills, what chance depends on, and how large what goes with the creation of its upload may be."""

    kills: int
    seed: int
    fast_path_bytes: int = 0


def agent_settings(books: Books, fast_path_bytes: int) -> dict[str, Any]:
    """Folders for each way a file can go; a way to the server that is slow enough to be killed on."""
    after: dict[str, dict[str, object]] = {
        "keep": {"after_upload": "keep"},
        "delete": {"after_upload": "delete"},
        **{name: {"after_upload": "move", "move_to": target} for name, target in books.targets.items()},
    }
    return {
        "folders": [{"path": path, "settle_seconds": 0.1, **after[name]} for name, path in books.folders.items()],
        "endpoint": {
            "chunk_size": "256KiB",
            "rate_limit": f"{RATE_BYTES_PER_SECOND >> 20}MiB/s",
            "small_file_fast_path_bytes": fast_path_bytes,
        },
    }


def is_promise(point: str) -> bool:
    return point.startswith("commit of ") and point.rpartition(".")[2] in PROMISES


class Course:
    """One run through all kills."""

    def __init__(self, agent: Subject, books: Books, lives: Lives, plan: Plan) -> None:
        self._agent = agent
        self._books = books
        self._lives = lives
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._sweep = 0
        self._aims: Counter[tuple[str, str]] = Counter()
        self._begun_at = time.monotonic()

    def run(self) -> None:
        """Returns after the last kill; the agent does not run then."""
        self._births()
        self._begun_at = time.monotonic()
        ways = itertools.cycle(
            (self._swept, self._aimed, self._by_chance, self._aimed, self._by_chance, self._aimed, self._stopped)
        )
        while self._lives.kills < self._plan.kills:
            for _ in range(self._random.randint(1, 3)):
                self._act()
            next(ways)()

    def _births(self) -> None:
        """While the database is made, of which nothing else is known yet; what is left of it must be of use."""
        ends = [End(moment, None, count) for count in range(1, MOST_BIRTHS) for moment in MOMENTS]
        for end in ends[: min(MOST_BIRTHS, self._plan.kills // 8)]:
            shutil.rmtree(self._agent.state_dir)
            self._agent.state_dir.mkdir(mode=0o700)
            for each in (end, End("after", "commit of Claims.recover")):
                self._lives.begin(each)
                assert self._lives.has_ended(END_SECONDS), "a life does not come to its end"

    def _swept(self) -> None:
        """The first point, the second, and so on: before it, then after it."""
        count, moment = divmod(self._sweep, 2)
        self._lives.begin(End(MOMENTS[moment], None, count + 1))
        if self._live(LIFE_SECONDS):
            self._sweep += 1
        else:  # there is no such point, today
            self._sweep = 0

    def _aimed(self) -> None:
        """The point that was killed at or aimed at least often, of all that were ever come to; first the promises."""
        lived = self._lives.lived()
        least = min(
            ((moment, point) for point in sorted(lived.passed - {CLOSING}) for moment in MOMENTS),
            key=lambda each: (lived.killed[each] + self._aims[each], not is_promise(each[1]), self._random.random()),
        )
        self._aims[least] += 1
        self._lives.begin(End(*least))
        self._live(LIFE_SECONDS)

    def _by_chance(self) -> None:
        self._lives.begin(None)
        self._live(self._random.uniform(0.02, LIFE_SECONDS))

    def _stopped(self) -> None:
        """In the middle of a stop, or nowhere: then the agent stops cleanly."""
        end = self._random.choice((*(End(moment, CLOSING) for moment in MOMENTS), None))
        self._lives.begin(end)
        # Not before it listens to signals: it must end in good order.
        wait_for(self._agent.answers, END_SECONDS, "the agent answers")
        self._lives.stop()
        assert self._lives.has_ended(END_SECONDS), "it does not stop"

    def _live(self, seconds: float) -> bool:
        """Lets it live so long; returns whether it came to its end by itself."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._lives.has_ended(min(SECONDS_BETWEEN_ACTS, left)):
                return True
            self._act()
        self._lives.kill()
        return False

    def _act(self) -> None:
        """So much that the agent can follow."""
        lived_seconds = time.monotonic() - self._begun_at
        backlog_bytes = self._books.written_bytes - lived_seconds * RATE_BYTES_PER_SECOND / 4
        self._books.act(small=backlog_bytes > LONGEST_BACKLOG_BYTES)
