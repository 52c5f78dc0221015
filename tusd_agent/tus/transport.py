"""One request and its answer: headers, credentials, redirects, and what a failing network looks like.

Statuses are not judged here (`retry` does); what never became an answer is raised as `UploadInterrupted`.
"""

import http.client
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urljoin

import requests
from requests.cookies import extract_cookies_to_jar
from requests.utils import get_environ_proxies, get_netrc_auth, select_proxy
from urllib3.exceptions import HTTPError, LocationValueError

from .errors import (
    SERVER_TEXT_LIMIT_BYTES,
    NotATusServer,
    printable,
    redact,
)
from .exchange import DRAIN_BYTES, DirectWay, Fields, Reply, direct_way, exchange, host_header, request_head
from .headers import basic, header_value
from .locations import may_have_credentials, origin, split_credentials
from .network import Proxy, innermost, network_failure, proxy_from, through
from .patience import Watch, watching
from .wire import Body, StaleConnection, UploadAdapter

TUS_VERSION = "1.0.0"
MAX_REDIRECTS = 5
_IDEMPOTENT = {"HEAD", "OPTIONS", "DELETE"}
# What of a session's own headers is no secret: all that origins other than the endpoint's get.
_HARMLESS = {"accept", "accept-encoding", "connection", "user-agent"}

T = TypeVar("T")

HeaderValue = str | bytes | Callable[[], str | bytes]
Headers = Mapping[str, HeaderValue]


@dataclass(frozen=True)
class Answer:
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


@dataclass(frozen=True)
class Credentials:
    """Headers that may only reach the origin of `trusted_url`: the client's own, or those of one call."""

    headers: Headers
    trusted_url: str


class _Route(NamedTuple):
    """How an origin is reached. `host`: its header; `authorization`: from netrc, None when there is none."""

    origin: tuple[str, str, int]
    host: str
    proxies: dict[str, str]
    proxy: Proxy | None
    authorization: str | None


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
            self._headers["Authorization"] = basic(*userinfo)
        self._options: dict[str, Any] = {"verify": verify, "cert": cert, "proxies": proxies}
        self._routes: dict[tuple[str, str, int], _Route] = {}
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
        session = self.session
        sent: Fields = {"x-request-id": ("X-Request-ID", f"{random.getrandbits(128):032x}")}
        route = None
        if session is self._own_session:
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
        try:
            foreign = not may_have_credentials(url, self.endpoint)
            with watching(watch):
                found: Mapping[str, str]
                way = None if route is None or route.proxy is not None else direct_way(session, url, sent)
                if route is not None and way is not None:
                    reply = self._exchange(route, way, method, url, sent, body, connect_seconds, idle_seconds)
                    status, found, text = reply.status, reply.headers, _text(reply.text)
                else:
                    options = {} if route is None else {**self._options, "proxies": route.proxies}
                    fields: dict[str, str | None] = dict(sent.values())
                    if foreign:
                        kept_back = {name for name in session.headers if name.lower() not in _HARMLESS | sent.keys()}
                        fields |= dict.fromkeys(kept_back)
                        options["auth"] = _nothing_added
                    response = _ask(
                        lambda: session.request(
                            method,
                            url,
                            headers=fields,
                            data=body,
                            timeout=(connect_seconds, idle_seconds),
                            allow_redirects=False,
                            stream=True,
                            **options,
                        ),
                        method,
                    )
                    status, found, text = response.status_code, response.headers, _read(response)
        except (requests.RequestException, HTTPError, http.client.HTTPException, OSError, UnicodeError) as error:
            root = innermost(error)
            # That error's text is the URL, password and all.
            meant = headers.get("X-HTTP-Method-Override", method)
            shown = None if isinstance(root, LocationValueError) else root
            raise network_failure(meant, url, error, self._proxy_to(url, route)) from shown
        return Answer(
            method, url, status, found, text, body.sent if body is not None else 0, route.proxy if route else None
        )

    def _exchange(
        self,
        route: _Route,
        way: DirectWay,
        method: str,
        url: str,
        sent: Fields,
        body: Body | None,
        connect_seconds: float | None,
        idle_seconds: float | None,
    ) -> Reply:
        """The same request as requests would make of our own session, at a fraction of its cost."""
        session = self._own_session
        defaults: Mapping[str, str | bytes] = session.headers
        if not may_have_credentials(url, self.endpoint):
            defaults = {name: value for name, value in defaults.items() if name.lower() in _HARMLESS}
        head = request_head(method, way.target, route.host, defaults, sent, body)
        pool = way.adapter.pool_for(url, route.origin, self._options["verify"], self._options["cert"])
        reply = _ask(lambda: exchange(pool, method, head, body, connect_seconds, idle_seconds), method)
        if reply.cookies is not None:
            asked = requests.Request(method, url).prepare()
            extract_cookies_to_jar(session.cookies, asked, reply.cookies)  # type: ignore[no-untyped-call]
        return reply

    def _route_to(self, url: str) -> _Route:
        """How the origin of `url` is reached; proxies and netrc are looked up once."""
        key = origin(url)
        route = self._routes.get(key)
        if route is not None:
            return route
        with self._lock:
            given = self._options["proxies"]
            proxies = dict(given) if given is not None else dict(get_environ_proxies(url))
            netrc = get_netrc_auth(url)
            route = _Route(
                origin=key,
                host=host_header(key),
                proxies=proxies,
                proxy=proxy_from(url, select_proxy(url, proxies), given is not None),
                authorization=basic(*netrc) if netrc else None,
            )
            self._routes[key] = route
            return route

    def _proxy_to(self, url: str, route: _Route | None) -> Proxy | None:
        """The proxy on the way to `url`, a session of the user's own included."""
        if route is not None:
            return route.proxy
        settings = self.session.merge_environment_settings(url, {}, None, None, None)
        return proxy_from(url, select_proxy(url, settings["proxies"]), bool(self.session.proxies))

    def fresh_connections(self) -> None:
        """Drops pooled connections; requests under way go on."""
        for adapter in self.session.adapters.values():
            adapter.close()

    def close(self) -> None:
        self.session.close()
        self._own_session.close()


def _nothing_added(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Takes the place of a session's `auth`, and of netrc, where neither may go."""
    return request


def _ask(ask: Callable[[], T], method: str) -> T:
    """What `ask` gives; what is idempotent is asked again when a kept connection was dead (RFC 9112, 9.3.1)."""
    while True:
        try:
            return ask()
        except (requests.ConnectionError, StaleConnection) as error:
            # A dead connection leaves the pool, a fresh one is never stale: this ends.
            if method not in _IDEMPOTENT or not isinstance(innermost(error), StaleConnection):
                raise


def _read(response: requests.Response) -> str:
    """The body's first 4 KiB as printable text; the rest is read, within reason, so that the connection lives on."""
    kept = b""
    total = 0
    try:
        for block in response.iter_content(SERVER_TEXT_LIMIT_BYTES):
            kept = kept or block
            total += len(block)
            if total > DRAIN_BYTES:
                break
    except (requests.RequestException, HTTPError, http.client.HTTPException, OSError):
        pass  # the status line and the headers are the answer; the text is for people
    finally:
        response.close()
    return _text(kept)


def _text(raw: bytes) -> str:
    return printable(raw.decode("utf-8", "replace")).strip() if raw else ""
