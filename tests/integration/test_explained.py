"""What the running agent says of paths, by its socket and by its command, and of names of any kind."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import wait_for

NAMES = [
    b"plain",
    b"new\nline",
    b"carriage\rreturn",
    b"tab\tand \x1b[31mescape\x07\x7f",
    b"""quotes ' " ` $(reboot) ; \\ %s %00 &<>|*?""",
    b" blanks ",
    b"-rf",
    b"~user",
    "\u202egnp.gpj".encode(),
    "👩‍🔬.dat".encode(),
    b"invalid \xff\xfe\xc3\x28 \xed\xa0\x80",
    b"Case",
    b"case",
    "größe".encode(),
    "gro\u0308\u00dfe".encode(),
    b"n" * 255,
    "ü".encode() * 127,
    bytes(range(1, 47)) + bytes(range(48, 127)) + bytes(range(128, 256)),
]


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def command(agent: Agent, *arguments: str | bytes, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tusd_agent", *arguments, "--config", str(agent.config)],
        capture_output=True,
        env=agent.environment,
        cwd=cwd,
        check=False,
    )


def explain(agent: Agent, path: str) -> tuple[int, Any]:
    return agent.ask("GET", "/v1/explain?" + urlencode({"path": path}))


def done(count: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: bool(status["jobs"]["done"] == count)


@pytest.mark.heavy
def test_any_name_goes_from_disk_to_server_and_is_shown_escaped(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    agent = agent_factory(any_server.url, [{"path": outgoing, "settle_seconds": 0.2}], log_level="debug")
    assert len(bytes(NAMES[-1])) <= 255
    agent.start()
    folder = os.fsencode(outgoing) + b"/sub\n\xff"
    os.mkdir(folder)
    for name in NAMES:
        with open(folder + b"/" + name, "wb") as file:
            file.write(name)
    agent.wait_until(done(len(NAMES)), 90)
    # To the byte, in the queue and, as far as it keeps them, on the server.
    assert sorted(base64.b64decode(job["path_b64"]) for job in agent.jobs()) == sorted(
        folder + b"/" + name for name in NAMES
    )
    assert sorted(upload.path.read_bytes() for upload in any_server.stored()) == sorted(NAMES)
    # And for the eye: nothing that a terminal obeys, one line for each.
    outputs = [
        command(agent, "jobs").stdout,
        command(agent, "status").stdout,
        agent.log.read_bytes(),
        *(command(agent, "show", str(job["id"])).stdout for job in agent.jobs()[-5:]),
        *(command(agent, "explain", folder + b"/" + name).stdout for name in NAMES[1:5]),
    ]
    for output in outputs:
        assert output
        text = output.decode()
        assert not {character for character in text if not character.isprintable()} - {"\n"}
    explained = json.loads(command(agent, "explain", "--json", folder + b"/" + NAMES[10]).stdout)
    assert base64.b64decode(explained["path_b64"]) == folder + b"/" + NAMES[10]
    assert explained["job"]["state"] == "done"


@pytest.mark.heavy
def test_explain_by_the_command(embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": 0.2, "exclude": ["*.log"]}])
    assert command(agent, "explain", str(outgoing / "a")).returncode == 3
    agent.start()
    (outgoing / "sub").mkdir()
    (outgoing / "sub/a").write_bytes(b"content")
    agent.wait_until(done(1), 30)
    words = f"{outgoing}/sub/a: taken\n  rule       no rule speaks against it\n  job        #1, done"
    # By its path, relative, by a way with dots and slashes, through a link that leads to the folder.
    (outgoing.parent / "link").symlink_to(outgoing)
    for path, cwd in (
        (f"{outgoing}/sub/a", None),
        ("a", outgoing / "sub"),
        ("sub/a", outgoing.parent / "link"),
        (f"{outgoing}//sub/../sub/./a", None),
        (f"//{outgoing}/sub/a", None),
        (f"{outgoing.parent}/link/sub/a", None),
    ):
        result = command(agent, "explain", path, cwd=cwd)
        assert result.stdout.decode().startswith(words), (path, result)
        assert result.returncode == 0
    waits = "waits for  the file to be there"
    for asked, answer in (
        (outgoing / "x.log", "x.log: not taken\n  rule       exclude pattern '*.log'\n  job        none\n"),
        (outgoing / "x", f"x: will be taken\n  rule       no rule speaks against it\n  {waits}\n"),
        (outgoing, "not taken\n  rule       the watched folder itself: it is not sent, the files in it are\n"),
        (outgoing / "sub", "not taken\n  rule       a directory: it is not sent itself, the files in it are\n"),
    ):
        result = command(agent, "explain", str(asked))
        assert answer in result.stdout.decode()
        assert result.returncode == 0


def test_explain_is_no_way_to_look_elsewhere(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, tmp_path: Path
) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing}])
    agent.start()
    secret = tmp_path / "secret"
    secret.write_bytes(b"content")
    (outgoing / "link").symlink_to(tmp_path)
    absent = tmp_path / "absent"

    def asked(path: Path | str) -> tuple[int, str]:
        code, answer = explain(agent, str(path))
        answer.pop("path_b64", None)
        return code, json.dumps(answer).replace("secret", "NAME").replace("absent", "NAME")

    assert asked(secret)[0] == 404
    for there, not_there in (
        (secret, absent),
        (f"{outgoing}/../secret", f"{outgoing}/../absent"),
        (f"{outgoing}/link/secret", f"{outgoing}/link/absent"),
        (f"{outgoing}/sub/../../secret", f"{outgoing}/sub/../../absent"),
    ):
        assert asked(there) == asked(not_there)
    for path in ("", "relative", "a\0b", f"{outgoing}/a\0b"):
        code, answer = explain(agent, path)
        assert (code, answer["code"]) == (400, "bad_request")
    deep = f"{outgoing}/{'d/' * 1500}file"
    code, answer = explain(agent, deep)
    assert (code, answer["taken"], answer["waits_for"]) == (200, True, "the file to be there")


@pytest.mark.heavy
def test_what_is_ignored_is_counted_beforehand_and_is_what_is_ignored(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    folder = {"path": outgoing, "settle_seconds": 0.2, "existing": "ignore", "exclude": ["*.log"], "min_size": 1}
    agent = agent_factory(embedded_server.url, [folder])

    def counted() -> str:
        lines = command(agent, "check-config").stdout.decode().splitlines()
        (line,) = [line for line in lines if "existing files" in line]
        return line.split(":")[1].strip()

    assert counted() == "0 lie there now"
    (outgoing / "sub").mkdir()
    for name in ("a", "sub/b", "c.log", ".d", "e.tmp"):
        (outgoing / name).write_bytes(b"content")
    (outgoing / "empty").touch()
    (outgoing / "link").symlink_to("a")
    assert counted() == "2 lie there now"
    (outgoing / "sub/b").unlink()
    assert counted() == "1 lies there now"
    probe = outgoing.parent / "probe"
    changed_ns = (outgoing / "a").stat().st_ctime_ns
    wait_for(lambda: probe.write_bytes(b"") == 0 and probe.stat().st_ctime_ns > changed_ns + 200_000_000, 15, "time")
    agent.start()
    agent.wait_until(lambda status: status["jobs"]["cancelled"] == 1, 30)
    (outgoing / "new").write_bytes(b"content")
    agent.wait_until(done(1), 30)
    agent.stop()
    agent.start()
    agent.wait_until(lambda status: status["folders"][0]["last_scan_at"], 30)
    assert [job["state"] for job in agent.jobs()] == ["done", "cancelled"]
    outgoing.rename(outgoing.parent / "elsewhere")
    assert counted() == "the folder can't be read now (No such file or directory)"
