"""Tokens, headers, queries of URLs and whole upload URLs: searched for wherever the agent writes or answers."""

import json
import os
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.control.served import all_of, connected
from tests.support.agent import Agent
from tests.support.files import write
from tests.tus.fault_server import Fault, FaultServer

TOKEN = "geheim-token-4711"
ENVIRONMENT_TOKEN = "geheim-environment-4712"
HEADER = "geheim-header-4713"
REDIRECT = "geheim-redirect-4714"
QUERY = "geheim-query-4715"
CAPABILITY = "geheim-upload-4716"
PASSWORD = "geheim-password-4717"
BAD_TOKEN = "geheim-bad-4718"
LATE = "geheim-late-4719"
ALL = (TOKEN, ENVIRONMENT_TOKEN, HEADER, REDIRECT, QUERY, CAPABILITY, PASSWORD, BAD_TOKEN, LATE)
ECHO = f"no such user: Bearer {TOKEN}, X-Api-Key: {HEADER}"
NOSY = f"{ECHO} /files/{CAPABILITY}?sig={QUERY}"
MANY = 60


class Capable(FaultServer):
    """Its upload URLs are capabilities: who knows one may read or delete the upload."""

    def add(self, length: int | None, data: bytes = b"", metadata: str | None = None, concat: str | None = None) -> str:
        plain = super().add(length, data, metadata, concat).removeprefix(self.origin)
        stored = self.uploads.pop(plain)
        path = f"/files/{CAPABILITY}?sig={QUERY}&n={plain.rpartition('-')[2]}"
        self.uploads[path] = stored
        return f"{self.origin}{path}"


class Servers:
    """One server for each way to go wrong; their URLs by the name of the endpoint."""

    def __init__(self, stack: ExitStack) -> None:
        self.urls: dict[str, str] = {}
        self._stack = stack
        # Its work is done before it is asked again.
        self.fine = self.add("fine", Capable())
        self.add("unauthorized", FaultServer()).fail("POST", *[Fault(status=401, text=ECHO)] * MANY)
        self.add("forbidden", FaultServer()).fail("POST", *[Fault(status=403, text=ECHO)] * MANY)
        self.add("broken", FaultServer()).fail(
            "POST", *[Fault(status=500, text=ECHO.replace(TOKEN, ENVIRONMENT_TOKEN))] * MANY
        )
        self.add("refusing", Capable()).fail("PATCH", *[Fault(status=422, text=NOSY)] * MANY)
        self.add("cutting", Capable()).fail("PATCH", *[Fault(drop=True, read=10, keep=0)] * MANY)
        self.add("forgetting", Capable()).fail("PATCH", *[Fault(status=404, forget=True, text=ECHO)] * MANY)
        self.add("finishing", Capable()).fail("PATCH", *[Fault(status=500, keep=10**6, text=ECHO)] * MANY)
        lying = self.add("lying", Capable())
        false = [Fault(headers={"Upload-Offset": "seven"})] * MANY
        lying.fail("PATCH", *false)
        lying.fail("HEAD", *false)
        self.moved("redirecting", f"/elsewhere/{CAPABILITY}?token={REDIRECT}")
        self.moved("permanently", f"http://user:{PASSWORD}@127.0.0.1:1/{CAPABILITY}?token={REDIRECT}", status=308)
        self.moved("other_origin", f"http://user:{PASSWORD}@127.0.0.1:1/files/{CAPABILITY}?sig={QUERY}", status=201)
        self.moved("nonsense", f"http://[{PASSWORD}?sig={QUERY}", status=201)
        garbage = f"HTTP/1.1 {TOKEN}\r\n{HEADER}\r\n\r\n".encode()
        self.add("garbage", FaultServer()).fail("POST", *[Fault(raw=garbage)] * MANY)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        self.add("untrusted", FaultServer(context))
        self.urls["bad_token"] = self.fine.endpoint
        self.urls["no_token"] = self.fine.endpoint

    def add(self, name: str, server: FaultServer) -> FaultServer:
        self._stack.enter_context(server)
        self.urls[name] = server.endpoint
        return server

    def moved(self, name: str, location: str, status: int = 307) -> None:
        self.add(name, FaultServer()).fail("POST", *[Fault(status=status, headers={"Location": location})] * MANY)


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


def credentials(name: str) -> dict[str, object]:
    if name in ("bad_token", "no_token"):
        return {"bearer_token_file": name}
    token = {"bearer_token_env": "HOUSE_TOKEN"} if name == "broken" else {"bearer_token_file": "token"}
    return {"headers": {"X-Api-Key": HEADER}, **token}


def where_found(name: str, content: str | bytes, wanted: tuple[str, ...] = ALL) -> list[str]:
    data = content.encode() if isinstance(content, str) else content
    return [
        f"{secret} in {name}: …{data[max(0, at - 200) : at + 60].decode(errors='replace')}"
        for secret in wanted
        if (at := data.find(secret.encode())) >= 0
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_nowhere(agent_factory: Callable[..., Agent], servers: Servers, tmp_path: Path, form: str) -> None:
    folders = {name: tmp_path / "out" / name for name in servers.urls}
    environment_seen = tmp_path / "environment"
    program = tmp_path / "after"
    program.write_text(f'#!/bin/sh\nenv > "{environment_seen}"\n')
    program.chmod(0o700)
    agent = agent_factory(
        servers.urls.pop("fine"),
        [
            {"path": path, "settle_seconds": 0.1, "endpoint": "default" if name == "fine" else name}
            | ({"after_upload": "command", "command": [str(program)]} if name == "fine" else {})
            for name, path in folders.items()
        ],
        endpoint=credentials("fine"),
        endpoints={name: {"url": url, **credentials(name)} for name, url in servers.urls.items()},
        environment={"HOUSE_TOKEN": ENVIRONMENT_TOKEN},
        log_level="debug",
        log_format=form,
    )
    (agent.base / "token").write_text(f"{TOKEN}\n")
    for name in ("bad_token", "no_token"):
        (agent.base / name).write_text(f"{LATE}\n")
    agent.start()
    listening = connected(agent.socket, 60)
    listening.sendall(b"GET /v1/events HTTP/1.1\r\n\r\n")
    listener = ThreadPoolExecutor(1)
    heard = listener.submit(all_of, listening)  # whoever does not read is let go
    (agent.base / "bad_token").write_text(f"{BAD_TOKEN} {BAD_TOKEN}\n{BAD_TOKEN}")
    (agent.base / "no_token").unlink()
    for path in folders.values():
        for number in range(4):
            write(path / f"{number}.dat", 2000 + number, number)

    def all_met(status: dict[str, Any]) -> bool:
        met = {job["endpoint"] for job in agent.jobs() if job["last_error"]}
        return status["jobs"]["done"] == 4 and met >= servers.urls.keys()

    agent.wait_until(all_met, 60, "an error of each endpoint")
    found: list[str] = []
    answers = {
        path: json.dumps(agent.ask("GET", path)[1])
        for path in [
            "/v1/status",
            "/v1/jobs",
            *(f"/v1/jobs/{job['id']}" for job in agent.jobs()),
            *(f"/v1/explain?path={path}/0.dat" for path in folders.values()),
            "/v1/errors",
            "/metrics",
        ]
    }
    commands = (
        "status", "status --json", "jobs", "jobs --json", "show 1", "show 1 --json", "metrics", "check-config",
        "verify --server", "errors", "errors --json", "doctor", "doctor --json", f"explain {folders['broken']}/0.dat",
    )  # fmt: skip
    ended = {command: agent.command(*command.split()) for command in commands}
    printed = {command: each.stdout + each.stderr for command, each in ended.items()}
    argv = Path(f"/proc/{agent.pid}/cmdline").read_bytes()
    agent.stop()
    with listening, listener:
        events = heard.result(60)
    assert b"out of reach" in events or b"was answered 401" in events
    found += where_found("events", events)
    for name, text in {**answers, **printed}.items():
        found += where_found(name, text)
    found += where_found("argv", argv)
    found += where_found("the command's environment", environment_seen.read_text(), (TOKEN, ENVIRONMENT_TOKEN, HEADER))
    found += where_found("the log", agent.log_text())
    # Upload URLs have to be in the database, which is nobody else's to read.
    for file in agent.state_dir.rglob("*"):
        if file.is_file():
            found += where_found(file.name, file.read_bytes(), tuple(set(ALL) - {QUERY, CAPABILITY, PASSWORD}))
            assert not os.stat(file).st_mode & 0o077, file
    assert not found, "\n".join(found)
