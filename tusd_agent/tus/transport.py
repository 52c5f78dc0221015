"""One request and its answer: headers, credentials, redirects, and what a failing network looks like.

Statuses are not judged here (`retry` does); what never became an answer is raised as `UploadInterrupted`.
"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urljoin

from .body import Body, CallerFailed
from .connections import Connections, Route
from .environment import Proxy, through
from .errors import NotATusServer, TUSUploadError, UploadInterrupted, printable, redact, unconfided
from .exchange import HARMLESS, Fields, Reply, exchange, request_head
from .headers import basic, header_value
from .locations import may_have_credentials, origin, split_credentials
from .patience import Watch, watching
from .plain import StaleConnection

if TYPE_CHECKING:
    import requests

TUS_VERSION = "1.0.0"
MAX_REDIRECTS = 5
_IDEMPOTENT = {"HEAD", "OPTIONS", "DELETE"}

T = TypeVar("T")

HeaderValue = str | bytes | Callable[[], str | bytes]
Headers = Mapping[str, HeaderValue]


class Answer(NamedTuple):
    """What a server answered. `url`: where, after redirects; `sent_bytes`: of the body; `text`: ≤ 4 KiB, printable.

    `proxy`: through which it came, and which may have said it.
    """

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    text: str
    sent_bytes: int = 0
    proxy: Proxy | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def from_tus(self) -> bool:
        """Whether a tus server said it: proxies and portals do not send this header."""
        return "Tus-Resumable" in self.headers

    @property
    def where(self) -> str:
        """For messages: what was asked, and through which proxy where that may have been the one who answered."""
        return f"{self.method} {redact(self.url)}{'' if self.from_tus else through(self.proxy)}"


class Credentials(NamedTuple):
    """Headers that may only reach the origin of `trusted_url`: the client's own, or those of one call."""

    headers: Headers
    trusted_url: str


class Transport:
    """Requests to the endpoint and where it leads, and what each of them carries. Thread-safe."""

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
            self._headers["Authorization"] = basic(*userinfo)
        self._connections = Connections({"verify": verify, "cert": cert, "proxies": proxies})

    @property
    def session(self) -> "requests.Session":
        return self._connections.session

    @session.setter
    def session(self, session: "requests.Session") -> None:
        self._connections.current = session

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
        if isinstance(url, str) and "@" in url:
            url, userinfo = split_credentials(url)
            if userinfo is not None:  # what headers say comes later, and counts
                credentials.insert(0, Credentials({"Authorization": basic(*userinfo)}, url))
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
                f"{redact(answer.url)} redirects to {redact(target)!r}, which is no usable URL; give the final "
                "address instead",
                url=answer.url,
            ) from error
        if origin(answer.url)[0] == "https" and origin(url)[0] == "http":
            raise NotATusServer(
                f"{redact(answer.url)} redirects from https to http ({redact(url)}), which is not followed: anyone "
                "could read the upload. Give an https:// address that does not, or mend the redirect.",
                url=answer.url,
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
        session = self._connections.current
        route = self._connections.route_to(url, session)
        sent = self._fields(method, url, headers, credentials, route)
        try:
            with watching(watch):
                reply = self._reply(method, url, sent, body, route, session, (connect_seconds, idle_seconds))
        except (TUSUploadError, CallerFailed):
            raise
        except Exception as error:
            meant = headers.get("X-HTTP-Method-Override", method)
            failed = _interrupted(meant, url, error, route, session)
            if failed is None:
                raise
            raise failed from failed.__cause__
        proxy = None if route is None else route.proxy
        sent_bytes = body.sent if body is not None else 0
        text = _text(reply.text)
        if text:
            ours = {"x-request-id", "tus-resumable", *(name.lower() for name in headers)}
            text = unconfided(text, (value for name, (_, value) in sent.items() if name not in ours), url)
        return Answer(method, url, reply.status, reply.headers, text, sent_bytes, proxy)

    def _fields(
        self, method: str, url: str, headers: Mapping[str, str], credentials: list[Credentials], route: Route | None
    ) -> Fields:
        """What the request carries of its own; later ones replace earlier ones of the same name."""
        sent: Fields = {"x-request-id": ("X-Request-ID", os.urandom(16).hex())}
        if route is not None and route.authorization is not None:
            sent["authorization"] = ("Authorization", route.authorization)
        for part in credentials:
            if may_have_credentials(url, part.trusted_url):
                for name, value in part.headers.items():
                    sent[name.lower()] = name, header_value(name, value() if callable(value) else value)
        if method != "OPTIONS":
            sent["tus-resumable"] = "Tus-Resumable", TUS_VERSION
        for name, value in headers.items():
            sent[name.lower()] = name, value
        return sent

    def _reply(
        self,
        method: str,
        url: str,
        sent: Fields,
        body: Body | None,
        route: Route | None,
        session: "requests.Session | None",
        timeout: tuple[float | None, float | None],
    ) -> Reply:
        """Sends it, past requests where that does not matter. `timeout`: seconds to connect, and of idle time."""
        foreign = not may_have_credentials(url, self.endpoint)
        way = None if route is None else self._connections.way_to(route, session, url, sent)
        if route is not None and way is not None:
            defaults = way.defaults
            if foreign:
                defaults = {name: value for name, value in defaults.items() if name.lower() in HARMLESS}
            head = request_head(method, way.target, route.host, defaults, sent, body)
            reply = _ask(lambda: exchange(way.pool, method, head, body, *timeout), method)
            if reply.cookies is not None:
                from .sessions import keep_cookies

                keep_cookies(self.session, method, url, reply.cookies)
            return reply
        from .sessions import ask

        fields = dict(sent.values())
        options = self._connections.options_of(route)
        chosen = self.session if session is None else session
        return _ask(
            lambda: ask(chosen, method, url, fields, body, timeout, foreign=foreign, options=options),
            method,
        )

    def fresh_connections(self) -> None:
        """Drops pooled connections; requests under way go on."""
        self._connections.drop()

    def close(self) -> None:
        self._connections.close()


def _interrupted(
    method: str, url: str, error: Exception, route: Route | None, session: "requests.Session | None"
) -> TUSUploadError | None:
    """What `error` means if it is the network's, None for any other; `method` as it is meant, before any override."""
    try:
        # The libraries whose errors these may be are loaded only now, if they were not needed before.
        from .sessions import interrupted, proxy_of
    except (ImportError, OSError):
        # Without a file descriptor left there is no loading: what went wrong first is told all the same.
        if not isinstance(error, OSError):
            return None
        reason = printable(error.strerror or str(error)) or type(error).__name__
        failed = UploadInterrupted(f"{method} {redact(url)}: no answer ({reason}). It can be tried again.", url=url)
        failed.__cause__ = error
        return failed
    return interrupted(method, url, error, proxy_of(session, url) if route is None else route.proxy)


def _ask(ask: Callable[[], T], method: str) -> T:
    """What `ask` gives; what is idempotent is asked again when a kept connection was dead (RFC 9112, 9.3.1)."""
    while True:
        try:
            return ask()
        except StaleConnection:
            # A dead connection leaves the pool, a fresh one is never stale: this ends.
            if method not in _IDEMPOTENT:
                raise


def _text(raw: bytes) -> str:
    return printable(raw.decode("utf-8", "replace")).strip() if raw else ""
