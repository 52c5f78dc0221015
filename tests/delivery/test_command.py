"""The command after an upload: real programs that write too much, never end, leave children, and ignore signals."""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.delivery.command import KEPT_BYTES, Command, CommandFailed, CommandRefused, run
from tusd_agent.delivery.disposal import NotAtRest, dispose
from tusd_agent.delivery.rules import FolderRules
from tusd_agent.jobs.model import Job
from tusd_agent.trusted import weakness_of
from tusd_agent.tus.errors import UploadCancelled

from .test_files import job_of, put_times_back

GO_ON = threading.Event()
Program = Callable[..., Command]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    return tmp_path / "out"


@pytest.fixture
def job(folder: Path) -> Job:
    path = folder / "sub" / "file"
    path.write_bytes(b"content")
    return job_of(path, folder, digest=hashlib.sha256(b"content").digest())


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a command of a script; what it is told first is where it may write to."""

    def make(script: str, *, shell: str = "/bin/sh", timeout_seconds: float = 30.0) -> Command:
        path = tmp_path / "program"
        path.write_text(f"#!{shell}\n{script}\n")
        path.chmod(0o755)
        return Command((str(path), str(tmp_path)), timeout_seconds)

    return make


def alive(pid: int) -> bool:
    """Whether there is such a process that has not ended; a zombie has."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def started(path: Path, count: int = 1) -> list[int]:
    """The process numbers that a script wrote into a file, one a line."""

    def written() -> list[int]:
        with suppress(FileNotFoundError):
            text = path.read_text()
            return [int(line) for line in text.splitlines()] if text.count("\n") >= count else []
        return []

    return wait_for(written, 20, "the command has started its children")


def test_it_gets_its_arguments_as_they_are_and_no_shell(program: Program, job: Job) -> None:
    command = program('printf "%s|" "$@"')
    command = replace(command, argv=(command.argv[0], "$HOME", "a b;c", "*", ""))
    assert run(command, job, GO_ON) == "$HOME|a b;c|*||"


def test_its_environment_is_built_anew(program: Program, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    script = "import os\nprint(sorted((k, v) for k, v in os.environ.items() if k not in ('LC_CTYPE',)))"
    environment = dict(eval(run(program(script, shell=sys.executable), job, GO_ON)))
    assert environment == {
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TUSD_AGENT_ENDPOINT": "default",
        "TUSD_AGENT_FOLDER": job.place.folder,
        "TUSD_AGENT_JOB": str(job.uuid),
        "TUSD_AGENT_PATH": f"{job.place.folder}/sub/file",
        "TUSD_AGENT_RELATIVE_PATH": "sub/file",
        "TUSD_AGENT_SHA256": hashlib.sha256(b"content").hexdigest(),
        "TUSD_AGENT_SIZE": "7",
        "TUSD_AGENT_URL": "http://x/1",
    }


def test_names_are_the_exact_bytes(program: Program, folder: Path, tmp_path: Path) -> None:
    name = b"\xff\n \xc3\xa4'$x=\x1b"
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    path.write_bytes(b"x")
    run(program('printf "%s" "$TUSD_AGENT_PATH" >"$1/told"; printf "%s" "$TUSD_AGENT_RELATIVE_PATH" >"$1/relative"'),
        job_of(path, folder), GO_ON)  # fmt: skip
    assert (tmp_path / "told").read_bytes() == os.fsencode(folder) + b"/" + name
    assert (tmp_path / "relative").read_bytes() == name


def test_it_has_nothing_of_ours_open_no_terminal_and_a_session_of_its_own(program: Program, job: Job) -> None:
    script = """
import os
print((os.getcwd(), os.readlink("/proc/self/fd/0"), os.getsid(0) == os.getpgid(0) == os.getpid(),
       [number for number in os.listdir("/proc/self/fd") if number == "200"]))
"""
    null = os.open("/dev/null", os.O_RDONLY)
    ours = os.dup2(null, 200, inheritable=True)
    os.close(null)
    try:
        assert eval(run(program(script, shell=sys.executable), job, GO_ON)) == ("/", "/dev/null", True, [])
    finally:
        os.close(ours)


def test_of_megabytes_the_end_is_kept(program: Program, job: Job) -> None:
    command = program(
        'i=0; while [ $i -lt 60000 ]; do echo "line $i of many, and this to fill it up"; i=$((i+1)); done; exit 3'
    )
    with pytest.raises(CommandFailed, match="exit status 3") as caught:
        run(command, job, GO_ON)
    assert str(caught.value).endswith("line 59999 of many, and this to fill it up")
    assert KEPT_BYTES / 2 < len(str(caught.value)) < KEPT_BYTES + 100


def test_what_is_kept_of_bytes_is_not_longer_for_being_escaped(program: Program, job: Job) -> None:
    assert len(run(program("head -c 1000000 /dev/zero"), job, GO_ON)) == KEPT_BYTES


def test_its_output_is_escaped(program: Program, job: Job) -> None:
    with pytest.raises(CommandFailed) as caught:
        run(program(r"printf 'one\ntwo \033[31m \377'; exit 1"), job, GO_ON)
    assert str(caught.value) == r"the command ended with exit status 1; the end of its output: one\ntwo \x1b[31m \xff"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 7", "ended with exit status 7"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("exit 127", "exit status 127"),
    ],
)
def test_how_it_failed_is_said(program: Program, job: Job, script: str, words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        run(program(script), job, GO_ON)


def test_what_can_not_be_started_is_said(program: Program, job: Job) -> None:
    command = program("true", shell="/nonexistent/interpreter")
    with pytest.raises(CommandFailed, match=r"can't be started: .*No such file"):
        run(command, job, GO_ON)


STUBBORN = """
trap '' TERM
(trap '' TERM; while :; do sleep 1; done) &
echo $! >>"$1/pids"
(trap '' TERM; exec sleep 1000) >/dev/null 2>&1 &
echo $! >>"$1/pids"
echo $$ >>"$1/pids"
echo begun
while :; do sleep 1; done
"""


def test_at_its_timeout_it_ends_with_all_its_children(program: Program, job: Job, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(CommandFailed, match=r"ran for 0.5 s \(command_timeout_seconds\).*begun"):
        run(program(STUBBORN, timeout_seconds=0.5), job, GO_ON)
    assert 0.5 <= time.monotonic() - begun < 6
    pids = started(tmp_path / "pids", 3)
    wait_for(lambda: not any(alive(pid) for pid in pids), 5, "all of them have ended")


def test_a_stop_ends_it_with_all_its_children(program: Program, job: Job, tmp_path: Path) -> None:
    stop = threading.Event()
    raised: list[BaseException] = []

    def running() -> None:
        try:
            run(program(STUBBORN), job, stop)
        except UploadCancelled as error:
            raised.append(error)

    thread = threading.Thread(target=running)
    thread.start()
    pids = started(tmp_path / "pids", 3)
    begun = time.monotonic()
    stop.set()
    thread.join(10)
    assert raised
    assert time.monotonic() - begun < 4
    wait_for(lambda: not any(alive(pid) for pid in pids), 5, "all of them have ended")


def test_one_that_minds_sigterm_may_clean_up(program: Program, job: Job, tmp_path: Path) -> None:
    script = "trap 'sleep 0.3; echo cleaned >\"$1/cleaned\"; exit 0' TERM\nwhile :; do sleep 0.1; done"
    with pytest.raises(CommandFailed, match="ran for"):
        run(program(script, timeout_seconds=0.5), job, GO_ON)
    assert (tmp_path / "cleaned").exists()


def test_what_it_leaves_behind_ends_with_it_and_does_not_hold_it_up(program: Program, job: Job, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert run(program('sleep 1000 & echo $! >>"$1/pids"; echo fine'), job, GO_ON) == "fine"
    assert time.monotonic() - begun < 20
    (left,) = started(tmp_path / "pids")
    wait_for(lambda: not alive(left), 5, "it has ended")


def test_one_that_closes_its_output_is_waited_for(program: Program, job: Job, tmp_path: Path) -> None:
    run(program('exec >/dev/null 2>&1; sleep 0.5; echo done >"$1/done"'), job, GO_ON)
    assert (tmp_path / "done").exists()


def test_no_zombie_and_no_descriptor_is_left(program: Program, job: Job) -> None:
    command = program("exit 1")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(CommandFailed):
            run(command, job, GO_ON)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


# Who else could change what is run.


@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("what", ["program", "its folder", "configuration", "a folder above it"])
def test_it_is_not_run_while_others_could_change_it(
    program: Program, job: Job, tmp_path: Path, what: str, mode: int
) -> None:
    command = program('touch "$1/ran"')
    config = tmp_path / "etc" / "agent" / "config.toml"
    config.parent.mkdir(parents=True)
    config.touch(0o644)
    inner = tmp_path / "bin"
    inner.mkdir()
    moved = Path(command.argv[0]).rename(inner / "program")
    command = replace(command, argv=(str(moved), str(tmp_path)), config_file=str(config))
    weak = {
        "program": moved,
        "its folder": inner,
        "configuration": config,
        "a folder above it": config.parent.parent,
    }[what]
    before = weak.stat().st_mode
    weak.chmod(mode)
    with pytest.raises(CommandRefused, match=f"others could change.*may write to {weak}; do this: chmod go-w {weak}$"):
        run(command, job, GO_ON)
    assert not (tmp_path / "ran").exists()
    weak.chmod(before)
    run(command, job, GO_ON)
    assert (tmp_path / "ran").exists()


def test_weakness_is_seen_through_links_and_not_in_sticky_folders(tmp_path: Path) -> None:
    uid = os.geteuid()
    weak, strong = tmp_path / "weak", tmp_path / "strong"
    for each in (weak, strong):
        each.mkdir()
        (each / "file").touch(0o644)
    weak.chmod(0o777)
    (strong / "link").symlink_to("../weak/./file")
    (strong / "absolute").symlink_to(weak / "file")
    (strong / "loop").symlink_to("loop")
    assert weakness_of(str(strong / "file"), uid) is None
    for name in ("link", "absolute"):
        found = weakness_of(str(strong / name), uid)
        assert found is not None
        assert found.wrong == f"anybody may write to {weak}"
    weak.chmod(0o1777)
    assert weakness_of(str(strong / "link"), uid) is None
    with pytest.raises(OSError, match="symbolic links"):
        weakness_of(str(strong / "loop"), uid)
    with pytest.raises(FileNotFoundError):
        weakness_of(str(strong / "missing"), uid)


def test_what_belongs_to_another_user_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o644)
    if os.geteuid() == 0:
        os.chown(path, 4711, -1)
        owner = 4711
        found = weakness_of(str(path), 0)
    else:
        owner = os.geteuid()
        found = weakness_of(str(path), owner + 1)
    assert found is not None
    assert f"belongs to the user with the id {owner}" in found.wrong


# Which file it is run for.


def ran(folder: Path, command: Command, job: Job) -> str:
    return dispose(job, FolderRules(str(folder), after_upload="command", command=command), GO_ON).words


def test_the_file_stays(program: Program, folder: Path, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tusd_agent.delivery")
    assert ran(folder, program('cat "$TUSD_AGENT_PATH"'), job) == "the command was run"
    assert (folder / "sub" / "file").read_bytes() == b"content"
    assert "the end of the command's output: content" in caplog.text


def test_it_is_not_run_for_newer_content(program: Program, folder: Path, job: Job) -> None:
    path = folder / "sub" / "file"
    command = program('rm "$TUSD_AGENT_PATH"')
    before = path.stat()
    path.write_bytes(b"CONTENT")
    put_times_back(path, before)
    assert "newer content" in ran(folder, command, job)
    path.write_bytes(b"something else")
    disposed = dispose(job, FolderRules(str(folder), after_upload="command", command=command), GO_ON)
    assert disposed.newer_content
    assert path.read_bytes() == b"something else"
    path.unlink()
    path.mkdir()
    assert "no regular file" in ran(folder, command, job)


def test_it_is_run_though_the_file_is_gone_as_after_a_crash(
    program: Program, folder: Path, job: Job, tmp_path: Path
) -> None:
    (folder / "sub" / "file").unlink()
    command = program('test -e "$TUSD_AGENT_PATH" || echo gone >>"$1/runs"')
    ran(folder, command, job)
    (folder / "sub").rmdir()
    ran(folder, command, job)
    assert (tmp_path / "runs").read_text() == "gone\ngone\n"
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        ran(folder, command, job)


def test_it_is_run_for_a_touched_file_whose_content_nothing_tells(program: Program, folder: Path, job: Job) -> None:
    (folder / "sub" / "file").chmod(0o600)
    assert ran(folder, program("true"), job._replace(digest=None, digest_bytes=0)) == "the command was run"


def test_it_waits_for_a_writer(program: Program, folder: Path, job: Job) -> None:
    with open(folder / "sub" / "file", "r+b"), pytest.raises(NotAtRest):
        ran(folder, program("true"), job)
