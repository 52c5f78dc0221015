"""One request and its answer: headers, credentials, redirects, and what a failing network looks like.

Statuses are not judged here (`retry` does); what never became an answer is raised as `UploadInterrupted`.
"""

import base64
import http.client
import ssl
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, get_netrc_auth
from urllib3.exceptions import HTTPError, SSLError

from .errors import (
    SERVER_TEXT_LIMIT_BYTES,
    NotATusServer,
    TUSUploadError,
    UntrustedServer,
    UploadInterrupted,
    printable,
    redact,
)
from .locations import may_have_credentials, origin, split_credentials
from .patience import Watch, watching
from .wire import Body, StaleConnection, UploadAdapter

TUS_VERSION = "1.0.0"
MAX_REDIRECTS = 5
# A body longer than this is not worth reading to keep the connection.
_DRAIN_BYTES = 64 * 1024
_IDEMPOTENT = {"HEAD", "OPTIONS", "DELETE"}

HeaderValue = str | bytes | Callable[[], str | bytes]
Headers = Mapping[str, HeaderValue]


@dataclass(frozen=True)
class Answer:
    """What a server answered. `url`: where, after redirects; `sent_bytes`: of the body; `text`: ≤ 4 KiB, printable."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    text: str
    sent_bytes: int = 0

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def from_tus(self) -> bool:
        """Whether a tus server said it: proxies and portals do not send this header."""
        return "Tus-Resumable" in self.headers


@dataclass(frozen=True)
class Credentials:
    """Headers that may only reach the origin of `trusted_url`: the client's own, or those of one call."""

    headers: Headers
    trusted_url: str


class Transport:
    """The session beneath a client, and what every request carries. Thread-safe; no I/O before the first request."""

    def __init__(
        self,
        endpoint: str,
        headers: Headers | None,
        *,
        timeout_seconds: float | None,
        connect_timeout_seconds: float | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        self.endpoint, userinfo = split_credentials(endpoint)
        self.timeout_seconds = timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._headers = dict(headers or {})
        if userinfo is not None and "authorization" not in {name.lower() for name in self._headers}:
            self._headers["Authorization"] = _basic(*userinfo)
        self._options: dict[str, Any] = {"verify": verify, "cert": cert, "proxies": proxies}
        self._surroundings: dict[tuple[str, str, int], tuple[dict[str, str], str | None]] = {}
        self._lock = threading.Lock()
        self._own_session = self.session = self._new_session()

    @staticmethod
    def _new_session() -> requests.Session:
        session = requests.Session()
        # The environment is read by us, once per origin: requests reads netrc and proxies for every request.
        session.trust_env = False
        session.headers.update({"User-Agent": "tusd-agent", "Accept-Encoding": "identity"})
        session.mount("http://", UploadAdapter())
        session.mount("https://", UploadAdapter())
        return session

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        watch: Watch,
        body: Body | None = None,
        extra: Credentials | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """One request; 307 and 308 are followed with the body from its start, other redirects are answers.

        A 401 is tried once more when header values are callables (they are evaluated for each request: a token may
        be fresh now). Raises `UploadInterrupted`, what `watch` raises, and `CallerFailed` for the source's
        and the callbacks' own failures.
        """
        credentials = [Credentials(self._headers, self.endpoint)]
        if extra is not None:
            credentials.append(extra)
        renewable = any(callable(value) for part in credentials for value in part.headers.values())
        for _ in range(MAX_REDIRECTS + 1):
            watch.check()
            answer = self._once(method, url, headers, credentials, watch, body, timeout_seconds)
            if answer.status == 401 and renewable:
                renewable = False
                answer = self._once(method, url, headers, credentials, watch, body, timeout_seconds)
            target = answer.headers.get("Location")
            if answer.status not in (307, 308) or not target:
                return answer
            url = self._redirected(answer, target)
        raise NotATusServer(
            f"{method} {redact(url)}: redirected more than {MAX_REDIRECTS} times; give the final address as endpoint",
            url=url,
        )

    def _redirected(self, answer: Answer, target: str) -> str:
        try:
            url, _ = split_credentials(urljoin(answer.url, target))
        except ValueError as error:
            raise NotATusServer(
                f"{redact(answer.url)} redirects to {redact(target)!r}, which is no usable URL", url=answer.url
            ) from error
        if origin(answer.url)[0] == "https" and origin(url)[0] == "http":
            raise NotATusServer(
                f"{redact(answer.url)} redirects from https to http ({redact(url)}); not followed", url=answer.url
            )
        return url

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        credentials: list[Credentials],
        watch: Watch,
        body: Body | None,
        timeout_seconds: float | None,
    ) -> Answer:
        idle_seconds = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        connect_seconds = idle_seconds if self._connect_timeout_seconds is None else self._connect_timeout_seconds
        options: dict[str, Any] = {
            "timeout": (connect_seconds, idle_seconds),
            "allow_redirects": False,
            "stream": True,
        }
        session = self.session
        sent: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        sent["X-Request-ID"] = uuid.uuid4().hex
        if session is self._own_session:
            proxies, authorization = self._surroundings_of(url)
            if authorization is not None:
                sent["Authorization"] = authorization
            options.update(self._options, proxies=proxies)
        for part in credentials:
            if may_have_credentials(url, part.trusted_url):
                for name, value in part.headers.items():
                    sent[name] = _header_value(name, value() if callable(value) else value)
        if method != "OPTIONS":
            sent["Tus-Resumable"] = TUS_VERSION
        sent.update(headers)
        try:
            with watching(watch):
                response = _ask(session, method, url, headers=dict(sent), data=body, **options)
                text = _read(response)
        except (requests.RequestException, HTTPError, http.client.HTTPException, OSError) as error:
            raise _network_failure(method, url, error) from _innermost(error)
        sent_bytes = body.sent if body is not None else 0
        return Answer(method, url, response.status_code, CaseInsensitiveDict(response.headers), text, sent_bytes)

    def _surroundings_of(self, url: str) -> tuple[dict[str, str], str | None]:
        """Proxies and netrc credentials for the origin of `url`, read once."""
        key = origin(url)
        with self._lock:
            if key not in self._surroundings:
                proxies = self._options["proxies"]
                found = dict(proxies) if proxies is not None else dict(get_environ_proxies(url))
                netrc = get_netrc_auth(url)
                self._surroundings[key] = found, _basic(*netrc) if netrc else None
            return self._surroundings[key]

    def fresh_connections(self) -> None:
        """Drops pooled connections; requests under way go on."""
        for adapter in self.session.adapters.values():
            adapter.close()

    def close(self) -> None:
        self.session.close()
        self._own_session.close()


def _ask(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
    """The session's answer; what is idempotent is asked again when a kept connection was dead (RFC 9112, 9.3.1)."""
    while True:
        try:
            return session.request(method, url, **options)
        except requests.ConnectionError as error:
            # A dead connection leaves the pool, a fresh one is never stale: this ends.
            if method not in _IDEMPOTENT or not isinstance(_innermost(error), StaleConnection):
                raise


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _header_value(name: str, value: str | bytes) -> str:
    """`value` as it can be sent. What is wrong is said without the value: it may be a credential."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    text = text.strip()  # a token file ends with a newline
    if any(character in text for character in "\r\n\0"):
        raise TUSUploadError(f"the value of header {name!r} contains a line break; check where it comes from")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise TUSUploadError(f"the value of header {name!r} has characters that HTTP can't carry") from None
    return text


def _read(response: requests.Response) -> str:
    """The body's first 4 KiB as printable text; the rest is read, within reason, so that the connection lives on."""
    kept = b""
    total = 0
    try:
        for block in response.iter_content(SERVER_TEXT_LIMIT_BYTES):
            kept = kept or block
            total += len(block)
            if total > _DRAIN_BYTES:
                break
    except (requests.RequestException, HTTPError, http.client.HTTPException, OSError):
        pass  # the status line and the headers are the answer; the text is for people
    finally:
        response.close()
    return printable(kept.decode("utf-8", "replace")).strip()


def _innermost(error: BaseException) -> BaseException:
    """The root of a chain of wrapped errors. The wrappers' texts hold the URL, which is a secret."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in reversed(error.args) if isinstance(part, BaseException)), None)
        if inner is None and isinstance(error, HTTPError):
            inner = error.__cause__
        if inner is None:
            return error
        error = inner


def _network_failure(method: str, url: str, error: BaseException) -> UploadInterrupted:
    root = _innermost(error)
    where = f"{method} {redact(url)}"
    if isinstance(root, ssl.SSLCertVerificationError | ssl.CertificateError):
        return UntrustedServer(
            f"{where}: the server's certificate does not hold ({root.verify_message}). Mend it, or give the CA "
            "it was signed by as `verify`.",
            url=url,
        )
    if isinstance(root, ssl.SSLError | SSLError):
        detail = printable(str(getattr(root, "reason", None) or root))
        return UploadInterrupted(f"{where}: TLS failed ({detail}). Does the server speak https at this port?", url=url)
    if isinstance(root, http.client.HTTPException) and not isinstance(root, ConnectionError):
        return UploadInterrupted(f"{where}: the answer is not HTTP ({type(root).__name__})", url=url)
    detail = printable(root.strerror or str(root)) if isinstance(root, OSError) else type(root).__name__
    return UploadInterrupted(f"{where}: no answer ({detail or type(root).__name__}); it can be resumed", url=url)
