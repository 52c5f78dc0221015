"""``tusd-agent upload``: files to a server without the agent."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.servers import Server
from tests.support.files import wait_for, write
from tests.support.ports import ReservedPort
from tests.support.relay import Relay
from tests.tus.fault_server import FaultServer
from tusd_agent.cli import main
from tusd_agent.cli.upload import Uploads, parse_headers, parse_metadata, parse_size
from tusd_agent.cli.upload_drawing import Json, Outcome, Plain, Retry, line
from tusd_agent.tus import TUSClient, TUSUploadError


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return tmp_path / "state/tusd-agent/uploads"


def upload(server: Server | str, *arguments: object) -> Result:
    endpoint = server if isinstance(server, str) else server.url
    return CliRunner().invoke(main, ["upload", "--endpoint", endpoint, *map(str, arguments)])


def test_files_arrive(any_server: Server, tmp_path: Path, state: Path) -> None:
    digests = {write(tmp_path / f"run-{number}.h5", 300_000 + number, number) for number in range(3)}
    files = [tmp_path / f"run-{number}.h5" for number in range(3)]
    metadata = ["--metadata", "site=lab-7,run=4", "--metadata", "who=me, you"]
    result = upload(any_server, *files, "--concurrency", 2, *metadata)
    assert result.exit_code == 0, result.output
    stored = any_server.stored()
    assert {one.sha256() for one in stored} == digests
    assert all(one.metadata["site"] == b"lab-7" and one.metadata["who"] == b"me, you" for one in stored)
    lines = result.stdout.splitlines()
    assert sorted(text.split(" → ")[0] for text in lines[:3]) == [f"✅ {file}" for file in files]
    assert lines[3] == "3 files uploaded"
    assert list(state.glob("*.json")) == []


def test_one_file_in_several_streams(any_server: Server, tmp_path: Path) -> None:
    digest = write(tmp_path / "big", 2_000_000)
    result = upload(any_server, tmp_path / "big", "--concurrency", 3, "--chunk-size", "512KiB")
    assert result.exit_code == 0, result.output
    assert digest in {one.sha256() for one in any_server.stored()}
    if any_server.name != "node":
        assert len([one for one in any_server.stored() if not one.partial]) == 1


def test_one_that_fails_leaves_the_others(embedded_server: Server, tmp_path: Path) -> None:
    write(tmp_path / "there", 10)
    result = upload(embedded_server, tmp_path / "missing", tmp_path / "there", tmp_path)
    assert result.exit_code == 1
    assert f"❌ {tmp_path}/missing: File not found" in result.stdout
    assert f"✅ {tmp_path}/there → http" in result.stdout
    assert f"❌ {tmp_path}: " in result.stdout
    assert result.stdout.endswith("1 of 3 files uploaded, 2 failed\n")


def test_json(embedded_server: Server, tmp_path: Path) -> None:
    write(tmp_path / "there", 10)
    result = upload(embedded_server, "--json", tmp_path / "there", tmp_path / "missing")
    assert result.exit_code == 1
    there, missing = sorted((json.loads(text) for text in result.stdout.splitlines()), key=lambda one: not one["ok"])
    assert (there["size_bytes"], there["sent_bytes"], there["resumed_from_bytes"]) == (10, 10, 0)
    assert there["url"].startswith(embedded_server.url)
    assert (missing["kind"], missing["file"]) == ("SourceUnavailable", str(tmp_path / "missing"))


def test_a_url_is_resumed(embedded_server: Server, tmp_path: Path) -> None:
    from tusd_agent.tus import TUSClient

    digest = write(tmp_path / "f", 100_000)
    with TUSClient(embedded_server.url) as client:
        url = client.create(100_000, {"filename": "f", "filetype": "x/y"})
    result = upload(embedded_server, "--resume", url, tmp_path / "f")
    assert result.exit_code == 0, result.output
    assert [one.sha256() for one in embedded_server.stored()] == [digest]
    assert upload(embedded_server, "--resume", url, tmp_path / "f", tmp_path / "f").exit_code == 2


def test_headers_and_password_go_to_the_url_that_is_resumed(tmp_path: Path) -> None:
    write(tmp_path / "f", 100_000)
    with FaultServer() as server, TUSClient(server.endpoint) as client:
        url = client.create(100_000)
        server.requests.clear()
        arguments = ["--header", "X-Token: t0ken", "--metadata", "a=b", "--concurrency", "2", str(tmp_path / "f")]
        secret = url.replace("http://", "http://me:s3cret@")
        result = CliRunner().invoke(main, ["upload", "--resume", secret, *arguments])
        assert result.exit_code == 0, result.output
        assert server.methods() == "HEAD PATCH"
        for request in server.requests:
            assert request.headers["x-token"] == "t0ken"
            assert request.headers["authorization"] == "Basic bWU6czNjcmV0"
    assert f" → {url} " in result.stdout
    assert "s3cret" not in result.output
    assert "t0ken" not in result.output
    assert "--metadata has no effect with --resume" in result.stderr
    assert "--concurrency has no effect with --resume" in result.stderr
    result = CliRunner().invoke(main, ["upload", "--resume", "me:s3cret@h", str(tmp_path / "f")])
    assert result.exit_code == 2
    assert "Invalid value for --resume" in result.stderr
    assert "s3cret" not in result.output


@pytest.mark.heavy
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_stdout_files_arrive_all_the_same(
    embedded_server: Server, tmp_path: Path, arguments: list[str]
) -> None:
    digest = write(tmp_path / "f", 10)
    command = [sys.executable, "-m", "tusd_agent", "upload", "--endpoint", embedded_server.url, *arguments]
    closing = ["sh", "-c", 'exec "$@" >&-', "sh", *command, str(tmp_path / "f")]
    ended = subprocess.run(closing, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert [one.sha256() for one in embedded_server.stored()] == [digest]


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_cut_off_goes_on(
    any_server: Server, relay: Callable[[Server], Relay], tmp_path: Path, state: Path, number: signal.Signals
) -> None:
    network = relay(any_server)
    network.bytes_per_second = 2_000_000
    digest = write(tmp_path / "f", 6_000_000)
    endpoint = network.url_for(any_server)
    command = [sys.executable, "-m", "tusd_agent", "upload", "--endpoint", endpoint, str(tmp_path / "f")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        wait_for(
            lambda: any(request.body_bytes > 1_500_000 for request in network.requests_seen()), 30, "bytes on the way"
        )
        (entry,) = state.glob("*.json")
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        running.send_signal(number)
        _, errors = running.communicate(timeout=15)
    if number is signal.SIGKILL:
        assert running.returncode == -number
    else:
        assert running.returncode == 130
        assert "goes on where this one stopped" in errors
    network.bytes_per_second = None
    result = upload(endpoint, tmp_path / "f")
    assert result.exit_code == 0, result.output
    assert "went on from" in result.stdout
    assert [one.sha256() for one in any_server.stored()] == [digest]
    assert list(state.glob("*.json")) == []


def test_headers_reach_the_server_and_stay_out_of_messages(embedded_server: Server, tmp_path: Path) -> None:
    write(tmp_path / "f", 10)
    assert upload(embedded_server, "--header", "X-Site: lab: 7", tmp_path / "f").exit_code == 0
    result = upload(embedded_server, "--header", "secret", tmp_path / "f")
    assert result.exit_code == 2
    assert "secret" not in result.output.replace("--header", "")


@pytest.mark.parametrize(
    "arguments",
    [["--chunk-size", "many", "f"], ["--concurrency", "0", "f"], ["--timeout", "0", "f"], ["--metadata", "x", "f"], []],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert upload("http://127.0.0.1:1/", *arguments).exit_code == 2


def test_a_timeout_that_is_none(tmp_path: Path) -> None:
    result = upload("http://127.0.0.1:1/", "--timeout", "nan", tmp_path / "f")
    assert result.exit_code == 2
    assert "timeout is nan; give a positive number" in result.stderr
    assert "--endpoint" not in result.stderr


def test_an_endpoint_that_is_none(tmp_path: Path) -> None:
    result = upload("ftp://host/", tmp_path / "f")
    assert result.exit_code == 2
    assert "address of a tus server" in result.output


def test_parsers() -> None:
    context, param = click.Context(main), click.Option(["--x"])
    parsed = parse_metadata(context, param, ("a=b,c=d", "e=f=g,h", "title=Hello, world", "empty="))
    assert parsed == {"a": "b", "c": "d", "e": "f=g,h", "title": "Hello, world", "empty": ""}
    assert parse_headers(context, param, ("A: b: c", "D:e")) == {"A": "b: c", "D": "e"}
    sizes = {"8MiB": 8 << 20, "1kB": 1000, "2 GiB": 2 << 30, "77": 77, "5m": 5_000_000, "1KiB": 1024, "3b": 3}
    assert {text: parse_size(context, param, text) for text in sizes} == sizes


def test_lines() -> None:
    finished = Outcome(0, "a\n\udcff", "http://h/1", 4096, 2048, 2048, seconds=2.0)
    assert line(finished) == "✅ a\\n\\udcff → http://h/1 (4.0 KiB in 2 s, 1.0 KiB/s, went on from 2.0 KiB)"


def test_a_disk_that_fails_is_said_in_words() -> None:
    failed = Outcome(0, "a", error=OSError(5, "Input/output error"))
    assert line(failed).startswith("❌ a: the file can't be read (Input/output error); check the disk")


def test_what_failed_and_what_comes_next_are_two_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("it can be resumed", "it can be resumed.", "does it run?"):
        Json().retrying(Retry(0, "f", TUSUploadError(said), 2, 6, 0.5))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == second == "f: it can be resumed. Next: attempt 2 of 6 in 0.5 s"
    assert third == "f: does it run? Next: attempt 2 of 6 in 0.5 s"


@pytest.mark.parametrize("as_json", [True, False])
def test_no_server_is_said_at_once_and_to_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    write(tmp_path / "f", 10)
    port = ReservedPort()
    endpoint = f"http://127.0.0.1:{port.number}/files/"
    drawing = Json() if as_json else Plain(endpoint)
    with TUSClient(endpoint, max_retries=2, retry_delay=0, min_retry_delay=0) as client, drawing:
        assert Uploads(client, {}, 1, None, drawing).run([str(tmp_path / "f")], 1) == 1
    port.release()
    said = capsys.readouterr()
    errors = said.err.splitlines()
    if not as_json:
        assert errors.pop(0) == f"uploading to {endpoint}"
    first, again = errors
    assert first.startswith(f"{tmp_path}/f: POST {endpoint}: no answer (Connection refused). ")
    assert again.startswith(f"{tmp_path}/f: Next: ")
    assert [text.rpartition(" Next: ")[2] for text in errors] == ["attempt 2 of 3 in 0.0 s", "attempt 3 of 3 in 0.0 s"]
    last = said.out.splitlines()[-1]
    assert "nothing was created on the server" in last
    assert "Is the server running" in last
    assert "resumed" not in last


def test_whereto_is_said_first(embedded_server: Server, tmp_path: Path) -> None:
    write(tmp_path / "f", 10)
    result = upload(embedded_server.url.replace("http://", "http://me:s3cret@"), tmp_path / "f")
    assert result.exit_code == 0
    assert result.stderr == f"uploading to {embedded_server.url}\n"


@pytest.mark.heavy
@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_file_given_twice_is_uploaded_once(
    embedded_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    write(tmp_path / "f", 2_000_000)
    write(tmp_path / "g", 10)
    (tmp_path / "link").symlink_to("f")
    monkeypatch.chdir(tmp_path)
    result = upload(embedded_server, "f", "g", "f", tmp_path / "link", "--concurrency", concurrency)
    assert result.exit_code == 0, result.output
    assert "tusd-agent: f was given twice; it is uploaded once" in result.stderr
    assert f"tusd-agent: {tmp_path}/link is the same file as f; it is uploaded once" in result.stderr
    assert result.stdout.count("✅") == 2
    assert "2 files uploaded" in result.stdout
    assert len(embedded_server.stored()) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("obstacle", ["a file", "read-only"])
def test_a_state_folder_that_can_not_be_used(
    embedded_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    """The upload goes on: what is lost is only that a next run could go on where this one stopped."""
    home = tmp_path / "home"
    if obstacle == "a file":
        home.write_bytes(b"")
    else:  # for root as well, whom permissions do not stop
        home = Path("/proc/1/tusd-agent-test")
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    digest = write(tmp_path / "f", 100)
    result = upload(embedded_server, tmp_path / "f")
    assert result.exit_code == 0, result.output
    assert [one.sha256() for one in embedded_server.stored()] == [digest]
    (said,) = [text for text in result.stderr.splitlines() if "begin anew" in text]
    assert said.startswith(f"tusd-agent: {home}/tusd-agent/uploads can't be written to (")
    assert "set XDG_STATE_HOME to a folder of yours" in said
    assert "Errno" not in result.output


def test_nothing_dear_before_it_is_needed() -> None:
    program = "import sys; import tusd_agent.cli.upload; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"requests", "rich", "pydantic"} & set(ended.stdout.split())
