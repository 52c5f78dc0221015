"""The operator's own command, run for a file that has arrived.

It gets nothing of ours but what is meant for it: an environment built anew, no descriptors, no terminal, a session of
its own. What it starts belongs to its process group, and that ends with it: when it ends, at its timeout, and when the
agent stops. Only what makes itself a group of its own (setsid) lives on.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..jobs.model import Job, shown
from ..trusted import weakness_of
from ..tus.errors import UploadCancelled
from .ratelimit import Stoppable

KEPT_BYTES = 4096
"""So much of the end of what a command writes is kept: for the row and the log."""

GRACE_SECONDS = 1.0
"""Between SIGTERM and SIGKILL."""

UNKILLABLE_SECONDS = 2.0
"""Who is still there so long after SIGKILL is out of our hands: another user's, or stuck in the kernel."""

SLICE_SECONDS = 0.1

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run (`argv`, the program absolute), for how long at most, and the file that says so (if one does)."""

    argv: tuple[str, ...]
    timeout_seconds: float
    config_file: str | None = None


class CommandRefused(Exception):
    """Others could change what is run. The message says where, and what to do."""


class CommandFailed(Exception):
    """It was not started, or did not end well. The message ends with the end of its output, escaped."""


def environment_of(job: Job) -> dict[str, bytes]:
    """All that a command finds in its environment. Paths are the exact bytes of the file system."""
    environment = {
        "PATH": _PATH.encode(),
        "LANG": b"C.UTF-8",
        "TUSD_AGENT_PATH": job.place.path,
        "TUSD_AGENT_RELATIVE_PATH": job.place.relative,
        "TUSD_AGENT_FOLDER": os.fsencode(job.place.folder),
        "TUSD_AGENT_ENDPOINT": job.endpoint.encode(),
        "TUSD_AGENT_URL": (job.upload_url or "").encode(),
        "TUSD_AGENT_SIZE": b"%d" % job.size_bytes,
        "TUSD_AGENT_JOB": str(job.uuid).encode(),
    }
    if job.whole_digest is not None:
        environment["TUSD_AGENT_SHA256"] = job.whole_digest.hex().encode()
    return environment


def check(command: Command) -> None:
    """Raises `CommandRefused` when others could change the configuration file or the program, or it can't be told."""
    files = {"the program": command.argv[0]}
    if command.config_file is not None:
        files["the configuration file"] = command.config_file
    for what, path in files.items():
        try:
            weakness = weakness_of(path, os.geteuid())
        except OSError as error:
            raise CommandRefused(f"the command is not run: {what} {shown(path)}: {error.strerror}") from error
        if weakness is not None:
            raise CommandRefused(
                f"the command is not run, for others could change {what}: {shown(weakness.wrong)}; do this: "
                f"{shown(weakness.remedy)}"
            )


def run(command: Command, job: Job, stop: Stoppable, *, monotonic: Callable[[], float] = time.monotonic) -> str:
    """Runs it to its end and returns the end of its output, escaped.

    Raises `CommandRefused`, `CommandFailed`, or `UploadCancelled` when it was ended because of `stop`.
    """
    check(command)
    try:
        child = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment_of(job),
            close_fds=True,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise CommandFailed(f"the command can't be started: {error}") from error
    with _Group(child) as group:
        deadline = monotonic() + command.timeout_seconds
        while not group.ended():
            if stop.is_set():
                group.end(monotonic)
                raise UploadCancelled("stopped while the command after an upload ran")
            if monotonic() >= deadline:
                group.end(monotonic)
                raise CommandFailed(
                    f"the command was ended: it ran for {command.timeout_seconds:g} s (command_timeout_seconds)"
                    f"{group.said()}"
                )
            group.listen(min(SLICE_SECONDS, max(0.0, deadline - monotonic())))
        status = group.status()
    if status is None:
        raise CommandFailed(f"the command has not ended, and can't be killed{group.said()}")
    if status < 0:
        raise CommandFailed(f"the command was killed by {_signal_name(-status)}{group.said()}")
    if status > 0:
        raise CommandFailed(f"the command ended with exit status {status}{group.said()}")
    return group.output


class _Group:
    """The child and all that it starts in its process group, and the pipe they write to.

    The child is reaped last: until then nobody else can get its number, and signals to the group reach the right ones.
    """

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        assert child.stdout is not None
        self._child = child
        self._pipe = child.stdout
        self._open = True
        self._kept = bytearray()
        os.set_blocking(self._pipe.fileno(), False)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)

    def __enter__(self) -> "_Group":
        return self

    def __exit__(self, *of_an_error: object) -> None:
        self.status()
        self._pipe.close()

    @property
    def output(self) -> str:
        """The end of what they wrote, escaped: at most `KEPT_BYTES` characters."""
        return shown(bytes(self._kept).strip())[-KEPT_BYTES:]

    def said(self) -> str:
        """The same as a part of a sentence."""
        return f"; the end of its output: {self.output}" if self.output else ""

    def ended(self) -> bool:
        """Whether the child has ended; it is not reaped."""
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def listen(self, seconds: float) -> None:
        """Waits for something to read, or for the end of the pipe, and takes it."""
        if not self._open:
            time.sleep(seconds)
        elif self._poll.poll(seconds * 1000):
            self._read()

    def end(self, monotonic: Callable[[], float]) -> None:
        """SIGTERM to all, and after `GRACE_SECONDS` at most SIGKILL; at once when none has the pipe open any more."""
        self._signal(signal.SIGTERM)
        until = monotonic() + GRACE_SECONDS
        while (left := until - monotonic()) > 0 and (self._open or not self.ended()):
            self.listen(min(SLICE_SECONDS, left))
        self._signal(signal.SIGKILL)

    def status(self) -> int | None:
        """Ends what is left of the group, reaps the child and returns its status as `subprocess` gives it.

        `None`: it can't be killed.
        """
        if self._child.returncode is None:
            self._signal(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(UNKILLABLE_SECONDS)
            if self._open:
                self._read()
        return self._child.returncode

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)

    def _read(self) -> None:
        """Takes what is in the pipe, as far as it is there now: 64 KiB at most, pipe(7)."""
        with suppress(BlockingIOError):
            data = os.read(self._pipe.fileno(), 1 << 16)
            self._kept += data
            del self._kept[:-KEPT_BYTES]
            if not data:
                self._open = False
                self._poll.unregister(self._pipe)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
