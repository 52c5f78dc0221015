"""The connections beneath a client: how each origin is reached, and what they have in common.

There is no session until somebody asks for it, or a request needs one: for TLS, a proxy, cookies, an odd URL.
"""

import os
import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .environment import Proxy, netrc_for, proxies_for, proxy_from
from .exchange import DEFAULT_HEADERS, Fields, Pool, host_header, plain_target
from .headers import basic
from .locations import origin
from .plain import PlainPool

if TYPE_CHECKING:
    import requests


class Route(NamedTuple):
    """How an origin is reached. `host`: its header; `authorization`: from netrc, None when there is none."""

    origin: tuple[str, str, int]
    host: str
    proxies: dict[str, str]
    proxy: Proxy | None
    authorization: str | None


class Way(NamedTuple):
    """How to send without requests. `target`: of the request line; `defaults`: the fields a session would add."""

    pool: Pool
    target: str
    defaults: Mapping[str, str | bytes]


class Connections:
    """Thread-safe; no I/O before the first request. `options`: `verify`, `cert` and `proxies`, as requests takes them.

    Methods take a `session` as `current` was when the request began: it may be replaced in the middle.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.current: requests.Session | None = None
        self._own: requests.Session | None = None
        self._options = options
        self._routes: dict[tuple[str, str, int], Route] = {}
        self._lock = threading.Lock()
        # Of origins to which requests go without a session.
        self._plain: dict[tuple[str, str, int], PlainPool] = {}
        _all.add(self)

    @property
    def session(self) -> "requests.Session":
        with self._lock:
            if self.current is None:
                from .sessions import new_session

                # In this order: a session that is not the own one is somebody else's.
                self._own = new_session()
                self.current = self._own
            return self.current

    def route_to(self, url: str, session: "requests.Session | None") -> Route | None:
        """How the origin of `url` is reached; proxies and netrc are looked up once.

        None when `session` is somebody else's, which keeps its own ways.
        """
        if session is not None and session is not self._own:
            return None
        key = origin(url)
        route = self._routes.get(key)
        if route is not None:
            return route
        with self._lock:
            given = self._options["proxies"]
            proxies = dict(given) if given is not None else proxies_for(url)
            netrc = netrc_for(url)
            route = Route(
                origin=key,
                host=host_header(key),
                proxies=proxies,
                proxy=proxy_from(url, proxies, given is not None),
                authorization=basic(*netrc) if netrc else None,
            )
            self._routes[key] = route
            return route

    def way_to(self, route: Route, session: "requests.Session | None", url: str, sent: Fields) -> Way | None:
        """How to send, at a fraction of its cost, what requests would; None when that is more than sending."""
        target = None if route.proxy is not None else plain_target(url, sent)
        if target is None:
            return None
        verify, cert = self._options["verify"], self._options["cert"]
        if session is None and route.origin[0] == "http" and cert is None:
            with self._lock:
                plain = self._plain.setdefault(route.origin, PlainPool(*route.origin[1:]))
            return Way(plain, target, DEFAULT_HEADERS)
        from .sessions import direct_pool

        session = self.session if session is None else session
        pool = direct_pool(session, url, route.origin, verify, cert)
        return None if pool is None else Way(pool, target, session.headers)

    def options_of(self, route: Route | None) -> dict[str, Any]:
        """What a request through a session says besides; nothing where it is somebody else's."""
        return {} if route is None else {**self._options, "proxies": route.proxies}

    def drop(self) -> None:
        """Closes pooled connections; requests under way go on."""
        self._close_plain()
        if self.current is not None:
            for adapter in self.current.adapters.values():
                adapter.close()

    def close(self) -> None:
        self._close_plain()
        for session in (self.current, self._own):
            if session is not None:
                session.close()

    def leave_to_parent(self) -> None:
        """In a child process: what is open is the parent's, and requests of two processes must not mix on it.

        Asks for no lock: whoever had it may not have come along. A session that is not the own one keeps its own ways.
        """
        self._lock = threading.Lock()
        pools, self._plain = self._plain, {}
        for pool in pools.values():
            pool.leave_to_parent()
        if self._own is not None:
            from .wire import UploadAdapter  # who has a session has loaded it

            for prefix, adapter in self._own.adapters.items():
                if type(adapter) is UploadAdapter:
                    self._own.adapters[prefix] = UploadAdapter()

    def _close_plain(self) -> None:
        with self._lock:
            pools, self._plain = self._plain, {}
        for pool in pools.values():
            pool.close()


_all: "weakref.WeakSet[Connections]" = weakref.WeakSet()


def _after_fork() -> None:
    for connections in _all:
        connections.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
