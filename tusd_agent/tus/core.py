"""The core protocol: HEAD asks how far an upload is, PATCH brings it further (tus 1.0, Core Protocol).

What the server says is checked before it is believed: an offset that can't be true would spoil the file.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from . import metadata as upload_metadata
from .body import Body
from .errors import NotATusServer, ProtocolViolation, UploadMismatch, redact
from .patience import Watch
from .retry import failure
from .transport import Answer, Credentials, Transport

if TYPE_CHECKING:
    from datetime import datetime

OFFSET_STREAM = "application/offset+octet-stream"


class Expiry(NamedTuple):
    """`Upload-Expires` (tus 1.0, Expiration): the instant `at`, `left_seconds` after the server gave the answer.

    By the server's own clock (`Date`), where it gives one: ours may be off by more than the upload has to live.
    """

    at: "datetime"
    left_seconds: float


class UploadState(NamedTuple):
    """What HEAD told. `offset` and `length` in bytes; `length` None while it is `deferred` or not said."""

    url: str
    offset: int
    length: int | None
    metadata: Mapping[str, str]
    expiry: Expiry | None = None
    deferred: bool = False


def head(transport: Transport, url: str, *, watch: Watch, extra: Credentials | None = None) -> UploadState:
    """Where the upload stands. Never to be asked while a PATCH of ours runs: tusd's would be cut off for it.

    Raises `failure`'s errors, `NotATusServer` when no tus server answered, `ProtocolViolation` for impossible values.
    """
    answer = transport.request("HEAD", url, {}, watch=watch, extra=extra)
    if not answer.is_success:
        raise failure(answer)
    offset = offset_of(answer)
    if offset is None and not answer.from_tus:
        raise NotATusServer(
            f"HEAD {redact(url)} was answered {answer.status} without Upload-Offset and without Tus-Resumable: that "
            "was no tus server. A captive portal or a proxy? The upload may still be there.",
            status=answer.status,
            url=url,
        )
    if offset is None:
        raise ProtocolViolation(
            f"HEAD {redact(url)} was answered without Upload-Offset, so that nobody knows where to go on. Does a proxy "
            "remove the header? If not, create a new upload.",
            status=answer.status,
            url=url,
        )
    length = _number(answer, "Upload-Length")
    if length is not None and offset > length:
        raise UploadMismatch(
            f"HEAD {redact(url)}: the server claims {offset} bytes of an upload of {length}; create a new upload",
            status=answer.status,
            url=url,
            offset=offset,
        )
    values = upload_metadata.decode(answer.headers.get("Upload-Metadata"))
    deferred = length is None and answer.headers.get("Upload-Defer-Length", "").strip() == "1"
    return UploadState(url, offset, length, values, expiry_of(answer), deferred)


def patch(
    transport: Transport,
    url: str,
    offset: int,
    body: Body | None,
    *,
    watch: Watch,
    extra: Credentials | None = None,
    more: Mapping[str, str] | None = None,
) -> Answer:
    """Sends `body` (None: nothing) at `offset` with `more` headers of extensions; the answer, whatever its status."""
    headers = {"Content-Type": OFFSET_STREAM, "Upload-Offset": str(offset), **(more or {})}
    return transport.request("PATCH", url, headers, watch=watch, body=body, extra=extra)


def offset_of(answer: Answer) -> int | None:
    """`Upload-Offset` in bytes, None when absent; raises `ProtocolViolation` unless it is a non-negative integer."""
    return _number(answer, "Upload-Offset")


def _number(answer: Answer, name: str) -> int | None:
    text = answer.headers.get(name)
    if text is None:
        return None
    text = text.strip()
    # isdigit alone takes superscripts, int alone takes signs, underscores and spaces.
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ProtocolViolation(
            f"{answer.method} {redact(answer.url)}: {name} is {text[:40]!r}, no count of bytes. "
            "The server, or a proxy before it, is at fault; going on could spoil the upload.",
            status=answer.status,
            url=answer.url,
        )
    return int(text)


def expiry_of(answer: Answer) -> Expiry | None:
    """When the server will drop the unfinished upload; None when it does not say, or not in a way to be read."""
    at = _instant(answer.headers.get("Upload-Expires"))
    if at is None:
        return None
    from datetime import UTC, datetime

    now = _instant(answer.headers.get("Date")) or datetime.now(UTC)
    return Expiry(at, (at - now).total_seconds())


def _instant(text: str | None) -> "datetime | None":
    if not text:
        return None
    # Most servers never say when uploads expire, and what reads dates is dear to load.
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
