"""What a failing network looks like, in words: from the errors of sockets, TLS, http.client, urllib3 and requests."""

import http.client
import ssl

from urllib3.exceptions import HTTPError, SSLError

from .errors import UntrustedServer, UploadInterrupted, printable, redact


def innermost(error: BaseException) -> BaseException:
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


def network_failure(method: str, url: str, error: BaseException) -> UploadInterrupted:
    root = innermost(error)
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
