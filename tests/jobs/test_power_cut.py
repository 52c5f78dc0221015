"""Whenever the power goes: no file has gone but as a delivered one, and no upload that got bytes is forgotten."""

import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.agent import ROOT
from tests.support.files import content
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.model import aside_uuid
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import State

from .power.disk import SURVIVALS, Disk
from .power.recording import Call, record
from .power.scenario import FOLDERS, ROUNDS, SIZES_BYTES

MEMORY = Path("/dev/shm")
ARRIVED = (State.DELIVERED, State.DISPOSING, State.DONE)
PATCH = re.compile(rb"^PATCH (\S+) ")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """On another file system than the watched folders, where there is one."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else tmp_path))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def recorded(embedded_server: Server, tmp_path: Path, elsewhere: Path) -> list[Call]:
    """What an agent does that delivers files of all kinds, system call by system call."""
    if not shutil.which("strace"):
        missing = "strace is not installed: apt-get install strace"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    for name in ("state", *FOLDERS):
        (tmp_path / name).mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "tests.jobs.power.scenario", str(tmp_path), str(elsewhere), embedded_server.url]
    return record(command, tmp_path / "strace.log", environment)


class Promises:
    """What the world outside has seen: jobs whose file has left its folder, uploads that were sent to."""

    def __init__(self, base: Path, copies: Disk) -> None:
        self._folders = {str(base / name) for name in FOLDERS}
        self._copies = copies
        self._asides: dict[str, str] = {}
        self.gone: set[str] = set()
        self.sent_to: set[str] = set()
        self.copies_seen = 0

    def see(self, call: Call) -> bool:
        """Returns whether the call makes a promise."""
        if call.name == "send" and (sent := PATCH.match(call.data)):
            self.sent_to.add(sent[1].decode())
            return True
        if call.name not in ("unlink", "rename"):
            return False
        folder, name = os.path.split(call.paths[0])
        if call.name == "rename" and folder in self._folders:
            self._asides.setdefault(call.paths[1], name)
        uuid = aside_uuid(os.fsencode(name))
        if uuid is None or folder not in self._folders:
            return False
        self.gone.add(str(uuid))
        if call.name == "unlink" and os.path.basename(folder) == "far":
            self._look_at_copy(self._asides[call.paths[0]])
        return True

    def _look_at_copy(self, name: str) -> None:
        """The original goes: now its copy must be there whatever happens."""
        number = int(name.partition("-")[2].removesuffix(".dat"))
        copies = self._copies.after_power_cut("nothing", random.Random())
        assert copies.get(name) == content(SIZES_BYTES[number], number), f"the copy of {name} is not on the disk"
        self.copies_seen += 1

    def broken_by(self, database: Path) -> list[str]:
        """What the queue that is left does not know, though it must."""
        jobs = Reader(database).page(Selection(), limit=1000).jobs
        states = {str(job.uuid): job.state for job in jobs}
        with closing(sqlite3.connect(database)) as connection:
            urls = {url for (url,) in connection.execute("SELECT upload_url FROM leftovers")}
        urls |= {job.upload_url for job in jobs}
        known = {"/" + (url or "").partition("://")[2].partition("/")[2] for url in urls}
        return [
            *(
                f"the file of job {uuid} has gone: {states.get(uuid)}"
                for uuid in self.gone
                if states.get(uuid) not in ARRIVED
            ),
            *(f"bytes were sent to {path}, which is forgotten" for path in self.sent_to - known),
        ]


@pytest.mark.heavy
def test_every_power_cut(recorded: list[Call], tmp_path: Path, elsewhere: Path) -> None:
    disk, copies, rng = Disk(tmp_path / "state"), Disk(elsewhere / "sent"), random.Random(1)
    promises = Promises(tmp_path, copies)
    left = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else tmp_path))
    cuts = 0
    broken: list[str] = []
    try:
        for number, call in enumerate(recorded):
            copies.do(call)
            if not disk.do(call) | promises.see(call):
                continue
            for survival in SURVIVALS:
                files = disk.after_power_cut(survival, rng)
                if not files:
                    continue
                cuts += 1
                broken += [f"call {number}, {survival}: {each}" for each in _after(files, promises, left)]
    finally:
        shutil.rmtree(left)
    sys.stdout.write(f"{cuts} power cuts, {len(promises.sent_to)} uploads, {len(promises.gone)} files gone\n")
    assert not broken, "\n".join([f"{len(broken)}", *broken[:20]])
    disposed_of = len(FOLDERS) - 1
    assert promises.copies_seen in (0, ROUNDS * len(SIZES_BYTES))  # none: there is no other file system
    assert len(promises.gone) == ROUNDS * len(SIZES_BYTES) * disposed_of


@pytest.mark.heavy
def test_a_file_that_was_moved_has_its_new_name_on_the_disk_before_it_has_lost_the_old_one(
    recorded: list[Call], tmp_path: Path
) -> None:
    """And both before anything else is done with the next."""
    source, target = str(tmp_path / "move"), str(tmp_path / "sent")
    moved: list[list[str]] = []
    for call in recorded:
        if call.name == "rename" and (os.path.dirname(call.paths[0]), os.path.dirname(call.paths[-1])) == (
            source, target
        ):  # fmt: skip
            moved.append([])
        elif call.name == "sync" and moved and call.paths[0] in (source, target):
            moved[-1].append(call.paths[0])
    assert len(moved) == ROUNDS * len(SIZES_BYTES)
    assert all(synced == [target, source] for synced in moved), moved


def _after(files: dict[str, bytes], promises: Promises, left: Path) -> list[str]:
    """What is wrong with the queue that these files hold, opened as at the next start."""
    shutil.rmtree(left)
    left.mkdir()
    for name, data in files.items():
        (left / name).write_bytes(data)
    database = Database(left / "queue.db", boot=lambda: "the one after the power cut")
    database.open()
    database.close()
    broken = promises.broken_by(left / "queue.db")
    if database.loss is not None:
        broken.append(f"a loss was assumed: {database.loss}")
    return broken
