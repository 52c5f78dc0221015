"""Between a public call and the uploads it is made of: orders, budgets, what is active, what a store remembers."""

import os
import threading
from typing import TYPE_CHECKING, Any

from . import arguments
from .discovery import Discovery
from .errors import FinishedWithServerError, ProtocolViolation, SourceChanged, TUSUploadError, UploadGone, redact
from .order import CallOptions, Learnt, OnRetry, Order, UploadResult
from .patience import Watch
from .remembered import Remembered
from .retry import RetryBudget
from .sources import FileSource, Source
from .streams import StreamSource
from .transport import Transport
from .upload import Upload

if TYPE_CHECKING:
    from .store import StoredPart, StoredUpload, UploadStore


class Sender:
    """The part of a client that sends; its public attributes are `TUSClient`'s settings."""

    def __init__(self, transport: Transport) -> None:
        self.chunk_size: int | None = None
        self.max_retries = 0
        self.retry_delay = self.max_retry_delay = self.min_retry_delay = self.max_retry_after = 0.0
        self.store: UploadStore | None = None
        self.checksum: str | None = None
        self.allow_empty = True
        self.allow_other_origin = False
        self._transport = transport
        self._discovery = Discovery(transport)
        self._learnt = Learnt()
        self._lock = threading.Lock()
        self._active: dict[str, Upload] = {}

    def _order(self, options: CallOptions, **order: Any) -> tuple[Order, Watch]:
        """What a call asks for, and when it must stop."""
        given: dict[str, Any] = dict(options)
        unknown = given.keys() - CallOptions.__annotations__.keys()
        if unknown:
            # Only who mistypes pays for it.
            from difflib import get_close_matches

            near = get_close_matches(min(unknown), CallOptions.__annotations__, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(CallOptions.__annotations__)}"
            raise TypeError(f"there is no option {min(unknown)}; {meant}")
        arguments.check_options(given)
        watch = Watch(given.pop("cancel", None), given.pop("deadline", None))
        given["chunk_size"] = given.get("chunk_size") or self.chunk_size
        given.setdefault("checksum", self.checksum)
        if given.get("idempotency_key") is None:
            given["idempotency_key"] = os.urandom(16).hex()
        return Order(**given, **order, allow_other_origin=self.allow_other_origin), watch

    def _run(self, order: Order, watch: Watch) -> UploadResult:
        """One upload, to its end."""
        return self._finish(self._begin(order, watch))

    def _begin(self, order: Order, watch: Watch) -> Upload:
        return Upload(
            order,
            self._transport,
            self._discovery,
            self._learnt,
            self._budget(watch, order.on_retry),
            watch,
            self.min_retry_delay,
            self._claim,
        )

    def _finish(self, upload: Upload) -> UploadResult:
        try:
            return upload.run()
        finally:
            with self._lock:
                for url in [url for url, active in self._active.items() if active is upload]:
                    del self._active[url]

    def _deliver(self, order: Order, watch: Watch, concurrency: int) -> UploadResult:
        """The upload, or what the store remembers of it, in one stream or several."""
        remembered = Remembered(None, "")
        if self.store is not None and isinstance(order.source, FileSource):
            from .store import key_of  # who has a store has loaded it

            key = key_of(order.source.identity, self._transport.endpoint, order.metadata)
            remembered = Remembered(self.store, key)
        with remembered.held():
            known = remembered.recall()
            parts = self._parts(order, watch, known, concurrency)
            try:
                if parts and not isinstance(order.source, StreamSource):
                    result = self._run_parts(order, order.source, watch, parts, remembered)
                else:
                    url = known.url if known is not None else None
                    result = self._run(order._replace(upload_url=url, on_located=remembered.keep), watch)
            except (UploadGone, SourceChanged, FinishedWithServerError, ProtocolViolation):
                # Nothing to go on with: the next call begins anew.
                remembered.forget()
                raise
            remembered.forget()
            return result

    def _parts(
        self, order: Order, watch: Watch, known: "StoredUpload | None", concurrency: int
    ) -> "tuple[StoredPart, ...]":
        """The parts to send at once; none for one single stream, which is how an upload that began so goes on."""
        if known is not None:
            return known.parts
        if concurrency == 1 or order.source.size is None or isinstance(order.source, StreamSource):
            return ()
        from .parallel import divide  # most uploads go in one stream

        parts = divide(order.source.size, concurrency)
        if len(parts) == 1:
            return ()
        info = self._discovery.ask(watch)
        # What is too large as a whole is refused as a whole, before its parts are sent.
        too_large = info.max_size is not None and order.source.size > info.max_size
        return parts if "concatenation" in info.extensions and not too_large else ()

    def _run_parts(
        self, order: Order, source: Source, watch: Watch, parts: "tuple[StoredPart, ...]", remembered: Remembered
    ) -> UploadResult:
        from .parallel import AnyOf, ParallelUpload  # as above

        stop = threading.Event()
        inner = watch.with_cancel(AnyOf(watch.cancel, stop))
        upload = ParallelUpload(
            order,
            source,
            parts,
            lambda part: self._finish(self._begin(part, inner)),
            stop,
            lambda now, left_seconds: remembered.keep("", left_seconds, now),
        )
        result = upload.run(self._transport, watch, self._budget(watch))
        # Before the caller's function, which may raise: the parts are spent, a second whole is not wanted.
        remembered.keep(result.url, None)
        if order.on_created is not None:
            order.on_created(result.url)
        return result

    def _budget(self, watch: Watch, on_retry: OnRetry | None = None) -> RetryBudget:
        delays = self.retry_delay, self.max_retry_delay, self.min_retry_delay
        return RetryBudget(
            self.max_retries, *delays, watch, on_retry=on_retry, max_retry_after_seconds=self.max_retry_after
        )

    def _claim(self, upload: Upload, url: str) -> None:
        """Two writers of one upload would cut each other off without end."""
        with self._lock:
            if self._active.setdefault(url, upload) is not upload:
                raise TUSUploadError(f"{redact(url)} is being sent by this client already; wait for that", url=url)

    def _check_empty(self, source: Source | StreamSource, name: str) -> None:
        if source.size == 0 and not self.allow_empty:
            raise TUSUploadError(f"{name!r} is empty. File size 0 is not wanted here (allow_empty=False).")
