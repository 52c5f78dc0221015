"""The demonstration as a whole: through to the end, ended early, and when something is not as it should be."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.demo import show, stage
from tusd_agent.demo.plain import PlainScreen
from tusd_agent.demo.samples import MIB, SAMPLES, Sample, Way
from tusd_agent.demo.show import Show, run_demo
from tusd_agent.demo.signals import Interrupted, Signals
from tusd_agent.demo.stage import Stage, set_up

SECONDS = 60
BIG = Sample("big.bin", 2 * MIB)
FEW = (BIG, Sample("empty", 0), Sample("new/ä.txt", 5, Way.MOVED_IN))


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files; its path is short, because that of a socket may have 107 bytes (unix(7))."""
    made = Path(tempfile.mkdtemp(prefix="ta-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Small samples, for shows in this process; the folder that everything lies in."""
    monkeypatch.setattr(show, "BIG", BIG)
    monkeypatch.setattr(show, "SAMPLES", FEW)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Child:
    """``tusd-agent demo --once`` in a folder of its own, its output through a pipe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Neither is meant for the demonstration: its own agent goes by its own settings, and to its own server.
        strange = {"TUSD_AGENT_AGENT__WORKERS": "none", "http_proxy": "http://127.0.0.1:1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tusd_agent", "demo", "--once"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **strange, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"},
        )

    def wait_for_line(self, words: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                return
        raise AssertionError(f"no line with {words!r}: {self.process.communicate()}")

    def end(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, output, errors

    def left_behind(self) -> list[str]:
        """Files in its folder, and processes that name its folder in their command lines."""
        lines = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                lines.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [*map(str, self.folder.iterdir()), *(line for line in lines if str(self.folder) in line)]


@pytest.fixture
def child(folder: Path) -> Iterator[Child]:
    started = Child(folder)
    yield started
    started.process.kill()
    started.process.communicate()


def test_once_through(child: Child) -> None:
    began_at = time.monotonic()
    code, output, errors = child.end()
    seconds = time.monotonic() - began_at
    assert (code, errors) == (0, ""), output
    assert "connection cut by the relay at 100.0" in output
    assert "resumed at 99.9" in output
    assert ", sent twice: 0." in output
    lines = output.splitlines()
    for sample in SAMPLES:
        assert [line for line in lines if line.startswith(sample.path) and line.endswith("✓ equal")], sample
        assert len([line for line in lines if f"arrived: {sample.path}," in line]) == 1
    assert "✗" not in output
    assert f"{len(SAMPLES)} of {len(SAMPLES)} files arrived exactly once with an equal SHA-256" in output
    assert [line for line in lines if "recording.mp4: " in line and "MiB/s" in line and " left" in line]
    assert [line for line in lines if "total: 7 of 8 files arrived" in line]
    assert "\x1b" not in output
    assert seconds > 7, "the big file's rate is not limited"
    assert child.left_behind() == []


@pytest.mark.heavy
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_in_the_middle_of_the_upload(child: Child, number: signal.Signals, code: int) -> None:
    child.wait_for_line("recording.mp4: ")
    child.process.send_signal(number)
    sent_at = time.monotonic()
    found, _, errors = child.end()
    assert found == code
    assert errors == f"Stopped by {number.name}. Nothing runs any more, and the folder is removed.\n"
    assert time.monotonic() - sent_at < 15
    assert child.left_behind() == []


@pytest.mark.heavy
def test_ended_while_the_server_starts(child: Child) -> None:
    wait_for(lambda: list(child.folder.glob("*/server.log")), SECONDS, "a server that is being started")
    child.process.send_signal(signal.SIGINT)
    assert child.end()[0] == 130
    assert child.left_behind() == []


@pytest.mark.heavy
def test_nobody_reads_the_output(child: Child) -> None:
    """As with ``tusd-agent demo | head``."""
    child.wait_for_line("tusd-agent: ")
    assert child.process.stdout is not None
    child.process.stdout.close()
    assert child.process.wait(SECONDS) == 1
    assert child.left_behind() == []


def test_a_show_in_small(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(once=False) == 0
    told = capsys.readouterr()
    assert "3 of 3 files arrived exactly once" in told.out
    assert "goes on watching" not in told.out, "there is no terminal"
    assert told.err == ""
    assert list(few.iterdir()) == []


def test_too_little_room(few: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(stage, "NEEDED_BYTES", 10**18)
    assert run_demo(once=True) == 1
    assert f"MiB in {few}" in capsys.readouterr().err
    assert list(few.iterdir()) == []


def test_a_server_that_does_not_start(
    few: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run_demo(once=True) == 1
    assert "the demonstration's server did not start" in capsys.readouterr().err
    assert list(few.iterdir()) == []


def test_an_agent_that_does_not_start(
    few: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = few / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert run_demo(once=True) == 1
    errors = capsys.readouterr().err
    assert "the agent did not start" in errors
    assert "socket" in errors
    assert list(deep.iterdir()) == []


class Meddler(PlainScreen):
    """Damages what the server has stored, just before it is compared."""

    def __init__(self, written: list[str]) -> None:
        super().__init__(written.append)
        self.stage: Stage | None = None

    def close(self) -> None:
        assert self.stage is not None
        for upload in self.stage.uploads.glob("*.info"):
            stored = upload.with_suffix("")
            if stored.stat().st_size == BIG.size_bytes:
                stored.write_bytes(b"x" + stored.read_bytes()[1:])


def shown_with(screen: Meddler, cut_after_bytes: int) -> Sequence[str]:
    with Signals() as signals, set_up(cut_after_bytes, signals.check) as ready:
        screen.stage = ready
        return Show(ready, screen, signals).run()


def test_what_is_wrong_is_told(few: Path) -> None:
    written: list[str] = []
    wrong = shown_with(Meddler(written), 10 * BIG.size_bytes)
    assert len(wrong) == 2
    assert wrong[0].startswith("big.bin: other content on the server: ")
    assert wrong[1] == "the connection was never cut"
    assert f"Wrong: {wrong[1]}\n" in written
    assert "\n2 of 3 files arrived exactly once" in "".join(written)
    assert list(few.iterdir()) == []


def test_wrong_is_exit_code_1_with_the_log(
    few: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never_cut(_: int, check: object) -> object:
        return set_up(10 * BIG.size_bytes, check)  # type: ignore[arg-type]  # it is passed on as it came

    monkeypatch.setattr(show, "set_up", never_cut)
    assert run_demo(once=True) == 1
    told = capsys.readouterr()
    assert "Wrong: the connection was never cut" in told.out
    assert "arrived at default" in told.err, "the agent's log"


def test_signals_are_noted_and_told() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        signals.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted) as told:
            signals.sleep(SECONDS)
    assert told.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("later_seconds", "code"), [(1.0, 0), (6.0, -signal.SIGTERM)])
def test_a_second_signal_ends_what_hangs(later_seconds: float, code: int) -> None:
    program = (
        "import signal; from tusd_agent.demo.signals import Signals\n"
        "now = 0.0\n"
        "with Signals(monotonic=lambda: now):\n"
        f"    signal.raise_signal(signal.SIGTERM); now += {later_seconds}; signal.raise_signal(signal.SIGTERM)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=SECONDS).returncode == code


def test_what_is_ignored_stays_ignored() -> None:
    """As nohup leaves SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            signals.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
