"""What the sandbox forbids, and that everything still works in it."""

import re

import pytest

from .installed import AGENT, OUTGOING, Installed

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

MOST_EXPOSED_KEEPING = 1.5
MOST_EXPOSED_CHANGING = 2.0


def exposure(service: Installed) -> float:
    """The figure of ``systemd-analyze security``, 0 (none) to 10."""
    said = service.machine.run("systemd-analyze", "security", AGENT, check=False).stdout
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", said)
    assert found is not None, said
    version = service.machine.run("systemctl", "--version").stdout.splitlines()[0]
    print(f"{version}: exposure {found[1]}")  # noqa: T201 - the figure is to be seen
    return float(found[1])


@pytest.mark.parametrize("machine", ["service", "newer_service"])
def test_exposure_and_verify(machine: str, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> None:
    """The figures of both versions of systemd are held, and neither has anything to say about the units."""
    service: Installed = request.getfixturevalue(machine)
    service.configure()
    service.machine.run("tusd-agent", "install-service")
    keeping = exposure(service)
    service.machine.sh(f"install -d -o alice -g alice {OUTGOING} /srv/sent")
    service.configure(after_upload="move", move_to="/srv/sent")
    service.machine.run("tusd-agent", "install-service")
    changing = exposure(service)
    with capfd.disabled():
        print(f"\nexposure on {machine}: {keeping} keeping, {changing} deleting or moving")  # noqa: T201
    assert keeping <= MOST_EXPOSED_KEEPING
    assert changing <= MOST_EXPOSED_CHANGING
    verified = service.machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{AGENT}")
    assert verified.stdout + verified.stderr == ""


@pytest.mark.parametrize("after_upload", ["delete", "move"])
def test_files_of_others_are_deleted_and_moved(service: Installed, after_upload: str) -> None:
    """alice shares her folder with the agent by an access list's poor relation: the agent's group may write."""
    service.machine.sh(f"install -d -m 2770 -o alice -g tusd-agent {OUTGOING} /srv/sent")
    service.configure(after_upload=after_upload, move_to="/srv/sent" if after_upload == "move" else None)
    service.machine.run("tusd-agent", "install-service")
    service.machine.sh(f"umask 002; seq 1000 > {OUTGOING}/a.txt", user="alice")
    service.wait_until_arrived("a.txt")
    gone = service.machine.path(f"{OUTGOING}/a.txt")
    service.machine.wait_for(lambda: not gone.exists(), "the file to be taken away")
    moved = service.machine.path("/srv/sent/a.txt")
    assert moved.exists() == (after_upload == "move")
