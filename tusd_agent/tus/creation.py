"""Creating an upload: POST to the endpoint, an URL comes back (tus 1.0, Creation)."""

from collections.abc import Mapping

from . import metadata as upload_metadata
from .errors import NotATusServer, ProtocolViolation, TUSUploadError, UploadTooLarge, redact
from .locations import resolve
from .metadata import MetadataValue
from .patience import Watch
from .retry import failure
from .transport import Answer, Credentials, Transport

# A hook that decides about the upload may take longer than any other answer: tusd waits 15 s four times.
POST_PATIENCE = 1.5


def create(
    transport: Transport,
    size: int,
    metadata: Mapping[str, MetadataValue] | None,
    *,
    watch: Watch,
    extra: Credentials | None = None,
    max_size: int | None = None,
    allow_other_origin: bool = False,
) -> str:
    """The URL of a new, empty upload for `size` bytes; a size of 0 is complete with that.

    Raises `UploadTooLarge` (also unasked, when `max_size` bytes are known to be the limit), `NotATusServer` when the
    endpoint answers like something else, `ProtocolViolation` for a Location that can't be used, and `failure`'s rest.
    """
    endpoint = transport.endpoint
    if max_size is not None and size > max_size:
        raise UploadTooLarge(
            f"File size {size} bytes is more than the {max_size} bytes {redact(endpoint)} takes (Tus-Max-Size)",
            url=endpoint,
        )
    headers = {"Upload-Length": str(size)}
    encoded = upload_metadata.encode(metadata)
    if encoded is not None:
        headers["Upload-Metadata"] = encoded
    timeout = transport.timeout_seconds
    answer = transport.request(
        "POST",
        endpoint,
        headers,
        watch=watch,
        extra=extra,
        timeout_seconds=None if timeout is None else timeout * POST_PATIENCE,
    )
    if answer.status != 201:
        raise _refusal(answer, size)
    location = answer.headers.get("Location", "").strip()
    if not location:
        raise NotATusServer(
            f"Server did not return upload URL: POST {redact(endpoint)} was answered 201 without a Location header. "
            "Check that the endpoint is a tus server's and that no proxy removes the header.",
            status=answer.status,
            server_text=answer.text or None,
            url=endpoint,
        )
    try:
        return resolve(location, answer.url, endpoint, allow_other_origin=allow_other_origin)
    except ProtocolViolation as error:
        error.status = answer.status
        raise


def _refusal(answer: Answer, size: int) -> TUSUploadError:
    if answer.status in (404, 405, 410) or answer.is_success:
        what = "a web page" if "html" in answer.headers.get("Content-Type", "") else "no tus answer"
        extent = "" if answer.from_tus else " and without Tus-Resumable"
        return NotATusServer(
            f"Server did not return upload URL: POST {redact(answer.url)} was answered {answer.status} ({what}"
            f"{extent}), not 201. Is this the full address of the tus endpoint? tusd's is "
            "http://host:8080/files/ unless told otherwise.",
            status=answer.status,
            server_text=answer.text or None,
            url=answer.url,
        )
    error = failure(answer, known_upload=False)
    if isinstance(error, UploadTooLarge):
        error.args = (f"{error} (File size: {size} bytes)",)
    return error
