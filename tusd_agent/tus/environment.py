"""What the environment says of proxies and passwords, as requests understands it.

requests is asked only where there is something to be understood: loading it takes longer than a small upload.
"""

import os
import sys
from collections.abc import Mapping

# Elsewhere the system's own settings count as well (urllib.request.getproxies).
_ONLY_VARIABLES = os.name == "posix" and sys.platform != "darwin"
_NETRC_FILES = ("~/.netrc", "~/_netrc")


def proxies_for(url: str) -> dict[str, str]:
    """The environment's proxies for `url`, as requests takes them; none where $no_proxy says so."""
    if _ONLY_VARIABLES and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from requests.utils import get_environ_proxies

    return dict(get_environ_proxies(url))


def is_proxied(url: str, proxies: Mapping[str, str]) -> bool:
    """Whether one of `proxies` is for `url`."""
    if not proxies:
        return False
    from requests.utils import select_proxy

    return select_proxy(url, dict(proxies)) is not None


def netrc_for(url: str) -> tuple[str, str] | None:
    """User and password for `url` from $NETRC or the netrc file in the home folder."""
    given = os.environ.get("NETRC")
    names = _NETRC_FILES if given is None else (given,)
    if not any(os.path.exists(os.path.expanduser(name)) for name in names):
        return None
    from requests.utils import get_netrc_auth

    return get_netrc_auth(url)
