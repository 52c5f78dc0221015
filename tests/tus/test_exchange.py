"""Requests that go around requests' machinery are the same requests, and their answers are understood alike."""

from typing import Any

import pytest
import requests

from tusd_agent.tus import BytesSource, TUSClient, TUSUploadError, UploadRefused
from tusd_agent.tus.exchange import _plain

from .conftest import quick
from .fault_server import Fault, FaultServer

SOURCE = BytesSource(bytes(100_000))
# New for each request or each upload.
OWN = {"x-request-id", "idempotency-key"}


def sent_by(client: TUSClient, server: FaultServer) -> list[tuple[str, dict[str, str]]]:
    server.requests.clear()
    server.uploads.clear()
    url = client.send(SOURCE, metadata={"filename": "ü"}, chunk_size=60_000).url
    client.get_upload_info(url)
    client.server_info()
    client.delete_upload(url)
    return [
        (request.method, {name: value for name, value in request.headers.items() if name not in OWN})
        for request in server.requests
    ]


def test_the_direct_way_sends_what_requests_would(server: FaultServer) -> None:
    def nothing(response: requests.Response, *rest: Any, **options: Any) -> None: ...

    with (
        quick(server.endpoint, headers={"X-Site": "lab-7"}) as direct,
        quick(server.endpoint, headers={"X-Site": "lab-7"}) as hooked,
    ):
        direct.session.headers["X-Ours"] = "é".encode("latin-1")
        hooked.session.headers["X-Ours"] = "é".encode("latin-1")
        hooked.session.hooks["response"].append(nothing)
        assert sent_by(direct, server) == sent_by(hooked, server)
    assert [request.method for request in server.requests] == ["POST", "PATCH", "PATCH", "HEAD", "OPTIONS", "DELETE"]


def test_hooks_of_the_session_are_called(server: FaultServer, client: TUSClient) -> None:
    seen: list[int] = []
    client.session.hooks["response"].append(lambda response, *rest, **options: seen.append(response.status_code))
    client.send(SOURCE)
    assert seen == [201, 204]


def test_auth_of_the_session_is_applied(server: FaultServer, client: TUSClient) -> None:
    client.session.auth = ("me", "pass")
    client.send(SOURCE)
    assert {request.headers["authorization"] for request in server.requests} == {"Basic bWU6cGFzcw=="}


def test_cookies_come_back(server: FaultServer, client: TUSClient) -> None:
    """Load balancers send a client to the same server by a cookie."""
    server.fail("POST", Fault(headers={"Set-Cookie": "node=7; Path=/"}))
    client.send(SOURCE)
    assert [request.headers.get("cookie") for request in server.requests] == [None, "node=7"]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsad\r\n6\r\n story\r\n0\r\n\r\n",
        b"HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\nsad story",
        b"HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\nsad story, and what was not announced",
        b"HTTP/1.1 400 No\r\nConnection: close\r\n\r\nsad story",
        b"HTTP/1.1 400\r\nConnection: close\r\n\r\nsad story",
        b"HTTP/1.0 400 No\r\n\r\nsad story",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\nsad story",
        b"HTTP/1.1 400 No\r\nX-Folded: a\r\n b\r\nContent-Length: 9\r\n\r\nsad story",
    ],
)
def test_answers_of_every_shape(server: FaultServer, client: TUSClient, raw: bytes) -> None:
    server.fail("PATCH", Fault(raw=raw))
    with pytest.raises(UploadRefused) as caught:
        client.send(SOURCE, chunk_size=60_000)
    assert (caught.value.status, caught.value.server_text) == (400, "sad story")


@pytest.mark.parametrize("interim", [(), (103,)])
def test_a_connection_is_kept_after_answers_of_any_shape(
    server: FaultServer, client: TUSClient, interim: tuple[int, ...]
) -> None:
    server.fail("PATCH", Fault(interim=interim))
    client.send(SOURCE, chunk_size=60_000)
    assert {request.connection for request in server.requests} == {1}


def test_a_connection_the_server_will_close_is_not_used_again(server: FaultServer, client: TUSClient) -> None:
    server.fail("PATCH", Fault(headers={"Connection": "close"}))
    client.send(SOURCE, chunk_size=60_000)
    assert [request.connection for request in server.requests] == [1, 1, 2]


@pytest.mark.parametrize("path", ["/files/a b", "/files/a%2Bb", "/files/ü", "/files/../files/x"])
def test_urls_that_need_care(server: FaultServer, client: TUSClient, path: str) -> None:
    with pytest.raises(TUSUploadError, match="404"):
        client.get_upload_info(f"{server.origin}{path}")
    wanted = {"a b": "a%20b", "ü": "%C3%BC", "../files/x": "x"}
    name = path.removeprefix("/files/")
    assert server.requests[0].path == f"/files/{wanted.get(name, name)}"


@pytest.mark.parametrize("name", ["X Y", "X:", "", "X\r\nY", "Ü"])
def test_bad_header_names(server: FaultServer, name: str) -> None:
    with quick(server.endpoint, headers={name: "v"}) as client, pytest.raises(TUSUploadError, match="name of a header"):
        client.send(SOURCE)
    assert server.requests == []


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 204 No Content\r\nA: b\r\n",
        b"HTTP/1.1 204 No Content\r\nA : b\r\n\r\n",
        b"HTTP/1.1 204 No Content\nA: b\n\n",
        b"HTTP/1.1 2044 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 204 No Content\r\n" + b"A: b\r\n" * 65 + b"\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"GARBAGE\r\n\r\n",
    ],
)
def test_what_is_doubtful_is_left_to_http_client(begun: bytes) -> None:
    assert _plain(begun, "PATCH") is None


def test_plain_answers() -> None:
    reply = _plain(b"HTTP/1.1 204 No Content\r\nUpload-Offset:  7 \r\nVary: a\r\nvary: b\r\nX:\r\n\r\n", "PATCH")
    assert reply is not None
    assert (reply.status, dict(reply.headers)) == (204, {"upload-offset": "7", "vary": "a, b", "x": ""})
    assert (reply.headers["Upload-Offset"], reply.headers.get("Missing"), "VARY" in reply.headers) == ("7", None, True)


def test_a_host_given_by_the_caller_is_sent_once(server: FaultServer) -> None:
    with quick(server.endpoint, headers={"Host": "files.example"}) as client:
        client.send(SOURCE)
    assert {request.headers["host"] for request in server.requests} == {"files.example"}
