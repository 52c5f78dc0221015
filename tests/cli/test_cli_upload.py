"""``tusd-agent upload``: files to a server without the agent."""

import io
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
from rich.console import Console

from tests.servers import Server
from tests.support.files import wait_for, write
from tests.support.relay import Relay
from tusd_agent.cli import main
from tusd_agent.cli.upload import parse_headers, parse_metadata, parse_size
from tusd_agent.cli.upload_bars import Bars
from tusd_agent.cli.upload_drawing import Outcome, line


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


def test_bars() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with Bars(["/srv/[bold]one", "/srv/" + "x" * 60], console) as bars:
        bars.moved(0, 50, 100)
        bars.moved(1, 1, 2)
        bars.ended(Outcome(0, "/srv/[bold]one", "http://h/1", 100, 100))
        bars.ended(Outcome(1, "/srv/x", error=ValueError("it broke")))
    shown = screen.getvalue()
    assert "✅ /srv/[bold]one → http://h/1" in shown
    assert "❌ /srv/x: it broke" in shown
    assert "all files" in shown


def test_nothing_dear_before_it_is_needed() -> None:
    program = "import sys; import tusd_agent.cli.upload; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"requests", "rich", "pydantic"} & set(ended.stdout.split())
