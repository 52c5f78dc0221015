"""Upload-Checksum: only where it is checked, and never more than three times again."""

import base64
import hashlib
import os

import pytest

from tusd_agent.tus import BytesSource, ProtocolViolation, TUSClient, UploadRefused

from .conftest import quick
from .fault_server import Fault, FaultServer

DATA = os.urandom(700_000)


@pytest.fixture(autouse=True)
def offered(server: FaultServer) -> None:
    server.extensions = "creation,checksum,creation-with-upload"


@pytest.mark.parametrize(("wanted", "used"), [("sha1", "sha1"), ("sha256", "sha256"), ("auto", "sha256")])
def test_each_chunk_has_one(server: FaultServer, wanted: str, used: str) -> None:
    with quick(server.endpoint, checksum=wanted, chunk_size=300_000) as client:
        client.upload_bytes(DATA, "x")
    sums = [request.headers["upload-checksum"] for request in server.of("PATCH")]
    digests = [hashlib.new(used, DATA[start : start + 300_000]).digest() for start in (0, 300_000, 600_000)]
    assert sums == [f"{used} {base64.b64encode(digest).decode()}" for digest in digests]
    assert bytes(server.only().data) == DATA


def test_it_goes_with_the_resumed_part_too(server: FaultServer, client: TUSClient) -> None:
    server.fail("PATCH", Fault(), Fault(read=1000, keep=0, drop=True))
    client.send(BytesSource(DATA), checksum="sha1", chunk_size=400_000)
    digest = base64.b64encode(hashlib.sha1(DATA[400_000:]).digest()).decode()
    assert server.methods() == "OPTIONS POST PATCH PATCH HEAD PATCH"
    assert server.of("PATCH")[2].headers["upload-checksum"] == f"sha1 {digest}"
    assert bytes(server.only().data) == DATA


def test_what_did_not_match_is_sent_again(server: FaultServer, client: TUSClient) -> None:
    server.fail("PATCH", *[Fault(status=460)] * 3)
    client.send(BytesSource(DATA), checksum="sha1")
    assert len(server.of("PATCH")) == 4
    assert bytes(server.only().data) == DATA


def test_but_not_without_end(server: FaultServer) -> None:
    server.fail("PATCH", *[Fault(status=460)] * 9)
    with quick(server.endpoint, max_retries=8) as client, pytest.raises(ProtocolViolation, match="4 times"):
        client.send(BytesSource(DATA), checksum="sha1")
    assert len(server.of("PATCH")) == 4


def test_where_it_is_not_offered(server: FaultServer, client: TUSClient) -> None:
    server.extensions = "creation"
    with pytest.raises(UploadRefused, match="offers: none"):
        client.send(BytesSource(DATA), checksum="sha1")
    client.send(BytesSource(DATA), checksum="auto")
    assert "upload-checksum" not in server.of("PATCH")[0].headers
    assert server.methods() == "OPTIONS POST PATCH"


def test_unknown_names_are_refused_at_once(server: FaultServer, client: TUSClient) -> None:
    with pytest.raises(ValueError, match="sha257"):
        TUSClient(server.endpoint, checksum="sha257")
    with pytest.raises(ValueError, match="shake"):
        client.send(BytesSource(DATA), checksum="shake_128")
    assert server.requests == []
