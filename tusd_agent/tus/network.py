"""What a failing network looks like, in words: from the errors of sockets, TLS, http.client, urllib3 and requests."""

import http.client
import re
import ssl
from collections.abc import Iterator

from requests.exceptions import InvalidProxyURL, InvalidSchema
from requests.exceptions import InvalidURL as RequestsInvalidURL
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from .environment import Proxy, through
from .errors import AuthRequired, InvalidURL, TUSUploadError, UntrustedServer, UploadInterrupted, printable, redact
from .plain import NotConnected

# What http.client says when a proxy does not lead on: the status and the reason are all it keeps.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3}.*)", re.DOTALL)
_BEFORE_ANY_REQUEST = (NewConnectionError, ConnectTimeoutError, NotConnected)


def _chain(error: BaseException) -> Iterator[BaseException]:
    while True:
        yield error
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in reversed(error.args) if isinstance(part, BaseException)), None)
        if inner is None and isinstance(error, HTTPError):
            inner = error.__cause__
        if inner is None:
            return
        error = inner


def innermost(error: BaseException) -> BaseException:
    """The root of a chain of wrapped errors. The wrappers' texts hold the URL, which is a secret."""
    root = error
    for inner in _chain(error):
        root = inner
    return root


def network_failure(method: str, url: str, error: BaseException, proxy: Proxy | None = None) -> TUSUploadError:
    """What to raise for `error`, met by a request to `url`; `method` as it is meant, before any override.

    `UploadInterrupted` for what may pass, `UntrustedServer`, `AuthRequired` where the proxy wants a password, and
    `InvalidURL` for addresses, the proxy's as well, that nothing can be sent to.
    """
    chain = list(_chain(error))
    root = chain[-1]
    where = f"{method} {redact(url)}{through(proxy)}"
    if isinstance(root, UnicodeError | LocationValueError | InvalidProxyURL | RequestsInvalidURL | InvalidSchema):
        return _unusable_address(where, url, root, proxy)
    if proxy is not None and any(isinstance(part, ProxyError) for part in chain):
        return _proxy_failure(where, method, url, root, proxy)
    if isinstance(root, ssl.SSLCertVerificationError | ssl.CertificateError):
        return UntrustedServer(
            f"{where}: the server's certificate does not hold ({root.verify_message}). Mend it, or give the CA "
            "it was signed by as `verify`.",
            url=url,
        )
    if isinstance(root, OSError) and "invalid path" in str(root):  # requests, of a file it was to give to OpenSSL
        return UntrustedServer(
            f"{where}: {printable(str(root))}. Check `verify` and `cert`, or the variables REQUESTS_CA_BUNDLE and "
            "CURL_CA_BUNDLE.",
            url=url,
        )
    if isinstance(root, ssl.SSLError) and _of_a_file(root):
        return UntrustedServer(
            f"{where}: a file for TLS can't be used ({_detail(root)}); nothing was sent. `verify` must hold CA "
            "certificates, `cert` a certificate and the key that belongs to it, all of them PEM.",
            url=url,
        )
    if isinstance(root, ssl.SSLError | SSLError):
        return UploadInterrupted(
            f"{where}: TLS failed ({_detail(root)}). Does the server speak https at this port, and does it want a "
            "client's certificate (`cert`)?",
            url=url,
        )
    if isinstance(root, http.client.HTTPException) and not isinstance(root, ConnectionError):
        return UploadInterrupted(
            f"{where}: the answer is not HTTP ({type(root).__name__}). Check the address and port; {_next(method)}",
            url=url,
        )
    if any(isinstance(part, _BEFORE_ANY_REQUEST) for part in chain):
        return UploadInterrupted(
            f"{where}: no answer ({_detail(root)}). Is the server running, and is the address right? Try again when it "
            f"can be reached; {_unasked(method)}.",
            url=url,
        )
    return UploadInterrupted(f"{where}: no answer ({_detail(root)}); {_next(method)}", url=url)


def _of_a_file(error: ssl.SSLError) -> bool:
    """Whether OpenSSL could not read, or match, what it was given in a file (ERR_get_error(3): the library)."""
    return getattr(error, "library", None) in ("PEM", "X509") or "PEM lib" in str(error)


def _unasked(method: str) -> str:
    """What is so when the request did not reach the server."""
    said = {"POST": "nothing was created on the server", "DELETE": "nothing was deleted", "OPTIONS": "nothing was sent"}
    return said.get(method) or _next(method)


def _next(method: str) -> str:
    if method in ("HEAD", "PATCH"):
        return "what the server has is kept, and the upload can be resumed"
    if method == "POST":
        return "whether anything was created is not known, trying again makes a new upload"
    if method == "DELETE":
        return "whether the upload was deleted is not known, try again"
    return "try again"


def _detail(root: BaseException) -> str:
    if isinstance(root, ssl.SSLError | SSLError):
        return printable(str(getattr(root, "reason", None) or root))
    detail = printable(root.strerror or str(root)) if isinstance(root, OSError) else ""
    return detail or type(root).__name__


def _unusable_address(where: str, url: str, root: BaseException, proxy: Proxy | None) -> TUSUploadError:
    if isinstance(root, InvalidSchema) and "SOCKS" in str(root):
        return InvalidURL(
            f"{where}: it needs SOCKS, which is not installed here: pip install 'requests[socks]', or "
            f"change {proxy.setting if proxy is not None else 'the proxy setting'}",
            url=url,
        )
    if proxy is not None:
        return InvalidURL(
            f"{where}: one of the two is no usable address. A proxy's is like http://host:port; check {proxy.setting}",
            url=url,
        )
    return InvalidURL(f"{where}: this is no address that a request can be sent to; check the host's name", url=url)


def _proxy_failure(where: str, method: str, url: str, root: BaseException, proxy: Proxy) -> TUSUploadError:
    refusal = _TUNNEL.match(str(root))
    if refusal is None:
        return UploadInterrupted(
            f"{where}: no connection to the proxy ({_detail(root)}). Does it run? Check {proxy.setting}; "
            f"{_unasked(method)}.",
            url=url,
        )
    said = printable(refusal[1]).strip()
    if said.startswith("407"):
        return AuthRequired(
            f"{where}: the proxy wants a user and a password ({said}); put them in {proxy.setting}, "
            "as in http://user:password@host:port",
            status=407,
            url=url,
        )
    return UploadInterrupted(
        f"{where}: the proxy refused to lead on to the server ({said}). Check {proxy.setting}, or ask who runs "
        f"the proxy; {_unasked(method)}.",
        url=url,
    )
