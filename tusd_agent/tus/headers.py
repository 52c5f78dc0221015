"""Header fields that callers give: checked before they leave, and never shown when they are wrong."""

import base64
import re

from .errors import TUSUploadError, printable

# A token (RFC 9110, 5.6.2).
_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_BREAKS = re.compile(r"[\r\n\0]")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def header_value(name: str, value: str | bytes) -> str:
    """`value` as it can be sent. What is wrong is said without the value: it may be a credential."""
    if not _NAME.fullmatch(name):
        raise TUSUploadError(f"{printable(name)!r} is no name of a header; it may have letters, digits and hyphens")
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    text = text.strip()  # a token file ends with a newline
    if _BREAKS.search(text):
        raise TUSUploadError(f"the value of header {name!r} contains a line break; check where it comes from")
    if not text.isascii() and max(text) > "\xff":
        raise TUSUploadError(f"the value of header {name!r} has characters that HTTP can't carry")
    return text
