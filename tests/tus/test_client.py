"""The public calls, against a server that does right."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tusd_agent.tus import (
    BytesSource,
    FileSource,
    InvalidURL,
    NotATusServer,
    SourceChanged,
    SourceUnavailable,
    TUSClient,
    TUSUploadError,
    UploadGone,
    UploadInterrupted,
    UploadMismatch,
    UploadRefused,
    UploadTooLarge,
)
from tusd_agent.tus.metadata import decode

from .conftest import quick
from .fault_server import Fault, FaultServer

DATA = os.urandom(700_000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run 42.csv"
    path.write_bytes(DATA)
    return path


def test_upload(server: FaultServer, client: TUSClient, file: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = client.upload(file, {"site": "lab-7", "run": 42, "none": None}, lambda *call: calls.append(call))
    assert server.methods() == "POST PATCH"
    assert bytes(server.only().data) == DATA
    assert result.url.startswith(server.endpoint.removesuffix("files/"))
    assert (result.size, result.offset_resumed_from, result.bytes_sent, result.attempts) == (len(DATA), 0, len(DATA), 1)
    assert decode(server.only().metadata) == {
        "filename": "run 42.csv",
        "filetype": "text/csv",
        "site": "lab-7",
        "run": "42",
    }
    assert calls[-1] == (len(DATA), len(DATA))
    assert calls.count(calls[-1]) == 1
    assert all(0 < current <= total == len(DATA) for current, total in calls)
    assert server.of("PATCH")[0].headers["content-type"] == "application/offset+octet-stream"


def test_chunks(server: FaultServer, client: TUSClient, file: Path) -> None:
    client.upload(file, chunk_size=300_000)
    assert [request.length for request in server.of("PATCH")] == [300_000, 300_000, 100_000]
    assert server.methods() == "POST PATCH PATCH PATCH"
    assert bytes(server.only().data) == DATA


def test_upload_bytes_and_default_metadata_can_be_overridden(server: FaultServer, client: TUSClient) -> None:
    client.upload_bytes(DATA, "a.unknown", {"filetype": "x/y", "filename": None})
    assert decode(server.only().metadata) == {"filetype": "x/y"}
    assert bytes(server.only().data) == DATA


def test_empty_file_is_complete_with_its_creation(server: FaultServer, client: TUSClient, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    calls: list[tuple[int, int]] = []
    result = client.upload(path, progress_callback=lambda *call: calls.append(call))
    assert server.methods() == "POST"
    assert calls == []
    info = client.get_upload_info(result.url)
    assert (info.complete, info.progress, info["length"]) == (True, 100.0, 0)
    with quick(server.endpoint, allow_empty=False) as strict, pytest.raises(TUSUploadError, match="File size"):
        strict.upload(path)


def test_resume(server: FaultServer, client: TUSClient, file: Path) -> None:
    url = server.add(len(DATA), DATA[:200_000])
    calls: list[tuple[int, int]] = []
    result = client.resume_upload(url, file, lambda *call: calls.append(call))
    assert server.methods() == "HEAD PATCH"
    assert (result.url, result.offset_resumed_from, result.bytes_sent) == (url, 200_000, len(DATA) - 200_000)
    assert calls[0] == (200_000, len(DATA))
    assert calls[-1] == (len(DATA), len(DATA))
    assert bytes(server.only().data) == DATA


def test_resume_of_a_complete_upload_sends_nothing(server: FaultServer, client: TUSClient, file: Path) -> None:
    calls: list[tuple[int, int]] = []
    client.resume_upload(server.add(len(DATA), DATA), file, lambda *call: calls.append(call))
    assert server.methods() == "HEAD"
    assert calls == [(len(DATA), len(DATA))]


def test_resume_of_what_is_not_there(server: FaultServer, client: TUSClient, file: Path) -> None:
    with pytest.raises(UploadGone) as gone:
        client.resume_upload(f"{server.endpoint}nothing", file)
    assert gone.value.status == 404
    with pytest.raises(UploadMismatch, match="File size"):
        client.resume_upload(server.add(5), file)
    assert server.of("POST") == []


def test_the_url_is_told_before_the_first_byte(server: FaultServer, client: TUSClient) -> None:
    class Refused(OSError):
        pass

    def refuse(url: str) -> None:
        assert server.methods() == "POST"
        raise Refused

    with pytest.raises(Refused):
        client.send(BytesSource(DATA), on_created=refuse)
    assert server.methods() == "POST"


@pytest.mark.parametrize(
    "failure", [ValueError, BrokenPipeError, ConnectionResetError, TimeoutError, UploadInterrupted]
)
@pytest.mark.parametrize("place", ["created", "progress", "source", "throttle"])
def test_what_callers_raise_comes_through(
    server: FaultServer, client: TUSClient, failure: type[Exception], place: str
) -> None:
    raised = failure("mine")

    def fail(*_: object) -> None:
        raise raised

    class Failing(BytesSource):
        def readinto(self, offset: int, buffer: memoryview) -> int:
            if offset:
                raise raised
            return super().readinto(offset, buffer)

    source = Failing(DATA) if place == "source" else BytesSource(DATA)
    with pytest.raises(failure) as caught:
        client.send(
            source,
            on_created=fail if place == "created" else None,
            on_progress=fail if place == "progress" else None,
            throttle=fail if place == "throttle" else None,
        )
    assert caught.value is raised
    assert len(server.of("POST")) == 1
    assert server.of("HEAD") == []
    url = f"{server.origin}{next(iter(server.uploads))}"
    client.send(BytesSource(DATA), upload_url=url)
    assert bytes(server.only().data) == DATA


def test_info(server: FaultServer, client: TUSClient) -> None:
    url = client.create(1000, {"name": "é", "raw": b"\xff"})
    server.fail("HEAD", Fault(headers={"Upload-Offset": "250", "Upload-Expires": "Wed, 25 Jun 2031 16:00:00 GMT"}))
    info = client.get_upload_info(url)
    assert (info.offset, info.length, info.complete, info.progress) == (250, 1000, False, 25.0)
    assert info["metadata"] == {"name": "é", "raw": "\udcff"}
    assert info.expires is not None
    assert info.expires.isoformat() == "2031-06-25T16:00:00+00:00"
    assert dict(info)["url"] == url
    assert set(info) >= {"offset", "length", "complete", "progress", "metadata", "expires"}
    with pytest.raises(KeyError):
        info["of_active"]


def test_an_upload_in_flight_is_not_asked_about(server: FaultServer, client: TUSClient) -> None:
    """A HEAD would cut the PATCH off on tusd."""
    seen: list[int] = []

    def look(sent: int, acknowledged: int) -> None:
        url = f"{server.origin}{next(iter(server.uploads))}"
        seen.append(client.get_upload_info(url).offset)

    client.send(BytesSource(DATA), on_progress=look, chunk_size=300_000)
    assert "HEAD" not in server.methods()
    assert {0, 300_000, 600_000} <= set(seen)


def test_one_upload_has_one_sender(server: FaultServer, client: TUSClient) -> None:
    url = server.add(len(DATA))

    def again(sent: int, acknowledged: int) -> None:
        client.send(BytesSource(DATA), upload_url=url)

    with pytest.raises(TUSUploadError, match="already"):
        client.send(BytesSource(DATA), upload_url=url, on_progress=again)
    client.send(BytesSource(DATA), upload_url=url)


def test_delete(server: FaultServer, client: TUSClient) -> None:
    url = client.create(10)
    client.delete_upload(url)
    assert server.uploads == {}
    client.delete_upload(url)
    server.fail("DELETE", Fault(status=501))
    with pytest.raises(UploadRefused, match="does not support"):
        client.delete_upload(url)
    server.fail("DELETE", Fault(status=500), Fault(status=410))
    client.delete_upload(url)


def test_server_info_is_asked_once_and_limits_are_kept(server: FaultServer, client: TUSClient) -> None:
    server.extensions = "creation, termination ,checksum"
    server.max_size = 1000
    assert client.server_info().extensions == {"creation", "termination", "checksum"}
    assert client.server_info().max_size == 1000
    with pytest.raises(UploadTooLarge, match="File size"):
        client.send(BytesSource(DATA))
    assert server.methods() == "OPTIONS"
    assert "tus-resumable" not in server.requests[0].headers


def test_no_answer_to_options_is_no_failure(server: FaultServer, client: TUSClient) -> None:
    server.fail("OPTIONS", Fault(drop=True))
    assert not client.server_info().known


def test_a_proxys_limit_is_found_and_remembered(server: FaultServer, client: TUSClient) -> None:
    data = os.urandom(5 << 20)
    limit = Fault(status=413, read=0, headers={"Tus-Resumable": None}, reset=False)
    server.fail("PATCH", limit, limit)
    client.send(BytesSource(data))
    assert bytes(server.only().data) == data
    assert [request.length >> 20 for request in server.of("PATCH")] == [5, 4, 1, 1, 1, 1, 1]
    client.send(BytesSource(data))
    assert [request.length >> 20 for request in server.of("PATCH")][7:] == [1] * 5


def test_a_proxy_that_gathers_bodies_gets_smaller_ones(server: FaultServer, client: TUSClient) -> None:
    """Of a body that is cut nothing arrives there, however much was sent."""
    size = 34 << 20
    server.fail("PATCH", *[Fault(read=size - 1, keep=0, drop=True)] * 2)
    client.send(BytesSource(bytes(size)))
    assert [request.length >> 20 for request in server.of("PATCH")] == [34, 34, 32, 2]
    assert len(server.only().data) == size


def test_missing_file(client: TUSClient, server: FaultServer, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="File not found"):
        client.upload(tmp_path / "nothing")
    with pytest.raises(SourceUnavailable, match="regular file"):
        client.upload(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceUnavailable, match="regular file"):
        client.upload(tmp_path / "fifo")
    assert server.requests == []


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.open("ab").write(b"more"),
        lambda path: os.truncate(path, 300_000),
        lambda path: os.utime(path, ns=(1, 1)),
    ],
    ids=["grown", "shrunk", "touched"],
)
def test_a_file_that_changes_is_not_finished(
    server: FaultServer, client: TUSClient, file: Path, change: Callable[[Path], object]
) -> None:
    def once(current: int, total: int, done: list[int] = []) -> None:  # noqa: B006  # remembers across calls
        if not done:
            done.append(1)
            change(file)

    with pytest.raises(SourceChanged):
        client.upload(file, progress_callback=once)
    assert len(server.only().data) < len(DATA)


def test_a_source_that_ends_early(server: FaultServer, client: TUSClient) -> None:
    class Short(BytesSource):
        def __init__(self) -> None:
            super().__init__(DATA)
            self.size += 1

    with pytest.raises(SourceChanged, match="File size"):
        client.send(Short())


def test_a_rename_in_the_middle_does_no_harm(server: FaultServer, client: TUSClient, file: Path) -> None:
    with FileSource(file) as source:
        client.send(source, on_created=lambda url: os.rename(file, f"{file}.new"))
    assert bytes(server.only().data) == DATA


def test_pauses_are_told(server: FaultServer, client: TUSClient, file: Path) -> None:
    server.fail("PATCH", Fault(status=503, text="down"), *[Fault(status=502)] * 2)
    told: list[tuple[str, int, float]] = []

    def tell(error: UploadInterrupted, fruitless: int, seconds: float) -> None:
        told.append((str(error.status), fruitless, seconds))

    client.upload(file, on_retry=tell)
    assert told == [("503", 1, 0.0), ("502", 2, 0.0), ("502", 3, 0.0)]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_is_raised_when_a_pause_is_told_comes_through(
    server: FaultServer, client: TUSClient, tmp_path: Path, concurrency: int
) -> None:
    server.extensions += ",concatenation"
    (tmp_path / "f").write_bytes(bytes(600_000))
    server.fail("PATCH", *[Fault(status=503)] * 9)

    def fail(error: UploadInterrupted, fruitless: int, seconds: float) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        client.upload(tmp_path / "f", concurrency=concurrency, on_retry=fail)


def test_many_threads_share_a_client(server: FaultServer, client: TUSClient) -> None:
    contents = [os.urandom(100_000 + i) for i in range(6)]
    results: dict[int, str] = {}

    def run(index: int) -> None:
        results[index] = client.upload_bytes(contents[index], f"{index}").url

    threads = [threading.Thread(target=run, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for index, url in results.items():
        assert bytes(server.uploads[url.removeprefix(server.origin)].data) == contents[index]
    assert len(results) == 6


def test_own_session(server: FaultServer, client: TUSClient) -> None:
    """A session of the user's is used as it is: its headers, its adapters."""
    with requests.Session() as session:
        session.headers["X-Mine"] = "yes"
        client.session = session
        server.fail("PATCH", Fault(read=100_000, keep=100_000, drop=True))
        client.upload_bytes(DATA, "x")
    assert server.methods() == "POST PATCH HEAD PATCH"
    assert {request.headers["x-mine"] for request in server.requests} == {"yes"}
    assert bytes(server.only().data) == DATA


def test_idempotency_key_stays_for_repeats_and_changes_for_restarts(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(drop=True))
    server.fail("PATCH", Fault(forget=True))
    client.send(BytesSource(DATA), idempotency_key="job", max_restarts=1)
    keys = [request.headers["idempotency-key"] for request in server.of("POST")]
    assert keys == ["job", "job", "job-1"]
    assert "idempotency-key" not in server.of("PATCH")[0].headers


def test_constructor_asks_nobody_and_checks_its_arguments(tmp_path: Path) -> None:
    TUSClient("http://user:secret@nowhere.invalid/files").close()
    for wrong in ("ftp://host/", "files", "http://", "http://host:port/"):
        with pytest.raises(ValueError, match=r"."):
            TUSClient(wrong)
        with TUSClient("http://127.0.0.1:1/") as client, pytest.raises(InvalidURL):
            client.get_upload_info(wrong)
    for options in ({"chunk_size": -1}, {"max_retries": -1}, {"timeout": 0}, {"retry_delay": -1.0}):
        with pytest.raises(ValueError, match=r"negative|number"):
            TUSClient("http://host/", **options)


def test_not_a_tus_server_says_what_answered(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(status=200, text="<html>\x1b[31mhi", headers={"Content-Type": "text/html"}))
    with pytest.raises(NotATusServer, match="web page") as caught:
        client.upload_bytes(b"x", "x")
    assert caught.value.server_text == "<html>\\x1b[31mhi"


def test_server_text_is_bounded(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(status=400, text="x" * 200_000))
    with pytest.raises(UploadRefused) as caught:
        client.create(1)
    assert len(caught.value.server_text or "") == 4096
