"""`TUSClient`: the public face. Every upload is made of `Upload`s, one or several at once."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from . import arguments
from .conveniences import File, Metadata, Progress, ProgressCallback, opened, with_defaults
from .one_request import OneRequest
from .order import CallOptions, UploadResult
from .overriding import OverridingTransport
from .retry import MAX_RETRY_AFTER_SECONDS
from .sources import BytesSource, FileSource, Source
from .streams import StreamSource
from .transport import Headers
from .trust import Path, shown, trusted

if TYPE_CHECKING:
    import requests

    from .store import UploadStore

# How often `upload` begins anew when the server loses the upload in the middle.
DEFAULT_MAX_RESTARTS = 3
# One request instead of two is worth a second copy on the server, should the answer be lost, only for small files.
DEFAULT_SMALL_FILE_BYTES = 64 * 1024


class TUSClient(OneRequest):
    """A client of one tus server. Thread-safe; the constructor does no I/O.

    `endpoint`: the creation URL. `chunk_size`: bytes per PATCH; None (or 0) sends all in one, as the specification asks
    for. `timeout`: seconds in which no byte moves (None: for ever), half as much again for the answer to a creation;
    `connect_timeout`: seconds for a connection to be made (None: as `timeout`).
    `max_retries`: further attempts after one without progress; `retry_delay`, `max_retry_delay`: the first and the
    longest pause (seconds, exponential, full jitter); `min_retry_delay`: the shortest, for servers need that long to
    notice a cut connection; `max_retry_after`: the longest pause that is made because the server asks for it
    (Retry-After), where it asks for more the call ends. `headers`: sent with every request to the endpoint's origin and
    to no other; values may be callables, evaluated for each request. `allow_empty=False` refuses empty files.
    `allow_other_origin`: accept upload URLs on another host. `store`: remembers the URLs of unfinished uploads
    (`FileStore`), so that the same `upload` of the same file goes on after a crash. `small_file_bytes`: up to this size
    `upload` and `upload_bytes` send the body with the creation, where the server offers it and neither `store` nor
    `on_created` waits for the URL; should that answer be lost, the next attempt makes a second copy on the server. 0:
    never. `checksum`: see `CallOptions`. `method_override`: send PATCH and DELETE as POST; left False, a 405 or 501
    teaches it. `verify`: True, False, "system" for what OpenSSL trusts on this machine, or a file of CA certificates;
    `cert`: a client's certificate, (file, key file) or one file with both; `proxies`: as for requests. Proxies and
    netrc are read once from the environment.
    `session` may be replaced by any `requests.Session`, which then keeps its own ways: while it waits for the network,
    neither `cancel` nor `deadline` ends that before `timeout` does.
    A process that is forked off opens connections of its own; a session that was put in place is for one process.
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
        store: "UploadStore | None" = None,
        small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES,
        checksum: str | None = None,
        method_override: bool = False,
        allow_empty: bool = True,
        allow_other_origin: bool = False,
        verify: bool | Path = True,
        cert: Path | tuple[Path, Path] | None = None,
        proxies: Mapping[str, str] | None = None,
        max_retry_delay: float = 60.0,
        min_retry_delay: float = 0.5,
        max_retry_after: float = MAX_RETRY_AFTER_SECONDS,
        connect_timeout: float | None = None,
    ) -> None:
        arguments.check_settings(
            chunk_size=chunk_size,
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_retries=max_retries,
            retry_delay=retry_delay,
            max_retry_delay=max_retry_delay,
            min_retry_delay=min_retry_delay,
            max_retry_after=max_retry_after,
            small_file_bytes=small_file_bytes,
            headers=headers,
            proxies=proxies,
            store=store,
            checksum=checksum,
        )
        transport = OverridingTransport(
            endpoint,
            headers,
            always=method_override,
            timeout_seconds=timeout,
            connect_timeout_seconds=connect_timeout,
            verify=trusted(verify),
            cert=shown(cert),
            proxies=proxies,
        )
        super().__init__(transport)
        self.chunk_size = chunk_size or None
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self.max_retry_delay = max_retry_delay
        self.min_retry_delay = min_retry_delay
        self.max_retry_after = max_retry_after
        self.store = store
        self.small_file_bytes = small_file_bytes
        self.checksum = checksum
        self.allow_empty = allow_empty
        self.allow_other_origin = allow_other_origin

    @property
    def endpoint(self) -> str:
        """The creation URL, without user and password."""
        return self._transport.endpoint

    @property
    def timeout(self) -> float | None:
        return self._transport.timeout_seconds

    @property
    def session(self) -> "requests.Session":
        return self._transport.session

    @session.setter
    def session(self, session: "requests.Session") -> None:
        arguments.check_session(session)
        self._transport.session = session

    def upload(
        self,
        file_path: File,
        metadata: Metadata | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        concurrency: int = 1,
        size: int | None = None,
        **options: Unpack[CallOptions],
    ) -> UploadResult:
        """Uploads a file, or a binary file-like object from where it stands.

        With a `store` a file given by its path is gone on with, where an earlier call of this kind did not finish.

        `filename` and `filetype` are added to the metadata unless given (None leaves them out). `progress_callback`
        gets (bytes sent or acknowledged, total): both above 0, the first never above the second, at the end (total,
        total); what it raises comes through and leaves an upload that can be resumed. `options`: see `CallOptions`.

        `concurrency`: that many parallel streams, each a partial upload, where the server offers concatenation and
        the file is large enough; else one. They can be resumed by the same call with a `store`; `on_created` is then
        called with the URL of the whole, at the end, and callbacks come from several threads, one at a time but for
        `throttle`.

        `size`: bytes in an object that can't seek. Without it the server must offer creation-defer-length, unless the
        stream ends within its first chunk, and the total that `progress_callback` gets is what was read so far. Of
        such an object one chunk (8 MiB unless `chunk_size` says otherwise) is kept in memory.

        Raises `SourceUnavailable` ("File not found"), `SourceChanged`, `CreationFailed`, and what `send` raises.
        """
        arguments.check_options({"size": size, "metadata": metadata, "progress_callback": progress_callback})
        arguments.check_count("concurrency", concurrency)
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; give the number of parallel streams, 1 or more")
        options.setdefault("max_restarts", DEFAULT_MAX_RESTARTS)
        with opened(file_path, size) as (source, name):
            self._check_empty(source, name or "the stream")
            progress = Progress(progress_callback, source)
            waits = self.store is not None or options.get("on_created") is not None
            order, watch = self._order(
                options,
                source=source,
                metadata=with_defaults(metadata, name),
                on_progress=progress,
                small_file_bytes=0 if waits else self.small_file_bytes,
            )
            result = self._deliver(order, watch, concurrency)
            if isinstance(source, FileSource):
                source.check()
            progress.finish()
        return result

    def upload_bytes(
        self,
        data: bytes | bytearray | memoryview,
        filename: str,
        metadata: Metadata | None = None,
        progress_callback: ProgressCallback | None = None,
        **options: Unpack[CallOptions],
    ) -> UploadResult:
        """Uploads bytes in memory under the name `filename`; otherwise as `upload`. The `store` does not know them."""
        options.setdefault("max_restarts", DEFAULT_MAX_RESTARTS)
        arguments.check_data(data)
        arguments.check_options({"filename": filename, "metadata": metadata, "progress_callback": progress_callback})
        source = BytesSource(data)
        self._check_empty(source, filename)
        progress = Progress(progress_callback, source)
        order, watch = self._order(
            options,
            source=source,
            metadata=with_defaults(metadata, filename),
            on_progress=progress,
            small_file_bytes=0 if options.get("on_created") is not None else self.small_file_bytes,
        )
        result = self._run(order, watch)
        progress.finish()
        return result

    def resume_upload(
        self,
        upload_url: str,
        file_path: File,
        progress_callback: ProgressCallback | None = None,
        **options: Unpack[CallOptions],
    ) -> UploadResult:
        """Brings the upload at `upload_url` to its end with the rest of the file; otherwise as `upload`.

        Raises `UploadGone` when the server has it no longer, `UploadMismatch` when it is one of another length.
        """
        arguments.check_upload_url(upload_url)
        arguments.check_options({"progress_callback": progress_callback})
        with opened(file_path, None) as (source, _):
            progress = Progress(progress_callback, source)
            order, watch = self._order(options, source=source, upload_url=upload_url, on_progress=progress)
            result = self._run(order, watch)
            if isinstance(source, FileSource):
                source.check()
            progress.finish()
        return result

    def send(
        self,
        source: Source | StreamSource,
        *,
        metadata: Metadata | None = None,
        upload_url: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        small_file_bytes: int = 0,
        **options: Unpack[CallOptions],
    ) -> UploadResult:
        """Brings `source` to the server: a new upload, or the rest of the one at `upload_url`.

        `on_progress(sent, acknowledged)` is called after every block and every answer, both counted from the start of
        the upload. What it, the other callbacks and the source raise comes through unchanged. `small_file_bytes`: up
        to this size the body goes with the creation, if the server takes that; `on_created` is not told of an upload
        that was whole by that: its URL is the result's.
        A lost upload (404, 410) raises `UploadGone` unless `max_restarts` is given. The client's `store` is not used.
        Raises `UploadCancelled`, `DeadlineExceeded`, `UploadInterrupted`, `AuthRequired`, `UploadRefused`,
        `UploadGone`, `NotATusServer`, `FinishedWithServerError`, `ProtocolViolation` (see `errors`).
        """
        arguments.check_source(source)
        arguments.check_options({"metadata": metadata, "on_progress": on_progress})
        order, watch = self._order(
            options,
            source=source,
            metadata=metadata,
            upload_url=upload_url,
            on_progress=on_progress,
            small_file_bytes=small_file_bytes,
        )
        return self._run(order, watch)

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
