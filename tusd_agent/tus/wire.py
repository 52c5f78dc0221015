"""HTTP/1.1 as an upload needs it, beneath `requests.Session`: connections and the adapter.

What differs from urllib3's own:

- sockets are patient ones (`patience`): idle timeout, cancel and deadline in connect, handshake, body and answer;
- a server that answers before it read the whole body (409, 413, …) is heard at once instead of being fed on;
- interim answers (1xx) are skipped (`answers`).
"""

import errno
import socket
import ssl
from typing import Any, cast

import requests.adapters
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs
from urllib3.util.timeout import Timeout

from .answers import UploadResponse
from .patience import PatientSocket, connect
from .patient_tls import PatientTLSSocket
from .plain import AnsweredEarly, StaleConnection, send_block


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
        try:
            send_block(self.sock, data)
        except AnsweredEarly:
            self._cut_short = True
            raise


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
