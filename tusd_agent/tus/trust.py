"""Whom to believe beneath TLS (the bundle that comes with requests, the system's own, or a file), and what to show."""

import os
from collections.abc import Mapping
from typing import Any

from .headers import kind_of

Path = str | os.PathLike[str]

SYSTEM = "system"
_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def trusted(verify: bool | Path, environ: Mapping[str, str] = os.environ) -> bool | str:
    """`verify` as requests takes it: True, False, or a file or folder of certificates.

    "system" is what OpenSSL trusts on this machine ($SSL_CERT_FILE and $SSL_CERT_DIR included); True may be overridden
    by $REQUESTS_CA_BUNDLE or $CURL_CA_BUNDLE. Raises ValueError where the system has no certificates in one place, and
    for what requests would take for False though it may be no more than a setting that is missing.
    """
    if verify is True:
        return next((environ[name] for name in _VARIABLES if environ.get(name)), True)
    if verify is False:
        return False
    if not isinstance(verify, str | os.PathLike):
        raise TypeError(f"verify is {kind_of(verify)}; give True, False, {SYSTEM!r} or the path of CA certificates")
    if verify == "":
        raise ValueError(f"verify is empty; give True, False, {SYSTEM!r} or the path of CA certificates")
    if verify != SYSTEM:
        return os.fspath(verify)
    import ssl  # who sends over plain HTTP does not need it

    paths = ssl.get_default_verify_paths()
    found = paths.cafile or paths.capath
    if found is None:
        raise ValueError("this system keeps no certificates where OpenSSL looks for them; give a file as `verify`")
    return found


def shown(cert: Any) -> str | tuple[str, str] | None:
    """A client's certificate as requests takes it: one file, or two. Raises TypeError for anything else."""
    if cert is None or isinstance(cert, str):
        return cert
    if isinstance(cert, os.PathLike):
        path: str = os.fspath(cert)
        return path
    if isinstance(cert, tuple | list) and len(cert) == 2 and all(isinstance(one, str | os.PathLike) for one in cert):
        certificate, key = cert
        return os.fspath(certificate), os.fspath(key)
    raise TypeError(f"cert is {kind_of(cert)}; give the path of a file with certificate and key, or a pair of paths")
