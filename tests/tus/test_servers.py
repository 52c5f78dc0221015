"""The library against real servers: tuspyserver always, tusd and @tus/server with `--servers=all`."""

import dataclasses
import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.files import write
from tests.support.relay import Relay
from tusd_agent.tus import BytesSource, DeadlineExceeded, FileStore, UploadCancelled, UploadGone, UploadInterrupted

from .conftest import quick

pytestmark = pytest.mark.heavy  # with whole files, on whole servers

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


def test_the_same_call_goes_on_after_a_crash(
    any_server: Server, relay: Callable[[Server], Relay], file: Path, tmp_path: Path
) -> None:
    network = relay(any_server)
    store = FileStore(tmp_path / "store")
    with quick(network.url_for(any_server), store=store, max_retries=0, timeout=20.0) as client:
        network.cut_after(SIZE // 2)
        with pytest.raises(UploadInterrupted):
            client.upload(file)
    assert len(list(store.folder.glob("*.json"))) == 1
    with quick(network.url_for(any_server), store=store, retry_delay=0.2, min_retry_delay=0.1) as client:
        result = client.upload(file)
    assert result.offset_resumed_from > 0
    assert holds(any_server, DATA)
    assert list(store.folder.glob("*.json")) == []


def test_small_files_with_their_creation(any_server: Server, relay: Callable[[Server], Relay]) -> None:
    network = relay(any_server)
    with quick(network.url_for(any_server)) as client:
        for _ in range(2):
            result = client.upload_bytes(DATA[:5000], "small.bin")
            assert client.get_upload_info(result.url).complete
    assert holds(any_server, DATA[:5000])
    assert [request.method for request in network.requests_seen()] == ["OPTIONS", "POST", "HEAD", "POST", "HEAD"]


@pytest.mark.parametrize("streams", [2, 5])
def test_parallel_streams(any_server: Server, file: Path, streams: int) -> None:
    calls: list[tuple[int, int]] = []
    with quick(any_server.url) as client:
        result = client.upload(file, {"site": "lab-7"}, lambda *call: calls.append(call), concurrency=streams)
        concatenates = "concatenation" in client.server_info().extensions
        info = client.get_upload_info(result.url)
    assert (info.length, info.metadata["filename"]) == (SIZE, "données.bin")
    assert calls[-1] == (SIZE, SIZE)
    assert holds(any_server, DATA)
    assert concatenates is (any_server.name != "node")
    (whole,) = [upload for upload in any_server.stored() if not upload.partial]
    assert whole.metadata["site"] == b"lab-7"


def test_parallel_streams_cancelled_then_resumed(
    any_server: Server, relay: Callable[[Server], Relay], file: Path, tmp_path: Path
) -> None:
    network = relay(any_server)
    network.bytes_per_second = 4_000_000
    cancel = threading.Event()
    store = FileStore(tmp_path / "store")
    with quick(network.url_for(any_server), store=store, retry_delay=0.2, min_retry_delay=0.1) as client:
        with pytest.raises(UploadCancelled):
            client.upload(
                file, None, lambda now, total: cancel.set() if now > SIZE // 3 else None, cancel=cancel, concurrency=3
            )
        network.bytes_per_second = None
        result = client.upload(file, concurrency=3)
    assert result.offset_resumed_from > 0
    assert holds(any_server, DATA)


def test_a_stream_of_unknown_length(any_server: Server) -> None:
    class Pipe:
        def __init__(self) -> None:
            self._inner = io.BytesIO(DATA)

        def read(self, size: int, /) -> bytes:
            return self._inner.read(min(size, 77_777))

    with quick(any_server.url) as client:
        result = client.upload(Pipe(), NAMES, chunk_size=1_000_000)
        assert result.size == SIZE
        assert client.get_upload_info(result.url).complete
    assert holds(any_server, DATA)


def test_through_post(any_server: Server) -> None:
    if any_server.name != "tusd":
        pytest.skip("has no X-HTTP-Method-Override")
    with quick(any_server.url, method_override=True) as client:
        result = client.upload_bytes(DATA, "x", chunk_size=1_000_000)
        assert holds(any_server, DATA)
        client.delete_upload(result.url)
    assert not holds(any_server, DATA)


def test_checksums_where_there_are_any(any_server: Server) -> None:
    with quick(any_server.url, checksum="auto") as client:
        client.upload_bytes(DATA, "x")
    assert holds(any_server, DATA)


def test_an_upload_that_expired_is_begun_anew(
    server_factory: Callable[..., Server], file: Path, tmp_path: Path
) -> None:
    server = server_factory("tuspyserver")
    store = FileStore(tmp_path / "store")
    with quick(server.url, store=store) as client:
        with pytest.raises(ValueError, match="stop"):
            client.upload(file, progress_callback=stop)
        (path,) = store.folder.glob("*.json")
        entry = store.get(path.stem)
        assert entry is not None
        assert entry.expires_at is not None
        assert entry.expires_at > time.time()
        info = client.get_upload_info(entry.url)
        assert info.expires is None or info.expires.timestamp() > time.time()
        store.put(path.stem, dataclasses.replace(entry, expires_at=time.time() - 1))
        result = client.upload(file)
    assert result.url != entry.url
    assert holds(server, DATA)


def stop(now: int, total: int) -> None:
    raise ValueError("stop")


@pytest.mark.parametrize("size", [0, 1, 255 * 1024, 256 * 1024 + 1])
def test_sizes_at_the_edges(any_server: Server, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(DATA[:size])
    with quick(any_server.url) as client:
        for options in ({}, {"chunk_size": 100_000}, {"concurrency": 4}):
            result = client.upload(tmp_path / "f", **options)  # type: ignore[arg-type]  # of one kind each
            info = client.get_upload_info(result.url)
            assert (info.offset, info.length, info.complete) == (size, size, True)
    whole = [upload for upload in any_server.stored() if not upload.partial]
    assert [upload.path.read_bytes() for upload in whole] == [DATA[:size]] * 3


def test_a_deadline_then_resumed(any_server: Server, relay: Callable[[Server], Relay], file: Path) -> None:
    network = relay(any_server)
    network.bytes_per_second = 2_000_000
    with quick(network.url_for(any_server), retry_delay=0.2, min_retry_delay=0.1, timeout=20.0) as client:
        began_at = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            client.upload(file, deadline=0.7)
        assert time.monotonic() - began_at < 1.7
        network.bytes_per_second = None
        assert caught.value.url is not None
        result = client.resume_upload(caught.value.url, file)
    assert result.url == caught.value.url
    assert holds(any_server, DATA)


@pytest.mark.parametrize("streams", [1, 3])
def test_a_gibibyte(any_server: Server, relay: Callable[[Server], Relay], tmp_path: Path, streams: int) -> None:
    """Cut and cancelled on its way, gone on with by a store, whole at the end."""
    digest = write(tmp_path / "big", 1 << 30)
    network = relay(any_server)
    network.cut_after(200 << 20)
    cancel = threading.Event()
    store = FileStore(tmp_path / "store")
    with quick(network.url_for(any_server), store=store, retry_delay=0.2, min_retry_delay=0.3, timeout=60.0) as client:
        with pytest.raises(UploadCancelled):
            client.upload(
                tmp_path / "big",
                progress_callback=lambda now, total: cancel.set() if now > total // 2 else None,
                cancel=cancel,
                concurrency=streams,
            )
        result = client.upload(tmp_path / "big", concurrency=streams)
    assert result.offset_resumed_from > 100 << 20
    assert [upload.sha256() for upload in any_server.stored() if not upload.partial] == [digest]
