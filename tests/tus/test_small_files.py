"""Creation with upload: one request where the server takes it, the ordinary two wherever anything is odd."""

import pytest

from tusd_agent.tus import BytesSource, FinishedWithServerError, TUSClient, UploadInterrupted, UploadRefused

from .conftest import quick
from .fault_server import Fault, FaultServer

DATA = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def offered(server: FaultServer) -> None:
    server.extensions = "creation,creation-with-upload,termination"


def test_one_request(server: FaultServer, client: TUSClient) -> None:
    calls: list[tuple[int, int]] = []
    result = client.upload_bytes(DATA, "a.bin", progress_callback=lambda *call: calls.append(call))
    client.upload_bytes(DATA, "b.bin")
    assert server.methods() == "OPTIONS POST POST"
    (first, second) = server.uploads.values()
    assert bytes(first.data) == bytes(second.data) == DATA
    assert server.requests[1].headers["content-type"] == "application/offset+octet-stream"
    assert "upload-offset" not in server.requests[1].headers
    assert (result.bytes_sent, result.size, calls[-1]) == (len(DATA), len(DATA), (len(DATA), len(DATA)))


@pytest.mark.parametrize("size", [0, 64 * 1024 + 1])
def test_neither_empty_nor_large(server: FaultServer, client: TUSClient, size: int) -> None:
    client.upload_bytes(bytes(size), "x")
    assert "OPTIONS" not in server.methods()


def test_not_unless_offered_asked_for_and_of_use(server: FaultServer) -> None:
    with quick(server.endpoint, small_file_bytes=0) as client:
        client.upload_bytes(DATA, "x")
    with quick(server.endpoint) as client:
        client.send(BytesSource(DATA))  # what the agent uses tells the URL before the first byte
        client.upload_bytes(DATA, "x", on_created=lambda url: None)
        client.upload_bytes(DATA, "x", chunk_size=1 << 13)
    server.extensions = "creation"
    with quick(server.endpoint) as client:
        client.upload_bytes(DATA, "x")
    assert all(request.length == 0 for request in server.of("POST"))
    assert all(bytes(stored.data) == DATA for stored in server.uploads.values())


def test_the_servers_offset_is_obeyed(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(keep=1000))
    client.send(BytesSource(DATA), small_file_bytes=1 << 20)
    assert server.methods() == "OPTIONS POST PATCH"
    assert server.of("PATCH")[0].headers["upload-offset"] == "1000"
    assert bytes(server.only().data) == DATA


def test_a_server_that_ignores_the_body_is_asked_once(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(keep=0, headers={"Upload-Offset": None}))
    client.upload_bytes(DATA, "x")
    client.upload_bytes(DATA, "x")
    assert server.methods() == "OPTIONS POST PATCH POST PATCH"
    assert [request.length for request in server.of("POST")] == [len(DATA), 0]


def test_a_lost_answer_is_repeated_with_the_same_key(server: FaultServer, client: TUSClient) -> None:
    """The server may have two copies then; one that knows the key has one."""
    server.fail("POST", Fault(drop=True))
    client.upload_bytes(DATA, "x")
    first, second = server.of("POST")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert [bytes(stored.data) for stored in server.uploads.values()] == [DATA, DATA]


def test_what_is_answered_goes_the_ordinary_way_next(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(status=500, text="hook"))
    server.fail("PATCH", Fault(status=500, text="hook failed", keep=len(DATA)))
    with pytest.raises(FinishedWithServerError, match="hook failed"):
        client.upload_bytes(DATA, "x")
    assert server.methods() == "OPTIONS POST POST PATCH HEAD"
    first, second = server.of("POST")
    assert (first.length, second.length) == (len(DATA), 0)
    assert second.headers["idempotency-key"] == first.headers["idempotency-key"] + "-empty"


@pytest.mark.parametrize("fault", [Fault(status=413, headers={"Tus-Resumable": None}), Fault(status=415)])
def test_a_body_that_is_not_wanted_there(server: FaultServer, client: TUSClient, fault: Fault) -> None:
    server.fail("POST", fault)
    client.upload_bytes(DATA, "x")
    assert server.methods() == "OPTIONS POST POST PATCH"
    assert bytes(list(server.uploads.values())[-1].data) == DATA


def test_refusals_and_lies(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(status=400, text="ERR_UPLOAD_REJECTED"))
    with pytest.raises(UploadRefused):
        client.upload_bytes(DATA, "x")
    server.fail("POST", Fault(headers={"Upload-Offset": "999999"}))
    with pytest.raises(Exception, match="claims to have"):
        client.upload_bytes(DATA, "x")
    server.fail("POST", *[Fault(drop=True)] * 9)
    with quick(server.endpoint, max_retries=1) as other, pytest.raises(UploadInterrupted):
        other.upload_bytes(DATA, "x")
