"""Where a request may go: origins, the Location of a new upload, and whom credentials may reach.

An origin is scheme, host and port (RFC 6454). From http to https on the same host is taken for the same origin: what
was sent in the clear before is not given away by being sent sealed.
"""

import functools
import re
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from .errors import InvalidURL, ProtocolViolation, redact

_PORTS = {"http": 80, "https": 443}
_PLAIN_ID = re.compile(r"(?<=/)[A-Za-z0-9_-]+")
"""What servers most often put behind the endpoint, and nothing in a URL would mean anything else there."""


def split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """`url` without `user:password@`, and those two, decoded. Raises `InvalidURL`."""
    parts = _split(url)
    if parts.scheme.lower() not in _PORTS or not parts.hostname:
        raise _no_address(url)
    user_part, _, host_part = parts.netloc.rpartition("@")
    credentials = None
    if user_part:
        user, _, password = user_part.partition(":")
        credentials = unquote(user), unquote(password)
    return urlunsplit(parts._replace(netloc=host_part, fragment="")), credentials


@functools.lru_cache(maxsize=256)
def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of `url`; `InvalidURL` when it has none."""
    parts = _split(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise _no_address(url)
    return scheme, parts.hostname.lower(), parts.port or _PORTS[scheme]


def _no_address(url: str) -> InvalidURL:
    shown, example = redact(url), "http://localhost:1080/files/"
    if "://" not in url and not url.startswith("/"):
        # A user's name before a password would be taken for the scheme.
        meant = redact(f"http://{url}")
        shown = meant.removeprefix("http://")
        example = meant if shown[:1].isalnum() else example
    return InvalidURL(
        f"{shown!r} is no http:// or https:// URL; give the whole address of a tus server, such as {example}"
    )


def _split(url: str) -> SplitResult:
    if not isinstance(url, str):
        kind = "None" if url is None else f"of type {type(url).__name__}"
        raise TypeError(f"the URL is {kind}; give text, such as http://localhost:1080/files/")
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no port number
    except ValueError as error:
        raise InvalidURL(f"{redact(url)!r} is no URL; check the brackets and the port") from error
    return parts


def may_have_credentials(url: str, trusted_url: str) -> bool:
    """Whether what is meant for `trusted_url` may be sent to `url`."""
    here, there = origin(url), origin(trusted_url)
    if here == there:
        return True
    upgraded = there[0] == "http" and here[0] == "https" and here[1] == there[1]
    return upgraded and (here[2] == there[2] or (here[2], there[2]) == (443, 80))


def resolve(location: str, request_url: str, endpoint: str, *, allow_other_origin: bool) -> str:
    """The URL of a new upload: `location` taken from the answer to a request that ended at `request_url`.

    Relative or absolute (RFC 9110, 10.2.2). Behind a proxy that ends TLS, servers name themselves http://; when the
    endpoint is https on that host the scheme is mended. Raises `ProtocolViolation` for what can't be used.
    """
    if location.startswith(endpoint) and _PLAIN_ID.fullmatch(location, len(endpoint)):
        return location
    try:
        url, _ = split_credentials(urljoin(request_url, location.strip()))
        url = _mend_scheme(urlsplit(url), urlsplit(request_url), urlsplit(endpoint))
        known = any(may_have_credentials(url, trusted) for trusted in (endpoint, request_url))
    except ValueError as error:
        raise ProtocolViolation(
            f"the server at {redact(endpoint)} gave {redact(location)!r} as the new upload's Location, which is no "
            "usable URL. Mend the server's idea of its own address (tusd: -behind-proxy or -base-path).",
            url=location,
        ) from error
    if not (known or allow_other_origin):
        raise ProtocolViolation(
            f"the server put the new upload on another origin ({redact(url)}) than the endpoint {redact(endpoint)}. "
            "If that is meant, allow other origins; credentials are not sent there. Else mend the server's idea of "
            "its own address (tusd: -behind-proxy or -base-path).",
            url=url,
        )
    return url


def _mend_scheme(url: SplitResult, request: SplitResult, endpoint: SplitResult) -> str:
    for secure in (request, endpoint):
        if secure.scheme == "https" and url.scheme == "http" and url.hostname == secure.hostname:
            if url.port in (None, 80, secure.port):
                return urlunsplit(url._replace(scheme="https", netloc=secure.netloc.rpartition("@")[2]))
            break
    return urlunsplit(url)
