"""Whom to believe beneath TLS: the bundle that comes with requests, the system's own, or a file."""

import os
from collections.abc import Mapping

SYSTEM = "system"
_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def trusted(verify: bool | str, environ: Mapping[str, str] = os.environ) -> bool | str:
    """`verify` as requests takes it: True, False, or a file or folder of certificates.

    "system" is what OpenSSL trusts on this machine ($SSL_CERT_FILE and $SSL_CERT_DIR included); True may be overridden
    by $REQUESTS_CA_BUNDLE or $CURL_CA_BUNDLE. Raises ValueError where the system has no certificates in one place.
    """
    if verify is True:
        return next((environ[name] for name in _VARIABLES if environ.get(name)), True)
    if verify != SYSTEM:
        return verify
    import ssl  # who sends over plain HTTP does not need it

    paths = ssl.get_default_verify_paths()
    found = paths.cafile or paths.capath
    if found is None:
        raise ValueError("this system keeps no certificates where OpenSSL looks for them; give a file as `verify`")
    return found
