"""The kinds of values settings have: sizes, durations, paths, URLs, headers, metadata, patterns.

Each function takes what TOML or JSON gave and returns the value, or raises ValueError with what is wrong with it
(not what it should be: that is the description of the field). No message repeats the value, it may be a secret.
"""

import datetime
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr, ValidationInfo

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_LARGEST_BYTES = 2**63 - 1
_PROTOCOL_SETS = "the upload protocol sets it for each request"
_REFUSED_HEADERS: Mapping[str, str] = {
    "content-length": _PROTOCOL_SETS,
    "content-type": _PROTOCOL_SETS,
    "transfer-encoding": _PROTOCOL_SETS,
    "host": "it follows from the url",
}


@dataclass(frozen=True, slots=True)
class PathContext:
    """What paths that are not absolute refer to; None where there is no such folder."""

    folder: Path | None
    home: Path | None


def parse_size_bytes(value: object) -> int:
    """Bytes from 8388608, "8MiB", "10MB" or "500k"; k, M, G, T are powers of 1000, Ki, Mi, Gi, Ti of 1024.

    Raises ValueError with what is wrong.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, prefix, binary = match.groups()
        exact = Decimal(number) * (1024 if binary else 1000) ** (" kmgt".index(prefix.lower()) if prefix else 0)
        size = int(exact)
        if size != exact:
            raise ValueError("is not a whole number of bytes")
    else:
        raise ValueError("is not a size")
    if size < 0:
        raise ValueError("is negative")
    if size > _LARGEST_BYTES:
        raise ValueError("is larger than any file can be")
    return size


def parse_rate_bytes(value: object) -> int:
    """Bytes per second from what `parse_size_bytes` takes, with or without "/s". Raises ValueError likewise."""
    try:
        return parse_size_bytes(re.sub(r"\s*/\s*s\s*\Z", "", value) if isinstance(value, str) else value)
    except ValueError as wrong:
        raise ValueError(str(wrong).replace("a size", "a rate")) from None


def minute_of_day(text: str) -> int:
    """Minutes since midnight of a time as settings hold it, "08:30"."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _time(value: object) -> str:
    """HH:MM from such a text, or from a time as TOML writes it without quotes."""
    if isinstance(value, datetime.time):
        if value.second or value.microsecond:
            raise ValueError("has seconds")
        return value.strftime("%H:%M")
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("is not a time of the day")
    return value


def _limiting_rate(value: object) -> int:
    rate = parse_rate_bytes(value)
    if not rate:
        raise ValueError("is no limit")
    return rate


def _no_bool(value: object) -> object:
    """TOML's true and 1 differ; pydantic would take either for a number."""
    if isinstance(value, bool):
        raise ValueError("is not a number")
    return value


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("is not a text")
    text = str(value)
    if not text or "\0" in text:
        raise ValueError("is empty" if not text else "holds a zero byte")
    context = info.context if isinstance(info.context, PathContext) else PathContext(None, None)
    if text == "~" or text.startswith("~/"):
        if context.home is None:
            raise ValueError('begins with "~", but no home folder is known')
        path = context.home / text[2:]
    elif text.startswith("~"):
        path = Path(os.path.expanduser(text))
        if not path.is_absolute():
            raise ValueError("names the home folder of an unknown user")
    else:
        path = Path(text)
    if not path.is_absolute():
        if context.folder is None:
            raise ValueError("is relative, and there is no configuration file it could be relative to")
        path = context.folder / path
    # Folders are compared and remembered by name: ".." is followed here, once, through links as the kernel would.
    return Path(os.path.realpath(path)) if ".." in path.parts else path


def _optional_path(value: object, info: ValidationInfo) -> Path | None:
    return None if value is None or value == "" else _path(value, info)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _optional_variable(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("is not the name of a variable")
    return value


def _url(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("holds spaces, control or non-ASCII characters")
    try:
        parts = urlsplit(value)
        valid_port = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("does not begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password; use bearer_token_file or an Authorization header")
    if not parts.hostname or not valid_port:
        raise ValueError("names no host" if not parts.hostname else "names port 0")
    if "?" in value or "#" in value:
        raise ValueError("holds a query or a fragment")
    return value


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("is not the name of a header")
    lower = name.lower()
    if lower.startswith(("tus-", "upload-")):
        raise ValueError(f"can't be set: {_PROTOCOL_SETS}")
    if lower in _REFUSED_HEADERS:
        raise ValueError(f"can't be set: {_REFUSED_HEADERS[lower]}")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if any(char in text for char in "\r\n\0"):
        raise ValueError("holds a line break or a zero byte")
    if text != text.strip():
        raise ValueError("begins or ends with a space")
    if not text.isprintable() or any(ord(char) > 0xFF for char in text):
        raise ValueError("holds characters that no header can carry")
    return value


def _metadata_key(key: str) -> str:
    """Upload-Metadata, tus 1.0 "Creation": keys are ASCII, not empty, without spaces and commas."""
    if key == "job":
        raise ValueError("can't be set: the agent puts the id of the job there")
    if not key or not all("!" <= char <= "~" and char != "," for char in key):
        raise ValueError("is no metadata key: ASCII without spaces and commas")
    return key


def _optional_metadata_key(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("is no text")
    return _metadata_key(value)


def _metadata_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("is neither text nor number nor true or false")


def _pattern(pattern: str) -> str:
    # Imported where there are patterns: the client commands read the settings too, and quickly.
    from pathspec import GitIgnoreSpec

    try:
        compiled = GitIgnoreSpec.from_lines([pattern]).patterns
    except (ValueError, re.error):
        raise ValueError("is not a pattern") from None
    if not any(rule.include is not None for rule in compiled):
        raise ValueError("matches nothing")
    return pattern


def _endpoint_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError("is not the name of an endpoint")
    return name


def _file_name(value: object) -> str | None:
    """A path relative to the folder and below it, normalised; None when empty."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("is no text")
    parts = Path(value).parts
    if os.path.isabs(value) or ".." in parts or not parts or "\0" in value:
        raise ValueError("must be a name or path below the folder, without ..")
    return os.path.join(*parts)


def _suffix(value: str) -> str:
    if not value or "/" in value or "\0" in value:
        raise ValueError("must be some characters that a name may end with")
    return value


def _argument(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a zero byte")
    return value


def _argv(value: tuple[str, ...]) -> tuple[str, ...]:
    if value and not os.path.isabs(value[0]):
        raise ValueError("does not begin with an absolute path")
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
SizeBytes = Annotated[int, PlainValidator(parse_size_bytes)]
RateBytes = Annotated[int, PlainValidator(parse_rate_bytes)]
LimitingRate = Annotated[int, PlainValidator(_limiting_rate)]
TimeOfDay = Annotated[str, PlainValidator(_time)]
AbsolutePath = Annotated[Path, PlainValidator(_path)]
OptionalPath = Annotated[Path | None, PlainValidator(_optional_path)]
OptionalText = Annotated[str | None, BeforeValidator(_none_if_empty)]
OptionalVariable = Annotated[str | None, PlainValidator(_optional_variable)]
Url = Annotated[str, AfterValidator(_url)]
Headers = dict[Annotated[str, AfterValidator(_header_name)], Annotated[SecretStr, AfterValidator(_header_value)]]
Metadata = dict[Annotated[str, AfterValidator(_metadata_key)], Annotated[str, PlainValidator(_metadata_value)]]
OptionalMetadataKey = Annotated[str | None, PlainValidator(_optional_metadata_key)]
Patterns = tuple[Annotated[str, AfterValidator(_pattern)], ...]
Argv = Annotated[tuple[Annotated[str, AfterValidator(_argument)], ...], AfterValidator(_argv)]
EndpointName = Annotated[str, AfterValidator(_endpoint_name)]
FileName = Annotated[str | None, PlainValidator(_file_name)]
Suffix = Annotated[str, AfterValidator(_suffix)]
