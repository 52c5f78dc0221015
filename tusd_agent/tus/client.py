"""`TUSClient`: the public face. Every upload goes through `send`, which is one `Upload`."""

import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import requests

from . import core, creation, termination
from .conveniences import Metadata, Progress, ProgressCallback, with_defaults
from .discovery import Discovery, ServerInfo
from .errors import TUSUploadError, redact
from .info import UploadInfo
from .patience import Cancel, Watch
from .retry import RetryBudget
from .sources import BytesSource, FileSource, Source
from .transport import Credentials, Headers, Transport
from .upload import ChunkLimit, Order, Upload, UploadResult

# How often `upload` begins anew when the server loses the upload in the middle.
DEFAULT_MAX_RESTARTS = 3


class TUSClient:
    """A client of one tus server. Thread-safe; the constructor does no I/O.

    `endpoint`: the creation URL. `chunk_size`: bytes per PATCH; None (or 0) sends all in one, as the specification asks
    for. `timeout`: seconds in which no byte moves (None: for ever), half as much again for the answer to a creation;
    `connect_timeout`: seconds for a connection to be made (None: as `timeout`).
    `max_retries`: further attempts after one without progress; `retry_delay`, `max_retry_delay`: the first and the
    longest pause (seconds, exponential, full jitter); `min_retry_delay`: the shortest, for servers need that long to
    notice a cut connection. `headers`: sent with every request to the endpoint's origin and to no other; values may be
    callables, evaluated for each request. `allow_empty=False` refuses empty files. `allow_other_origin`: accept upload
    URLs on another host. `verify`, `cert`, `proxies`: as for requests; proxies and netrc are read once from the
    environment. `session` may be replaced by any `requests.Session`, which then keeps its own ways.
    """

    def __init__(
        self,
        endpoint: str,
        chunk_size: int | None = None,
        timeout: float | None = 60.0,
        max_retries: int = 5,
        retry_delay: float = 1.0,
        headers: Headers | None = None,
        *,
        allow_empty: bool = True,
        allow_other_origin: bool = False,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
        max_retry_delay: float = 60.0,
        min_retry_delay: float = 0.5,
        connect_timeout: float | None = None,
    ) -> None:
        if chunk_size is not None and chunk_size < 0:
            raise ValueError(f"chunk_size is {chunk_size}; give a number of bytes, or None for one single request")
        if max_retries < 0 or retry_delay < 0 or max_retry_delay < 0 or min_retry_delay < 0:
            raise ValueError("max_retries and the delays can't be negative")
        for seconds in (timeout, connect_timeout):
            if seconds is None or seconds > 0:
                continue
            raise ValueError(f"a timeout is {seconds}; give a positive number of seconds, or None to wait for ever")
        self.chunk_size = chunk_size or None
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self.max_retry_delay = max_retry_delay
        self.min_retry_delay = min_retry_delay
        self.allow_empty = allow_empty
        self.allow_other_origin = allow_other_origin
        self._transport = Transport(
            endpoint,
            headers,
            timeout_seconds=timeout,
            connect_timeout_seconds=connect_timeout,
            verify=verify,
            cert=cert,
            proxies=proxies,
        )
        self._discovery = Discovery(self._transport)
        self._limit = ChunkLimit()
        self._lock = threading.Lock()
        self._active: dict[str, Upload] = {}

    @property
    def endpoint(self) -> str:
        """The creation URL, without user and password."""
        return self._transport.endpoint

    @property
    def timeout(self) -> float | None:
        return self._transport.timeout_seconds

    @property
    def session(self) -> requests.Session:
        return self._transport.session

    @session.setter
    def session(self, session: requests.Session) -> None:
        self._transport.session = session

    def upload(
        self,
        file_path: str | os.PathLike[str],
        metadata: Metadata | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        chunk_size: int | None = None,
        cancel: Cancel | None = None,
        deadline: float | None = None,
        max_restarts: int = DEFAULT_MAX_RESTARTS,
        request_headers: Headers | None = None,
        on_created: Callable[[str], None] | None = None,
        throttle: Callable[[int], None] | None = None,
    ) -> UploadResult:
        """Uploads a file as a new upload.

        `filename` and `filetype` are added to the metadata unless given (None leaves them out). `progress_callback`
        gets (bytes sent or acknowledged, total): both above 0, the first never above the second, at the end (total,
        total); what it raises comes through and leaves an upload that can be resumed. `deadline`: seconds for the
        whole call. `cancel`: obeyed within a second. Raises `SourceUnavailable` ("File not found"), `SourceChanged`,
        and what `send` raises.
        """
        with FileSource(file_path) as source:
            self._check_empty(source, os.fspath(file_path))
            progress = Progress(progress_callback, source.size)
            result = self.send(
                source,
                metadata=with_defaults(metadata, os.path.basename(os.fspath(file_path))),
                chunk_size=chunk_size,
                cancel=cancel,
                deadline=deadline,
                max_restarts=max_restarts,
                request_headers=request_headers,
                on_created=on_created,
                on_progress=progress,
                throttle=throttle,
            )
            source.check()
        progress.finish()
        return result

    def upload_bytes(
        self,
        data: bytes | bytearray | memoryview,
        filename: str,
        metadata: Metadata | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        chunk_size: int | None = None,
        cancel: Cancel | None = None,
        deadline: float | None = None,
        max_restarts: int = DEFAULT_MAX_RESTARTS,
        request_headers: Headers | None = None,
        on_created: Callable[[str], None] | None = None,
    ) -> UploadResult:
        """Uploads bytes in memory under the name `filename`; otherwise as `upload`."""
        source = BytesSource(data)
        self._check_empty(source, filename)
        progress = Progress(progress_callback, source.size)
        result = self.send(
            source,
            metadata=with_defaults(metadata, filename),
            chunk_size=chunk_size,
            cancel=cancel,
            deadline=deadline,
            max_restarts=max_restarts,
            request_headers=request_headers,
            on_created=on_created,
            on_progress=progress,
        )
        progress.finish()
        return result

    def resume_upload(
        self,
        upload_url: str,
        file_path: str | os.PathLike[str],
        progress_callback: ProgressCallback | None = None,
        *,
        chunk_size: int | None = None,
        cancel: Cancel | None = None,
        deadline: float | None = None,
        request_headers: Headers | None = None,
        throttle: Callable[[int], None] | None = None,
    ) -> UploadResult:
        """Brings the upload at `upload_url` to its end with the rest of the file; otherwise as `upload`.

        Raises `UploadGone` when the server has it no longer, `UploadMismatch` when it is one of another length.
        """
        with FileSource(file_path) as source:
            progress = Progress(progress_callback, source.size)
            result = self.send(
                source,
                upload_url=upload_url,
                chunk_size=chunk_size,
                cancel=cancel,
                deadline=deadline,
                request_headers=request_headers,
                on_progress=progress,
                throttle=throttle,
            )
            source.check()
        progress.finish()
        return result

    def send(
        self,
        source: Source,
        *,
        metadata: Metadata | None = None,
        upload_url: str | None = None,
        on_created: Callable[[str], None] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        cancel: Cancel | None = None,
        deadline: float | None = None,
        max_restarts: int = 0,
        request_headers: Headers | None = None,
        chunk_size: int | None = None,
        throttle: Callable[[int], None] | None = None,
        idempotency_key: str | None = None,
    ) -> UploadResult:
        """Brings `source` to the server: a new upload, or the rest of the one at `upload_url`.

        `on_created(url)` is called before the first byte of the body leaves; `on_progress(sent, acknowledged)` after
        every block and every answer, both counted from the start of the upload; `throttle(bytes)` before each block.
        What they and the source raise comes through unchanged. `max_restarts`: how often a lost upload (404/410) is
        begun anew instead of raising `UploadGone`. `idempotency_key`: sent with the creation, by default a new one.
        Raises `UploadCancelled`, `DeadlineExceeded`, `UploadInterrupted`, `AuthRequired`, `UploadRefused`,
        `UploadGone`, `NotATusServer`, `FinishedWithServerError`, `ProtocolViolation` (see `errors`).
        """
        watch = Watch(cancel, deadline)
        order = Order(
            source=source,
            metadata=metadata,
            upload_url=upload_url,
            chunk_size=chunk_size or self.chunk_size,
            max_restarts=max_restarts,
            request_headers=request_headers,
            allow_other_origin=self.allow_other_origin,
            on_created=on_created,
            on_progress=on_progress,
            throttle=throttle,
            **({} if idempotency_key is None else {"idempotency_key": idempotency_key}),
        )
        upload = Upload(
            order,
            self._transport,
            self._discovery,
            self._limit,
            self._budget(watch),
            watch,
            self.min_retry_delay,
            self._claim,
        )
        try:
            return upload.run()
        finally:
            with self._lock:
                for url in [url for url, active in self._active.items() if active is upload]:
                    del self._active[url]

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
        watch = Watch(cancel, deadline)
        extra = Credentials(request_headers, self.endpoint) if request_headers else None
        return self._budget(watch).run(
            lambda: creation.create(
                self._transport,
                size,
                metadata,
                watch=watch,
                extra=extra,
                max_size=self._discovery.remembered.max_size,
                allow_other_origin=self.allow_other_origin,
            )
        )

    def get_upload_info(self, url: str, *, cancel: Cancel | None = None, deadline: float | None = None) -> UploadInfo:
        """How far the upload is. One this client is sending is not asked about: a HEAD would cut it off on tusd.

        Raises `UploadGone` when the server does not know it.
        """
        with self._lock:
            active = self._active.get(url)
        if active is not None:
            return UploadInfo.of_active(active, url)
        watch = Watch(cancel, deadline)
        return UploadInfo.of(self._budget(watch).run(lambda: core.head(self._transport, url, watch=watch)))

    def delete_upload(self, url: str, *, cancel: Cancel | None = None, deadline: float | None = None) -> None:
        """Removes the upload from the server, finished or not; fine when it is gone already.

        Raises `UploadRefused` where the server does not support that.
        """
        watch = Watch(cancel, deadline)
        self._budget(watch).run(lambda: termination.terminate(self._transport, url, watch=watch))

    def server_info(self, *, cancel: Cancel | None = None, deadline: float | None = None) -> ServerInfo:
        """What the server says it can do (OPTIONS), remembered for an hour; `known` is False if it does not say."""
        return self._discovery.ask(Watch(cancel, deadline))

    def fresh_connections(self) -> None:
        """Drops idle connections, say after the network changed; requests under way go on."""
        self._transport.fresh_connections()

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _budget(self, watch: Watch) -> RetryBudget:
        return RetryBudget(self.max_retries, self.retry_delay, self.max_retry_delay, self.min_retry_delay, watch)

    def _claim(self, upload: Upload, url: str) -> None:
        """Two writers of one upload would cut each other off without end."""
        with self._lock:
            if self._active.setdefault(url, upload) is not upload:
                raise TUSUploadError(f"{redact(url)} is being sent by this client already; wait for that", url=url)

    def _check_empty(self, source: Source, name: str) -> None:
        if source.size == 0 and not self.allow_empty:
            raise TUSUploadError(f"{name!r} is empty. File size 0 is not wanted here (allow_empty=False).")
