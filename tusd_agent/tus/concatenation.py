"""Several partial uploads made one (tus 1.0, Concatenation)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from . import creation
from .errors import NotATusServer, ProtocolViolation, UploadGone, UploadInterrupted, redact
from .locations import origin
from .metadata import MetadataValue
from .patience import Watch
from .transport import Credentials, Transport

PARTIAL = {"Upload-Concat": "partial"}
# The server copies all of it before it answers: 0.4 to 2.75 s per GiB were measured on local disks, S3 is slower.
_BASE_SECONDS = 60.0
_BYTES_PER_SECOND = 50_000_000


def concatenate(
    transport: Transport,
    urls: Sequence[str],
    size: int,
    metadata: Mapping[str, MetadataValue] | None,
    *,
    watch: Watch,
    extra: Credentials | None = None,
    allow_other_origin: bool = False,
) -> str:
    """The URL of the upload of `size` bytes that `urls`, complete partial uploads, make up in this order.

    Waits for the answer 60 s and a second for every 50 MB. Raises as a creation does, and `ProtocolViolation` when the
    result is not of that size.
    """
    headers = {"Upload-Concat": "final;" + " ".join(_named(url, transport.endpoint) for url in urls)}
    patience = None if transport.timeout_seconds is None else _BASE_SECONDS + size / _BYTES_PER_SECOND
    try:
        created = creation.post(
            transport,
            headers,
            metadata,
            watch=watch,
            extra=extra,
            timeout_seconds=patience,
            allow_other_origin=allow_other_origin,
        )
    except NotATusServer as error:
        if error.status not in (404, 410):
            raise
        # The endpoint made the parts: what is not found is one of them.
        raise UploadGone(
            f"POST {redact(transport.endpoint)} was answered {error.status}: the server has lost a part of the upload; "
            "upload the file anew",
            status=error.status,
            server_text=error.server_text,
        ) from error
    with suppress(UploadInterrupted):  # 201 was said: the question is not worth a second concatenation
        _check_length(transport, created.url, size, watch, extra)
    return created.url


def _check_length(transport: Transport, url: str, size: int, watch: Watch, extra: Credentials | None) -> None:
    # A final upload may be without an offset while the server is still at it; its length is known by then.
    answer = transport.request("HEAD", url, {}, watch=watch, extra=extra)
    length = answer.headers.get("Upload-Length", "").strip()
    if answer.is_success and length and length != str(size):
        raise ProtocolViolation(
            f"{redact(url)} was put together from parts of {size} bytes in all and is said to have {length[:40]!r}; "
            "upload the file anew, in one stream",
            status=answer.status,
            url=url,
        )


def _named(url: str, endpoint: str) -> str:
    """Path only, as in the specification's example: proxies change what a server is called."""
    if origin(url) != origin(endpoint):
        return url
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")
