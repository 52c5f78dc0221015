"""Over plain HTTP uploads go without requests and urllib3, and what needs these still gets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tusd_agent.tus import BytesSource, InvalidURL, TUSClient, UploadInterrupted
from tusd_agent.tus.environment import netrc_for, proxies_for

from .conftest import quick
from .fault_server import Fault, FaultServer

SOURCE = BytesSource(bytes(100_000))
PROGRAM = """
import json, sys
from tusd_agent.tus import TUSClient
with TUSClient(sys.argv[1]) as client:
    client.upload_bytes(bytes(100_000), "a.csv")
    client.upload_bytes(b"small", "b.csv")
print(json.dumps(list(sys.modules)))
"""
DEAR = {"dataclasses", "email", "http.client", "requests", "ssl", "tenacity", "urllib3"}


def loaded_by_an_upload(server: FaultServer, **environment: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.endpoint],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return DEAR & set(json.loads(done.stdout))


def test_an_upload_loads_little(server: FaultServer) -> None:
    assert loaded_by_an_upload(server) == set()


def test_what_the_environment_says_is_left_to_requests(server: FaultServer, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password pass\n")
    netrc.chmod(0o600)
    assert "requests" in loaded_by_an_upload(server, NETRC=str(netrc))
    assert {request.headers.get("authorization") for request in server.requests} == {"Basic bWU6cGFzcw=="}
    assert "requests" in loaded_by_an_upload(server, HTTP_PROXY="http://127.0.0.1:1", NO_PROXY="127.0.0.1")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"http_proxy": "http://p:1"},
        {"HTTP_PROXY": "http://p:1"},
        {"https_proxy": "http://p:1"},
        {"ALL_PROXY": "http://p:1"},
        {"http_proxy": "http://p:1", "no_proxy": "files.example"},
        {"http_proxy": "http://p:1", "NO_PROXY": "*"},
        {"http_proxy": ""},
        {"no_proxy": "files.example"},
    ],
    ids=str,
)
def test_proxies_are_those_of_requests(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    url = "http://files.example/files/"
    assert proxies_for(url) == requests.utils.get_environ_proxies(url)


@pytest.mark.parametrize("place", [None, ".netrc", "_netrc", "elsewhere"])
@pytest.mark.parametrize("named", [False, True])
def test_passwords_are_those_of_requests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str | None, named: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC")
    if place is not None:
        (tmp_path / place).write_text("machine files.example login me password pass\n")
        (tmp_path / place).chmod(0o600)
    if named:
        monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    found = netrc_for("http://files.example/files/")
    assert found == requests.utils.get_netrc_auth("http://files.example/files/")
    assert (found is not None) == (place == "elsewhere" if named else place in (".netrc", "_netrc"))


def test_with_and_without_a_session_the_requests_are_the_same(server: FaultServer) -> None:
    sent = []
    for asked_for in (False, True):
        with quick(server.endpoint, headers={"X-Site": "lab-7", "Accept": "text/plain"}) as client:
            if asked_for:
                assert isinstance(client.session, requests.Session)
            server.requests.clear()
            client.delete_upload(client.send(SOURCE, idempotency_key="k", chunk_size=60_000).url)
        for request in server.requests:
            sent.append((request.method, [field for field in request.headers.items() if field[0] != "x-request-id"]))
    assert sent[:4] == sent[4:]
    assert [method for method, _ in sent[:4]] == ["POST", "PATCH", "PATCH", "DELETE"]


def test_a_session_asked_for_in_the_middle_is_used_from_then_on(server: FaultServer, client: TUSClient) -> None:
    client.send(SOURCE)
    client.session.headers["X-Ours"] = "yes"
    client.send(SOURCE)
    assert [request.headers.get("x-ours") for request in server.requests] == [None, None, "yes", "yes"]
    assert client.session is client.session


def test_a_session_of_the_users_from_the_start(server: FaultServer, client: TUSClient) -> None:
    with requests.Session() as session:
        session.headers["User-Agent"] = "theirs"
        client.session = session
        client.send(SOURCE)
        assert client.session is session
    assert {request.headers["user-agent"] for request in server.requests} == {"theirs"}


@pytest.mark.parametrize("session", [False, True])
def test_fresh_connections_are_new_ones(server: FaultServer, client: TUSClient, session: bool) -> None:
    if session:
        assert client.session.adapters
    client.send(SOURCE)
    client.fresh_connections()
    client.send(SOURCE)
    client.close()
    client.send(SOURCE)
    assert [request.connection for request in server.requests] == [1, 1, 2, 2, 3, 3]


FORKING = """
import os, sys
from tusd_agent.tus import TUSClient
client = TUSClient(sys.argv[1], small_file_bytes=0)
if sys.argv[2] == "session":
    assert client.session.adapters
client.upload_bytes(b"parent", "x")
for name in (b"first child", b"second child"):
    child = os.fork()
    if not child:
        client.upload_bytes(name, "x")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
client.upload_bytes(b"parent", "x")
client.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("session", ["session", "none"])
def test_a_child_process_leaves_the_parents_connections_alone(server: FaultServer, session: str) -> None:
    """What two processes write to one connection would mix: bodies and all."""
    arguments = [sys.executable, "-W", "error", "-c", FORKING, server.endpoint, session]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [request.connection for request in server.requests] == [1, 1, 2, 2, 3, 3, 1, 1]
    assert {bytes(stored.data) for stored in server.uploads.values()} == {b"parent", b"first child", b"second child"}


def test_a_connection_in_use_while_the_others_are_dropped_is_not_kept(server: FaultServer, client: TUSClient) -> None:
    client.send(SOURCE, on_created=lambda url: client.fresh_connections())
    client.send(SOURCE, on_progress=lambda sent, acknowledged: client.fresh_connections())
    client.send(SOURCE)
    assert len(server.uploads) == 3
    assert [request.connection for request in server.requests] == [1, 2, 2, 2, 3, 3]


def test_a_redirect_keeps_each_origin_apart(server: FaultServer, client: TUSClient) -> None:
    with FaultServer() as elsewhere:
        server.fail("POST", Fault(status=307, headers={"Location": elsewhere.endpoint}))
        client.send(SOURCE)
        assert (server.methods(), elsewhere.methods()) == ("POST", "POST PATCH")
        assert {request.connection for request in elsewhere.requests} == {1}


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("host", ["a..b", ".files.invalid", "x" * 64 + ".invalid", "é" * 64 + ".invalid"])
def test_names_that_no_host_has(host: str, session: bool) -> None:
    with quick(f"http://{host}/files/") as client:
        if session:
            assert client.session.adapters
        with pytest.raises(InvalidURL, match="check the host's name"):
            client.send(SOURCE)


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("host", ["files.invalid.", "é.invalid", "127.0.0.1:1"])
def test_who_can_not_be_reached_is_told_the_same_way(host: str, session: bool) -> None:
    with quick(f"http://{host}/files/", max_retries=0) as client:
        if session:
            assert client.session.adapters
        with pytest.raises(UploadInterrupted, match=r"no answer \(.*\)\. Is the server running.*nothing was created"):
            client.send(SOURCE)


@pytest.mark.parametrize("loaded", [False, True])
def test_without_file_descriptors_the_failure_is_still_told(loaded: bool) -> None:
    """What is loaded only when something fails can't be, then: it must not hide what failed."""
    program = f"""
import os, resource, sys
from tusd_agent.tus import BytesSource, TUSClient, UploadInterrupted
client = TUSClient("http://127.0.0.1:1/files/", retry_delay=0.0, min_retry_delay=0.0)
if {loaded}:
    import requests, tenacity
    client.session
taken = os.open(os.devnull, os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, taken + 1))
try:
    client.send(BytesSource(b"small"))
except UploadInterrupted as error:
    print("requests" in sys.modules, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    said = f"{loaded} POST http://127.0.0.1:1/files/: no answer (Too many open files). "
    assert done.stdout.startswith(said), done.stdout
