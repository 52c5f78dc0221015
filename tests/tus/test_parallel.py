"""One file in several streams, where the server concatenates: parts, faults, stopping, going on."""

import os
import threading
import time
from pathlib import Path

import pytest

from tusd_agent.tus import (
    DeadlineExceeded,
    FileStore,
    NotATusServer,
    ProtocolViolation,
    SourceChanged,
    TUSClient,
    UploadCancelled,
    UploadInterrupted,
    UploadTooLarge,
)
from tusd_agent.tus.metadata import decode
from tusd_agent.tus.parallel import MIN_PART_BYTES, divide

from .conftest import quick
from .fault_server import Fault, FaultServer

DATA = os.urandom(3 * MIN_PART_BYTES + 17)


@pytest.fixture(autouse=True)
def concatenating(server: FaultServer) -> None:
    server.extensions = "creation,concatenation,creation-with-upload"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.csv"
    path.write_bytes(DATA)
    return path


def arrived(server: FaultServer) -> bool:
    (final,) = server.finals()
    return bytes(final.data) == DATA


def test_parts_are_put_together(server: FaultServer, client: TUSClient, file: Path) -> None:
    calls: list[tuple[int, int]] = []
    urls: list[str] = []
    result = client.upload(file, {"site": "x"}, lambda *call: calls.append(call), concurrency=3, on_created=urls.append)
    assert arrived(server)
    assert sorted(server.methods().split()) == ["HEAD", "OPTIONS", *["PATCH"] * 3, *["POST"] * 4]
    assert result.url == urls[0] == f"{server.origin}{list(server.uploads)[-1]}"
    assert (result.size, result.bytes_sent, result.attempts) == (len(DATA), len(DATA), 1)
    assert calls[-1] == (len(DATA), len(DATA))
    assert [now for now, _ in calls] == sorted(now for now, _ in calls)
    (final,) = server.finals()
    assert decode(final.metadata) == {"filename": "run.csv", "filetype": "text/csv", "site": "x"}
    concat = server.of("POST")[-1].headers
    assert concat["upload-concat"].startswith("final;/files/upload-")
    assert "upload-length" not in concat
    assert all("upload-metadata" not in request.headers for request in server.of("POST")[:-1])


@pytest.mark.parametrize(
    ("extensions", "size", "streams"),
    [("creation", len(DATA), 3), ("creation,concatenation", 1000, 3), ("creation,concatenation", len(DATA), 1)],
)
def test_one_stream_where_several_are_of_no_use(
    server: FaultServer, client: TUSClient, file: Path, extensions: str, size: int, streams: int
) -> None:
    server.extensions = extensions
    os.truncate(file, size)
    client.upload(file, concurrency=streams)
    assert len(server.of("POST")) == 1
    assert bytes(server.only().data) == DATA[:size]


def test_what_is_too_large_as_a_whole_is_not_begun(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.max_size = len(DATA) - 1
    with pytest.raises(UploadTooLarge):
        client.upload(file, concurrency=3)
    assert server.methods() == "OPTIONS"


def test_divide() -> None:
    for size in (0, 1, MIN_PART_BYTES, 2 * MIN_PART_BYTES, 10 * MIN_PART_BYTES + 7):
        for streams in (1, 2, 3, 64):
            parts = divide(size, streams)
            assert 1 <= len(parts) <= streams
            assert parts[0].start == 0
            assert [part.start + part.length for part in parts] == [*(part.start for part in parts[1:]), size]


def test_faults_in_the_parts(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("PATCH", Fault(read=1000, keep=1000, drop=True), Fault(status=500, keep=0), Fault(forget=True))
    client.upload(file, concurrency=3)
    assert arrived(server)


def test_a_lost_final_answer_is_asked_for_again(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("POST", Fault(), Fault(), Fault(), Fault(status=502))
    client.upload(file, concurrency=3)
    first, second = [request for request in server.of("POST") if "final" in request.headers["upload-concat"]]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_a_final_of_another_length(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("HEAD", Fault(headers={"Upload-Length": "5"}))
    with pytest.raises(ProtocolViolation, match="put together"):
        client.upload(file, concurrency=3)


def test_the_check_at_the_end_is_no_reason_to_fail(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("HEAD", Fault(drop=True), Fault(drop=True))
    client.upload(file, concurrency=3)
    assert arrived(server)


def test_one_part_that_fails_ends_all(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("PATCH", Fault(status=302), Fault(stall=True), Fault(stall=True))
    began_at = time.monotonic()
    with pytest.raises(NotATusServer) as caught:
        client.upload(file, concurrency=3)
    assert time.monotonic() - began_at < 5
    assert caught.value.url is None
    assert threading.active_count() < 30


def test_cancel_stops_every_stream(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("PATCH", *[Fault(read=1000, stall=True)] * 3)
    cancel = threading.Event()
    set_at: list[float] = []

    def stop() -> None:
        server.wait_for("PATCH", 3)
        set_at.append(time.monotonic())
        cancel.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(UploadCancelled):
        client.upload(file, concurrency=3, cancel=cancel)
    assert time.monotonic() - set_at[0] < 1.0
    stopper.join(10)


def test_deadline_stops_every_stream(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("PATCH", *[Fault(read=1000, stall=True)] * 3)
    began_at = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.upload(file, concurrency=3, deadline=0.5)
    assert time.monotonic() - began_at < 1.6


def test_what_callbacks_raise_comes_through(server: FaultServer, client: TUSClient, file: Path) -> None:
    def fail(now: int, total: int) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        client.upload(file, concurrency=3, progress_callback=fail)


def test_a_file_that_changes(server: FaultServer, client: TUSClient, file: Path) -> None:
    with pytest.raises(SourceChanged):
        client.upload(file, concurrency=3, progress_callback=lambda now, total: os.utime(file, ns=(1, 1)))
    assert server.finals() == []


def test_the_same_call_goes_on(server: FaultServer, file: Path, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    server.fail("PATCH", *[Fault(read=100_000, keep=100_000, drop=True)] * 3)
    with quick(server.endpoint, store=store, max_retries=0) as client, pytest.raises(UploadInterrupted):
        client.upload(file, concurrency=3)
    server.wait_until_quiet()
    server.clear_faults()
    has = sum(len(stored.data) for stored in server.uploads.values())
    with quick(server.endpoint, store=store) as client:
        result = client.upload(file)  # in as many streams as it began with
    assert arrived(server)
    assert result.offset_resumed_from == has > 0
    assert len(server.of("POST")) == 3 + 1
    assert result.bytes_sent == len(DATA) - has
    assert list(store.folder.glob("*.json")) == []


def test_parts_that_are_gone_are_made_anew(server: FaultServer, file: Path, tmp_path: Path) -> None:
    server.fail("PATCH", *[Fault(read=100_000, keep=100_000, drop=True)] * 3)
    with quick(server.endpoint, store=FileStore(tmp_path / "store"), max_retries=0) as client:
        with pytest.raises(UploadInterrupted):
            client.upload(file, concurrency=3)
        server.clear_faults()
        server.uploads.pop(next(iter(server.uploads)))
        client.upload(file, concurrency=3)
    assert arrived(server)


def test_streams_are_counted_from_one(client: TUSClient, file: Path) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        client.upload(file, concurrency=0)
