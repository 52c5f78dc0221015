"""``python -m tests.integration.kills.launcher CONFIG LOG DIARY UPLOADS``: lives of the real agent, one after another.

For each line on stdin, the end of a life as JSON (`points.End`, or null), it forks the agent and tells its pid; when
that has ended, its exit status. Forked, because what takes most of a start's time, importing, then is done once.
"""

import ctypes
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from tusd_agent.cli import main as agent_main

from .diary import Diary
from .points import End, Way, lead

IMPORTED_AT_THE_START = ("tusd_agent.service", "tusd_agent.cli.run", "tusd_agent.cli.logs")
PR_SET_PDEATHSIG = 1


def main() -> None:
    config, log, diary, uploads = sys.argv[1:]
    for module in IMPORTED_AT_THE_START:
        import_module(module)
    _end_with_parent()
    pid = 0
    for line in sys.stdin:
        if pid:  # not before: until then its pid is nobody else's, and who ends it in vain ends nobody
            os.waitpid(pid, 0)
        told = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _end_with_parent()
            _live(config, log, Path(diary), Path(uploads), None if told is None else End(**told))
        print(pid, flush=True)  # noqa: T201 - the answer
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        print(ended.si_status, flush=True)  # noqa: T201 - the answer


def _live(config: str, log: str, diary_path: Path, uploads: Path, end: End | None) -> None:
    """Becomes the agent; never returns."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    diary = Diary(diary_path)
    lead(Way(end, diary), diary, uploads)
    agent_main(["run", "--config", config])


def _end_with_parent() -> None:
    """Nobody would end us if our parent were killed (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
