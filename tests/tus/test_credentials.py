"""Whom headers reach, where uploads may lie, and what never shows in a message."""

import itertools
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tusd_agent.tus import (
    AuthRequired,
    BytesSource,
    ProtocolViolation,
    TUSClient,
    TUSUploadError,
    redact,
)
from tusd_agent.tus.locations import resolve

from .conftest import quick
from .fault_server import Fault, FaultServer

SOURCE = BytesSource(bytes(100_000))
SECRET = "Bearer s3cret"


@pytest.fixture
def elsewhere() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def test_headers_reach_the_endpoint(server: FaultServer) -> None:
    with quick(server.endpoint, headers={"Authorization": SECRET, "X-Site": b"lab-7"}) as client:
        client.send(SOURCE, request_headers={"X-Job": lambda: "5\n"})
    for request in server.requests:
        assert request.headers["authorization"] == SECRET
        assert request.headers["x-site"] == "lab-7"
        assert request.headers["x-job"] == "5"


def test_protocol_headers_can_not_be_overridden(server: FaultServer) -> None:
    with quick(server.endpoint, headers={"tus-resumable": "0.1", "upload-offset": "7"}) as client:
        client.send(SOURCE)
    assert server.methods() == "POST PATCH"


def test_callables_are_asked_for_each_request(server: FaultServer) -> None:
    counter = itertools.count()
    with quick(server.endpoint, headers={"X-Count": lambda: str(next(counter))}) as client:
        client.send(SOURCE, chunk_size=50_000)
    assert [request.headers["x-count"] for request in server.requests] == ["0", "1", "2"]


def test_an_expired_token_is_fetched_anew_once(server: FaultServer) -> None:
    tokens = iter(["old", "new", "new"])
    server.check_token = "new"
    with quick(server.endpoint, headers={"Authorization": lambda: next(tokens)}) as client:
        client.send(SOURCE)
    assert server.methods() == "POST POST PATCH"


def test_a_401_in_the_body_sends_the_body_again(server: FaultServer) -> None:
    server.fail("PATCH", Fault(status=401, read=10))
    with quick(server.endpoint, headers={"Authorization": lambda: "x"}) as client:
        client.send(SOURCE)
    assert server.methods() == "POST PATCH PATCH"
    assert len(server.only().data) == SOURCE.size


@pytest.mark.parametrize("session", [False, True])
def test_a_401_and_then_a_closed_connection(server: FaultServer, session: bool) -> None:
    """Whether the second body reached the server is not known: it is asked."""
    server.fail("PATCH", Fault(status=401), Fault(drop=True, read=0))
    with quick(server.endpoint, headers={"Authorization": lambda: "x"}) as client:
        if session:
            assert client.session.adapters
        client.send(SOURCE)
    assert server.methods() == "POST PATCH PATCH HEAD PATCH"
    assert [request.connection for request in server.requests] == [1, 1, 1, 2, 2]
    assert len(server.only().data) == SOURCE.size


def test_credentials_that_stay_wrong(server: FaultServer) -> None:
    server.check_token = "right"
    with (
        quick(server.endpoint, headers={"Authorization": lambda: "wrong"}) as client,
        pytest.raises(AuthRequired) as caught,
    ):
        client.send(SOURCE)
    assert caught.value.status == 401
    assert server.methods() == "POST POST"


@pytest.mark.parametrize("own_session", [True, False])
@pytest.mark.parametrize("kept_as", ["auth", "header"])
def test_a_redirect_to_another_origin_gets_none_of_the_sessions_credentials(
    server: FaultServer, elsewhere: FaultServer, kept_as: str, own_session: bool
) -> None:
    server.fail("POST", Fault(status=307, headers={"Location": elsewhere.endpoint}))
    with quick(server.endpoint) as client:
        if not own_session:
            client.session = requests.Session()
        if kept_as == "auth":
            client.session.auth = ("user", "s3cret")
        else:
            client.session.headers["Authorization"] = SECRET
        client.send(SOURCE)
    assert "authorization" in server.requests[0].headers
    assert elsewhere.methods() == "POST PATCH"
    assert not any("authorization" in request.headers for request in elsewhere.requests)


def test_redirect_to_another_origin_gets_no_credentials(server: FaultServer, elsewhere: FaultServer) -> None:
    server.fail("POST", Fault(status=308, headers={"Location": elsewhere.endpoint}))
    with quick(server.endpoint, headers={"Authorization": SECRET, "X-Key": "k"}) as client:
        client.send(SOURCE, request_headers={"X-Job": "j"})
    assert server.methods() == "POST"
    assert elsewhere.methods() == "POST PATCH"
    for request in elsewhere.requests:
        assert not {"authorization", "x-key", "x-job"} & set(request.headers)


def test_location_elsewhere_is_refused_unless_allowed(server: FaultServer, elsewhere: FaultServer) -> None:
    url = elsewhere.add(SOURCE.size)
    server.location = url
    with (
        quick(server.endpoint, headers={"Authorization": SECRET}) as client,
        pytest.raises(ProtocolViolation, match="another origin"),
    ):
        client.send(SOURCE)
    assert elsewhere.requests == []
    with quick(server.endpoint, headers={"Authorization": SECRET}, allow_other_origin=True) as client:
        client.send(SOURCE)
    assert elsewhere.methods() == "PATCH"
    assert "authorization" not in elsewhere.requests[0].headers


@pytest.mark.parametrize("location", ["{path}", "{url}", "{name}", "./{name}", "//127.0.0.1:{port}{path}"])
def test_relative_locations(server: FaultServer, client: TUSClient, location: str) -> None:
    server.location = location
    client.send(SOURCE)
    assert len(server.only().data) == SOURCE.size


ENDPOINT = "https://h.example/files/"


@pytest.mark.parametrize(
    ("location", "request_url", "endpoint", "found"),
    [
        ("http://h.example/files/1", ENDPOINT, ENDPOINT, "https://h.example/files/1"),
        ("http://h.example:80/files/1", ENDPOINT, ENDPOINT, "https://h.example/files/1"),
        (
            "http://H.example/1?k=v",
            "https://h.example:8443/f",
            "https://h.example:8443/f",
            "https://h.example:8443/1?k=v",
        ),
        ("http://h.example:8443/1", "https://h.example:8443/f", "https://h.example:8443/f", "https://h.example:8443/1"),
        ("1", "https://h.example/new/", "http://h.example/old/", "https://h.example/new/1"),
        ("https://h.example/1", "http://h.example/f", "http://h.example/f", "https://h.example/1"),
        ("https://u:p@h.example/1#x", ENDPOINT, ENDPOINT, "https://h.example/1"),
    ],
)
def test_resolve(location: str, request_url: str, endpoint: str, found: str) -> None:
    assert resolve(location, request_url, endpoint, allow_other_origin=False) == found


@pytest.mark.parametrize(
    "location",
    [
        "http://other.example/1",
        "http://h.example:8080/1",
        "https://h.example:8443/1",
        "https://h.example.evil/1",
        "//evil/1",
        "file:///etc/passwd",
        "https://[broken",
        "https://h.example:99999/",
    ],
)
def test_resolve_refuses(location: str) -> None:
    with pytest.raises(ProtocolViolation):
        resolve(location, ENDPOINT, ENDPOINT, allow_other_origin=False)


def test_userinfo_becomes_basic_and_does_not_show(server: FaultServer) -> None:
    endpoint = server.endpoint.replace("//", "//me:p%40ss@")
    server.fail("PATCH", Fault(status=403))
    with quick(endpoint) as client:
        assert client.endpoint == server.endpoint
        with pytest.raises(AuthRequired) as caught:
            client.send(SOURCE)
    assert server.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert "p@ss" not in str(caught.value)


def test_userinfo_of_an_uploads_address_counts_there(server: FaultServer, client: TUSClient) -> None:
    url = client.create(SOURCE.size).replace("//", "//me:p%40ss@")
    server.requests.clear()
    with quick("http://127.0.0.1:1/files/") as other:
        other.send(SOURCE, upload_url=url)
        other.get_upload_info(url)
        other.delete_upload(url)
    assert server.methods() == "HEAD PATCH HEAD DELETE"
    assert {request.headers["authorization"] for request in server.requests} == {"Basic bWU6cEBzcw=="}


def test_netrc_is_read_once(server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password pass\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with quick(server.endpoint) as client:
        client.send(SOURCE)
        netrc.unlink()
        client.send(SOURCE)
    assert {request.headers.get("authorization") for request in server.requests} == {"Basic bWU6cGFzcw=="}


def test_proxy_from_the_environment(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.origin)
    monkeypatch.setenv("no_proxy", "")
    server.location = "{path}"
    with quick("http://files.invalid/files/") as client:
        client.send(SOURCE)
    assert [request.target.rpartition("/")[0] for request in server.requests] == ["http://files.invalid/files"] * 2
    assert len(server.only().data) == SOURCE.size


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "snow\u2603", "nul\0"])
def test_bad_header_values_are_named_not_shown(server: FaultServer, value: str) -> None:
    with (
        quick(server.endpoint, headers={"Authorization": f"{SECRET}{value}"}) as client,
        pytest.raises(TUSUploadError, match="Authorization") as caught,
    ):
        client.send(SOURCE)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert server.requests == []


def test_upload_urls_do_not_show_in_tracebacks(server: FaultServer) -> None:
    url = server.add(5).replace("upload-0", "0123456789abcdef0123456789abcdef?token=k")
    server.fail("HEAD", Fault(drop=True))
    with quick(server.endpoint, max_retries=0) as client, pytest.raises(TUSUploadError) as caught:
        client.get_upload_info(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert "456789abcdef" not in shown
    assert "token" not in shown
    assert "/files/0123…" in shown
    assert caught.value.url == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h/files/", "https://h/files/"),
        ("https://h/files/0123456789abcdef?x=1#y", "https://h/files/0123…"),
        ("https://h/short", "https://h/short"),
        ("https://[broken", "<unreadable URL>"),
        ("https://h/\x1b[0m", "https://h/\\x1b[0m"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_what_a_server_repeats_of_what_it_was_told_is_not_shown(server: FaultServer) -> None:
    text = f"Invalid key s3cret for {SECRET}; site lab-7; /files/upload-0"
    server.fail("POST", Fault(status=403, text=text), Fault(status=403, text="x" * 4090 + SECRET))
    with quick(server.endpoint, headers={"Authorization": SECRET, "X-Site": "lab-7"}) as client:
        for said in ("Invalid key ****** for ******; site lab-7; /files/upload-0", "x******"):
            with pytest.raises(AuthRequired) as caught:
                client.send(SOURCE)
            assert str(caught.value).endswith(said)
            assert (caught.value.server_text or "").endswith(said)
