"""The table of faults: what servers, proxies and networks do, what comes of it, and what it costs.

A row is closed: outcome, requests and bytes sent again are stated for each. Only where the server stops reading in the
middle of a body does timing decide how much of that body had left before it was noticed; there `least` is the bound.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tusd_agent.tus import (
    AuthRequired,
    DeadlineExceeded,
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
from tusd_agent.tus.body import BLOCK_BYTES

from .fault_server import Fault

SIZE = 600_000
KEEP = 250_000


@dataclass(frozen=True)
class Row:
    """`faults` by method; `error` None for success. `requests`: the methods in order.

    `again`: bytes announced a second time (Content-Length, by their place in the source), and sent a second time.
    `least`, where those two may differ: the fewest bytes that can have been sent a second time. Not more than `again`,
    for what was announced is an upper bound; not fewer than one block of each body that was cut, for a block is taken
    from the source before the connection is looked at. `uploads`: on the server at the end.
    """

    name: str
    faults: dict[str, tuple[Fault, ...]]
    requests: str
    again: int = 0
    error: type[TUSUploadError] | None = None
    text: str = ""
    send: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    uploads: int = 1
    least: int | None = None


def patch(*faults: Fault) -> dict[str, tuple[Fault, ...]]:
    return {"PATCH": faults}


def post(*faults: Fault) -> dict[str, tuple[Fault, ...]]:
    return {"POST": faults}


def lie(offset: str | None, *faults: Fault) -> dict[str, tuple[Fault, ...]]:
    """The answer to the PATCH is lost (unless `faults` say otherwise), and the HEAD after it says `offset`."""
    return {"PATCH": faults or (Fault(drop=True),), "HEAD": (Fault(headers={"Upload-Offset": offset}),)}


def busy(retry_after: str) -> dict[str, tuple[Fault, ...]]:
    return patch(Fault(status=503, headers={"Retry-After": retry_after}))


ONE_RETRY = "POST PATCH HEAD PATCH"
half = partial(Fault, read=KEEP, keep=KEEP)
# What is sent again at least when a body is cut after KEEP bytes: the rest of the block that was under way.
CUT = BLOCK_BYTES - KEEP
NO_TUS = {"Tus-Resumable": None}

# fmt: off
# One line says one fault: a table is read across.
ROWS = [
    Row("nothing", {}, "POST PATCH"),
    # the network
    Row("cut after n bytes", patch(half(drop=True)), ONE_RETRY, SIZE - KEEP, least=CUT),
    Row("reset after n bytes", patch(half(drop=True, reset=True)), ONE_RETRY, SIZE - KEEP, least=CUT),
    Row("cut, nothing kept", patch(Fault(read=1000, keep=0, drop=True)), ONE_RETRY, SIZE, least=BLOCK_BYTES),
    Row("the last answer is lost", patch(Fault(drop=True)), "POST PATCH HEAD"),
    Row("the 201 is lost", post(Fault(drop=True)), "POST POST PATCH", uploads=2),
    Row("the HEAD is lost too", {**patch(half(drop=True)), "HEAD": (Fault(drop=True),)},
        "POST PATCH HEAD HEAD PATCH", SIZE - KEEP, least=CUT),
    Row("stall while sending", patch(Fault(read=1000, keep=1000, stall=True)), ONE_RETRY, SIZE - 1000,
        client={"timeout": 1.0}, least=BLOCK_BYTES - 1000),
    Row("stall before the answer", patch(Fault(stall=True)), "POST PATCH HEAD", client={"timeout": 1.0}),
    Row("a reader slower than the timeout, never idle so long", patch(Fault(slow_seconds=0.15)), "POST PATCH",
        client={"timeout": 1.0}),
    Row("garbage for an answer", patch(Fault(raw=b"\x16\x03\x01garbage\r\n\r\n")), "POST PATCH HEAD"),
    Row("more headers than fit", patch(Fault(headers={f"X-{i}": "x" for i in range(150)})), "POST PATCH HEAD"),
    Row("as many headers as fit", patch(Fault(headers={f"X-{i}": "x" * 500 for i in range(80)})), "POST PATCH"),
    Row("a header of 70 KB", patch(Fault(headers={"X-Big": "x" * 70_000})), "POST PATCH HEAD"),
    Row("an endless cut", patch(*[Fault(read=0, drop=True)] * 9), "POST PATCH HEAD PATCH HEAD PATCH", 2 * SIZE,
        error=UploadInterrupted, text="no answer", client={"max_retries": 2}, least=2 * BLOCK_BYTES),
    Row("no retries wanted", patch(Fault(read=0, drop=True)), "POST PATCH", error=UploadInterrupted,
        client={"max_retries": 0}),
    Row("cuts with progress cost no budget", patch(*[Fault(read=KEEP // 5, keep=KEEP // 5, drop=True)] * 5),
        "POST PATCH" + " HEAD PATCH" * 5, 5 * SIZE - (1 + 2 + 3 + 4 + 5) * KEEP // 5, client={"max_retries": 1},
        least=5 * BLOCK_BYTES - KEEP),
    # odd but right answers
    Row("half of the body kept, said so", patch(Fault(keep=KEEP)), "POST PATCH PATCH", SIZE - KEEP),
    Row("103 and 104 before the answers", {**post(Fault(interim=(103,))), **patch(Fault(interim=(104, 104, 100)))},
        "POST PATCH"),
    Row("100, 103 and 104 before any of the body is read", patch(Fault(prompt=(100, 103, 104))), "POST PATCH"),
    Row("200 for 204", patch(Fault(status=200, keep=SIZE)), "POST PATCH"),
    Row("no version in any answer", {**post(Fault(headers=NO_TUS)), **patch(Fault(headers=NO_TUS))}, "POST PATCH"),
    Row("no offset in the answer", patch(Fault(headers={"Upload-Offset": None})), "POST PATCH HEAD"),
    Row("nothing kept, again and again", patch(*[Fault(keep=0)] * 9), "POST PATCH HEAD PATCH", SIZE,
        error=UploadInterrupted, text="kept none", client={"max_retries": 1}),
    Row("307 of a creation", post(Fault(status=307, headers={"Location": "/other/"})), "POST POST PATCH", uploads=2),
    Row("307 of a PATCH", patch(Fault(status=307, headers={"Location": "/files/upload-0"})),
        "POST PATCH PATCH", SIZE),
    Row("308 of a PATCH", patch(Fault(status=308, headers={"Location": "/files/upload-0"})),
        "POST PATCH PATCH", SIZE),
    # lies
    Row("offset too high, HEAD knows better", patch(Fault(keep=KEEP, headers={"Upload-Offset": "999999999"})),
        "POST PATCH HEAD PATCH", SIZE - KEEP),
    Row("offset below the start", patch(half(drop=True), Fault(headers={"Upload-Offset": "5"})),
        "POST PATCH HEAD PATCH HEAD", SIZE - KEEP, least=CUT),
    Row("negative offset", patch(Fault(headers={"Upload-Offset": "-1"})), "POST PATCH", error=ProtocolViolation,
        text="no count of bytes"),
    Row("offset is no number", patch(Fault(headers={"Upload-Offset": "³"})), "POST PATCH", error=ProtocolViolation,
        text="no count of bytes"),
    Row("HEAD claims what was never sent",
        lie(str(SIZE), Fault(read=0, drop=True)),
        "POST PATCH HEAD", error=ProtocolViolation, text="were sent", client={"chunk_size": 1000}),
    Row("HEAD claims more than there is", lie(str(SIZE + 1)), "POST PATCH HEAD", error=UploadMismatch,
        text="claims"),
    Row("HEAD claims less than there is", lie("0", half(drop=True)), "POST PATCH HEAD PATCH HEAD PATCH",
        2 * SIZE - KEEP, least=BLOCK_BYTES + SIZE - KEEP),
    Row("HEAD with a negative offset", lie("-1"), "POST PATCH HEAD", error=ProtocolViolation, text="no count of bytes"),
    Row("HEAD with an offset that is no number", lie("many"), "POST PATCH HEAD", error=ProtocolViolation,
        text="no count of bytes"),
    Row("HEAD without offset", lie(None), "POST PATCH HEAD", error=ProtocolViolation, text="without Upload-Offset"),
    Row("a portal answers HEAD",
        {**patch(Fault(drop=True)), "HEAD": (Fault(headers={"Upload-Offset": None, **NO_TUS}),)},
        "POST PATCH HEAD", error=NotATusServer, text="captive portal"),
    Row("another length",
        {**patch(Fault(drop=True)), "HEAD": (Fault(headers={"Upload-Length": str(SIZE + 5)}),)},
        "POST PATCH HEAD", error=UploadMismatch, text="File size"),
    # forgotten
    Row("forgotten in the middle", patch(Fault(forget=True)), "POST PATCH", error=UploadGone, uploads=0),
    Row("410 on PATCH", patch(Fault(status=410)), "POST PATCH", error=UploadGone, text="a new one is needed"),
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
        Row(f"{code} {text}".strip(), patch(half(status=code, text=text)), ONE_RETRY, SIZE - KEEP, least=CUT)
        for code, text in [
            (400, "ERR_UPLOAD_INTERRUPTED: another request took the lock\n"),
            (400, "ERR_UNEXPECTED_EOF: cut\n"),
            (400, "Request aborted due to lock acquired"),
            (408, ""), (423, "ERR_UPLOAD_LOCKED: locked\n"), (425, ""), (429, ""), (460, "checksum mismatch"),
            (500, "ERR_LOCK_TIMEOUT: timeout\n"), (500, "ERR_INTERNAL_SERVER_ERROR: disk\n"), (502, "<html>"),
            (500, "ERR_READ_TIMEOUT: slow\n"), (500, "ERR_CONNECTION_RESET: reset\n"),
            (503, "ERR_SERVER_SHUTDOWN: bye\n"), (504, ""), (507, "full"), (520, ""),
        ]
    ],
    Row("HEAD is answered 502", {**patch(half(drop=True)), "HEAD": (Fault(status=502),) * 2},
        "POST PATCH HEAD HEAD HEAD PATCH", SIZE - KEEP, least=CUT),
    Row("POST is answered 500", post(Fault(status=500)), "POST POST PATCH", uploads=2),
    Row("busy", busy("0"), ONE_RETRY, SIZE),
    Row("busy, no retries", patch(Fault(status=429, headers={"Retry-After": "7"})), "POST PATCH", error=ServerBusy,
        client={"max_retries": 0}),
    Row("busy until a date that is past", busy("Thu, 01 Jan 2026 00:00:00 GMT"), ONE_RETRY, SIZE),
    Row("busy, nobody can read until when", busy("soon"), ONE_RETRY, SIZE),
    Row("busy for longer than there is time", busy("3600"), "POST PATCH", error=DeadlineExceeded,
        text="after the deadline", send={"deadline": 60.0}),
    # conflicts
    Row("409, the server has less", patch(half(status=409, text="ERR_MISMATCHED_OFFSET")), ONE_RETRY, SIZE - KEEP,
        least=CUT),
    Row("409 is a lock", patch(Fault(status=409)), "POST PATCH HEAD HEAD PATCH", SIZE),
    Row("409 without end", patch(*[Fault(status=409, read=0)] * 9), "POST PATCH HEAD HEAD PATCH HEAD", SIZE,
        error=UploadInterrupted, client={"max_retries": 1}, least=BLOCK_BYTES),
    Row("409 at once, connection reset", patch(Fault(status=409, read=0, reset=True)), "POST PATCH HEAD HEAD PATCH",
        SIZE, least=BLOCK_BYTES),
    # limits
    Row("the proxy takes 1 MiB", patch(Fault(status=413, read=0, headers=NO_TUS)), "POST PATCH",
        error=UploadTooLarge, text="proxy"),
    Row("413 at once, connection reset", patch(Fault(status=413, read=0, headers=NO_TUS, reset=True)), "POST PATCH",
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
    Row("an answer shorter than it says", patch(Fault(raw=b"HTTP/1.1 400 No\r\nContent-Length: 999\r\n\r\nno tha")),
        "POST PATCH HEAD", error=FinishedWithServerError, text="answered the last request 400"),
    *[
        Row(f"POST {code} {text}".strip(), post(Fault(status=code, text=text)), "POST", error=kind, text=text)
        for code, text, kind in [
            (400, "ERR_UPLOAD_REJECTED: no", UploadRefused), (400, "ERR_INVALID_UPLOAD_LENGTH: x", UploadRefused),
            (400, "ERR_AMBIGUOUS_UPLOAD_LENGTH: x", UploadRefused), (401, "", AuthRequired),
            (403, "ERR_ORIGIN_NOT_ALLOWED: x", AuthRequired), (407, "", AuthRequired),
            (412, "ERR_UNSUPPORTED_VERSION: x", UploadRefused), (414, "", UploadRefused), (431, "", UploadRefused),
        ]
    ],
    *[
        Row(f"PATCH {code} {text}".strip(), patch(Fault(status=code, read=0, text=text)), "POST PATCH", error=kind,
            text=text)
        for code, text, kind in [
            (401, "", AuthRequired), (403, "ERR_MODIFY_FINAL: x", AuthRequired), (407, "", AuthRequired),
            (404, "ERR_UPLOAD_NOT_FOUND: x", UploadGone), (412, "ERR_UNSUPPORTED_VERSION: x", UploadRefused),
            (414, "", UploadRefused), (415, "", UploadRefused), (431, "", UploadRefused), (301, "", NotATusServer),
            (302, "", NotATusServer), (303, "", NotATusServer), (307, "", NotATusServer),
        ]
    ],
    # What may be said of the finished upload has a HEAD after it.
    *[
        Row(f"PATCH {code} {text}".strip(), patch(Fault(status=code, read=0, text=text)), "POST PATCH HEAD",
            error=UploadRefused, text=text)
        for code, text in [
            (400, "ERR_INVALID_OFFSET: x"), (400, "ERR_INVALID_CONTENT_TYPE: x"), (400, "ERR_UPLOAD_NOT_FINISHED: x"),
            (505, ""),
        ]
    ],
    # Through POST it may pass; here it does not.
    Row("PATCH 405", patch(Fault(status=405, read=0)), "POST PATCH POST", SIZE, error=UploadRefused, text="not allow",
        least=BLOCK_BYTES),
    Row("PATCH 501", patch(Fault(status=501, read=0, text="ERR_NOT_IMPLEMENTED: x")), "POST PATCH POST", SIZE,
        error=UploadRefused, text="not implement", least=BLOCK_BYTES),
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
    *[
        Row(f"a Location that leads {where}", post(Fault(headers={"Location": location})), "POST",
            error=ProtocolViolation, text=text)
        for where, location, text in [("elsewhere", "http://files.invalid/files/1", "another origin"),
                                      ("nowhere", "http://[", "no usable URL")]
    ],
    Row("redirected in a circle", post(*[Fault(status=307, headers={"Location": "/files/"})] * 9), "POST " * 5 + "POST",
        error=NotATusServer, text="redirected more than", uploads=6),
    Row("a PATCH redirected in a circle", patch(*[Fault(status=308, headers={"Location": "/files/upload-0"})] * 9),
        "POST" + " PATCH" * 6, 5 * SIZE, error=NotATusServer, text="redirected more than"),
]
# fmt: on
