"""HTTP/1.1 as an upload needs it, beneath `requests.Session`: connections, the adapter, the body.

What differs from urllib3's own:

- sockets are patient ones (`patience`): idle timeout, cancel and deadline in connect, handshake, body and answer;
- a server that answers before it read the whole body (409, 413, …) is heard at once instead of being fed on;
- interim answers (1xx) are skipped: http.client takes every one but 100 for the final answer (RFC 9110, 15.2).
"""

import errno
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, cast

import requests.adapters
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs
from urllib3.util.timeout import Timeout

from .errors import SourceChanged
from .patience import PatientSocket, PatientTLSSocket, Watch, connect
from .sources import Source

BLOCK_BYTES = 256 * 1024
# With a throttle: small enough that a rate limit of some 100 KiB/s still gives a steady flow.
THROTTLED_BLOCK_BYTES = 64 * 1024
# Beyond this many bytes of heads the server is not answering, it is talking.
_PEEK_BYTES = 64 * 1024


class CallerFailed(Exception):
    """Carries what a source or a callback raised past all that would judge it.

    urllib3 takes every OSError for the network's, and the retry loop would try again after an `UploadInterrupted`
    that a callback met elsewhere.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


class _CallerSpeaks:
    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, CallerFailed):
            raise CallerFailed(error) from error


_CALLER_SPEAKS = _CallerSpeaks()


def caller_speaks() -> _CallerSpeaks:
    """Around calls into the caller's code: what it raises becomes `CallerFailed`. Twice a block: one without state."""
    return _CALLER_SPEAKS


class Body:
    """`length` bytes of `source` from `offset`, block after block from one buffer that is used again.

    Has a length, so that requests sends Content-Length and never chunks; every iteration starts anew, so that a
    redirect can be followed. `sent` counts the bytes the kernel has taken in the running iteration, `handed` also those
    of the block it was being given when the connection broke, of which the server may have a part.
    """

    def __init__(
        self,
        source: Source,
        offset: int,
        length: int,
        *,
        watch: Watch,
        on_sent: Callable[[int], None] | None = None,
        throttle: Callable[[int], None] | None = None,
    ) -> None:
        self.sent = 0
        self.handed = 0
        self._source = source
        self._offset = offset
        self._length = length
        self._watch = watch
        self._on_sent = on_sent
        self._throttle = throttle

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:  # memoryviews, though the stubs of requests want bytes
        self.sent = 0
        block = BLOCK_BYTES if self._throttle is None else THROTTLED_BLOCK_BYTES
        buffer = memoryview(bytearray(min(block, self._length)))
        while self.sent < self._length:
            self._watch.check()
            with caller_speaks():
                part = self._read(buffer[: self._length - self.sent])
            self.handed = max(self.handed, self.sent + part.nbytes)
            yield part
            self.sent += part.nbytes
            if self._on_sent is not None:
                self._on_sent(self.sent)

    def _read(self, buffer: memoryview) -> memoryview:
        at = self._offset + self.sent
        count = self._source.readinto(at, buffer)
        if count <= 0:
            raise SourceChanged(
                f"the source ended at byte {at}, {self._length - self.sent} bytes early. File size was expected to "
                "stay the same during the upload; upload it anew when nothing writes to it."
            )
        if self._throttle is not None:
            self._throttle(count)
        return buffer[:count]


class StaleConnection(ConnectionResetError):
    """A connection kept from earlier requests turned out to be closed: the server may not have seen the request."""


class UploadResponse(http.client.HTTPResponse):
    must_close = False

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            # begin() does nothing once there are headers.
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        if self.must_close:
            self.will_close = True


def _final_answer_begun(head: bytes) -> bool:
    """Whether `head`, the unread bytes of the server, hold the start of a final answer after any interim ones."""
    while head.startswith(b"HTTP/1.") and head[9:10] == b"1":
        _, end, head = head.partition(b"\r\n\r\n")
        if not end:
            return False
    return len(head) > 9 or (bool(head) and not head.startswith(b"HTTP/1.1 "[: len(head)]))


class _UploadConnection:
    """What both kinds of connection share; stands before urllib3's class in the order of resolution."""

    sock: Any
    timeout: Any
    host: str
    port: int
    _dns_host: str
    _cut_short = False
    answers = 0  # of this connection since it was made
    idle_seconds: float | None = 0  # while the body is sent; 0: as the socket stands

    def _new_conn(self) -> socket.socket:
        self.answers = 0
        timeout = Timeout.resolve_default_timeout(self.timeout)
        try:
            return connect(self._dns_host, self.port, timeout, getattr(self, "source_address", None))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except TimeoutError as error:
            raise ConnectTimeoutError(self, str(error)) from error
        except OSError as error:
            raise NewConnectionError(self, f"no connection: {error}") from error  # type: ignore[arg-type]

    def response_class(self, sock: Any, debuglevel: int = 0, method: str | None = None) -> UploadResponse:
        response = UploadResponse(sock, debuglevel, method=method)
        # Part of the body is missing on this connection: no second request may follow.
        response.must_close = self._cut_short
        self._cut_short = False
        return response

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()  # type: ignore[misc]
        except ConnectionError as error:
            if self.answers:
                raise StaleConnection(errno.ECONNRESET, "the kept connection was closed") from error
            raise
        self.answers += 1
        return response

    def send(self, data: Any) -> None:
        if isinstance(data, memoryview) and self.idle_seconds != 0 and self.sock.gettimeout() != self.idle_seconds:
            self.sock.settimeout(self.idle_seconds)
        # Only the body comes as memoryviews. Beneath TLS a readable socket may hold no answer (session tickets),
        # and there is no peeking: there the answer is found when the server closes.
        if not (isinstance(data, memoryview) and isinstance(self.sock, PatientSocket)):
            super().send(data)  # type: ignore[misc]
            return
        self._stop_if_answered()
        self.sock.patience.while_blocked = self._stop_if_answered
        try:
            self.sock.sendall(data)
        finally:
            if self.sock is not None:
                self.sock.patience.while_blocked = None

    def _stop_if_answered(self) -> None:
        if not self.sock.readable():
            return
        head = self.sock.recv(_PEEK_BYTES, socket.MSG_PEEK)
        if not head or _final_answer_begun(head):
            self._cut_short = True
            # urllib3 takes this very error for "go and read the answer", others for a dead connection.
            raise BrokenPipeError(errno.EPIPE, "the server answered before the end of the body")


class UploadHTTPConnection(_UploadConnection, HTTPConnection):  # type: ignore[misc]  # response_class is a method here
    pass


class UploadHTTPSConnection(_UploadConnection, HTTPSConnection):  # type: ignore[misc]  # the same
    def connect(self) -> None:
        if self.ssl_context is not None:
            super().connect()
            return
        context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
        context.sslsocket_class = PatientTLSSocket
        if context.verify_mode != ssl.CERT_NONE and not (self.ca_certs or self.ca_cert_dir or self.ca_cert_data):
            context.load_default_certs()
        self.ssl_context = context
        try:
            super().connect()
        finally:
            self.ssl_context = None


class UploadPool:
    """What both kinds of pool share: their connections without their way of asking."""

    def take(self, connect_seconds: float | None) -> Any:
        """A connection of the pool, or a new one, connected. Raises OSError and urllib3's errors."""
        connection = self._get_conn()  # type: ignore[attr-defined]  # of urllib3's class, for its subclasses
        try:
            if connection.sock is None:
                connection.timeout = connect_seconds
                self._validate_conn(connection)  # type: ignore[attr-defined]  # the same; connects beneath TLS
                if connection.sock is None:
                    connection.connect()
        except BaseException:
            connection.close()
            self.give_back(None)
            raise
        return connection

    def _make_request(self, conn: Any, *arguments: Any, **options: Any) -> Any:
        # urllib3 sends the body with the connection's timeout, which is that for the connecting.
        conn.idle_seconds = options["timeout"].read_timeout
        try:
            return super()._make_request(conn, *arguments, **options)  # type: ignore[misc]
        finally:
            conn.idle_seconds = 0

    def give_back(self, connection: Any) -> None:
        """What `take` gave, or None for one that was closed."""
        self._put_conn(connection)  # type: ignore[attr-defined]  # of urllib3's class, for its subclasses


class _HTTPPool(UploadPool, HTTPConnectionPool):
    ConnectionCls = UploadHTTPConnection


class _HTTPSPool(UploadPool, HTTPSConnectionPool):
    ConnectionCls = UploadHTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class UploadAdapter(requests.adapters.HTTPAdapter):
    """requests' transport over the connections above, direct or through an HTTP proxy. Never retries by itself."""

    def __init__(self, connections: int = 32) -> None:
        super().__init__(pool_connections=8, pool_maxsize=connections, max_retries=0)
        # Found once: requests derives the key of a pool anew for each request.
        self._direct: dict[tuple[object, ...], UploadPool] = {}

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def pool_for(
        self,
        url: str,
        origin: tuple[str, str, int],
        verify: bool | str,
        cert: str | tuple[str, str] | None,
    ) -> UploadPool:
        """The pool for direct connections to `origin`, that of `url`; OSError when a file of `verify` is missing."""
        key = (origin, verify, cert)
        if key not in self._direct:
            pool = self.get_connection_with_tls_context(requests.Request("GET", url).prepare(), verify, cert=cert)
            self.cert_verify(pool, url, verify, cert)  # type: ignore[no-untyped-call]
            self._direct[key] = cast(UploadPool, pool)
        return self._direct[key]

    def close(self) -> None:
        self._direct.clear()
        super().close()

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        found = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # whose connections are of another making
            found.pool_classes_by_scheme = _POOLS
        return found
