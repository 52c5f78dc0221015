"""What callers give, looked at before anything is done with it: a wrong type is a TypeError that says what to give."""

import os
from collections.abc import Mapping
from typing import Any

from . import checksum
from .headers import check_header_value, kind_of

_PATH = "the path of a file (str or Path), or a binary file-like object such as open(path, 'rb')"
_SIZES = ("chunk_size", "small_file_bytes")
_CALLABLES = ("on_created", "on_retry", "throttle", "on_progress", "progress_callback", "on_final_answer")
_TEXTS = ("idempotency_key", "filename", "final_answer")


def check_settings(**settings: Any) -> None:
    """The arguments of `TUSClient`. Raises TypeError and ValueError."""
    for name in ("chunk_size", "small_file_bytes", "max_retries"):
        if name != "chunk_size" or settings[name] is not None:
            check_count(name, settings[name])
    for name in ("retry_delay", "max_retry_delay", "min_retry_delay", "max_retry_after"):
        if not _number(name, settings[name]) >= 0:  # nor is it no number at all
            raise ValueError(f"{name} is {settings[name]}; give a number of seconds, 0 or more")
    for name in ("timeout", "connect_timeout"):
        seconds = settings[name]
        if seconds is not None and not _number(name, seconds) > 0:
            raise ValueError(f"{name} is {seconds}; give a positive number of seconds, or None to wait for ever")
    check_headers("headers", settings["headers"])
    if settings["proxies"] is not None:
        _check_mapping("proxies", settings["proxies"], "{'https': 'http://host:port'}")
        for scheme, proxy in settings["proxies"].items():
            if proxy is not None and not isinstance(proxy, str):
                raise _wrong(f"the proxy for {scheme!r}", proxy, "text, such as 'http://host:port'")
    store = settings["store"]
    if store is not None and not all(hasattr(store, name) for name in ("get", "put", "delete")):
        raise _wrong("store", store, "FileStore(folder), MemoryStore(), or an object with get, put and delete")
    _check_checksum(settings["checksum"])


def check_options(options: Mapping[str, Any]) -> None:
    """What is given with one call, `CallOptions` among it. Raises TypeError and ValueError."""
    for name, value in options.items():
        if value is None:
            continue
        if name in ("chunk_size", "max_restarts", "size"):
            check_count(name, value)
        elif name == "deadline":
            if _number(name, value) != value:  # float("nan") would never pass
                raise ValueError(f"deadline is {value}; give a number of seconds")
        elif name == "cancel" and not hasattr(value, "is_set"):
            raise _wrong(name, value, "a threading.Event, or another object with is_set()")
        elif name == "request_headers":
            check_headers(name, value)
        elif name == "metadata":
            check_metadata(value)
        elif name in _CALLABLES and not callable(value):
            raise _wrong(name, value, "a function")
        elif name in _TEXTS and not isinstance(value, str):
            raise _wrong(name, value, "text")
        elif name == "checksum":
            _check_checksum(value)


def check_count(name: str, value: Any) -> None:
    """`value` is a whole number, 0 or more."""
    unit = "a number of bytes" if name in (*_SIZES, "size") else "a whole number"
    if not hasattr(value, "__index__"):
        raise _wrong(name, value, unit)
    if value < 0:
        raise ValueError(f"{name} is {value}; give {unit}, 0 or more")


def check_metadata(metadata: Any) -> None:
    if metadata is not None:
        _check_mapping("metadata", metadata, "{'author': 'me'}")


def check_headers(name: str, headers: Any) -> None:
    """Names are text, values text, bytes, numbers or functions. What is wrong is said without the value."""
    if headers is None:
        return
    _check_mapping(name, headers, "{'Authorization': 'Bearer …'}")
    for header, value in headers.items():
        if not isinstance(header, str):
            raise TypeError(f"the name of a header in {name} is of type {type(header).__name__}; give text")
        if not callable(value):
            check_header_value(header, value)


def check_file(file: Any) -> None:
    """`file` is a path or can be read."""
    if isinstance(file, bytes | bytearray | memoryview):
        raise TypeError(
            f"a file was expected, and {_what(file)} given. Bytes in memory are uploaded by upload_bytes(data, "
            "filename), or wrapped: io.BytesIO(data)"
        )
    if not isinstance(file, str | os.PathLike) and not hasattr(file, "read"):
        raise TypeError(f"a file was expected, and {_what(file)} given. Give {_PATH}")


def check_data(data: Any) -> None:
    """`data` is bytes-like."""
    if isinstance(data, str):
        raise TypeError("upload_bytes takes bytes, not text: give text.encode(), or call upload(path) for a file")
    try:
        contiguous = memoryview(data).c_contiguous
    except TypeError:
        raise TypeError(
            f"upload_bytes takes bytes, not {_what(data)}; files and file-like objects are uploaded by upload"
        ) from None
    if not contiguous:
        raise TypeError(f"upload_bytes takes bytes in one piece, not a {_what(data)} with gaps; give bytes(data)")


def check_source(source: Any) -> None:
    """`source` is what `send` can send."""
    if not hasattr(source, "size") or not hasattr(source, "readinto"):
        raise TypeError(
            f"send takes a source, such as FileSource(path) or BytesSource(data), not {_what(source)}; "
            "files are uploaded by upload, bytes by upload_bytes"
        )


def check_upload_url(url: Any) -> None:
    """There is one to go on with."""
    if not isinstance(url, str) or not url:
        raise TypeError(
            f"upload_url is {kind_of(url)}; give the URL of the upload to go on with, or call upload for a new one"
        )


def check_session(session: Any) -> None:
    if not hasattr(session, "request"):
        raise _wrong("session", session, "a requests.Session")


def _check_checksum(name: Any) -> None:
    if name is not None and not isinstance(name, str):
        raise _wrong("checksum", name, "the name of an algorithm, such as 'sha1', or 'auto'")
    checksum.check_name(name)


def _check_mapping(name: str, value: Any, example: str) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, f"a dictionary, such as {example}")


def _number(name: str, value: Any) -> Any:
    if not hasattr(value, "__index__") and not hasattr(value, "__float__"):
        raise _wrong(name, value, "a number of seconds")
    return value


def _wrong(name: str, value: object, wanted: str) -> TypeError:
    return TypeError(f"{name} is {kind_of(value)}; give {wanted}")


def _what(value: object) -> str:
    return "None" if value is None else type(value).__name__
