"""One request and its answer: headers, credentials, redirects, and what a failing network looks like.

Statuses are not judged here (`retry` does); what never became an answer is raised as `UploadInterrupted`.
"""

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urljoin

from .body import Body, CallerFailed
from .environment import is_proxied, netrc_for, proxies_for
from .errors import NotATusServer, TUSUploadError, printable, redact
from .exchange import DEFAULT_HEADERS, HARMLESS, Fields, Pool, exchange, host_header, plain_target, request_head
from .headers import basic, header_value
from .locations import may_have_credentials, origin, split_credentials
from .patience import Watch, watching
from .plain import PlainPool, StaleConnection

if TYPE_CHECKING:
    import requests

TUS_VERSION = "1.0.0"
MAX_REDIRECTS = 5
_IDEMPOTENT = {"HEAD", "OPTIONS", "DELETE"}

T = TypeVar("T")

HeaderValue = str | bytes | Callable[[], str | bytes]
Headers = Mapping[str, HeaderValue]


class Answer(NamedTuple):
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


class Credentials(NamedTuple):
    """Headers that may only reach the origin of `trusted_url`: the client's own, or those of one call."""

    headers: Headers
    trusted_url: str


class _Route(NamedTuple):
    """How an origin is reached. `host`: its header; `authorization`: from netrc, None when there is none."""

    origin: tuple[str, str, int]
    host: str
    proxies: dict[str, str]
    proxied: bool
    authorization: str | None


class _Way(NamedTuple):
    """How to send without requests. `target`: of the request line; `defaults`: the fields a session would add."""

    pool: Pool
    target: str
    defaults: Mapping[str, str | bytes]


class Transport:
    """The connections beneath a client, and what every request carries. Thread-safe; no I/O before the first request.

    There is no session until somebody asks for it, or a request needs one: for TLS, a proxy, cookies, an odd URL.
    """

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
        self._options: dict[str, Any] = {"verify": verify, "cert": cert, "proxies": proxies}
        self._routes: dict[tuple[str, str, int], _Route] = {}
        self._lock = threading.Lock()
        # Of origins to which requests go without a session.
        self._plain: dict[tuple[str, str, int], PlainPool] = {}
        self._session: requests.Session | None = None
        self._own_session: requests.Session | None = None

    @property
    def session(self) -> "requests.Session":
        with self._lock:
            if self._session is None:
                from .sessions import new_session

                # In this order: a session that is not the own one is somebody else's.
                self._own_session = new_session()
                self._session = self._own_session
            return self._session

    @session.setter
    def session(self, session: "requests.Session") -> None:
        self._session = session

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
        session = self._session
        sent: Fields = {"x-request-id": ("X-Request-ID", os.urandom(16).hex())}
        route = None
        if session is None or session is self._own_session:
            route = self._route_to(url)
            if route.authorization is not None:
                sent["authorization"] = ("Authorization", route.authorization)
        for part in credentials:
            if may_have_credentials(url, part.trusted_url):
                for name, value in part.headers.items():
                    sent[name.lower()] = name, header_value(name, value() if callable(value) else value)
        if method != "OPTIONS":
            sent["tus-resumable"] = "Tus-Resumable", TUS_VERSION
        for name, value in headers.items():
            sent[name.lower()] = name, value
        foreign = not may_have_credentials(url, self.endpoint)
        try:
            with watching(watch):
                way = None if route is None else self._direct_way(route, session, url, sent)
                if route is not None and way is not None:
                    defaults = way.defaults
                    if foreign:
                        defaults = {name: value for name, value in defaults.items() if name.lower() in HARMLESS}
                    head = request_head(method, way.target, route.host, defaults, sent, body)
                    pool = way.pool
                    reply = _ask(lambda: exchange(pool, method, head, body, connect_seconds, idle_seconds), method)
                    if reply.cookies is not None:
                        from .sessions import keep_cookies

                        keep_cookies(self.session, method, url, reply.cookies)
                else:
                    from .sessions import ask

                    fields = dict(sent.values())
                    options = {} if route is None else {**self._options, "proxies": route.proxies}
                    timeout = connect_seconds, idle_seconds
                    session = self.session if session is None else session
                    reply = _ask(
                        lambda: ask(session, method, url, fields, body, timeout, foreign=foreign, options=options),
                        method,
                    )
        except (TUSUploadError, CallerFailed):
            raise
        except Exception as error:
            # The libraries whose errors these may be are loaded only now, if they were not needed before.
            from .sessions import interrupted

            failed = interrupted(method, url, error)
            if failed is None:
                raise
            raise failed from failed.__cause__
        return Answer(method, url, reply.status, reply.headers, _text(reply.text), body.sent if body is not None else 0)

    def _direct_way(self, route: _Route, session: "requests.Session | None", url: str, sent: Fields) -> _Way | None:
        """How to send, at a fraction of its cost, what requests would; None when that is more than sending."""
        target = None if route.proxied else plain_target(url, sent)
        if target is None:
            return None
        verify, cert = self._options["verify"], self._options["cert"]
        if session is None and route.origin[0] == "http" and cert is None:
            with self._lock:
                plain = self._plain.setdefault(route.origin, PlainPool(*route.origin[1:]))
            return _Way(plain, target, DEFAULT_HEADERS)
        from .sessions import direct_pool

        session = self.session if session is None else session
        pool = direct_pool(session, url, route.origin, verify, cert)
        return None if pool is None else _Way(pool, target, session.headers)

    def _route_to(self, url: str) -> _Route:
        """How the origin of `url` is reached; proxies and netrc are looked up once."""
        key = origin(url)
        route = self._routes.get(key)
        if route is not None:
            return route
        with self._lock:
            given = self._options["proxies"]
            proxies = dict(given) if given is not None else proxies_for(url)
            netrc = netrc_for(url)
            route = _Route(
                origin=key,
                host=host_header(key),
                proxies=proxies,
                proxied=is_proxied(url, proxies),
                authorization=basic(*netrc) if netrc else None,
            )
            self._routes[key] = route
            return route

    def fresh_connections(self) -> None:
        """Drops pooled connections; requests under way go on."""
        self._close_plain()
        if self._session is not None:
            for adapter in self._session.adapters.values():
                adapter.close()

    def close(self) -> None:
        self._close_plain()
        for session in (self._session, self._own_session):
            if session is not None:
                session.close()

    def _close_plain(self) -> None:
        with self._lock:
            pools, self._plain = self._plain, {}
        for pool in pools.values():
            pool.close()


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
