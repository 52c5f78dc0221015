"""Each fault of the field, what comes of it, the requests it costs, and how many bytes are declared a second time."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from tusd_agent.tus import (
    AuthRequired,
    BytesSource,
    FinishedWithServerError,
    NotATusServer,
    ProtocolViolation,
    ServerBusy,
    TUSUploadError,
    UploadGone,
    UploadInterrupted,
    UploadMismatch,
    UploadRefused,
    UploadTooLarge,
)

from .conftest import quick
from .fault_server import Fault, FaultServer

SIZE = 600_000
DATA = bytes(i * 7 % 251 for i in range(SIZE))


@dataclass(frozen=True)
class Row:
    """`faults` by method; `error` None for success. `requests`: the methods in order; `again`: bytes declared twice."""

    name: str
    faults: dict[str, tuple[Fault, ...]]
    requests: str
    again: int = 0
    error: type[TUSUploadError] | None = None
    text: str = ""
    send: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    uploads: int = 1


def patch(*faults: Fault) -> dict[str, tuple[Fault, ...]]:
    return {"PATCH": faults}


def post(*faults: Fault) -> dict[str, tuple[Fault, ...]]:
    return {"POST": faults}


ONE_RETRY = "POST PATCH HEAD PATCH"
KEEP = 250_000
half = partial(Fault, read=KEEP, keep=KEEP)
NO_TUS = {"Tus-Resumable": None}

# fmt: off
# One line says one fault: a table is read across.
ROWS = [
    Row("nothing", {}, "POST PATCH"),
    # the network
    Row("cut after n bytes", patch(half(drop=True)), ONE_RETRY, SIZE - KEEP),
    Row("reset after n bytes", patch(half(drop=True, reset=True)), ONE_RETRY, SIZE - KEEP),
    Row("cut, nothing kept", patch(Fault(read=1000, keep=0, drop=True)), ONE_RETRY, SIZE),
    Row("the last answer is lost", patch(Fault(drop=True)), "POST PATCH HEAD"),
    Row("the 201 is lost", post(Fault(drop=True)), "POST POST PATCH", uploads=2),
    Row("the HEAD is lost too", {**patch(half(drop=True)), "HEAD": (Fault(drop=True),)},
        "POST PATCH HEAD HEAD PATCH", SIZE - KEEP),
    Row("stall while sending", patch(Fault(read=1000, keep=1000, stall=True)), ONE_RETRY, SIZE - 1000,
        client={"timeout": 0.3}),
    Row("stall before the answer", patch(Fault(stall=True)), "POST PATCH HEAD", client={"timeout": 0.3}),
    Row("garbage for an answer", patch(Fault(raw=b"\x16\x03\x01garbage\r\n\r\n")), "POST PATCH HEAD"),
    Row("more headers than fit", patch(Fault(headers={f"X-{i}": "x" for i in range(150)})), "POST PATCH HEAD"),
    Row("a header of 70 KB", patch(Fault(headers={"X-Big": "x" * 70_000})), "POST PATCH HEAD"),
    Row("an endless cut", patch(*[Fault(read=0, drop=True)] * 9), "POST PATCH HEAD PATCH HEAD PATCH", 2 * SIZE,
        error=UploadInterrupted, text="no answer", client={"max_retries": 2}),
    Row("no retries wanted", patch(Fault(read=0, drop=True)), "POST PATCH", error=UploadInterrupted,
        client={"max_retries": 0}),
    Row("cuts with progress cost no budget", patch(*[Fault(read=KEEP // 5, keep=KEEP // 5, drop=True)] * 5),
        "POST PATCH" + " HEAD PATCH" * 5, 5 * SIZE - (1 + 2 + 3 + 4 + 5) * KEEP // 5, client={"max_retries": 1}),
    # odd but right answers
    Row("half of the body kept, said so", patch(Fault(keep=KEEP)), "POST PATCH PATCH", SIZE - KEEP),
    Row("103 and 104 before the answers", {**post(Fault(interim=(103,))), **patch(Fault(interim=(104, 104, 100)))},
        "POST PATCH"),
    Row("200 for 204", patch(Fault(status=200, keep=SIZE)), "POST PATCH"),
    Row("no offset in the answer", patch(Fault(headers={"Upload-Offset": None})), "POST PATCH HEAD"),
    Row("nothing kept, again and again", patch(*[Fault(keep=0)] * 9), "POST PATCH HEAD PATCH", SIZE,
        error=UploadInterrupted, text="kept none", client={"max_retries": 1}),
    Row("307 of a creation", post(Fault(status=307, headers={"Location": "/other/"})), "POST POST PATCH", uploads=2),
    Row("307 of a PATCH", patch(Fault(status=307, headers={"Location": "/files/upload-0"})),
        "POST PATCH PATCH", SIZE),
    # lies
    Row("offset too high, HEAD knows better", patch(Fault(keep=KEEP, headers={"Upload-Offset": "999999999"})),
        "POST PATCH HEAD PATCH", SIZE - KEEP),
    Row("offset below the start", patch(half(drop=True), Fault(headers={"Upload-Offset": "5"})),
        "POST PATCH HEAD PATCH HEAD", SIZE - KEEP),
    Row("negative offset", patch(Fault(headers={"Upload-Offset": "-1"})), "POST PATCH", error=ProtocolViolation,
        text="no count of bytes"),
    Row("offset is no number", patch(Fault(headers={"Upload-Offset": "³"})), "POST PATCH", error=ProtocolViolation),
    Row("HEAD claims what was never sent",
        {**patch(Fault(read=0, drop=True)), "HEAD": (Fault(headers={"Upload-Offset": str(SIZE)}),)},
        "POST PATCH HEAD", error=ProtocolViolation, text="were sent", client={"chunk_size": 1000}),
    Row("HEAD claims more than there is",
        {**patch(Fault(drop=True)), "HEAD": (Fault(headers={"Upload-Offset": str(SIZE + 1)}),)},
        "POST PATCH HEAD", error=UploadMismatch),
    Row("HEAD without offset", {**patch(Fault(drop=True)), "HEAD": (Fault(headers={"Upload-Offset": None}),)},
        "POST PATCH HEAD", error=ProtocolViolation),
    Row("a portal answers HEAD",
        {**patch(Fault(drop=True)), "HEAD": (Fault(headers={"Upload-Offset": None, **NO_TUS}),)},
        "POST PATCH HEAD", error=NotATusServer, text="captive portal"),
    Row("another length",
        {**patch(Fault(drop=True)), "HEAD": (Fault(headers={"Upload-Length": str(SIZE + 5)}),)},
        "POST PATCH HEAD", error=UploadMismatch, text="File size"),
    # forgotten
    Row("forgotten in the middle", patch(Fault(forget=True)), "POST PATCH", error=UploadGone),
    Row("forgotten, begin anew", patch(Fault(forget=True)), "POST PATCH POST PATCH", SIZE,
        send={"max_restarts": 1}),
    Row("410 on HEAD", {**patch(Fault(drop=True, keep=0)), "HEAD": (Fault(status=410),)}, "POST PATCH HEAD",
        error=UploadGone),
    Row("forgotten every time", patch(*[Fault(forget=True)] * 9), "POST PATCH" + " POST PATCH" * 2, 2 * SIZE,
        error=UploadGone, send={"max_restarts": 2}, uploads=0),
    Row("taken away after it was said to be complete",
        {**patch(Fault(status=423, headers={"Upload-Offset": str(SIZE)}, forget=True))},
        "POST PATCH HEAD", uploads=0),
    # transient answers
    *[
        Row(f"{code} {text}".strip(), patch(half(status=code, text=text)), ONE_RETRY, SIZE - KEEP)
        for code, text in [
            (400, "ERR_UPLOAD_INTERRUPTED: another request took the lock\n"),
            (400, "ERR_UNEXPECTED_EOF: cut\n"),
            (400, "Request aborted due to lock acquired"),
            (408, ""), (423, "ERR_UPLOAD_LOCKED: locked\n"), (425, ""), (429, ""), (460, "checksum mismatch"),
            (500, "ERR_LOCK_TIMEOUT: timeout\n"), (500, "ERR_INTERNAL_SERVER_ERROR: disk\n"), (502, "<html>"),
            (503, "ERR_SERVER_SHUTDOWN: bye\n"), (504, ""), (507, "full"), (520, ""),
        ]
    ],
    Row("HEAD is answered 502", {**patch(half(drop=True)), "HEAD": (Fault(status=502),) * 2},
        "POST PATCH HEAD HEAD HEAD PATCH", SIZE - KEEP),
    Row("POST is answered 500", post(Fault(status=500)), "POST POST PATCH", uploads=2),
    Row("busy", patch(Fault(status=503, headers={"Retry-After": "0"})), ONE_RETRY, SIZE),
    Row("busy, no retries", patch(Fault(status=429, headers={"Retry-After": "7"})), "POST PATCH", error=ServerBusy,
        client={"max_retries": 0}),
    # conflicts
    Row("409, the server has less", patch(half(status=409)), ONE_RETRY, SIZE - KEEP),
    Row("409 is a lock", patch(Fault(status=409)), "POST PATCH HEAD HEAD PATCH", SIZE),
    Row("409 without end", patch(*[Fault(status=409, read=0)] * 9), "POST PATCH HEAD HEAD PATCH HEAD", SIZE,
        error=UploadInterrupted, client={"max_retries": 1}),
    Row("409 at once, connection reset", patch(Fault(status=409, read=0, reset=True)), "POST PATCH HEAD HEAD PATCH",
        SIZE),
    # limits
    Row("the proxy takes 1 MiB", patch(Fault(status=413, read=0, headers=NO_TUS)), "POST PATCH",
        error=UploadTooLarge, text="proxy"),
    Row("the server takes no more", patch(Fault(status=413, text="ERR_UPLOAD_SIZE_EXCEEDED")), "POST PATCH",
        error=UploadTooLarge, text="File size"),
    Row("too large at creation", post(Fault(status=413, text="ERR_MAX_SIZE_EXCEEDED")), "POST",
        error=UploadTooLarge, text="File size"),
    # refusals
    Row("a hook stops it", patch(Fault(status=400, text="ERR_UPLOAD_STOPPED: virus\n", read=1000)), "POST PATCH HEAD",
        error=UploadRefused, text="virus"),
    Row("a hook stops it at the end", patch(Fault(status=451, text="virus", forget=True)), "POST PATCH HEAD",
        error=UploadRefused, text="virus", send={"max_restarts": 1}, uploads=0),
    Row("rejected creation", post(Fault(status=400, text="ERR_UPLOAD_REJECTED")), "POST", error=UploadRefused),
    *[
        Row(f"PATCH {code}", patch(Fault(status=code, read=0)), "POST PATCH", error=kind)
        for code, kind in [(401, AuthRequired), (403, AuthRequired), (412, UploadRefused), (415, UploadRefused),
                           (431, UploadRefused), (302, NotATusServer)]
    ],
    # Through POST it may pass; here it does not.
    Row("PATCH 405", patch(Fault(status=405, read=0)), "POST PATCH POST", error=UploadRefused, text="not allow"),
    Row("PATCH 501", patch(Fault(status=501, read=0)), "POST PATCH POST", error=UploadRefused, text="not implement"),
    Row("HEAD 403", {**patch(Fault(drop=True)), "HEAD": (Fault(status=403),)}, "POST PATCH HEAD", error=AuthRequired),
    Row("all there, and an error", patch(Fault(status=500, text="hook failed", keep=SIZE)), "POST PATCH HEAD",
        error=FinishedWithServerError, text="hook failed"),
    Row("all there, and a refusal", patch(Fault(status=400, text="no thanks", keep=SIZE)), "POST PATCH HEAD",
        error=FinishedWithServerError, text="no thanks"),
    Row("all there, an error, and HEAD fails at first",
        {**patch(Fault(status=500, text="hook failed", keep=SIZE)), "HEAD": (Fault(drop=True),)},
        "POST PATCH HEAD HEAD", error=FinishedWithServerError),
    Row("all there, an error, and no retries", patch(Fault(status=500, text="hook failed", keep=SIZE)),
        "POST PATCH HEAD", error=FinishedWithServerError, client={"max_retries": 0}),
    Row("an error to the last byte, not all there", patch(Fault(status=500, keep=KEEP)), ONE_RETRY, SIZE - KEEP),
    Row("the same, and no retries", patch(Fault(status=500, keep=KEEP)), "POST PATCH HEAD", error=UploadInterrupted,
        client={"max_retries": 0}),
    # no tus server
    *[
        Row(f"POST {fault.status}", post(fault), "POST", error=NotATusServer, text="Server did not return upload URL")
        for fault in [Fault(status=404), Fault(status=405), Fault(status=200, text="<html>"),
                      Fault(headers={"Location": None})]
    ],
    Row("POST 302", post(Fault(status=302, headers={"Location": "https://example.org/login"})), "POST",
        error=NotATusServer, text="https://example.org/login"),
    Row("redirected in a circle", post(*[Fault(status=307, headers={"Location": "/files/"})] * 9), "POST " * 5 + "POST",
        error=NotATusServer),
]
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_fault(server: FaultServer, row: Row) -> None:
    for method, faults in row.faults.items():
        server.fail(method, *faults)
    created: list[str] = []
    reports: list[tuple[int, int]] = []
    outcome: TUSUploadError | None = None
    with quick(server.endpoint, **row.client) as client:
        try:
            client.send(
                BytesSource(DATA),
                on_created=created.append,
                on_progress=lambda sent, acked: reports.append((sent, acked)),
                **row.send,
            )
        except TUSUploadError as error:
            outcome = error
    assert type(outcome) is (row.error or type(None)) or (row.error and isinstance(outcome, row.error)), outcome
    assert row.text in str(outcome or "")
    assert server.methods() == row.requests
    patches = server.of("PATCH")
    if patches and not row.client.get("chunk_size"):
        assert sum(request.length for request in patches) - SIZE == row.again
    assert all(0 <= acked <= sent <= SIZE for sent, acked in reports)
    if row.error is None:
        assert row.uploads == len(server.uploads)
        if row.uploads:
            assert bytes(list(server.uploads.values())[-1].data) == DATA
        assert reports[-1] == (SIZE, SIZE)
    elif created:
        assert outcome is not None
        assert outcome.url == created[-1]
    for request in server.requests:
        assert request.headers["tus-resumable"] == "1.0.0"
        assert "transfer-encoding" not in request.headers
        assert len(request.headers["x-request-id"]) <= 36
