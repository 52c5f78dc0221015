"""A booted systemd in a container: its own process, network and mount namespaces, and a root tree of its own."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BOOT_SECONDS = 60
COMMAND_SECONDS = 120
ASKED_TO_REBOOT = 133
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """Made from a copy of `tree` in `folder`; `boot` starts it. It has no network but its own loopback."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.root = folder / "root"
        self._console = folder / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._boots = 0
        subprocess.run(["cp", "-a", "--reflink=auto", str(tree), str(self.root)], check=True)

    def boot(self) -> None:
        """Starts it and returns when systemd has come up; AssertionError when it has not."""
        name = f"tusd-agent-test-{os.getpid()}-{self._boots}"
        self._boots += 1
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe"]
        with open(self._console, "ab") as console:
            self._nspawn = subprocess.Popen(
                [*command, f"--machine={name}", f"--directory={self.root}", "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_up()

    def reboot(self) -> None:
        """As an operator does it, and returns when it is up again."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot", check=False)  # its own connection may be cut by what it starts
        # With --keep-unit whoever started nspawn is to do so again.
        assert self._nspawn.wait(BOOT_SECONDS) == ASKED_TO_REBOOT, self.console()[-4000:]
        self.boot()

    def power_cut(self) -> None:
        """All of its processes are gone at once; nothing that was not asked for is written."""
        assert self._nspawn is not None
        leader = self._leader()
        if leader is not None:
            os.kill(leader, signal.SIGKILL)
        self._nspawn.wait(BOOT_SECONDS)
        self._nspawn = None

    def close(self) -> None:
        """Ends it and removes its tree."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            self.power_cut()
        shutil.rmtree(self.root, ignore_errors=True)

    def run(
        self, *command: str, user: str | None = None, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in it; AssertionError with all it said when it fails and `check` is set."""
        leader = self._leader()
        assert leader is not None, f"the machine is down; the end of its console:\n{self.console()[-4000:]}"
        inside = ["nsenter", f"--target={leader}", "--all", "env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8"]
        if user is not None:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env", f"HOME=/home/{user}"]
        ran = subprocess.run(
            [*inside, *command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check:
            assert ran.returncode == 0, f"{' '.join(command)}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran

    def sh(self, script: str, user: str | None = None) -> str:
        """Runs a shell script in it, each command of which must succeed, and returns what it printed."""
        return self.run("sh", "-euc", script, user=user).stdout

    def path(self, inside: str) -> Path:
        """A path of the machine, seen from here: not below what only it has mounted (/run, /tmp, /proc)."""
        return self.root / inside.lstrip("/")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Writes a file of the machine as its root."""
        where = self.path(inside)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)
        where.chmod(mode)

    def shows(self, unit: str, name: str) -> str:
        """A property of a unit, as ``systemctl show`` has it."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def journal(self, *options: str) -> str:
        """Messages of the journal, without times and host names."""
        return self.run("journalctl", "--no-pager", "--output=cat", *options).stdout

    def is_up(self) -> bool:
        return self._nspawn is not None and self._leader() is not None

    def console(self) -> str:
        """What nspawn and systemd printed."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def wait_for(self, condition: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
        """The first true value of `condition`; AssertionError when there is none in time."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
            time.sleep(0.1)
        return value

    def _wait_until_up(self) -> None:
        self.wait_for(lambda: self._leader() is not None, "a systemd", BOOT_SECONDS)
        asked = ("systemctl", "is-system-running", "--wait")

        def up() -> bool:
            return self.run(*asked, check=False).stdout.strip() in ("running", "degraded")

        self.wait_for(up, "systemd to come up", BOOT_SECONDS)

    def _leader(self) -> int | None:
        """The first process of the machine, by its number here."""
        assert self._nspawn is not None
        pid = self._nspawn.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None
