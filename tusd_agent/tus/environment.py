"""What the environment says of proxies and passwords, as requests understands it.

requests is asked only where there is something to be understood: loading it takes longer than a small upload.
"""

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from .errors import redact

# Elsewhere the system's own settings count as well (urllib.request.getproxies).
_ONLY_VARIABLES = os.name == "posix" and sys.platform != "darwin"
_NETRC_FILES = ("~/.netrc", "~/_netrc")


class Proxy(NamedTuple):
    """The proxy on the way to an origin. `setting`: where it was set, in words."""

    url: str
    setting: str

    def __str__(self) -> str:
        # Without a scheme the user's name would be taken for one, and the password for a path.
        return redact(self.url if "://" in self.url else f"http://{self.url}").rstrip("/")


def through(proxy: Proxy | None) -> str:
    """For messages, after the address that was asked."""
    return "" if proxy is None else f" through the proxy {proxy}"


def proxies_for(url: str) -> dict[str, str]:
    """The environment's proxies for `url`, as requests takes them; none where $no_proxy says so."""
    if _ONLY_VARIABLES and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from requests.utils import get_environ_proxies

    return dict(get_environ_proxies(url))


def proxy_from(url: str, proxies: Mapping[str, str], given: bool) -> Proxy | None:
    """The one of `proxies` that is for `url`; they were `given` by the caller, or else found in the environment."""
    if not proxies:
        return None
    from requests.utils import select_proxy

    selected = select_proxy(url, dict(proxies))
    if selected is None:
        return None
    if given:
        return Proxy(selected, "`proxies` as given to the client")
    scheme = url.partition(":")[0].lower()
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if os.environ.get(name):
            return Proxy(selected, f"the environment variable {name}")
    return Proxy(selected, "the proxy setting of this system")


def netrc_for(url: str) -> tuple[str, str] | None:
    """User and password for `url` from $NETRC or the netrc file in the home folder."""
    given = os.environ.get("NETRC")
    names = _NETRC_FILES if given is None else (given,)
    if not any(os.path.exists(os.path.expanduser(name)) for name in names):
        return None
    from requests.utils import get_netrc_auth

    return get_netrc_auth(url)
