"""Each fault of the field: what comes of it, the requests it costs, and how many bytes are sent a second time."""

from collections.abc import Iterable

import pytest

from tusd_agent.tus import TUSUploadError

from .conftest import quick
from .fault_server import FaultServer
from .faults import ROWS, SIZE, Row
from .right_server import Request

DATA = bytes(i * 7 % 251 for i in range(SIZE))

Span = tuple[int, int]


class Watched:
    """DATA, and which bytes of it were taken to be sent."""

    size = SIZE

    def __init__(self) -> None:
        self.taken: list[Span] = []

    def readinto(self, offset: int, buffer: memoryview) -> int:
        part = DATA[offset : offset + buffer.nbytes]
        buffer[: len(part)] = part
        self.taken.append((offset, offset + len(part)))
        return len(part)


def repeated(spans: Iterable[Span]) -> int:
    """How many bytes of the spans were in an earlier one."""
    covered = again = 0
    end = 0
    for start, stop in sorted(spans):
        covered += max(0, stop - max(start, end))
        again += stop - start
        end = max(end, stop)
    return again - covered


def announced(request: Request) -> Span:
    start = int(request.headers.get("upload-offset", "0"))
    return start, start + request.length


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_fault(server: FaultServer, row: Row) -> None:
    for method, faults in row.faults.items():
        server.fail(method, *faults)
    created: list[str] = []
    reports: list[tuple[int, int]] = []
    outcome: TUSUploadError | None = None
    source = Watched()
    with quick(server.endpoint, **row.client) as client:
        try:
            client.send(
                source,
                on_created=created.append,
                on_progress=lambda sent, acked: reports.append((sent, acked)),
                **row.send,
            )
        except TUSUploadError as error:
            outcome = error
    assert type(outcome) is (row.error or type(None)) or (row.error and isinstance(outcome, row.error)), outcome
    assert row.text in str(outcome or "")
    assert server.methods() == row.requests
    assert repeated(announced(request) for request in server.requests) == row.again
    least = row.again if row.least is None else row.least
    assert least <= repeated(source.taken) <= row.again
    assert len(server.uploads) == row.uploads
    assert all(0 <= acked <= sent <= SIZE for sent, acked in reports)
    if row.error is None:
        if row.uploads:
            assert bytes(list(server.uploads.values())[-1].data) == DATA
        assert reports[-1] == (SIZE, SIZE)
    else:
        assert server.origin in str(outcome)  # a message says where
    if row.error is not None and created:
        assert outcome is not None
        assert outcome.url == created[-1]
    for request in server.requests:
        assert request.headers["tus-resumable"] == "1.0.0"
        assert "transfer-encoding" not in request.headers
        assert len(request.headers["x-request-id"]) <= 36


def test_rows_are_closed() -> None:
    """A bound instead of a figure is for rows in which the server stops reading; names are no two rows'."""
    for row in ROWS:
        cut = any(fault.read is not None or fault.stall for faults in row.faults.values() for fault in faults)
        assert row.least is None or (cut and row.least < row.again), row.name
    assert len({row.name for row in ROWS}) == len(ROWS)
