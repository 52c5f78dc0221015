"""Machines that are booted once for all tests of a run, with the agent installed."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import NotInstalled

from .installed import AGENT, CONFIG, DROP_INS, OUTGOING, UPLOADS, Installed
from .machine import Machine
from .tree import root_tree

IN_MEMORY = Path("/dev/shm")
"""Half a gigabyte for each machine, which a disk would take long to write and to remove."""

CLEAN = f"""\
systemctl stop {AGENT} 2>/dev/null || true
systemctl reset-failed {AGENT} 2>/dev/null || true
find {DROP_INS} -type f ! -name 10-host.conf -delete
rm -rf /srv/* /var/lib/tusd-agent/* /var/lib/tusd-agent/.[!.]* {UPLOADS}/* {CONFIG} /etc/tusd-agent/*
systemctl daemon-reload
systemctl restart tusd
install -d -m 2775 -o alice -g alice {OUTGOING}
"""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures that tests have recorded to be seen."""
    for report in terminalreporter.getreports("passed"):
        for name, figure in report.user_properties:
            if name == "to be seen":
                terminalreporter.write_line(str(figure))


@pytest.fixture(scope="session")
def booted() -> Iterator[Callable[[str], Installed]]:
    """Boots a machine of a release: ``booted("bookworm")``, with all there is to be but the agent.

    Where that can't be done the test is skipped, with CI in the environment it fails.
    """
    machines: list[Machine] = []
    folders: list[Path] = []

    def boot(release: str) -> Installed:
        try:
            folder = Path(
                tempfile.mkdtemp(prefix=f"tusd-agent-{release}-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
            )
            folder.chmod(0o755)
            folders.append(folder)
            machine = Machine(root_tree(release), folder)
            machines.append(machine)
            machine.boot()
            there = Installed(machine)
            there.prepare()
        except NotInstalled as missing:
            if os.environ.get("CI"):
                pytest.fail(str(missing), pytrace=False)
            pytest.skip(str(missing))
        return there

    yield boot
    for machine in machines:
        if machine.is_up():
            print(machine.journal("-n", "40", "-u", AGENT))  # noqa: T201 - shown with the failure of the test
        machine.close()
    for folder in folders:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bookworm(booted: Callable[[str], Installed]) -> Installed:
    """A machine with systemd 252 and the agent installed; shared by all tests."""
    there = booted("bookworm")
    there.install()
    return there


@pytest.fixture(scope="session")
def trixie(booted: Callable[[str], Installed]) -> Installed:
    """A machine with systemd 257 and the agent installed; shared by all tests."""
    there = booted("trixie")
    there.install()
    return there


@pytest.fixture
def service(bookworm: Installed) -> Iterator[Installed]:
    """`bookworm` with nothing left of earlier tests: the agent stopped, no configuration, no queue, no files."""
    bookworm.machine.sh(CLEAN)
    yield bookworm
    print(bookworm.machine.journal("-n", "40", "-u", AGENT))  # noqa: T201 - shown with the failure of the test


@pytest.fixture
def newer_service(trixie: Installed) -> Iterator[Installed]:
    """The same with the newer systemd."""
    trixie.machine.sh(CLEAN)
    yield trixie
    print(trixie.machine.journal("-n", "40", "-u", AGENT))  # noqa: T201 - shown with the failure of the test
