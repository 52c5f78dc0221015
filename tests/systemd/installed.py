"""A machine with the agent installed as the README says, and a tusd of its own to send to."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.servers.install import tusd_binary
from tests.support import toml

from .machine import Machine
from .tree import REPOSITORY

AGENT = "tusd-agent.service"
CHECKOUT = "/usr/src/tusd-agent"
CONFIG = "/etc/tusd-agent/config.toml"
DROP_INS = "/etc/systemd/system/tusd-agent.service.d"
OUTGOING = "/srv/outgoing"
UPLOADS = "/var/lib/tusd"
TUSD_URL = "http://127.0.0.1:1080/files/"

_TUSD = f"""\
[Service]
ExecStart=/usr/local/bin/tusd -host 127.0.0.1 -port 1080 -base-path /files/ -upload-dir {UPLOADS}
StateDirectory=tusd
[Install]
WantedBy=multi-user.target
"""


def readme_commands(section: str) -> list[str]:
    """The commands of the first console block of a section of the README, without their prompts."""
    text = (REPOSITORY / "README.md").read_text()
    found = re.search(rf"^#+ {re.escape(section)}\n.*?^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the README has no commands in a section {section!r}"
    return [line.removeprefix("# ") for line in found[1].splitlines() if line.startswith("# ")]


class Installed:
    """What the tests ask of such a machine. `machine` must be up."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def prepare(self) -> None:
        """Everything but the agent: the checkout, tusd, and two people."""
        machine = self.machine
        copy_checkout(machine.path(CHECKOUT))
        shutil.copy(tusd_binary(), machine.path("/usr/local/bin/tusd"))
        machine.write("/etc/systemd/system/tusd.service", _TUSD)
        machine.sh("systemctl enable --now --quiet tusd; useradd --create-home alice; useradd --create-home bob")

    def install(self) -> None:
        """As the README says, word by word."""
        for command in readme_commands("As a service"):
            self.machine.sh(f"cd {CHECKOUT}; {command}")

    def configure(
        self,
        *,
        agent: Mapping[str, object] | None = None,
        endpoint: Mapping[str, object] | None = None,
        **folder: object,
    ) -> None:
        """Writes the configuration: one endpoint, the machine's tusd, and one folder."""
        watch = {"path": OUTGOING, "settle_seconds": 0.2, **folder}
        tables = [("[agent]", agent or {}), ("[endpoint.default]", {"url": TUSD_URL, **(endpoint or {})})]
        self.machine.write(CONFIG, "\n".join(toml.table(*each) for each in [*tables, ("[[watch]]", watch)]))

    def drop_in(self, name: str, text: str) -> None:
        """A drop-in of the operator's; holds after the next start."""
        self.machine.write(f"{DROP_INS}/{name}.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    def start(self) -> None:
        self.machine.run("systemctl", "start", AGENT)

    def restart(self) -> None:
        self.machine.run("systemctl", "restart", AGENT)

    def pid(self) -> int:
        """The number of the agent's process; 0 when it does not run."""
        return int(self.machine.shows(AGENT, "MainPID"))

    def kill(self, pid: int, name: str = "KILL") -> None:
        """With the shell's own kill: a Debian this small has no other."""
        self.machine.sh(f"kill -{name} {pid}")

    def kill_and_wait(self) -> None:
        """SIGKILL to the agent; returns when systemd has started another."""
        before = self.machine.wait_for(self.pid, "a process")
        self.kill(before)
        self.machine.wait_for(lambda: self.pid() not in (0, before), "another process")

    def state(self) -> str:
        return self.machine.shows(AGENT, "ActiveState")

    def status(self) -> str:
        return self.machine.run("tusd-agent", "status", check=False).stdout

    def arrived(self) -> dict[str, bytes]:
        """Complete uploads at the machine's tusd, by the name of their file."""
        found: dict[str, bytes] = {}
        for info in self.machine.path(UPLOADS).glob("*.info"):
            text = info.read_text()
            name = re.search(r'"filename":"([^"]*)"', text)
            size = re.search(r'"Size":(\d+)', text)
            data = info.with_suffix("")
            if name and size and data.exists() and data.stat().st_size == int(size[1]):
                found[name[1]] = data.read_bytes()
        return found

    def wait_until_arrived(self, *names: str, seconds: float = 30.0) -> dict[str, bytes]:
        def all_there() -> dict[str, bytes] | None:
            found = self.arrived()
            return found if set(names) <= found.keys() else None

        return self.machine.wait_for(all_there, f"the arrival of {', '.join(names)}", seconds)


def copy_checkout(there: Path) -> None:
    """The files of this repository as they are now, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, there / name)
