"""Creating an upload: POST to the endpoint, an URL comes back (tus 1.0, Creation, Creation With Upload)."""

from collections.abc import Mapping
from typing import NamedTuple

from . import metadata as upload_metadata
from .body import Body
from .core import OFFSET_STREAM, Expiry, expiry_of, offset_of
from .errors import NotATusServer, ProtocolViolation, TUSUploadError, UploadTooLarge, redact
from .locations import resolve
from .metadata import MetadataValue
from .patience import Watch
from .retry import failure
from .transport import Answer, Credentials, Transport

# A hook that decides about the upload may take longer than any other answer: tusd waits 15 s four times.
POST_PATIENCE = 1.5


class Created(NamedTuple):
    """A new upload. `offset`: bytes of the creation's body that the server took, None when it did not say."""

    url: str
    offset: int | None = None
    expiry: Expiry | None = None


def create(
    transport: Transport,
    size: int | None,
    metadata: Mapping[str, MetadataValue] | None,
    *,
    watch: Watch,
    body: Body | None = None,
    extra: Credentials | None = None,
    more: Mapping[str, str] | None = None,
    max_size: int | None = None,
    allow_other_origin: bool = False,
) -> Created:
    """A new upload for `size` bytes (None: its length is deferred); a size of 0 is complete with that.

    `body` goes with it where the server offers creation-with-upload. `more`: headers of extensions. Raises
    `UploadTooLarge` (also unasked, when `max_size` bytes are known to be the limit), `NotATusServer` when the endpoint
    answers like something else, `ProtocolViolation` for a Location that can't be used, and `failure`'s rest.
    """
    endpoint = transport.endpoint
    if size is not None and max_size is not None and size > max_size:
        raise UploadTooLarge(
            f"File size {size} bytes is more than the {max_size} bytes {redact(endpoint)} takes (Tus-Max-Size); "
            "send a smaller file, or have the server's limit raised",
            url=endpoint,
        )
    headers = {"Upload-Defer-Length": "1"} if size is None else {"Upload-Length": str(size)}
    headers |= more or {}
    if body is not None:
        headers["Content-Type"] = OFFSET_STREAM
    try:
        return post(
            transport,
            headers,
            metadata,
            watch=watch,
            body=body,
            extra=extra,
            allow_other_origin=allow_other_origin,
        )
    except UploadTooLarge as error:
        if size is not None:
            error.args = (f"{error} (File size: {size} bytes)",)
        raise


def post(
    transport: Transport,
    headers: Mapping[str, str],
    metadata: Mapping[str, MetadataValue] | None,
    *,
    watch: Watch,
    body: Body | None = None,
    extra: Credentials | None = None,
    timeout_seconds: float | None = None,
    allow_other_origin: bool = False,
) -> Created:
    """The POST itself, with the `headers` that say what is to be made; raises as `create` does."""
    endpoint = transport.endpoint
    headers = dict(headers)
    encoded = upload_metadata.encode(metadata)
    if encoded is not None:
        headers["Upload-Metadata"] = encoded
    if timeout_seconds is None and transport.timeout_seconds is not None:
        timeout_seconds = transport.timeout_seconds * POST_PATIENCE
    answer = transport.request(
        "POST", endpoint, headers, watch=watch, body=body, extra=extra, timeout_seconds=timeout_seconds
    )
    if answer.status != 201:
        raise _refusal(answer)
    location = answer.headers.get("Location", "").strip()
    if not location:
        raise NotATusServer(
            f"Server did not return upload URL: {answer.where} was answered 201 without a Location header. "
            "Check that the endpoint is a tus server's and that no proxy removes the header.",
            status=answer.status,
            server_text=answer.text or None,
            url=endpoint,
        )
    try:
        url = resolve(location, answer.url, endpoint, allow_other_origin=allow_other_origin)
    except ProtocolViolation as error:
        error.status = answer.status
        raise
    return Created(url, None if body is None else offset_of(answer), expiry_of(answer))


def _refusal(answer: Answer) -> TUSUploadError:
    is_page = "html" in answer.headers.get("Content-Type", "")
    # 501 and a page for 400 are what web servers and proxies say to a POST that they know nothing of.
    unknown_there = not answer.from_tus and (answer.status == 501 or (answer.status == 400 and is_page))
    if answer.status in (404, 405, 410) or answer.is_success or unknown_there:
        what = "a web page" if is_page else "no tus answer"
        extent = "" if answer.from_tus else " and without Tus-Resumable"
        return NotATusServer(
            f"Server did not return upload URL: {answer.where} was answered {answer.status} ({what}"
            f"{extent}), not 201. Is this the full address of the tus endpoint? tusd's is "
            "http://host:8080/files/ unless told otherwise.",
            status=answer.status,
            server_text=answer.text or None,
            url=answer.url,
        )
    return failure(answer, known_upload=False)
