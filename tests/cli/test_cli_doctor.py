"""``doctor``: what is wrong is found, named, and comes with a remedy; what is right is left in peace."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.control.served import Served
from tests.servers import Server
from tests.support import toml
from tusd_agent import __version__
from tusd_agent.cli import doctor_checks, main
from tusd_agent.cli.doctor_checks import Verdict, Who
from tusd_agent.cli.words import size
from tusd_agent.config import WatchSettings
from tusd_agent.intake.limits import Limit
from tusd_agent.jobs import checking
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.schema import SCHEMA_VERSION

NOBODY = Who(65534, 65534, ())


class Doctor:
    """The command, with a configuration of its own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = base / "out"
        self.folder.mkdir()
        self.state = base / "state"
        self.config = base / "config.toml"
        self.socket = base / "none.sock"

    def configure(self, url: str, endpoint: Mapping[str, object] | None = None, **watch: object) -> None:
        tables = [
            toml.table("[agent]", {"state_dir": self.state, "socket": self.socket}),
            toml.table("[endpoint.default]", {"url": url, **(endpoint or {})}),
            toml.table("[[watch]]", {"path": self.folder, **watch}),
        ]
        self.config.write_text("\n".join(tables))

    def __call__(self, *arguments: str) -> Result:
        environ: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith("TUSD_AGENT_"))
        return CliRunner().invoke(main, ["doctor", "--config", str(self.config), *arguments], env=environ)

    def checks(self) -> dict[str, dict[str, Any]]:
        """The worst check of each name."""
        found: dict[str, dict[str, Any]] = {}
        for check in json.loads(self("--json").stdout)["checks"]:
            known = found.get(check["check"])
            if known is None or list(Verdict).index(check["verdict"]) > list(Verdict).index(known["verdict"]):
                found[check["check"]] = check
        return found


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


@contextmanager
def answering(status: int, headers: Mapping[str, str], date: str | None = None) -> Iterator[str]:
    """The URL of a server that answers OPTIONS so."""

    class Answer(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self.send_response_only(status)
            for name, value in {**({} if date is None else {"Date": date}), **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/files/"
        server.shutdown()


def test_when_nothing_is_wrong(doctor: Doctor, embedded_server: Server) -> None:
    doctor.configure(embedded_server.url)
    result = doctor()
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1] == "Nothing failed, 1 warning."
    assert "WARN  agent            it is not running" in result.stdout
    assert "ok    endpoint default tus 1.0.0, files " in result.stdout
    assert "\nok    clock            as the servers' clocks" in result.stdout
    checks = doctor.checks()
    assert {name for name, check in checks.items() if check["verdict"] != "ok"} == {"agent"}
    assert set(checks) == {
        "configuration", "agent", "folder", "state", "disk", "database", "inotify", "endpoint default", "clock",
    }  # fmt: skip
    assert not doctor.state.exists(), "nothing is made"
    assert all((check["verdict"] == "ok") == (check["remedy"] is None) for check in checks.values())


def test_a_running_agent(doctor: Doctor, embedded_server: Server, served: Served) -> None:
    doctor.socket = served.socket
    doctor.configure(embedded_server.url)
    served.reasons = ["the disk is full"]
    served.state = "degraded"
    served.server.start()
    result = doctor()
    assert result.exit_code == 0
    assert f"WARN  agent            version 1.2.3 runs, this command is {__version__}\n" in result.stdout
    assert "WARN  agent            the disk is full\n" in result.stdout


def test_a_bad_configuration_and_a_missing_folder(doctor: Doctor) -> None:
    doctor.config.write_text("[agent]\nworkers = 0\n")
    result = doctor()
    assert result.exit_code == 1
    assert "FAIL  configuration    " in result.stdout
    assert "agent.workers" in result.stdout
    assert "do: tusd-agent check-config" in result.stdout
    doctor.config.write_text("[agent")
    result = doctor("--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert [check["check"] for check in json.loads(result.stdout)["checks"]] == ["configuration"]
    doctor.configure("http://127.0.0.1:9/files/")
    doctor.folder.rmdir()
    checks = doctor.checks()
    assert checks["folder"]["words"].endswith("out does not exist")
    assert checks["folder"]["remedy"].startswith("make it")
    assert checks["endpoint default"]["verdict"] == "fail"
    assert "Connection refused" in checks["endpoint default"]["words"]
    assert checks["clock"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("status", "headers", "verdict", "words"),
    [
        (204, {"Tus-Version": "1.0.0", "Tus-Extension": "creation"}, "ok", "files of any size, extensions: creation"),
        (204, {"Tus-Version": "1.0.0", "Tus-Extension": "creation", "Tus-Max-Size": "2048"}, "ok", "up to 2.0 KiB"),
        (204, {"Tus-Version": "0.2.2"}, "fail", "not 1.0.0"),
        (204, {"Tus-Version": "1.0.0"}, "fail", "no uploads can be created"),
        (200, {}, "warn", "not as a tus server"),
        (404, {}, "fail", "not as a tus server"),
        (401, {}, "fail", "401 to these credentials"),
        (502, {}, "fail", "the server answers 502"),
        (301, {"Location": "https://elsewhere.example/\x1b"}, "fail", "sends on to https://elsewhere.example/\\x1b"),
    ],
)
def test_what_servers_answer(doctor: Doctor, status: int, headers: dict[str, str], verdict: str, words: str) -> None:
    with answering(status, headers) as url:
        doctor.configure(url)
        check = doctor.checks()["endpoint default"]
    assert (check["verdict"], words in check["words"]) == (verdict, True), check


def test_credentials_and_tls_in_words(doctor: Doctor, tmp_path: Path) -> None:
    with answering(204, {}) as url:
        doctor.configure(url.replace("http:", "https:"))
        check = doctor.checks()["endpoint default"]
        assert check["verdict"] == "fail"
        assert "TLS failed" in check["words"]
        token = tmp_path / "token"
        token.write_text("secret")
        token.chmod(0o600)
        doctor.configure(url, {"bearer_token_file": token})
        with answering(403, {}) as refusing:
            doctor.configure(refusing, {"bearer_token_file": token})
            result = doctor()
            assert "403 to these credentials" in result.stdout
            assert "secret" not in result.stdout


def test_a_clock_that_is_off(doctor: Doctor) -> None:
    tus = {"Tus-Version": "1.0.0", "Tus-Extension": "creation"}
    with answering(204, tus, formatdate(time.time() + 3600, usegmt=True)) as url:
        doctor.configure(url)
        clock = doctor.checks()["clock"]
    assert clock["verdict"] == "warn"
    assert "behind the server of endpoint default" in clock["words"]
    assert doctor_checks.clock(1.7e9 - 1e9, {}).verdict is Verdict.FAIL
    assert doctor_checks.clock(time.time(), {"a": -10.0}).words == "10 s ahead of the server of endpoint a"


def spoil(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 20_000)


def renew(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [(None, "ok", "sound"), (spoil, "fail", "is damaged"), (renew, "fail", "newer version")],
)
def test_databases(doctor: Doctor, change: Callable[[Path], None] | None, verdict: str, words: str) -> None:
    doctor.configure("http://127.0.0.1:9/files/")
    doctor.state.mkdir(mode=0o700)
    database = Database(doctor.state / "queue.db")
    database.open()
    database.close()
    if change is not None:
        change(database.path)
    check = doctor_checks.database(database.path)
    assert (check.verdict, words in check.words) == (verdict, True), check
    if change is None:
        assert f"queue.db: {size(database.size_bytes)}, schema " in check.words, "as status has it"
    assert doctor.checks()["database"]["verdict"] == verdict


def test_a_large_database_is_not_looked_at_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "queue.db")
    database.open()
    database.close()
    monkeypatch.setattr(checking, "_INSTRUCTIONS", 1)
    assert not checking.look_at(database.path, -1.0).finished


@pytest.mark.parametrize(
    ("number", "verdict"), [(1, Verdict.FAIL), (4, Verdict.FAIL), (5, Verdict.OK), (1000, Verdict.OK)]
)
def test_limits_of_inotify(tmp_path: Path, number: int, verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "b/c"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(doctor_checks, "inotify_limit", lambda what: Limit("fs.inotify.max_user_watches", number))
    watches = [WatchSettings(path=tmp_path)]
    check = doctor_checks.inotify(watches, None)
    assert check.verdict is verdict
    assert check.words == f"4 directories, {number} watches (fs.inotify.max_user_watches)"
    if verdict is Verdict.FAIL:
        assert check.remedy.startswith("sysctl -w fs.inotify.max_user_watches=128")
    assert doctor_checks.inotify(watches, 990).verdict is (Verdict.WARN if number == 1000 else Verdict.FAIL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try another user's rights")
def test_as_root_it_tries_with_the_agents_rights(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for one in (folder, *folder.parents):
        if one.stat().st_uid == 0 and one != Path("/") and str(one).startswith(str(tmp_path.parents[2])):
            one.chmod(0o755)
    watch = WatchSettings(path=folder, after_upload="delete")
    (check,) = doctor_checks.folder(watch, NOBODY)
    assert check.verdict is Verdict.FAIL
    assert 'after_upload = "delete" needs' in check.words
    folder.chmod(0o700)
    (check,) = doctor_checks.folder(WatchSettings(path=folder), NOBODY)
    assert "can't be read by" in check.words
    assert "right to read" in check.remedy
    assert os.geteuid() == 0
    first, _ = list(doctor_checks.state(folder, NOBODY))[:1] * 2
    assert first.verdict is Verdict.FAIL


def test_whose_agent_it_is(tmp_path: Path) -> None:
    assert doctor_checks.who_runs(os.getpid(), tmp_path).uid == os.geteuid()
    assert doctor_checks.who_runs(None, tmp_path / "none").uid == os.geteuid()
    assert doctor_checks.who_runs(None, tmp_path).uid == tmp_path.stat().st_uid


def test_little_room_and_open_doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    who = doctor_checks.who_runs(os.getpid(), tmp_path)
    tmp_path.chmod(0o777)
    assert next(doctor_checks.state(tmp_path, who)).remedy.startswith("chmod go-w")
    for name, verdict in (("LITTLE_BYTES", Verdict.WARN), ("HARDLY_ANY_BYTES", Verdict.FAIL)):
        monkeypatch.setattr(doctor_checks, name, 1 << 60)
        *_, disk = doctor_checks.state(tmp_path, who)
        assert (disk.name, disk.verdict) == ("disk", verdict)
