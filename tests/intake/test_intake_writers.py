"""Those who write slowly, each a real process: whatever the way they write, nothing arrives by halves."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import PATIENCE_SECONDS, SETTLE_SECONDS, Living, living
from tests.support.files import wait_for, write
from tusd_agent.beneath import at_rest
from tusd_agent.jobs.model import Fingerprint
from tusd_agent.jobs.states import State
from tusd_agent.mounts import file_system_type

pytestmark = pytest.mark.heavy  # real writers take their time

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


class Writer:
    """A process that writes step by step; each `step` is over when it says so."""

    def __init__(self, code: str, path: Path) -> None:
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import mmap, os, sys\ndef pause():\n    print(flush=True)\n    input()\n{code}",
                path,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._pauses = 0

    def step(self) -> bool:
        """Lets it go on to its next pause; returns whether there was one."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        if self._pauses:
            self._child.stdin.write(b"\n")
            self._child.stdin.flush()
        self._pauses += 1
        return bool(self._child.stdout.readline())

    def end(self) -> int:
        self._child.communicate()
        return self._child.returncode


APPENDING = """
with open(sys.argv[1], "wb", buffering=0) as file:
    for number in range(4):
        file.write(b"part %d " % number * 1000)
        pause()
"""
PREALLOCATED = """
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.posix_fallocate(descriptor, 0, 40_000)
pause()
for number in range(4):
    os.pwrite(descriptor, b"%d" % number * 10_000, number * 10_000)
    pause()
"""
MAPPED = """
with open(sys.argv[1], "w+b") as file:
    file.truncate(40_000)
    mapped = mmap.mmap(file.fileno(), 40_000)
pause()
for number in range(4):
    mapped[number * 10_000 : (number + 1) * 10_000] = b"%d" % number * 10_000
    pause()
mapped.close()
"""
IN_PLACE = """
with open(sys.argv[1], "wb", buffering=0) as file:
    file.write(b"x" * 40_000)
    for number in range(4):
        file.seek(0)
        file.write(b"%d" % number * 40_000)
        os.utime(sys.argv[1], ns=(1, 1))
        pause()
"""


@pytest.mark.parametrize("contract", ["settle", "rename"])
@pytest.mark.parametrize(
    "code",
    [APPENDING, PREALLOCATED, MAPPED, IN_PLACE],
    ids=["appending", "preallocated, then filled", "mapped, after its descriptor was closed", "times put back"],
)
def test_who_writes_with_pauses_longer_than_the_quiet_time(it: Living, code: str, contract: str) -> None:
    it.build(contract=contract)
    it.start_and_scan()
    writer = Writer(code, it.path / "slow")
    while writer.step():
        # Another file comes and is taken, so that this one has been looked at, quiet, in the meantime.
        it.wait_until_settled(unsettled=1)
        assert b"slow" not in it.names()
    assert writer.end() == 0
    it.wait_until_names_include(b"slow")
    assert_taken_whole(it, "slow")


def assert_taken_whole(it: Living, name: str) -> None:
    """It has one job, and that is of the file as it is in the end."""
    it.wait_until_settled()
    (job,) = [job for job in it.jobs() if job.place.name == os.fsencode(name)]
    assert job.fingerprint == Fingerprint.of((it.path / name).stat())


@pytest.mark.parametrize("options", [["--inplace", "-t"], ["--inplace"], ["-a"]], ids=" ".join)
def test_rsync(it: Living, tmp_path: Path, options: list[str]) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    write(tmp_path / "run.dat", 600_000)
    os.utime(tmp_path / "run.dat", (1e9, 1e9))
    it.start_and_scan()
    rsync = ["rsync", *options, "--no-compress", "--whole-file", "--bwlimit=400k"]
    subprocess.run([*rsync, tmp_path / "run.dat", it.path / "run.dat"], check=True)
    it.wait_until_names_include(b"run.dat")
    assert_taken_whole(it, "run.dat")
    assert (it.path / "run.dat").read_bytes() == (tmp_path / "run.dat").read_bytes()
    # Newer content over it, in the same way, is one more.
    it.send_all()
    write(tmp_path / "run.dat", 500_000, seed=1)
    subprocess.run([*rsync, tmp_path / "run.dat", it.path / "run.dat"], check=True)
    it.wait_until_names_include(b"run.dat")
    it.wait_until_settled()
    sizes = [(job.state, job.size_bytes) for job in it.jobs() if job.place.name == b"run.dat"]
    assert sizes == [(State.DONE, 600_000), (State.PENDING, 500_000)]


def test_sftp_that_preserves_times(it: Living, tmp_path: Path) -> None:
    """What scp -p does today: writes, then sets times on the open file (sftp-server's SETSTAT)."""
    if shutil.which("sftp") is None or not SFTP_SERVER.exists():
        pytest.skip("OpenSSH's sftp and sftp-server are not installed")
    write(tmp_path / "run.dat", 600_000)
    os.utime(tmp_path / "run.dat", (1e9, 1e9))
    it.start_and_scan()
    subprocess.run(
        ["sftp", "-q", "-p", "-l", "4000", "-b", "-", "-D", SFTP_SERVER],
        input=f"put {tmp_path}/run.dat {it.path}/run.dat\n".encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert (it.path / "run.dat").stat().st_mtime == 1e9
    it.wait_until_names_include(b"run.dat")
    assert_taken_whole(it, "run.dat")


def test_cp_that_preserves_times(it: Living, tmp_path: Path) -> None:
    write(tmp_path / "run.dat", 600_000)
    os.utime(tmp_path / "run.dat", (1e9, 1e9))
    it.start_and_scan()
    subprocess.run(["cp", "-p", tmp_path / "run.dat", it.path], check=True)
    it.wait_until_names_include(b"run.dat")
    assert_taken_whole(it, "run.dat")


@pytest.mark.parametrize("mtime", [time.time() + 86400, 4e9, 1.0, -1e9], ids=["tomorrow", "2096", "1970", "1938"])
def test_any_mtime_does(it: Living, mtime: float) -> None:
    (it.path / "before").write_bytes(b"content")
    os.utime(it.path / "before", (mtime, mtime))
    it.start_and_scan()
    (it.path / "file").write_bytes(b"content")
    os.utime(it.path / "file", (mtime, mtime))
    it.wait_for_names(b"before", b"file")


def test_a_file_that_is_overwritten_again_and_again_is_said_to_grow_and_taken_when_it_rests(it: Living) -> None:
    it.build(settle_seconds=1.0, growing_after_seconds=1.5)
    it.start_and_scan()
    path = it.path / "restless"
    number = 0

    def overwritten() -> bool:
        nonlocal number
        number += 1
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.write(b"%06d" % number * 1000)
        return it.state().growing == 1

    wait_for(overwritten, PATIENCE_SECONDS, "a file that grows")
    assert it.jobs() == []
    assert it.state().growing_example == os.fsencode(path)
    it.wait_for_names(b"restless")
    assert_taken_whole(it, "restless")
    wait_for(lambda: it.state().growing == 0, PATIENCE_SECONDS, "no file that grows")
    assert it.state().growing_example is None


def test_a_file_that_stays_open_is_said_to_grow_and_taken_when_it_is_closed(it: Living) -> None:
    it.build(growing_after_seconds=2 * SETTLE_SECONDS)
    it.start_and_scan()
    with open(it.path / "log", "wb", buffering=0) as file:
        file.write(b"first line\n")
        wait_for(lambda: it.state().growing == 1, PATIENCE_SECONDS, "a file that grows")
        assert it.jobs() == []
    it.wait_for_names(b"log")


LOOKER = """
import os, signal, sys
from tusd_agent.beneath import at_rest
signal.signal(signal.SIGIO, signal.SIG_DFL)  # would end us
broken = 0
def count(*_):
    global broken
    broken += 1
signal.signal(signal.SIGURG, count)  # what the kernel sends instead; ignored by default
descriptor = os.open(sys.argv[1], os.O_RDONLY)
said = set()
while broken < 20 or len(said) < 2:
    said.add(at_rest(descriptor))
print(sorted(said))
"""
OPENER = """
import os, sys
while True:
    os.close(os.open(sys.argv[1], os.O_WRONLY))
"""


def test_who_opens_a_file_in_the_moment_of_the_lease_kills_nobody_and_is_not_kept_waiting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    opener = subprocess.Popen([sys.executable, "-c", OPENER, tmp_path / "file"])
    try:
        looker = subprocess.run(
            [sys.executable, "-c", LOOKER, tmp_path / "file"], stdout=subprocess.PIPE, timeout=120, check=False
        )
        assert (looker.returncode, looker.stdout) == (0, b"[False, True]\n")
        assert opener.poll() is None
    finally:
        opener.kill()
        opener.wait()


def test_the_intake_looks_at_a_file_that_is_opened_again_and_again(it: Living) -> None:
    it.start_and_scan()
    (it.path / "file").write_bytes(b"content")
    opener = subprocess.Popen([sys.executable, "-c", OPENER, it.path / "file"])
    try:
        for number in range(5):
            (it.path / f"{number}").write_bytes(b"content")
            it.wait_until_names_include(b"%d" % number)
        assert opener.poll() is None
    finally:
        opener.kill()
        opener.wait()
    it.wait_until_names_include(b"file")


def test_a_lease_that_the_kernel_took_away_means_that_somebody_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After /proc/sys/fs/lease-break-time, 45 s: for a process that was stopped in just that moment."""
    import fcntl

    real = fcntl.fcntl

    def stopped_in_between(descriptor: int, command: int, argument: int = 0) -> object:
        if command == fcntl.F_SETLEASE and argument == fcntl.F_UNLCK:
            real(descriptor, command, argument)
        return real(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", stopped_in_between)
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file:
        assert at_rest(file.fileno()) is False


def test_a_file_of_another_user_is_settled_without_a_lease(it: Living) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    (it.path / "file").write_bytes(b"content")
    os.chmod(it.path / "file", 0o644)
    code = f"""
import os
from tusd_agent.beneath import at_rest
from tusd_agent.intake.taking import Rest, look_at_rest
from tusd_agent.jobs.model import Fingerprint, Place
import tusd_agent.intake.taking as taking
descriptor = os.open({str(it.path / "file")!r}, os.O_RDONLY)
# The way to the file is not open to that user, but what matters here is whose file it is.
taking.beneath.open_regular = lambda *place: os.dup(descriptor)
os.setgroups([])
os.setuid(65534)
assert at_rest(descriptor) is None
place = Place({str(it.path)!r}, b"", b"file")
assert look_at_rest(place, Fingerprint.of(os.fstat(descriptor))) is Rest.AT_REST
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_on_tmpfs_too(tmp_path: Path) -> None:
    if file_system_type("/dev/shm") != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs")
    folder = Path("/dev/shm") / f"tusd-agent-{os.getpid()}"
    folder.mkdir()
    try:
        with living(tmp_path) as it:
            it.path = folder
            it.build(folder)
            it.start_and_scan()
            writer = Writer(MAPPED, folder / "slow")
            while writer.step():
                it.wait_until_settled(unsettled=1)
                assert b"slow" not in it.names()
            assert writer.end() == 0
            it.wait_until_names_include(b"slow")
            assert_taken_whole(it, "slow")
    finally:
        shutil.rmtree(folder)
