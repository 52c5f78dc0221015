"""Giving up an upload: DELETE (tus 1.0, Termination). Gone is gone: 404 and 410 are success."""

from .errors import UploadRefused, redact
from .patience import Watch
from .retry import failure
from .transport import Credentials, Transport


def terminate(transport: Transport, url: str, *, watch: Watch, extra: Credentials | None = None) -> None:
    """Deletes the upload on the server, unfinished or not. Raises `UploadRefused` where the server does not do that."""
    answer = transport.request("DELETE", url, {}, watch=watch, extra=extra)
    if answer.is_success or answer.status in (404, 410):
        return
    if answer.status in (405, 501):
        raise UploadRefused(
            f"DELETE {redact(url)} was answered {answer.status}: this server does not support the deletion of uploads "
            "(extension termination). Leave it: many servers expire unfinished uploads.",
            status=answer.status,
            server_text=answer.text or None,
            url=url,
        )
    raise failure(answer)
