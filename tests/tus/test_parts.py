"""The parts that need no server."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_agent.tus import (
    AuthRequired,
    FileSource,
    InvalidMetadata,
    ServerBusy,
    SourceChanged,
    TUSUploadError,
    UploadInterrupted,
    UploadRefused,
)
from tusd_agent.tus import errors as error_module
from tusd_agent.tus.discovery import parse
from tusd_agent.tus.metadata import decode, encode
from tusd_agent.tus.patience import Watch
from tusd_agent.tus.plain import _final_answer_begun
from tusd_agent.tus.retry import RetryBudget, failure, retry_after_seconds, smaller_chunk
from tusd_agent.tus.transport import Answer

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=12)


@given(st.dictionaries(KEYS, st.binary(max_size=40), max_size=5))
def test_metadata_carries_every_byte(metadata: dict[str, bytes]) -> None:
    header = encode(metadata)
    assert (header is None) == (not metadata)
    assert {key: os.fsencode(value) for key, value in decode(header).items()} == metadata
    names = {key: value.decode("utf-8", "surrogateescape") for key, value in metadata.items()}
    assert encode(names) == header


def test_metadata_format() -> None:
    header = encode({"filename": "é.txt", "size": 3, "share": 0.5, "ok": True, "none": None, "empty": ""})
    assert header == "filename w6kudHh0,size Mw==,share MC41,ok dHJ1ZQ==,empty"
    assert encode({"none": None}) is None
    assert encode(None) is None


@pytest.mark.parametrize("key", ["", "a b", "a,b", "é", "a\n", "\x7f"])
def test_metadata_keys(key: str) -> None:
    with pytest.raises(InvalidMetadata, match="metadata key"):
        encode({key: "x"})


def test_metadata_values_that_can_not_be() -> None:
    with pytest.raises(InvalidMetadata, match="list"):
        encode({"x": []})  # type: ignore[dict-item]  # the very mistake
    with pytest.raises(ValueError, match="no encoding"):
        encode({"x": "\ud800"})


def test_metadata_of_sloppy_servers() -> None:
    value = base64.b64encode(b"v").decode()
    assert decode(f" a {value} ,b,, c !!! ,d {value}") == {"a": "v", "b": "", "d": "v"}
    assert decode(None) == {}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "999999"}, 3600.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"Retry-After": "Fri, 01 Jan 2100 00:00:30 GMT", "Date": "Fri, 01 Jan 2100 00:00:00 GMT"}, 30.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, now=lambda: 10.0) == seconds


def test_chunk_ladder() -> None:
    sizes: list[int | None] = [10 << 30]
    while (last := sizes[-1]) is not None:
        sizes.append(smaller_chunk(last))
    assert [size >> 20 for size in sizes if size][1:] == [64, 32, 16, 8, 4, 1]
    assert smaller_chunk(1000) is None


def answer(status: int, text: str = "", **headers: str) -> Answer:
    return Answer("PATCH", "http://h/files/1", status, {"Tus-Resumable": "1.0.0", **headers}, text)


def test_failure_carries_what_is_known() -> None:
    error = failure(answer(503, "ERR_SERVER_SHUTDOWN: bye", **{"Retry-After": "9"}))
    assert isinstance(error, ServerBusy)
    assert (error.status, error.retry_after_seconds, error.server_text) == (503, 9.0, "ERR_SERVER_SHUTDOWN: bye")
    assert "503" in str(error)
    assert type(failure(answer(503))) is UploadInterrupted


@pytest.mark.parametrize(
    ("status", "text", "retryable"),
    [
        (400, "ERR_UPLOAD_INTERRUPTED: x", True),
        (400, "the ERR_UPLOAD_INTERRUPTED", False),
        (400, "ERR_INVALID_OFFSET: x", False),
        (401, "", False),
        (404, "", False),
        (423, "", True),
        (451, "", False),
        (500, "", True),
        (501, "", False),
        (599, "", True),
    ],
)
def test_retryable(status: int, text: str, retryable: bool) -> None:
    assert failure(answer(status, text)).retryable is retryable


def test_every_error_is_in_the_drawn_tree() -> None:
    drawn = error_module.__doc__ or ""
    for name, kind in vars(error_module).items():
        if isinstance(kind, type) and issubclass(kind, TUSUploadError):
            assert f" {name} " in drawn, name


def run(failures: list[Exception], max_retries: int, progress_at: int = -1) -> tuple[list[float], int]:
    """Pauses (jitter at its upper end) and attempts of a step that fails so and then succeeds."""
    pauses: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    watch = Watch(clock=lambda: clock[0], sleep=sleep)
    budget = RetryBudget(max_retries, 1.0, 10.0, 0.5, watch, jitter=lambda low, high: high)
    left = iter(failures)
    began_at = [0.0]

    def step() -> None:
        if budget.attempts > 1:
            pauses.append(round(clock[0] - began_at[0], 6))
        began_at[0] = clock[0]
        if budget.attempts == progress_at:
            budget.progress()
        error = next(left, None)
        if error is not None:
            raise error

    budget.run(step)
    return pauses, budget.attempts


def test_pauses_double_up_to_the_longest() -> None:
    assert run([UploadInterrupted("x")] * 6, 6) == ([1, 2, 4, 8, 10, 10], 7)


def test_progress_makes_the_budget_whole() -> None:
    assert run([UploadInterrupted("x")] * 4, 2, progress_at=3) == ([1, 2, 0.5 + 0.5, 1], 5)
    with pytest.raises(UploadInterrupted):
        run([UploadInterrupted("x")] * 4, 2)


def test_the_servers_pause_is_obeyed() -> None:
    assert run([ServerBusy("x", retry_after_seconds=100.0), ServerBusy("x", retry_after_seconds=0.0)], 5) == (
        [100, 2],
        3,
    )


@pytest.mark.parametrize("error", [AuthRequired("x"), UploadRefused("x"), OSError("x")])
def test_what_will_not_pass_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        run([error], 5)


def test_options_are_read_leniently() -> None:
    info = parse({"Tus-Version": "1.0.0, 0.2", "Tus-Extension": "a,b ,,c", "Tus-Max-Size": "0"})
    assert info.versions == ("1.0.0", "0.2")
    assert info.extensions == {"a", "b", "c"}
    assert info.max_size is None
    assert parse({"Tus-Max-Size": "many"}).max_size is None


@pytest.mark.parametrize(
    ("head", "begun"),
    [
        (b"", False),
        (b"HT", False),
        (b"HTTP/1.1 ", False),
        (b"HTTP/1.1 4", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 104 X\r\nA: b\r\n", False),
        (b"HTTP/1.1 104 X\r\nA: b\r\n\r\nHTTP/1.1 409 Conflict\r\n", True),
        (b"HTTP/1.0 502 Bad", True),
        (b"<html>", True),
    ],
)
def test_early_answers_are_told_from_interim_ones(head: bytes, begun: bool) -> None:
    assert _final_answer_begun(head) is begun


def test_file_source_reads_at_offsets(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    with FileSource(path) as source:
        buffer = memoryview(bytearray(4))
        assert (source.readinto(8, buffer), bytes(buffer[:2])) == (2, b"89")
        assert source.readinto(10, buffer) == 0
        assert source.readinto(3, buffer) == 4
        path.write_bytes(b"else")
        with pytest.raises(SourceChanged, match="File size was 10 bytes and is now 4"):
            source.check()
