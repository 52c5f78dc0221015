"""File-like objects: seekable ones from where they stand, others through a window, with or without a length."""

import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from tusd_agent.tus import BytesSource, SourceChanged, SourceUnavailable, TUSClient, UploadMismatch, UploadRefused
from tusd_agent.tus.metadata import decode
from tusd_agent.tus.streams import StreamSource

from .conftest import quick
from .fault_server import Fault, FaultServer

DATA = os.urandom(700_000)
DEFERRING = "creation,creation-defer-length,termination"
CUT = Fault(read=150_000, keep=150_000, drop=True)


class Pipe:
    """Gives what it has in pieces of odd sizes, once."""

    name = "/dev/camera-1.mov"

    def __init__(self, data: bytes = DATA) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._inner.read(min(size, 33_333))


def test_from_where_it_stands(server: FaultServer, client: TUSClient, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(DATA)
    with path.open("rb") as stream:
        stream.seek(1000)
        result = client.upload(stream, {"site": "lab"})
        assert not stream.closed
    assert result.size == len(DATA) - 1000
    assert bytes(server.only().data) == DATA[1000:]
    assert decode(server.only().metadata) == {"filename": "a.csv", "filetype": "text/csv", "site": "lab"}


def test_seekable_through_faults_and_threads(server: FaultServer, client: TUSClient) -> None:
    server.extensions = "creation,concatenation"
    server.fail("PATCH", CUT)
    client.upload(io.BytesIO(DATA), concurrency=2)
    (final,) = server.finals()
    assert bytes(final.data) == DATA
    assert decode(final.metadata) == {"filetype": "application/octet-stream"}


def test_a_member_of_an_archive(server: FaultServer, client: TUSClient, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(DATA)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.bin")
    with tarfile.open(tmp_path / "a.tar") as archive:
        (member,) = archive.getmembers()
        stream = archive.extractfile(member)
        assert stream is not None
        client.upload(stream)
    assert bytes(server.only().data) == DATA


def test_an_open_file_that_is_rewritten_is_never_spliced(
    server: FaultServer, client: TUSClient, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)

    def rewrite(current: int, total: int) -> None:
        if current >= 200_000 and path.read_bytes() == DATA:
            path.write_bytes(bytes(len(DATA)))

    with path.open("rb") as stream, pytest.raises(SourceChanged):
        client.upload(stream, progress_callback=rewrite, chunk_size=100_000)
    assert len(server.only().data) < len(DATA)


def test_resume_with_an_object(server: FaultServer, client: TUSClient) -> None:
    for stream in (io.BytesIO(DATA), Pipe()):
        url = server.add(len(DATA), DATA[:200_000])
        client.resume_upload(url, stream)
    assert all(bytes(stored.data) == DATA for stored in server.uploads.values())


def test_deferred(server: FaultServer, client: TUSClient) -> None:
    server.extensions = DEFERRING
    calls: list[tuple[int, int]] = []
    result = client.upload(Pipe(), chunk_size=300_000, progress_callback=lambda *call: calls.append(call))
    assert server.methods() == "OPTIONS POST PATCH PATCH PATCH"
    assert server.of("POST")[0].headers["upload-defer-length"] == "1"
    assert "upload-length" not in server.of("POST")[0].headers
    assert [request.headers.get("upload-length") for request in server.of("PATCH")] == [None, None, str(len(DATA))]
    assert bytes(server.only().data) == DATA
    assert server.only().length == result.size == len(DATA)
    assert calls[-1] == (len(DATA), len(DATA))
    assert all(0 < current <= total for current, total in calls)


@pytest.mark.parametrize("size", [0, 1, 299_999, 300_000])
def test_what_ends_within_a_chunk_needs_no_deferring(server: FaultServer, client: TUSClient, size: int) -> None:
    client.upload(Pipe(DATA[:size]), chunk_size=300_000)
    assert server.of("POST")[0].headers["upload-length"] == str(size)
    assert bytes(server.only().data) == DATA[:size]


@pytest.mark.parametrize("size", [300_001, 600_000])
def test_the_end_is_seen_before_the_last_chunk(server: FaultServer, client: TUSClient, size: int) -> None:
    server.extensions = DEFERRING
    client.upload(Pipe(DATA[:size]), chunk_size=300_000)
    assert [request.length for request in server.of("PATCH")] == [300_000, size - 300_000]
    assert server.only().length == size


def test_deferred_through_faults(server: FaultServer, client: TUSClient) -> None:
    server.extensions = DEFERRING
    server.fail("PATCH", CUT, Fault(drop=True), CUT, Fault(status=500, keep=0), Fault(keep=5))
    client.upload(Pipe(), chunk_size=200_000)
    assert bytes(server.only().data) == DATA
    assert server.only().length == len(DATA)


def test_the_answer_to_the_declaration_is_lost(server: FaultServer, client: TUSClient) -> None:
    """A server that has the length refuses to be told again."""
    server.extensions = DEFERRING
    server.fail("PATCH", Fault(), Fault(read=1000, keep=1000, drop=True))
    client.upload(Pipe(), chunk_size=400_000)
    assert [request.headers.get("upload-length") for request in server.of("PATCH")] == [None, str(len(DATA)), None]
    assert bytes(server.only().data) == DATA


def test_a_deferred_upload_is_finished_with_a_file(server: FaultServer, client: TUSClient) -> None:
    url = server.add(None, DATA[:1000])
    client.send(BytesSource(DATA), upload_url=url)
    assert server.of("PATCH")[0].headers["upload-length"] == str(len(DATA))
    whole = server.add(None, DATA)
    client.send(BytesSource(DATA), upload_url=whole)  # only the length is missing
    assert server.requests[-1].length == 0
    assert all(stored.length == len(DATA) for stored in server.uploads.values())


def test_where_the_server_needs_a_length(server: FaultServer, client: TUSClient) -> None:
    with pytest.raises(UploadRefused, match="Give the stream's size"):
        client.upload(Pipe(), chunk_size=100_000)
    assert server.methods() == "OPTIONS"
    client.upload(Pipe(), chunk_size=100_000, size=len(DATA))
    assert bytes(server.only().data) == DATA


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_wrong_size_is_noticed(server: FaultServer, client: TUSClient, wrong: int) -> None:
    with pytest.raises(SourceChanged, match="File size"):
        client.upload(Pipe(), size=len(DATA) + wrong, chunk_size=100_000)
    with pytest.raises(SourceChanged, match="File size"):
        client.upload(io.BytesIO(DATA), size=len(DATA) + wrong)
    with pytest.raises((SourceChanged, UploadMismatch), match="File size"):
        client.resume_upload(server.add(len(DATA) + wrong), Pipe())
    assert all(len(stored.data) < len(DATA) for stored in server.uploads.values())


def test_a_stream_can_not_go_back(server: FaultServer, client: TUSClient) -> None:
    server.fail("PATCH", Fault(), Fault(forget=True))
    with pytest.raises(SourceUnavailable, match="can't go back") as caught:
        client.upload(Pipe(), chunk_size=300_000, size=len(DATA))
    assert "camera-1.mov" in str(caught.value)


def test_what_can_not_be_read(client: TUSClient, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("x")
    with path.open() as text, pytest.raises(SourceUnavailable, match="binary"):
        client.upload(text)  # type: ignore[arg-type]  # the very mistake
    with pytest.raises(SourceUnavailable, match="closed"):
        client.upload(text)  # type: ignore[arg-type]  # the same

    class Odd:
        def __init__(self, data: object) -> None:
            self.data = data

        def read(self, size: int, /) -> bytes:
            return self.data  # type: ignore[return-value]  # what this is about

    with pytest.raises(SourceUnavailable, match="non-blocking"):
        client.upload(Odd(None))
    with pytest.raises(SourceUnavailable, match="instead of bytes"):
        client.upload(Odd("text"))


def test_a_real_pipe(server: FaultServer, client: TUSClient) -> None:
    server.extensions = DEFERRING
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as out:
            out.write(DATA)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        client.upload(stream, chunk_size=1 << 18)
    writer.join(10)
    assert bytes(server.only().data) == DATA


def test_the_window_is_bounded() -> None:
    source = StreamSource(Pipe())
    for offset in range(0, len(DATA), 1000):
        assert source.fetch(offset, 1000) == min(1000, len(DATA) - offset)
        assert len(source._window) <= 1001
        buffer = bytearray(2000)
        count = source.readinto(offset, memoryview(buffer)[:1000])
        assert bytes(buffer[:count]) == DATA[offset : offset + count]
    assert source.size == len(DATA)
    with pytest.raises(SourceUnavailable):
        source.fetch(0, 10)


def test_a_given_size_is_no_excuse_for_a_short_stream() -> None:
    with quick("http://127.0.0.1:1/") as client, pytest.raises(SourceChanged, match="ended after 3 bytes"):
        client.upload(Pipe(b"abc"), size=4)
