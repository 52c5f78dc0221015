"""Header fields that callers give: checked before they leave, and never shown when they are wrong."""

import base64
import re

from .errors import TUSUploadError, printable

# A token (RFC 9110, 5.6.2).
_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_BREAKS = re.compile(r"[\r\n\0]")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def check_header_value(name: str, value: object) -> None:
    """Raises TypeError for what is no value; numbers become text."""
    if not isinstance(value, str | bytes | int | float):
        raise TypeError(
            f"the value of header {name!r} is {kind_of(value)}; give text or bytes, or a function that returns them"
        )


def kind_of(value: object) -> str:
    """For messages. Not the value itself: it may be long, or a secret."""
    return "None" if value is None else f"of type {type(value).__name__}"


def header_value(name: str, value: str | bytes) -> str:
    """`value` as it can be sent. What is wrong is said without the value: it may be a credential."""
    if not _NAME.fullmatch(name):
        raise TUSUploadError(f"{printable(name)!r} is no name of a header; it may have letters, digits and hyphens")
    if not isinstance(value, str):
        check_header_value(name, value)  # a function may give anything
        value = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    text = value.strip()  # a token file ends with a newline
    if _BREAKS.search(text):
        raise TUSUploadError(f"the value of header {name!r} contains a line break; check where it comes from")
    if not text.isascii() and max(text) > "\xff":
        raise TUSUploadError(
            f"the value of header {name!r} has characters that HTTP can't carry; encode it, say as base64"
        )
    return text
