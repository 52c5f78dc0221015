"""The life of the service: crashes, kills, reboots, bad configurations, stops, rotated credentials."""

import json
import time

import pytest

from .installed import AGENT, CONFIG, OUTGOING, UPLOADS, Installed

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

LARGE_BYTES = 6 << 20
SLOWLY = {"rate_limit": "1MiB/s"}
STOP_SECONDS = 5.0


def drop_large_file(service: Installed, name: str = "large.dat") -> bytes:
    """A file whose upload takes seconds at that rate, and which is on its way when this returns; its content."""
    service.machine.sh(f"head -c {LARGE_BYTES} /dev/urandom > {OUTGOING}/{name}", user="alice")
    wait_for_offset(service)
    return service.machine.path(f"{OUTGOING}/{name}").read_bytes()


def wait_for_offset(service: Installed) -> None:
    def sent() -> int:
        said = service.machine.run("tusd-agent", "status", "--json", check=False).stdout
        flights = json.loads(said)["in_flight"] if said else []
        return sum(flight["offset_bytes"] for flight in flights)

    service.machine.wait_for(lambda: sent() > 1 << 20, "an upload on its way")


def uploads(service: Installed) -> int:
    """How many uploads tusd has, complete or not."""
    return len(list(service.machine.path("/var/lib/tusd").glob("*.info")))


def test_killed_it_is_restarted_and_goes_on(service: Installed) -> None:
    service.configure(endpoint=SLOWLY)
    service.drop_in("fast", "[Service]\nRestartSec=100ms\n")
    service.start()
    content = drop_large_file(service)
    service.kill_and_wait()
    assert service.wait_until_arrived("large.dat")["large.dat"] == content
    assert uploads(service) == 1


def test_a_reboot_in_the_middle(service: Installed) -> None:
    service.configure(endpoint=SLOWLY)
    service.machine.run("systemctl", "enable", "--now", "--quiet", AGENT)
    content = drop_large_file(service)
    service.machine.reboot()
    assert service.wait_until_arrived("large.dat")["large.dat"] == content
    assert uploads(service) == 1
    assert "tusd-agent stopped" in service.machine.journal("-b", "-1", "-u", AGENT)


def test_a_power_cut_in_the_middle(service: Installed) -> None:
    service.configure(endpoint=SLOWLY)
    service.machine.run("systemctl", "enable", "--now", "--quiet", AGENT)
    content = drop_large_file(service)
    service.machine.power_cut()
    service.machine.boot()
    assert service.wait_until_arrived("large.dat")["large.dat"] == content


def test_twenty_quick_crashes(service: Installed) -> None:
    """Nothing latches: after the twentieth it is started as after the first."""
    service.configure()
    service.drop_in("fast", "[Service]\nRestartSec=50ms\n")
    service.start()
    for _ in range(20):
        service.kill_and_wait()
    service.machine.wait_for(lambda: service.state() == "active", "the service to be up")
    assert int(service.machine.shows(AGENT, "NRestarts")) >= 20
    service.machine.sh(f"echo after all > {OUTGOING}/a.txt", user="alice")
    service.wait_until_arrived("a.txt")


def test_stopped_and_disabled_it_stays_so(service: Installed) -> None:
    service.configure(endpoint=SLOWLY)
    service.machine.run("systemctl", "enable", "--now", "--quiet", AGENT)
    drop_large_file(service)
    began = time.monotonic()
    service.machine.run("systemctl", "stop", AGENT)
    assert time.monotonic() - began < STOP_SECONDS
    assert service.machine.shows(AGENT, "Result") == "success"
    assert service.state() == "inactive"
    service.start()
    service.wait_until_arrived("large.dat")
    service.machine.run("systemctl", "disable", "--now", "--quiet", AGENT)
    service.machine.reboot()
    assert service.state() == "inactive"
    service.machine.run("systemctl", "enable", "--now", "--quiet", AGENT)


def test_a_bad_configuration_is_not_tried_again(service: Installed) -> None:
    """It is said once, in the journal, with priority; a corrected one starts as ever."""
    service.machine.write(CONFIG, '[[watch]]\npath = "/srv/outgoing"\nsettle_secs = 1\n')
    assert service.machine.run("systemctl", "start", AGENT, check=False).returncode != 0
    assert service.state() == "failed"
    assert service.machine.shows(AGENT, "ExecMainStatus") == "78"
    assert service.machine.shows(AGENT, "NRestarts") == "0"
    assert "settle_seconds" in service.machine.journal("-u", AGENT, "-p", "err", "-n", "20")
    service.configure()
    service.start()
    assert service.state() == "active"


def test_started_without_network_or_server(service: Installed) -> None:
    service.machine.sh("systemctl stop tusd; ip link set lo down 2>/dev/null || true")
    service.configure(endpoint={"url": "http://no-such-host.invalid:1080/files/"})
    service.start()
    service.machine.sh(f"echo later > {OUTGOING}/a.txt", user="alice")
    service.machine.wait_for(lambda: "no-such-host" in service.status(), "the trouble to be said")
    assert service.state() == "active"
    service.machine.run("systemctl", "start", "tusd")
    service.configure()
    service.restart()
    service.machine.run("tusd-agent", "retry", "all", check=False)  # it may be on its way already
    service.wait_until_arrived("a.txt")


FREEZE = """
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid, name = int(sys.argv[1]), sys.argv[2]
for thread in os.listdir(f"/proc/{pid}/task"):
    if open(f"/proc/{pid}/task/{thread}/comm").read().startswith(name):
        assert ptrace(16, int(thread), None, None) == 0, os.strerror(ctypes.get_errno())  # PTRACE_ATTACH
        os.waitpid(int(thread), 0x40000000)  # __WALL
        print("frozen", thread, flush=True)
while True:  # who traces a thread has to reap it, or its process never ends
    try:
        os.waitpid(-1, 0x40000000)
    except ChildProcessError:
        break
"""


@pytest.mark.parametrize("threads", ["worker", "intake"])
def test_threads_that_stand_still(service: Installed, threads: str) -> None:
    """Stopped by a debugger, as by a mistake of the program: the agent is ended, with what it was at in the journal."""
    service.configure()
    service.drop_in("fast", "[Service]\nWatchdogSec=3\nRestartSec=100ms\n")
    service.start()
    before = service.pid()
    service.machine.write("/usr/local/bin/freeze.py", FREEZE)
    service.machine.sh(
        f"systemd-run --quiet --collect --unit=freeze python3 /usr/local/bin/freeze.py {before} {threads}"
    )
    service.machine.wait_for(lambda: service.pid() not in (0, before), "another process", 40)
    service.machine.sh("systemctl stop freeze || true")
    said = service.machine.journal("-u", AGENT, "-n", "200")
    assert f"standing still: {threads}" in said
    assert "Watchdog timeout" in said
    service.machine.sh(f"echo again > {OUTGOING}/a.txt", user="alice")
    service.wait_until_arrived("a.txt")


def test_one_worker_that_stands_still_is_survived(service: Installed) -> None:
    service.configure()
    service.drop_in("fast", "[Service]\nWatchdogSec=3\n")
    service.start()
    before = service.pid()
    service.machine.write("/usr/local/bin/freeze.py", FREEZE)
    service.machine.sh(
        f"systemd-run --quiet --collect --unit=freeze python3 /usr/local/bin/freeze.py {before} worker-1"
    )
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 9.0:
        service.machine.sh(f"echo {number} > {OUTGOING}/{number}.txt", user="alice")
        service.wait_until_arrived(f"{number}.txt")
        number += 1
    assert service.pid() == before
    service.machine.sh("systemctl stop freeze || true")


@pytest.mark.parametrize("machine", ["service", "newer_service"])
def test_reload(machine: str, request: pytest.FixtureRequest) -> None:
    """A new folder is watched without a restart; a configuration that can't be used is refused, and nothing stops."""
    service: Installed = request.getfixturevalue(machine)
    service.configure()
    service.machine.run("tusd-agent", "install-service")
    notify = "notify" if machine == "service" else "notify-reload"
    assert service.machine.shows(AGENT, "Type") == notify
    before = service.pid()
    service.machine.sh("install -d -m 2775 -o alice -g alice /srv/second")
    good = service.machine.path(CONFIG).read_text()
    service.machine.write(CONFIG, good + '\n[[watch]]\npath = "/srv/second"\nsettle_seconds = 0.2\n')
    service.machine.run("systemctl", "reload", AGENT)
    service.machine.sh("echo new > /srv/second/b.txt", user="alice")
    service.wait_until_arrived("b.txt")
    service.machine.write(CONFIG, good + '\n[[watch]]\npath = "/srv/second"\nafter_upload = "shred"\n')
    assert service.machine.run("systemctl", "reload", AGENT, check=False).returncode != 0
    assert "after_upload" in service.machine.journal("-u", AGENT, "-p", "err", "-n", "20")
    service.machine.sh("echo still > /srv/second/c.txt", user="alice")
    service.wait_until_arrived("c.txt")
    assert service.pid() == before
    assert service.state() == "active"


def start_guarded_tusd(service: Installed, tokens: list[str]) -> None:
    """Before tusd a door that lets nobody in but who has one of the tokens."""
    service.machine.write("/usr/local/bin/door.py", DOOR)
    service.machine.write("/srv/tokens", "\n".join(tokens))
    service.machine.sh(
        "systemctl stop door 2>/dev/null || true; "
        "systemd-run --quiet --collect --unit=door python3 /usr/local/bin/door.py"
    )


DOOR = """
import http.client, http.server
class Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        tokens = open("/srv/tokens").read().split()
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in tokens:
            self.send_response(401); self.send_header("Content-Length", "0"); self.end_headers(); return
        behind = http.client.HTTPConnection("127.0.0.1", 1080)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        said = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(said))); self.end_headers(); self.wfile.write(said)
    do_POST = do_PATCH = do_HEAD = do_OPTIONS = do_DELETE = pass_on
http.server.ThreadingHTTPServer(("127.0.0.1", 1081), Door).serve_forever()
"""


def test_tokens(service: Installed) -> None:
    """One for root alone is handed over by systemd; one that the agent may read is used as soon as it is renewed.

    Neither is in the journal, the unit, the environment or the command line.
    """
    machine = service.machine
    start_guarded_tusd(service, ["first-secret", "second-secret"])
    service.configure(
        agent={"log_level": "debug"}, endpoint={"url": "http://127.0.0.1:1081/files/", "bearer_token_file": "token"}
    )
    machine.write("/etc/tusd-agent/token", "first-secret\n", 0o600)
    machine.run("tusd-agent", "install-service")
    assert "LoadCredential=token:/etc/tusd-agent/token" in machine.run("systemctl", "cat", AGENT).stdout
    machine.sh(f"echo one > {OUTGOING}/a.txt", user="alice")
    service.wait_until_arrived("a.txt")
    machine.sh("chgrp tusd-agent /etc/tusd-agent/token; chmod 640 /etc/tusd-agent/token")
    machine.run("tusd-agent", "install-service")
    before = service.pid()
    machine.write("/etc/tusd-agent/token.new", "second-secret\n", 0o640)
    machine.sh("chgrp tusd-agent /etc/tusd-agent/token.new; mv /etc/tusd-agent/token.new /etc/tusd-agent/token")
    machine.write("/srv/tokens", "second-secret")
    machine.sh(f"echo two > {OUTGOING}/b.txt", user="alice")
    service.wait_until_arrived("a.txt", "b.txt")
    assert service.pid() == before
    machine.write("/srv/tokens", "none")
    machine.sh(f"echo three > {OUTGOING}/c.txt", user="alice")
    machine.wait_for(lambda: "401" in service.status(), "the refusal to be said")
    public = [
        machine.journal("-b"),
        machine.run("systemctl", "show", AGENT).stdout,
        machine.run("systemctl", "cat", AGENT).stdout,
        machine.sh(f"tr '\\0' '\\n' < /proc/{service.pid()}/environ; tr '\\0' ' ' < /proc/{service.pid()}/cmdline"),
        service.status(),
        machine.run("tusd-agent", "jobs", "--json").stdout,
    ]
    assert not [text for text in public if "-secret" in text]
    ids = [path.stem for path in machine.path(UPLOADS).glob("*.info")]
    said = machine.journal("-b", "-u", AGENT)
    assert len(ids) == 2
    assert not [each for each in ids if each in said], "who knows an upload's URL may read or delete it"
    machine.run("systemctl", "stop", "door")


def test_a_reload_with_a_token_for_root_alone(newer_service: Installed) -> None:
    """What systemd runs at a reload does not see what it has handed over: the agent is asked, who has it."""
    service, machine = newer_service, newer_service.machine
    service.configure(endpoint={"bearer_token_file": "token"})
    machine.write("/etc/tusd-agent/token", "secret\n", 0o600)
    machine.run("tusd-agent", "install-service")
    before = service.pid()
    machine.sh("install -d -m 2775 -o alice -g alice /srv/second")
    good = machine.path(CONFIG).read_text()
    machine.write(CONFIG, good + '\n[[watch]]\npath = "/srv/second"\nsettle_seconds = 0.2\n')
    machine.run("systemctl", "reload", AGENT)
    machine.sh("echo new > /srv/second/b.txt", user="alice")
    service.wait_until_arrived("b.txt")
    machine.write(CONFIG, good + '\n[[watch]]\npath = "/srv/second"\nafter_upload = "shred"\n')
    assert machine.run("systemctl", "reload", AGENT, check=False).returncode != 0
    assert "after_upload" in machine.journal("-u", AGENT, "-p", "err", "-n", "20")
    assert service.pid() == before
    service.configure()
    machine.run("tusd-agent", "install-service")


def test_a_missing_token_is_waited_for(service: Installed) -> None:
    """As a secret that is brought later in the boot: files are queued, and go when it is there. Nothing restarts."""
    machine = service.machine
    start_guarded_tusd(service, ["late-secret"])
    service.configure(endpoint={"url": "http://127.0.0.1:1081/files/", "bearer_token_file": "/run/secrets/token"})
    machine.run("tusd-agent", "install-service")
    before = service.pid()
    assert "/run/secrets/token" in machine.journal("-u", AGENT, "-p", "warning", "-n", "5")
    machine.sh(f"echo early > {OUTGOING}/a.txt", user="alice")
    machine.wait_for(lambda: "/run/secrets/token" in service.status(), "what it waits for to be said")
    machine.sh("mkdir /run/secrets; echo late-secret > /run/secrets/token")
    machine.run("tusd-agent", "retry", "all", check=False)  # it may be on its way already
    service.wait_until_arrived("a.txt", seconds=60)
    assert service.pid() == before
    machine.sh("systemctl stop door; rm -r /run/secrets")
