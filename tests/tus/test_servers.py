"""The library against real servers: tuspyserver always, tusd and @tus/server with `--servers=all`."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.relay import Relay
from tusd_agent.tus import BytesSource, UploadCancelled, UploadGone, UploadInterrupted

from .conftest import quick

SIZE = 3_000_000
DATA = os.urandom(SIZE)
NAMES = {"filename": "data", "filetype": "application/octet-stream"}  # without them tuspyserver answers no HEAD


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "données.bin"
    path.write_bytes(DATA)
    return path


def holds(server: Server, data: bytes) -> bool:
    return any(upload.complete and upload.path.read_bytes() == data for upload in server.stored())


def test_from_creation_to_deletion(any_server: Server, file: Path) -> None:
    with quick(any_server.url) as client:
        assert "termination" in client.server_info().extensions
        calls: list[tuple[int, int]] = []
        result = client.upload(file, {"site": "lab-7"}, lambda *call: calls.append(call), chunk_size=1_000_000)
        assert holds(any_server, DATA)
        assert any(upload.metadata["filename"] == "données.bin".encode() for upload in any_server.stored())
        assert calls[-1] == (SIZE, SIZE)
        info = client.get_upload_info(result.url)
        assert (info.offset, info.length, info.complete) == (SIZE, SIZE, True)
        assert info.metadata["filename"] == "données.bin"

        empty = client.upload_bytes(b"", "empty")
        assert client.get_upload_info(empty.url).complete

        unfinished = client.create(SIZE, NAMES)
        client.delete_upload(unfinished)
        client.delete_upload(unfinished)
        with pytest.raises(UploadGone):
            client.resume_upload(unfinished, file)


def test_through_a_bad_network(any_server: Server, relay: Callable[[Server], Relay]) -> None:
    network = relay(any_server)
    with quick(network.url_for(any_server), retry_delay=0.2, min_retry_delay=0.1, timeout=20.0) as client:
        network.cut_after(SIZE // 2)
        result = client.send(BytesSource(DATA), metadata=NAMES)
        assert result.attempts >= 2
        assert result.bytes_sent < 2 * SIZE
        assert holds(any_server, DATA)

        network.drop_answers = {"PATCH"}
        client.send(BytesSource(DATA[:1000]), metadata=NAMES)
        network.drop_answers = False
        assert holds(any_server, DATA[:1000])
        methods = [request.method for request in network.requests_seen()]
        assert methods[-2:] == ["PATCH", "HEAD"]


def test_cancelled_then_resumed_elsewhere(any_server: Server, relay: Callable[[Server], Relay], file: Path) -> None:
    network = relay(any_server)
    network.bytes_per_second = 4_000_000
    cancel = threading.Event()
    with quick(network.url_for(any_server)) as client, pytest.raises(UploadCancelled) as caught:
        client.upload(file, None, lambda now, total: cancel.set() if now > SIZE // 3 else None, cancel=cancel)
    url = caught.value.url
    assert url is not None
    network.bytes_per_second = None
    with quick(network.url_for(any_server), retry_delay=0.2, min_retry_delay=0.1) as client:
        client.resume_upload(url, file)
    assert holds(any_server, DATA)


def test_a_server_that_is_away_for_a_while(any_server: Server, relay: Callable[[Server], Relay]) -> None:
    network = relay(any_server)
    network.refuse = True
    with quick(network.url_for(any_server), max_retries=1) as client:
        with pytest.raises(UploadInterrupted, match="refused"):
            client.send(BytesSource(DATA), metadata=NAMES)
        network.refuse = False
        client.send(BytesSource(DATA), metadata=NAMES)
    assert holds(any_server, DATA)
