"""Whether the agent is alive: what systemd's watchdog is told by (sd_watchdog_enabled(3)).

Restarting helps where the program stands still by a mistake of its own. It does not where the kernel keeps a thread,
for a disk or a network file system that does not answer: there the next process would hang as this one, and what goes
on meanwhile would be lost. That is said, and survived.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..pulse import Pulses, Sign

LIMIT_SECONDS = 120.0
"""So long a thread may be silent where systemd names no limit; resolving a name may take half a minute."""

_THREADS = Path("/proc/self/task")
_FILE_SYSTEM_WAITS = ("request_wait_answer", "fuse_", "nfs", "rpc_", "cifs", "smb2_", "wait_for_response")
"""Where threads wait that a signal could still reach, by the kernel's names: a FUSE server, NFS, SMB."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`alive`: whether systemd is to be told so; `problem`: for the operator, also while it is alive."""

    alive: bool
    problem: str | None = None


def judged(
    intake: Sequence[Sign], workers: Sequence[Sign], limit_seconds: float, hangs: Callable[[Sign], bool]
) -> Verdict:
    """Dead is the agent when the thread that finds files, or all that send them, have been silent for longer.

    One worker that is silent is not enough: the others go on, and all of them would lose what they are at. `hangs` says
    of a silent thread whether the kernel keeps it for a file system.
    """
    silent = [sign for sign in (*intake, *workers) if sign.silent_seconds > limit_seconds]
    hanging = [sign for sign in silent if hangs(sign)]
    stalled = [sign for sign in silent if sign in intake]
    if workers and all(sign in silent for sign in workers):
        stalled += workers
    if hanging:
        # Others may wait for a lock that it holds: as long as it hangs nothing can be said of them.
        return Verdict(True, f"a disk does not answer: {_listed(hanging)}. Files on others may have to wait for it")
    if stalled:
        return Verdict(False, f"standing still: {_listed(stalled)}")
    return Verdict(True)


def hangs(sign: Sign, threads: Path = _THREADS) -> bool:
    """Whether the kernel keeps the thread: in uninterruptible sleep (proc_pid_stat(5)), or for a file server."""
    folder = threads / str(sign.native_id)
    try:
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        waits_in = (folder / "wchan").read_text()
    except (OSError, IndexError):
        return False
    return state == "D" or (state == "S" and waits_in.startswith(_FILE_SYSTEM_WAITS))


class Vitals:
    """Looks at the threads of a running agent."""

    def __init__(self, intake: Pulses, workers: Pulses) -> None:
        self._intake = intake
        self._workers = workers
        self.limit_seconds = LIMIT_SECONDS

    def watched_by(self, watchdog_seconds: float | None) -> None:
        """systemd wants signs of life as often as this; before the threads start."""
        if watchdog_seconds is not None:
            self.limit_seconds = watchdog_seconds
            for pulses in (self._intake, self._workers):
                pulses.longest_wait_seconds = watchdog_seconds / 4

    def look(self) -> Verdict:
        """How they are now."""
        return judged(self._intake.signs(), self._workers.signs(), self.limit_seconds, hangs)


def _listed(signs: Sequence[Sign]) -> str:
    return ", ".join(f"{sign.name} for {sign.silent_seconds:.0f} s" for sign in signs)
