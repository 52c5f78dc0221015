"""The service put into place and taken away, by the README's commands, in a booted systemd."""

import sqlite3
import subprocess
from collections.abc import Callable

import pytest

from tusd_agent.jobs.schema import SCHEMA_VERSION

from .installed import AGENT, CHECKOUT, CONFIG, DROP_INS, OUTGOING, TUSD_URL, UPLOADS, Installed, readme_commands
from .machine import Machine
from .tree import REPOSITORY

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

OLDER = "862fdc12c43109fffde36636ba4ddb810a9adc9c"
"""A commit with an older schema of the database."""


def test_files_of_another_user_arrive(service: Installed) -> None:
    """Installed as the README says, configured, started: what alice drops arrives on a real tusd."""
    service.configure()
    service.machine.run("tusd-agent", "install-service")
    assert service.state() == "active"
    service.machine.sh(
        f"echo from alice > {OUTGOING}/a.txt; mkdir {OUTGOING}/sub; seq 100000 > {OUTGOING}/sub/b.txt", user="alice"
    )
    found = service.wait_until_arrived("a.txt", "b.txt")
    assert found["a.txt"] == b"from alice\n"
    assert found["b.txt"] == b"".join(b"%d\n" % number for number in range(1, 100001))
    idle = "1 folder watched, 0 jobs waiting, 0 in flight, 0 failed"
    service.machine.wait_for(
        lambda: service.machine.shows(AGENT, "StatusText") == idle, "the status that systemd shows"
    )
    # Each line has its priority, and those about a job its number.
    story = service.machine.journal("-u", AGENT, "TUSD_AGENT_JOB=1", "-p", "info", "--since", "-1min")
    assert "arrived" in story
    assert "job 2" not in story
    # Its own lines: systemd's about it may speak of cgroups that the container does not have.
    own = service.machine.journal(f"_SYSTEMD_UNIT={AGENT}", "-p", "warning", "--since", "-1min")
    assert own in ("", "-- No entries --\n")


def test_a_bad_configuration_installs_nothing(service: Installed) -> None:
    service.configure()
    service.machine.run("tusd-agent", "install-service")
    before = service.machine.path(f"{DROP_INS}/10-host.conf").stat().st_mtime_ns, service.pid()
    service.configure(after_upload="shred")
    refused = service.machine.run("tusd-agent", "install-service", check=False)
    assert refused.returncode == 78
    assert "after_upload" in refused.stderr
    assert before == (service.machine.path(f"{DROP_INS}/10-host.conf").stat().st_mtime_ns, service.pid())


def footprint(machine: Machine) -> set[str]:
    """Every path that the agent's name is in, and the users and groups by that name."""
    elsewhere = ("/proc", "/sys", "/opt", "/usr/src", "/var/log", "/root/.cache", "/usr/local/bin")
    passed_over = " ".join(f"! -path '{path}/*'" for path in elsewhere)
    found = machine.sh(
        f"find / -xdev -name '*tusd-agent*' {passed_over}; find /run -maxdepth 1 -name '*tusd-agent*'; "
        "getent passwd tusd-agent || true; getent group tusd-agent || true"
    )
    return set(found.splitlines())


def test_removed_it_leaves_nothing(service: Installed) -> None:
    """Without --purge what is worth keeping is kept, and a later installation goes on; with it nothing is left."""
    service.configure()
    service.machine.run("tusd-agent", "install-service")
    service.machine.sh(f"echo once > {OUTGOING}/a.txt", user="alice")
    service.wait_until_arrived("a.txt")
    service.drop_in("mine", "[Service]\nNice=5\n")
    said = service.machine.run("tusd-agent", "uninstall-service").stdout
    assert "Kept: /var/lib/tusd-agent and /etc/tusd-agent" in said
    assert f"Drop-ins of your own are left in {DROP_INS}" in said
    assert service.state() == "inactive"
    assert service.machine.shows(AGENT, "LoadState") == "not-found"
    service.machine.run("tusd-agent", "install-service")
    assert service.machine.shows(AGENT, "Nice") == "5"
    service.machine.sh(f"echo twice > {OUTGOING}/b.txt", user="alice")
    service.wait_until_arrived("a.txt", "b.txt")
    assert len(list(service.machine.path(UPLOADS).glob("*.info"))) == 2
    service.machine.run("rm", f"{DROP_INS}/mine.conf")
    shown = service.machine.run("tusd-agent", "uninstall-service", "--purge", "--dry-run").stdout
    assert service.state() == "active"
    done = service.machine.run("tusd-agent", "uninstall-service", "--purge").stdout
    assert done.splitlines() == shown.splitlines()
    assert footprint(service.machine) == set()
    assert service.machine.path(f"{OUTGOING}/a.txt").exists()
    service.machine.run("tusd-agent", "install-service")


def test_what_is_shown_is_what_is_done(service: Installed) -> None:
    """--dry-run changes nothing; what it shows of the drop-in is what is written, folders and all."""
    service.machine.run("tusd-agent", "uninstall-service", "--purge")
    try:
        service.machine.sh("mkdir -p '/srv/data/out box' /srv/data/sent /srv/read")
        service.configure(
            agent={"socket_group": "users"}, path="/srv/data/out box", after_upload="move", move_to="/srv/data/sent"
        )
        with service.machine.path(CONFIG).open("a") as file:
            file.write('\n[[watch]]\npath = "/srv/read"\n')
        shown = service.machine.run("tusd-agent", "install-service", "--dry-run").stdout
        assert footprint(service.machine) == {"/etc/tusd-agent"}
        service.machine.run("tusd-agent", "install-service")
        written = service.machine.path(f"{DROP_INS}/10-host.conf").read_text()
        assert all(f"    {line}" in shown for line in written.splitlines() if line)
        lines = written.splitlines()
        assert "ReadWritePaths=-/srv/data" in lines
        assert "ReadOnlyPaths=-/srv/read" in lines
        assert "SupplementaryGroups=users" in lines
        said = service.machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{AGENT}")
        assert said.stdout + said.stderr == ""
    finally:
        service.machine.run("tusd-agent", "install-service")


def test_who_may_ask(service: Installed) -> None:
    """A member of the socket's group sees the status and may tell the agent; everybody else neither."""
    service.machine.sh("groupadd --force operators; usermod --append --groups operators bob")
    service.configure(agent={"socket_group": "operators"})
    service.machine.run("tusd-agent", "install-service")
    assert "/srv/outgoing" in service.machine.run("tusd-agent", "status", user="bob").stdout
    service.machine.run("tusd-agent", "rescan", user="bob")
    assert service.machine.run("tusd-agent", "status", user="alice", check=False).returncode != 0


def test_a_service_of_ones_own(service: Installed) -> None:
    """alice's own agent in alice's own systemd: installed, used, removed."""
    machine = service.machine
    # What pam_systemd would tell it, which a Debian this small has not.
    machine.write(
        "/etc/systemd/system/user@.service.d/here.conf", "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
    )
    machine.sh("systemctl daemon-reload; systemctl start user@$(id -u alice)")
    machine.sh("mkdir -p ~/out ~/.config/tusd-agent", user="alice")
    machine.write(
        "/home/alice/.config/tusd-agent/config.toml",
        f'[endpoint.default]\nurl = "{TUSD_URL}"\n[[watch]]\npath = "~/out"\nsettle_seconds = 0.2\n',
    )
    uid = machine.sh("id -u alice").strip()
    own = f"export XDG_RUNTIME_DIR=/run/user/{uid}; cd; "
    machine.sh(own + "tusd-agent install-service --user", user="alice")
    machine.sh(own + "echo mine > out/mine.txt", user="alice")
    service.wait_until_arrived("mine.txt")
    assert "out" in machine.sh(own + "tusd-agent status", user="alice")
    verified = machine.sh(own + f"systemd-analyze --user verify ~/.config/systemd/user/{AGENT} 2>&1", user="alice")
    assert verified == ""
    machine.sh(own + "tusd-agent uninstall-service --user --purge", user="alice")
    assert machine.sh("find /home/alice -name '*tusd-agent*'") == ""
    machine.sh("systemctl stop user@$(id -u alice)")


def schema_of(machine: Machine) -> int:
    with sqlite3.connect(machine.path("/var/lib/tusd-agent/queue.db")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_an_upgrade_with_an_older_database(booted: Callable[[str], Installed]) -> None:
    """An older version runs, with a queue of its own kind and an upload on its way; the README's two lines later the
    new one runs, and goes on with it."""
    shallow = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if shallow.stdout != b"false\n":
        pytest.skip("this copy of the repository has no history")
    there = booted("bookworm")
    machine = there.machine
    machine.sh("mv /usr/src/tusd-agent /usr/src/newer")
    old = subprocess.run(["git", "archive", OLDER], cwd=REPOSITORY, capture_output=True, check=True).stdout
    machine.path("/usr/src/tusd-agent").mkdir()
    subprocess.run(["tar", "-x", "-C", str(machine.path("/usr/src/tusd-agent"))], input=old, check=True)
    machine.sh(
        "python3 -m venv /opt/tusd-agent; /opt/tusd-agent/bin/pip install --quiet /usr/src/tusd-agent; "
        "ln -s /opt/tusd-agent/bin/tusd-agent /usr/local/bin/; mv /usr/src/tusd-agent /usr/src/older; "
        "mv /usr/src/newer /usr/src/tusd-agent; useradd --system --no-create-home tusd-agent; "
        "cp /usr/src/older/systemd/tusd-agent.service /etc/systemd/system/; systemctl daemon-reload; "
        f"install -d -m 2775 -o alice -g alice {OUTGOING}"
    )
    there.configure()
    there.start()
    machine.sh(f"echo before > {OUTGOING}/before.txt", user="alice")
    there.wait_until_arrived("before.txt")
    machine.run("systemctl", "stop", "tusd")
    machine.sh(f"echo waiting > {OUTGOING}/waiting.txt", user="alice")
    machine.wait_for(lambda: "waiting.txt" in machine.run("tusd-agent", "jobs").stdout, "the job")
    older = schema_of(machine)
    before = there.pid()
    for command in readme_commands("Upgrading and removing")[:2]:
        machine.sh(f"cd {CHECKOUT}; {command}")
    assert there.pid() not in (0, before)
    assert schema_of(machine) == SCHEMA_VERSION > older
    machine.run("systemctl", "start", "tusd")
    machine.run("tusd-agent", "retry", "all", check=False)
    there.wait_until_arrived("before.txt", "waiting.txt")
    assert len(list(machine.path(UPLOADS).glob("*.info"))) == 2
