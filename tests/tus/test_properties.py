"""Whatever goes wrong in whatever order: the exact bytes arrive, or the error is an error."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tusd_agent.tus import BytesSource, FileStore, TUSUploadError
from tusd_agent.tus.metadata import decode
from tusd_agent.tus.streams import of_stream

from .conftest import quick
from .fault_server import FINE, Fault, FaultServer

SIZE = 200_000
DATA = bytes(i * 7 % 251 for i in range(SIZE))
MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

COUNTS = st.one_of(st.none(), st.integers(0, SIZE))
STATUSES = st.sampled_from([None, 200, 302, 400, 403, 404, 408, 409, 410, 413, 423, 429, 460, 500, 503, 507])
OFFSETS = st.sampled_from([None, "", "0", "-1", "5", "³", str(SIZE), str(SIZE + 1)])
HEADERS: st.SearchStrategy[dict[str, str | None]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"Upload-Offset": OFFSETS}),
    st.just({"Tus-Resumable": None}),
    st.fixed_dictionaries({"Upload-Length": st.sampled_from([None, "0", str(SIZE + 1), "x"])}),
)
FAULTS = st.one_of(
    st.just(FINE),
    st.builds(Fault, read=COUNTS, keep=COUNTS, drop=st.just(True), reset=st.booleans()),
    st.builds(Fault, status=STATUSES, read=COUNTS, keep=COUNTS, headers=HEADERS),
    st.builds(Fault, forget=st.booleans(), headers=HEADERS, interim=st.sampled_from([(), (103,), (104, 100)])),
)


class Once:
    """A stream without a length."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int, /) -> bytes:
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part


@pytest.fixture
def running() -> Iterator[FaultServer]:
    with FaultServer() as made:
        made.extensions = "creation,creation-with-upload,creation-defer-length,checksum"
        yield made


def arrange(server: FaultServer, faults: dict[str, list[Fault]]) -> None:
    server.uploads.clear()
    server.requests.clear()
    server.clear_faults()
    for method, queue in faults.items():
        server.fail(method, *queue)


@MANY
@given(
    faults=st.dictionaries(st.sampled_from(["POST", "PATCH", "HEAD"]), st.lists(FAULTS, max_size=6)),
    chunk_size=st.one_of(st.none(), st.integers(20_000, SIZE + 1)),
    how=st.sampled_from(["bytes", "small", "stream", "checked"]),
)
def test_the_exact_bytes_or_an_error(
    running: FaultServer, faults: dict[str, list[Fault]], chunk_size: int | None, how: str
) -> None:
    arrange(running, faults)
    source = of_stream(Once(DATA)) if how == "stream" else BytesSource(DATA)
    with quick(running.endpoint, max_retries=3, timeout=5.0) as client:
        try:
            result = client.send(
                source,
                chunk_size=chunk_size,
                max_restarts=2,
                small_file_bytes=SIZE if how == "small" else 0,
                checksum="sha1" if how == "checked" else None,
            )
        except TUSUploadError as error:
            assert str(error)  # noqa: PT017  # both outcomes are right, this one says why
            return
    stored = running.uploads.get(result.url.removeprefix(running.origin))
    # An answer that claims the end and an upload that is gone afterwards can't be told from a finished one taken away.
    claimed = any(fault.headers.get("Upload-Offset") == str(SIZE) for queue in faults.values() for fault in queue)
    assume(not claimed)
    assert stored is not None
    assert bytes(stored.data) == DATA
    assert stored.length == SIZE == result.size


@MANY
@given(faults=st.dictionaries(st.sampled_from(["POST", "PATCH", "HEAD"]), st.lists(FAULTS, max_size=6)))
def test_the_same_call_again_and_again_ends_well(
    running: FaultServer, tmp_path_factory: pytest.TempPathFactory, faults: dict[str, list[Fault]]
) -> None:
    """With a store, in several streams, whatever the calls before it met."""
    lying = any(set(fault.headers) & {"Upload-Offset", "Upload-Length"} for queue in faults.values() for fault in queue)
    assume(not lying)
    arrange(running, faults)
    running.extensions = "creation,concatenation"
    folder = tmp_path_factory.mktemp("again")
    (folder / "file").write_bytes(DATA * 4)
    with quick(running.endpoint, max_retries=0, timeout=5.0, store=FileStore(folder / "store")) as client:
        for _ in range(30):
            with suppress(TUSUploadError):
                result = client.upload(folder / "file", concurrency=3)
                break
        else:
            raise AssertionError(running.methods())
    stored = running.uploads.get(result.url.removeprefix(running.origin))
    # Taken away when it was finished, as some servers do: then nobody is told.
    assert stored is not None or any(fault.forget for fault in faults.get("HEAD", []))
    assert stored is None or bytes(stored.data) == DATA * 4
    assert list((folder / "store").iterdir()) == []


@MANY
@given(
    metadata=st.dictionaries(
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=20),
        st.binary(max_size=60),
        max_size=6,
    )
)
def test_metadata_of_any_bytes_comes_back(running: FaultServer, metadata: dict[str, bytes]) -> None:
    arrange(running, {})
    with quick(running.endpoint) as client:
        info = client.get_upload_info(client.create(1, metadata))
    back = {key: value.encode("utf-8", "surrogateescape") for key, value in info.metadata.items()}
    assert (
        back
        == metadata
        == {key: value.encode("utf-8", "surrogateescape") for key, value in decode(running.only().metadata).items()}
    )


@MANY
@given(data=st.binary(max_size=5000), chunk_size=st.integers(1, 6000), stream=st.booleans(), checked=st.booleans())
def test_chunk_boundaries_of_any_size(
    running: FaultServer, data: bytes, chunk_size: int, stream: bool, checked: bool
) -> None:
    assume(len(data) // chunk_size < 200)
    arrange(running, {})
    with quick(running.endpoint, checksum="auto" if checked else None) as client:
        client.send(of_stream(Once(data)) if stream else BytesSource(data), chunk_size=chunk_size)
    assert bytes(running.only().data) == data
    lengths = [request.length for request in running.of("PATCH")]
    assert all(length == chunk_size for length in lengths[:-1])
    assert sum(lengths) == len(data)
    assert all(lengths)
