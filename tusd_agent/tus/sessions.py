"""The way through requests: for TLS and proxies, and for whatever somebody wants of a session of his own.

Loading requests and urllib3 takes as much CPU as sending 200 MiB, so that `transport` does so only when needed.
"""

import http.client
from collections.abc import Mapping
from typing import Any

import requests
from requests.cookies import extract_cookies_to_jar
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, LocationValueError

from .body import Body
from .environment import Proxy, proxy_from
from .errors import SERVER_TEXT_LIMIT_BYTES, TUSUploadError
from .exchange import DEFAULT_HEADERS, DRAIN_BYTES, FRAMING, HARMLESS, Reply
from .network import innermost, network_failure
from .plain import StaleConnection
from .wire import UploadAdapter, UploadPool

_NETWORK_ERRORS = (requests.RequestException, HTTPError, http.client.HTTPException, OSError)


def new_session() -> requests.Session:
    session = requests.Session()
    # The environment is read by us, once per origin: requests reads netrc and proxies for every request.
    session.trust_env = False
    session.headers.update(DEFAULT_HEADERS)
    session.mount("http://", UploadAdapter())
    session.mount("https://", UploadAdapter())
    return session


def direct_pool(
    session: requests.Session,
    url: str,
    origin: tuple[str, str, int],
    verify: bool | str,
    cert: str | tuple[str, str] | None,
) -> UploadPool | None:
    """Connections to `origin`, that of `url`, to be used without requests; None when `session` does more than send.

    That is when somebody gave it cookies, hooks, another adapter or anything else that requests has to apply.
    Raises OSError when a file of `verify` or `cert` is missing.
    """
    if session.auth or session.params or session.proxies or session.cert or session.cookies:
        return None
    if session.trust_env or any(session.hooks.values()) or any(name in session.headers for name in FRAMING):
        return None
    adapter = session.get_adapter(url)
    return adapter.pool_for(url, origin, verify, cert) if type(adapter) is UploadAdapter else None


def ask(
    session: requests.Session,
    method: str,
    url: str,
    fields: Mapping[str, str],
    body: Body | None,
    timeout: tuple[float | None, float | None],
    *,
    foreign: bool,
    options: Mapping[str, Any],
) -> Reply:
    """One request through `session`; `foreign`: to an origin that may not have what is the session's own.

    `timeout`: seconds to connect, and of idle time. Raises the errors of requests, and `StaleConnection`.
    """
    sent: dict[str, str | None] = dict(fields)
    more = dict(options)
    if foreign:
        given = {name.lower() for name in fields}
        sent |= dict.fromkeys(name for name in session.headers if name.lower() not in HARMLESS | given)
        more["auth"] = _nothing_added
    try:
        response = session.request(
            method, url, headers=sent, data=body, timeout=timeout, allow_redirects=False, stream=True, **more
        )
    except requests.ConnectionError as error:
        root = innermost(error)
        if isinstance(root, StaleConnection):
            raise root from error.__cause__
        raise
    return Reply(response.status_code, response.headers, _read(response))


def keep_cookies(session: requests.Session, method: str, url: str, answer: HTTPResponse) -> None:
    asked = requests.Request(method, url).prepare()
    extract_cookies_to_jar(session.cookies, asked, answer)  # type: ignore[no-untyped-call]


def proxy_of(session: requests.Session | None, url: str) -> Proxy | None:
    """The proxy on the way to `url` of a session that somebody made."""
    if session is None:
        return None
    settings = session.merge_environment_settings(url, {}, None, None, None)
    return proxy_from(url, settings["proxies"], bool(session.proxies))


def interrupted(method: str, url: str, error: Exception, proxy: Proxy | None) -> TUSUploadError | None:
    """What `error` means if it is the network's, or that of an impossible address; None for any other."""
    if not isinstance(error, (*_NETWORK_ERRORS, UnicodeError)):
        return None
    failed = network_failure(method, url, error, proxy)
    root = innermost(error)
    # That error's text is the URL, password and all.
    failed.__cause__ = None if isinstance(root, LocationValueError) else root
    return failed


def _nothing_added(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Takes the place of a session's `auth`, and of netrc, where neither may go."""
    return request


def _read(response: requests.Response) -> bytes:
    """The body's first 4 KiB; the rest is read, within reason, so that the connection lives on."""
    kept = b""
    total = 0
    try:
        for block in response.iter_content(SERVER_TEXT_LIMIT_BYTES):
            kept = kept or block
            total += len(block)
            if total > DRAIN_BYTES:
                break
    except _NETWORK_ERRORS:
        pass  # the status line and the headers are the answer; the text is for people
    finally:
        response.close()
    return kept
