"""What must hold when the agent was killed for the last time and has come to rest: the books against all there is."""

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Stored
from tests.support.agent import Agent
from tests.support.files import sha256_of
from tusd_agent.jobs.model import ASIDE_PREFIX, Job
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import LEDGER_LOST, State

from .books import Books
from .diary import Lived
from .lives import Lives

ENDED = (State.DONE, State.SUPERSEDED, State.VANISHED)
SIGNS_OF_LOSS = ("lost or exchanged", "older copy", "-wal file", "is damaged", "ledger lost", "error of the program")
MOST_SHOWN = 15


@dataclass(frozen=True)
class Findings:
    """What is wrong (nothing, if all is well), and the figures of the run."""

    violations: list[str]
    figures: str
    extra_copies: int
    lived: Lived

    def report(self) -> str:
        more = len(self.violations) - MOST_SHOWN
        return "\n".join([*self.violations[:MOST_SHOWN], *([f"and {more} more"] if more > 0 else []), self.figures])


class Check:
    """Everything that is known of one run. The agent must be at rest, and not running."""

    def __init__(
        self, agent: Agent, books: Books, lives: Lives, stored: Iterable[Stored], fast_path_bytes: int
    ) -> None:
        self._agent = agent
        self._books = books
        self._fast_path_bytes = fast_path_bytes
        self._extra_copies = 0
        self._lived = lives.lived()
        self._kills = lives.kills
        self._database = agent.state_dir / "queue.db"
        self._jobs = {str(job.uuid): job for job in _all_jobs(self._database)}
        with closing(sqlite3.connect(self._database)) as connection:
            self._verdict = connection.execute("PRAGMA quick_check").fetchall()
            self._notes = {key for (key,) in connection.execute("SELECT key FROM agent")}
            leftovers = {url for (url,) in connection.execute("SELECT upload_url FROM leftovers")}
        of_rows = {job.upload_url for job in self._jobs.values() if job.upload_url}
        recorded = {url.rpartition("/")[2] for url in self._lived.urls | of_rows | leftovers}
        uploads = list(stored)
        self._orphans = [upload for upload in uploads if upload.id not in recorded]
        self._known = [upload for upload in uploads if upload.id in recorded]
        self._leftover_ids = {url.rpartition("/")[2] for url in leftovers}

    def findings(self) -> Findings:
        parts = (self._arrived, self._uploads, self._removed, self._moved, self._queue, self._log)
        violations = [violation for part in parts for violation in part()]
        books, lived = self._books, self._lived
        figures = (
            f"kills: {self._kills} ({sum(lived.killed.values())} at {len(lived.killed)} points, the rest by chance), "
            f"{dict(books.acts)}, {books.written_bytes >> 20} MiB, {len(self._known)} uploads, "
            f"{len(self._orphans)} orphans, {self._extra_copies} extra copies, {len(lived.removals)} removals, "
            f"{len(self._jobs)} jobs, {len(violations)} violations"
        )
        return Findings(violations, figures, self._extra_copies, lived)

    def _arrived(self) -> Iterator[str]:
        """Each content is on the server, whole, once for each time that it was made; of what nobody made nothing is.

        What goes with the creation of its upload may be there more often, each copy under the name of the same job.
        """
        arrived: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for upload in (*self._known, *(orphan for orphan in self._orphans if orphan.offset)):
            if upload.complete:
                job = upload.metadata["job"].decode()
                content = self._folder(self._job(upload)), upload.sha256()
                if self._is_fast(upload) and arrived[content][job]:
                    self._extra_copies += 1
                else:
                    arrived[content][job] += 1
                path = upload.metadata["relativePath"].decode()
                if content not in self._books.contents:
                    yield f"{path} in {content} arrived, and never was whole"
                elif path not in self._books.contents[content].places:
                    yield f"{content} arrived as {path}, where it never lay"
        for content, made in self._books.contents.items():
            if not made.made - made.overwritten <= arrived[content].total() <= made.made:
                yield f"{content} of {made} arrived as {arrived[content]}: {self._told(made.places)}"

    def _is_fast(self, upload: Stored) -> bool:
        return 0 < (upload.size or 0) <= self._fast_path_bytes

    def _uploads(self) -> Iterator[str]:
        """Unfinished ones are of answers that were not recorded any more, and got no byte; or will be terminated."""
        for upload in self._known:
            if not upload.complete and upload.id not in self._leftover_ids:
                yield f"an unfinished upload that nobody will end: {upload}, {self._job(upload)}"
        orphans = Counter(upload.metadata["job"].decode() for upload in self._orphans)
        for job, count in orphans.items():
            if count > self._lived.posted[job] - self._lived.recorded[job]:
                yield f"{count} orphans of job {job}: {self._lived.posted[job]} were asked for"
        for orphan in self._orphans:
            if orphan.offset and not self._is_fast(orphan):
                yield f"an orphan got bytes: {orphan}"

    def _removed(self) -> Iterator[str]:
        """No file left its folder unproven or unseen, and all that should have did."""
        of_folders = {str(path): name for name, path in self._books.folders.items()}
        seen: Counter[tuple[str, str]] = Counter()
        for removal in self._lived.removals:
            name = next((name for path, name in of_folders.items() if _is_below(removal.folder, path)), None)
            if name is not None:
                seen[name, removal.digest] += 1
                if not removal.proven:
                    yield f"a file left {name} though the server did not have it: {removal}"
        for (folder, name), digest in self._books.lies.items():
            path, content = self._books.folders[folder] / name, self._books.contents[folder, digest]
            if path.exists():
                if sha256_of(path) != digest:
                    yield f"{path} is not what was written"
                if folder != "keep" and not content.renamed:
                    yield f"{path} was to leave: {self._told(content.places)}"
            elif folder == "keep":
                yield f"{path} was to stay"
            elif not seen[folder, digest]:
                yield f"{path} has gone, and nobody has seen how: {self._told(content.places)}"

    def _moved(self) -> Iterator[str]:
        """What was moved is whole, under its name, and there once; what lay there before is untouched."""
        for folder, target in self._books.targets.items():
            there: defaultdict[str, list[str]] = defaultdict(list)
            for path in _files(target):
                relative = re.sub(r"~\d+$", "", str(path.relative_to(target)))
                digest = sha256_of(path)
                if path in self._books.planted:
                    if digest != self._books.planted[path]:
                        yield f"{path} was overwritten"
                    continue
                there[digest].append(relative)
                content = self._books.contents.get((folder, digest))
                if content is None or relative not in content.places:
                    yield f"{path} is no file that was moved"
            lying = Counter(sha256_of(path) for path in _files(self._books.folders[folder]))
            for (of, digest), content in self._books.contents.items():
                if of == folder:
                    count = len(there[digest]) + lying[digest]
                    if not content.made - content.overwritten <= count <= content.made:
                        yield f"{content} is there {count} times: {there[digest]}, {self._told(content.places)}"
        for folder_path in (*self._books.folders.values(), *self._books.targets.values()):
            yield from (f"an aside file was left: {p}" for p in _files(folder_path) if _is_aside(p))
        yield from (f"{path} has gone" for path in self._books.planted if not path.exists())

    def _queue(self) -> Iterator[str]:
        if self._verdict != [("ok",)]:
            yield f"the database is damaged: {self._verdict}"
        yield from (f"a loss was assumed: {note}" for note in self._notes & {"incomplete_since", "loss_noted"})
        yield from (f"a file beside the database: {p}" for p in self._database.parent.glob("*damaged*"))
        for job in self._jobs.values():
            if job.state not in ENDED or job.reason == LEDGER_LOST:
                yield f"not at its end: {job}"

    def _log(self) -> Iterator[str]:
        for line in self._agent.log_text().splitlines():
            if any(sign in line for sign in SIGNS_OF_LOSS) or "Traceback" in line:
                yield f"in the log: {line}"

    def _job(self, upload: Stored) -> Job | None:
        return self._jobs.get(upload.metadata["job"].decode())

    def _folder(self, job: Job | None) -> str:
        names = {str(path): name for name, path in self._books.folders.items()}
        return names[job.place.folder] if job is not None else "a folder of no job"

    def _told(self, places: Iterable[str]) -> str:
        """All that the queue and the log say of these names."""
        names = set(places)
        jobs = [job for job in self._jobs.values() if job.place.relative.decode() in names]
        lines = [line for line in self._agent.log_text().splitlines() if any(f"/{name}" in line for name in names)]
        return "\n    ".join(["", *map(str, jobs), *lines])


def _all_jobs(database: Path) -> Iterator[Job]:
    reader, cursor = Reader(database), None
    while True:
        page = reader.page(Selection(), limit=1000, cursor=cursor)
        yield from page.jobs
        cursor = page.next_cursor
        if cursor is None:
            return


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _is_aside(path: Path) -> bool:
    return path.name.startswith(ASIDE_PREFIX.decode())


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
