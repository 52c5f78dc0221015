"""What the sandbox forbids, and that everything still works in it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from .installed import AGENT, OUTGOING, Installed
from .tree import REPOSITORY

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

MOST_EXPOSED_KEEPING = 1.5
MOST_EXPOSED_CHANGING = 2.0


def exposure(service: Installed) -> float:
    """The figure of ``systemd-analyze security``, 0 (none) to 10."""
    said = service.machine.run("systemd-analyze", "security", AGENT, check=False).stdout
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", said)
    assert found is not None, said
    return float(found[1])


@pytest.mark.parametrize("machine", ["service", "newer_service"])
def test_exposure_and_verify(
    machine: str, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """The figures of both versions of systemd are held, and neither has anything to say about the units."""
    service: Installed = request.getfixturevalue(machine)
    service.configure()
    service.machine.run("tusd-agent", "install-service")
    keeping = exposure(service)
    service.machine.sh(f"install -d -o alice -g alice {OUTGOING} /srv/sent")
    service.configure(after_upload="move", move_to="/srv/sent")
    service.machine.run("tusd-agent", "install-service")
    changing = exposure(service)
    version = service.machine.run("systemctl", "--version").stdout.split()[1]
    record_property(
        "to be seen", f"systemd-analyze security, systemd {version}: {keeping} keeping, {changing} deleting or moving"
    )
    assert keeping <= MOST_EXPOSED_KEEPING
    assert changing <= MOST_EXPOSED_CHANGING
    verified = service.machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{AGENT}")
    assert verified.stdout + verified.stderr == ""


@pytest.mark.parametrize("after_upload", ["delete", "move"])
def test_files_of_others_are_deleted_and_moved(service: Installed, after_upload: str) -> None:
    """alice shares her folder with the agent by an access list's poor relation: the agent's group may write.

    Where they can't be moved to, for it is not there or not the agent's to change, that is said.
    """
    service.machine.sh(f"install -d -m 2770 -o alice -g tusd-agent {OUTGOING} /srv/sent")
    service.configure(after_upload=after_upload, move_to="/srv/sent" if after_upload == "move" else None)
    service.machine.sh("rmdir /srv/sent")
    said = service.machine.run("tusd-agent", "install-service").stderr
    assert ("/srv/sent is not there" in said) == (after_upload == "move")
    service.machine.sh("install -d /srv/sent")
    said = service.machine.run("tusd-agent", "install-service").stderr
    assert ("/srv/sent: the user tusd-agent can't read and change it" in said) == (after_upload == "move")
    service.machine.sh("chgrp tusd-agent /srv/sent; chmod 2770 /srv/sent")
    service.machine.sh(f"umask 002; seq 1000 > {OUTGOING}/a.txt", user="alice")
    service.wait_until_arrived("a.txt")
    gone = service.machine.path(f"{OUTGOING}/a.txt")
    service.machine.wait_for(lambda: not gone.exists(), "the file to be taken away")
    moved = service.machine.path("/srv/sent/a.txt")
    assert moved.exists() == (after_upload == "move")


AFTER = """\
#!/bin/sh
cp "$TUSD_AGENT_PATH" "$TUSD_AGENT_PATH.seen.tmp" || exit 1
for path in /etc/changed /usr/changed /home/alice/changed /root/changed /srv/changed; do
  touch "$path" 2>/dev/null && echo "$path" >> "$TUSD_AGENT_PATH.escaped.tmp"
done
exit 0
"""


def test_what_the_command_may_do(service: Installed) -> None:
    """It changes the watched folder, and nothing else of the host."""
    machine = service.machine
    machine.sh(f"install -d -m 2770 -o alice -g tusd-agent {OUTGOING}; chmod 777 /srv /home/alice")
    machine.write("/usr/local/bin/after", AFTER, 0o755)
    service.configure(after_upload="command", command=["/usr/local/bin/after"])
    said = machine.run("tusd-agent", "install-service").stderr
    assert "the command runs within the service's sandbox" in said
    machine.sh(f"echo content > {OUTGOING}/a.txt", user="alice")
    seen = machine.path(f"{OUTGOING}/a.txt.seen.tmp")
    machine.wait_for(seen.exists, "the command to run")
    machine.wait_for(lambda: "done" in machine.run("tusd-agent", "jobs").stdout, "the command to be over")
    assert not machine.path(f"{OUTGOING}/a.txt.escaped.tmp").exists()
    machine.sh("chmod 755 /srv /home/alice; rm /usr/local/bin/after")


def test_tls(service: Installed, tmp_path: Path) -> None:
    """To a server with a certificate of the site's own authority; without it nothing is sent."""
    machine = service.machine
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    machine.write("/srv/server.pem", (tmp_path / "server.pem").read_text())
    machine.write("/etc/tusd-agent/ca.pem", (tmp_path / "ca.pem").read_text())
    tusd = "tusd -host 127.0.0.1 -port 1443 -base-path /files/ -upload-dir /var/lib/tusd"
    machine.sh(
        "systemctl stop tls 2>/dev/null || true; systemd-run --quiet --collect --unit=tls "
        f"{tusd} -tls-certificate /srv/server.pem -tls-key /srv/server.pem"
    )
    service.configure(endpoint={"url": "https://127.0.0.1:1443/files/"})
    service.start()
    machine.sh(f"echo over tls > {OUTGOING}/a.txt", user="alice")
    machine.wait_for(lambda: "certificate" in service.status().lower(), "the distrust to be said")
    service.configure(endpoint={"url": "https://127.0.0.1:1443/files/", "ca_file": "/etc/tusd-agent/ca.pem"})
    machine.run("systemctl", "reload", AGENT)
    machine.run("tusd-agent", "retry", "all", check=False)
    assert service.wait_until_arrived("a.txt", seconds=60)["a.txt"] == b"over tls\n"
    machine.run("systemctl", "stop", "tls")


def test_folders_of_others_by_capabilities(service: Installed) -> None:
    """The example for them, as it is shipped: what is alice's alone is read; the sandbox keeps within its bar."""
    machine = service.machine
    machine.sh(f"install -d -m 700 -o alice -g alice {OUTGOING}")
    service.configure()
    said = machine.run("tusd-agent", "install-service").stderr
    assert f"{OUTGOING}: the user tusd-agent can't read it" in said
    service.drop_in("others", (REPOSITORY / "systemd/folders-of-others.conf").read_text())
    service.restart()
    machine.sh(f"umask 077; echo private > {OUTGOING}/a.txt", user="alice")
    service.wait_until_arrived("a.txt")
    assert exposure(service) <= MOST_EXPOSED_CHANGING
