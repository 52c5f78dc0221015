"""What must hold when the storm is over: the writers' books against the server's disk and the agent's jobs."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Stored
from tests.support.agent import Agent
from tests.support.files import sha256_of

from .ledger import Ledger
from .weather import Blown

MOST_SHOWN = 10
LOG_LINES_SHOWN = 20


@dataclass(frozen=True)
class Arrived:
    """A complete upload: what the server has, under which path, for which job."""

    path: str
    digest: str
    job: str


@dataclass(frozen=True)
class Findings:
    """What is wrong (nothing, if all is well), with what is needed to see why, and the figures of the storm."""

    violations: list[str]
    figures: str
    overflows: int
    arrived: int

    def report(self) -> str:
        shown = self.violations[:MOST_SHOWN]
        more = len(self.violations) - len(shown)
        return "\n\n".join([*shown, *([f"and {more} more"] if more else []), self.figures])


class Check:
    """Everything that is known of one storm. `stored` is read only now: the agent must be at rest."""

    def __init__(self, folder: Path, blown: Blown, agent: Agent, stored: Iterable[Stored]) -> None:
        uploads = [upload for upload in stored if not upload.partial]
        self._folder = folder
        self._blown = blown
        self._ledger: Ledger = blown.ledger
        self._jobs = agent.jobs()
        self._watcher = agent.status()["watcher"]
        self._log = agent.log_text().splitlines()
        self._unfinished = sum(not upload.complete for upload in uploads)
        self._arrived = [
            Arrived(upload.metadata["relativePath"].decode(), upload.sha256(), upload.metadata["job"].decode())
            for upload in uploads
            if upload.complete
        ]
        self._job_states = {job["uuid"]: job["state"] for job in self._jobs}

    def findings(self, seed: int) -> Findings:
        """Raises `AssertionError` where the books are not what is on disk: then nothing can be said of the agent."""
        self._books_agree()
        parts: tuple[Callable[[], Iterator[str]], ...] = (self._whole, self._stayed, self._once, self._at_rest)
        violations = [violation for part in parts for violation in part()]
        overflows, restarts = self._watcher["overflows"], self._watcher["restarts"]
        taken_back = sum(self._job_states.get(arrived.job) != "done" for arrived in self._arrived)
        figures = (
            f"storm: {len(self._ledger.stayed)} files, {len(self._ledger.contents)} contents, "
            f"{self._ledger.acts} acts, "
            f"{self._blown.events} events, {overflows} overflows, {restarts} restarts of the watcher, "
            f"{len(self._arrived)} uploads ({taken_back} of jobs that ended otherwise, {self._unfinished} unfinished), "
            f"{len(self._jobs)} jobs, {self._blown.seconds:.0f} s, seed {seed}, {len(violations)} violations"
        )
        return Findings(violations, figures, overflows, len(self._arrived))

    def _books_agree(self) -> None:
        on_disk = {
            os.path.relpath(os.path.join(directory, name), self._folder): sha256_of(Path(directory, name))
            for directory, _, names in os.walk(self._folder)
            for name in names
        }
        stayed = self._ledger.stayed
        wrong = {path for path in on_disk.keys() | stayed.keys() if on_disk.get(path) != stayed.get(path)}
        assert not wrong, "\n".join(["the storm's books are wrong:", *map(self._told, sorted(wrong)[:MOST_SHOWN])])

    def _whole(self) -> Iterator[str]:
        """What arrived was whole at some instant, and lay where it says, under a name that is to be taken."""
        for arrived in self._arrived:
            content = self._ledger.contents.get(arrived.digest)
            if content is None:
                yield self._told(arrived.path, f"a content arrived that never was whole: {arrived}")
            elif arrived.path not in content.places:
                yield self._told(
                    arrived.path, f"a content arrived as a path where it never lay: {arrived}", arrived.digest
                )

    def _stayed(self) -> Iterator[str]:
        """Each file that stayed is on the server, by a job of its own that says so."""
        of_job = {arrived.job: arrived for arrived in self._arrived}
        done: defaultdict[str, list[str]] = defaultdict(list)
        for job in self._jobs:
            if job["state"] == "done":
                done[job["relative_path"]].append(job["uuid"])
        for path, digest in self._ledger.stayed.items():
            sent = [of_job[uuid].digest for uuid in done[path] if uuid in of_job]
            if digest not in sent:
                elsewhere = any(arrived.digest == digest for arrived in self._arrived)
                what = "has arrived, but not by a job that is done at" if elsewhere else "never arrived for"
                yield self._told(path, f"the last content {digest} {what} {path}", digest)

    def _once(self) -> Iterator[str]:
        """No job arrives twice, and no content more often than it was made."""
        for job, times in Counter(arrived.job for arrived in self._arrived).items():
            if times > 1:
                yield f"job {job} has {times} complete uploads"
        kept = Counter(each.digest for each in self._arrived if self._job_states.get(each.job) == "done")
        for digest, times in kept.items():
            if times > self._ledger.contents[digest].made:
                paths = sorted({each.path for each in self._arrived if each.digest == digest})
                yield self._told(
                    paths[0],
                    f"{digest} was made {self._ledger.contents[digest].made} times and "
                    f"arrived {times} times, as {paths}",
                    digest,
                    *paths[1:],
                )
        for (path, digest), times in Counter((each.path, each.digest) for each in self._arrived).items():
            if times > max(self._ledger.contents[digest].made, kept[digest]):
                yield self._told(path, f"{digest} arrived {times} times as {path}", digest)

    def _at_rest(self) -> Iterator[str]:
        for job in self._jobs:
            if job["state"] not in ("done", "superseded", "vanished"):
                yield self._told(job["relative_path"], f"a job is {job['state']}: {job['last_error'] or job['reason']}")

    def _told(self, path: str, what: str = "", *more: str) -> str:
        """`what`, and all that is known of the path and of `more` paths and digests."""
        words = (path, *more)
        names = {Path(word).name for word in words}
        jobs = [
            {
                key: job[key]
                for key in (
                    "id",
                    "relative_path",
                    "state",
                    "size_bytes",
                    "attempts",
                    "created_at",
                    "uuid",
                    "finished_at",
                    "digest_sha256",
                    "last_error",
                    "reason",
                )
            }
            for job in self._jobs
            if job["relative_path"] in words or job["digest_sha256"] in words
        ]
        parts: dict[str, Sequence[object]] = {
            "on the server": [each for each in self._arrived if each.path in words or each.digest in words],
            "in the books": self._ledger.history(*words),
            "the agent's jobs": jobs,
            "the agent's log": [line for line in self._log if any(name in line for name in names)][-LOG_LINES_SHOWN:],
        }
        lines = [what or path]
        for title, found in parts.items():
            lines += [f"  {title}:", *(f"    {each}" for each in found)]
        return "\n".join(lines)
