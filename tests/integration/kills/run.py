"""A whole run: the kills, the last life that brings everything to rest, and the check."""

import os
import tempfile
from pathlib import Path
from typing import Any

from tests.integration.storm.weather import wait_for_rest
from tests.servers import Server

from .books import Books
from .check import Check, Findings
from .course import Course, Plan, agent_settings
from .lives import Lives, Subject

OTHER_FILE_SYSTEM = Path("/dev/shm")
REST_SECONDS = 120


def other_file_system(base: Path) -> Path:
    """A new folder on another file system than `base`, where there is one."""
    usable = os.access(OTHER_FILE_SYSTEM, os.W_OK) and OTHER_FILE_SYSTEM.stat().st_dev != base.stat().st_dev
    return Path(tempfile.mkdtemp(prefix="kills-", dir=OTHER_FILE_SYSTEM if usable else base))


def _has_scanned(status: dict[str, Any]) -> bool:
    return all(folder["last_scan_at"] is not None for folder in status["folders"])


def run(base: Path, elsewhere: Path, server: Server, plan: Plan) -> Findings:
    """Kills an agent as `plan` has it; everything it works with lies below `base` and `elsewhere`."""
    books = Books(base, elsewhere, plan.seed)
    agent = Subject(base / "agent", server.url, **agent_settings(books, plan.fast_path_bytes))
    try:
        with Lives(agent, server.uploads) as lives:
            Course(agent, books, lives, plan).run()
            lives.begin(None)
            agent.wait_until(_has_scanned, REST_SECONDS, "the first scan is over")
            wait_for_rest(agent, REST_SECONDS)
            lives.stop()
            assert lives.has_ended(REST_SECONDS), "it does not stop"
            return Check(agent, books, lives, server.stored(), plan.fast_path_bytes).findings()
    finally:
        agent.close()
