"""What the server can do, asked by OPTIONS (tus 1.0, Requests/OPTIONS), remembered for the endpoint.

Only a hint: many servers and proxies do not answer OPTIONS, so that no answer means nothing is known.
"""

import threading
import time
from collections.abc import Callable, Mapping

from .errors import AuthRequired, InvalidURL, NotATusServer, UploadInterrupted
from .patience import Watch
from .records import Record
from .retry import failure, is_transient
from .transport import Transport

TTL_SECONDS = 3600.0
# What only a cut or busy network kept us from hearing is asked again sooner.
FAILED_TTL_SECONDS = 30.0
# A question that is a convenience must not hold an upload up as long as the upload itself may wait.
OPTIONS_TIMEOUT_SECONDS = 10.0


class ServerInfo(Record):
    """What OPTIONS told; all empty, and `known` False, when the server did not tell. `max_size` in bytes."""

    known: bool = False
    versions: tuple[str, ...] = ()
    extensions: frozenset[str] = frozenset()
    max_size: int | None = None
    checksum_algorithms: tuple[str, ...] = ()


class Discovery:
    """One endpoint's `ServerInfo`, asked at most once an hour. Thread-safe."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._info: ServerInfo | None = None
        self._asked_at = 0.0
        self._failed = False

    @property
    def remembered(self) -> ServerInfo:
        """What is known without asking."""
        return self._info or ServerInfo()

    def ask(self, watch: Watch, needed: bool = False) -> ServerInfo:
        """What the server can do; raises only what `watch` raises, and when `needed` what kept it from being heard."""
        with self._lock:
            ttl = FAILED_TTL_SECONDS if self._failed else TTL_SECONDS
            if self._info is not None and self._clock() - self._asked_at < ttl and not (needed and self._failed):
                return self._info
        failed = False
        try:
            info = self._ask(watch)
        except (UploadInterrupted, AuthRequired, InvalidURL):  # the last two: a proxy's password, an impossible address
            if needed:
                raise
            info, failed = ServerInfo(), True
        with self._lock:
            self._info, self._asked_at, self._failed = info, self._clock(), failed
        return info

    def _ask(self, watch: Watch) -> ServerInfo:
        timeout = self._transport.timeout_seconds
        limit = OPTIONS_TIMEOUT_SECONDS if timeout is None else min(timeout, OPTIONS_TIMEOUT_SECONDS)
        try:
            answer = self._transport.request(
                "OPTIONS", self._transport.endpoint, {}, watch=watch, timeout_seconds=limit
            )
        except NotATusServer:
            return ServerInfo()
        if not answer.is_success and is_transient(answer.status, answer.text):
            raise failure(answer, known_upload=False)
        if not answer.is_success or "Tus-Version" not in answer.headers:
            return ServerInfo()
        return parse(answer.headers)


def parse(headers: Mapping[str, str]) -> ServerInfo:
    """The lists of an OPTIONS answer; unreadable parts count as not said."""
    size = headers.get("Tus-Max-Size", "").strip()
    return ServerInfo(
        known=True,
        versions=_names(headers.get("Tus-Version", "")),
        extensions=frozenset(_names(headers.get("Tus-Extension", ""))),
        # tusd writes 0 where there is no limit.
        max_size=(int(size) or None) if size.isascii() and size.isdigit() else None,
        checksum_algorithms=_names(headers.get("Tus-Checksum-Algorithm", "")),
    )


def _names(header: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in header.split(",") if name.strip())
