"""What installing has to know of this host: its systemd, and how the agent's program is called there."""

import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NAME = "tusd-agent"


class HostUnusable(Exception):
    """The service can't be installed here. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Host:
    """`systemd_version` is the number alone, such as 252; `program` the absolute words that start the agent's command
    line; `home` that of the person, for a service of their own, `None` for the system's."""

    systemd_version: int
    program: tuple[str, ...]
    config_file: Path
    home: Path | None = None
    config_home: Path | None = None
    """$XDG_CONFIG_HOME of the person."""
    agent_uid: int | None = None
    """The user of the system's service; `None`: not made yet."""


def look_at_host(config_file: Path, home: Path | None, config_home: Path | None) -> Host:
    """Asks this host. Raises `HostUnusable` where there is no systemd."""
    return Host(_systemd_version(), program(), config_file, home, config_home, _uid_of(NAME))


def program() -> tuple[str, ...]:
    """The command that belongs to the Python that runs this, by its path; else that Python with the package's name."""
    beside = Path(sys.executable).with_name(NAME)
    if os.access(beside, os.X_OK):
        return (str(beside),)
    return (sys.executable, "-m", "tusd_agent")


def closed_to_others(path: str) -> str | None:
    """The first folder on the way to `path` that others than its owner and group can't enter; `None`: they can come to
    it, and read it."""
    real = os.path.realpath(path)
    for at in [*reversed(Path(real).parents), Path(real)]:
        needed = stat.S_IXOTH if at.is_dir() else stat.S_IROTH
        if not os.stat(at).st_mode & needed:
            return str(at)
    return None


def _uid_of(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def _systemd_version() -> int:
    if not shutil.which("systemctl"):
        raise HostUnusable(
            "there is no systemctl: this host is not run by systemd. Start `tusd-agent run` by its own means"
        )
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"systemd (\d+)", said)
    if found is None:
        raise HostUnusable(f"systemctl --version said {said[:80]!r}, which names no version")
    return int(found[1])
