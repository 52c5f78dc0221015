"""The calls of a client that are one request: an upload made, asked about or removed, the server asked what it can."""

from typing import TYPE_CHECKING

from . import arguments, core, creation
from .conveniences import Metadata
from .discovery import ServerInfo
from .errors import TUSUploadError, creation_failed
from .patience import Cancel, Watch
from .sending import Sender
from .transport import Credentials, Headers

if TYPE_CHECKING:
    from .info import UploadInfo


class OneRequest(Sender):
    """The part of a client that sends no bodies."""

    def create(
        self,
        size: int,
        metadata: Metadata | None = None,
        *,
        request_headers: Headers | None = None,
        cancel: Cancel | None = None,
        deadline: float | None = None,
    ) -> str:
        """The URL of a new, empty upload for `size` bytes, to be sent by `send(upload_url=…)`."""
        arguments.check_count("size", size)
        arguments.check_options({"metadata": metadata, "request_headers": request_headers})
        watch = _watch(cancel, deadline)
        try:
            created = self._budget(watch).run(
                lambda: creation.create(
                    self._transport,
                    size,
                    metadata,
                    watch=watch,
                    extra=Credentials(request_headers, self._transport.endpoint) if request_headers else None,
                    max_size=self._discovery.remembered.max_size,
                    allow_other_origin=self.allow_other_origin,
                )
            )
        except TUSUploadError as error:
            raise creation_failed(error) from error.__cause__
        return created.url

    def get_upload_info(self, url: str, *, cancel: Cancel | None = None, deadline: float | None = None) -> "UploadInfo":
        """How far the upload is. One this client is sending is not asked about: a HEAD would cut it off on tusd.

        Raises `UploadGone` when the server does not know it.
        """
        from .info import UploadInfo  # uploads themselves do without

        with self._lock:
            active = self._active.get(url)
        if active is not None:
            return UploadInfo.of_active(active, url)
        watch = _watch(cancel, deadline)
        return UploadInfo.of(self._budget(watch).run(lambda: core.head(self._transport, url, watch=watch)))

    def delete_upload(self, url: str, *, cancel: Cancel | None = None, deadline: float | None = None) -> None:
        """Removes the upload from the server, finished or not; fine when it is gone already.

        Raises `UploadRefused` where the server does not support that.
        """
        from . import termination  # as above

        watch = _watch(cancel, deadline)
        self._budget(watch).run(lambda: termination.terminate(self._transport, url, watch=watch))

    def server_info(self, *, cancel: Cancel | None = None, deadline: float | None = None) -> ServerInfo:
        """What the server says it can do (OPTIONS), remembered for an hour; `known` is False if it does not say."""
        return self._discovery.ask(_watch(cancel, deadline))


def _watch(cancel: Cancel | None, deadline: float | None) -> Watch:
    arguments.check_options({"cancel": cancel, "deadline": deadline})
    return Watch(cancel, deadline)
