"""What can go wrong, named by whose fault it is and what to do next.

::

    TUSUploadError                    catch this
     +- InvalidURL                    ours: not an http:// or https:// address (also a ValueError)
     +- InvalidMetadata               ours: a key or value the protocol can't carry (also a ValueError)
     +- SourceUnavailable             the file can't be opened or read: put it there, then call again
     +- SourceChanged                 the file changed while it was sent: wait until it is at rest, start anew
     +- UploadCancelled               the caller said stop; what the server has is kept
     +- DeadlineExceeded              the caller's time is up; what the server has is kept
     +- UploadInterrupted             nobody's: network, timeout, lock, 5xx; the same call goes on later
     |   +- ServerBusy                429/503 with Retry-After: not before `retry_after_seconds`
     |   +- UntrustedServer           TLS: the certificate does not hold; an operator must look
     +- AuthRequired                  401/403/407: new credentials, then the same URL goes on
     +- UploadRefused                 the server said no for good: read `server_text`
     |   +- UploadTooLarge            413 or Tus-Max-Size ("File size")
     +- UploadGone                    404/410 of a known upload: a new upload is needed
     |   +- UploadMismatch            the upload on the server is of another length ("File size")
     +- NotATusServer                 the address answered, but not as a tus server: check the endpoint
     +- FinishedWithServerError       the server has every byte and yet answered the last request with an error
     +- ProtocolViolation             the server contradicts itself: offsets that can't be true, unreadable headers
     +- CreationFailed                besides one of the above: there is no upload yet, nothing to go on with

`retryable` tells whether the same call, unchanged and with the same URL, may succeed later. Every message says what
happened, where, and what to do. URLs in messages are redacted (`redact`); the attribute `url` is the true one, for a
program that goes on with it.
"""

import re
from collections.abc import Callable, Iterable
from typing import ClassVar
from urllib.parse import urlsplit, urlunsplit

SERVER_TEXT_LIMIT_BYTES = 4096
LONGEST_SHOWN_SEGMENT = 12
SHORTEST_SECRET = 6
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


_URL = re.compile(r"https?://[^\s'\"<>]+")
_TARGET = re.compile(r"(\burl: )(/[^\s'\"<>()]+)")
_CREDENTIAL = re.compile(
    r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=,]\s*b?['\"]?(?:\w+\s+)?|\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
)


def redact(url: str) -> str:
    """`url` fit for logs: no user and password, no query or fragment, a long last segment cut short.

    Who knows an upload URL may read, continue or delete the upload: its last segment is a secret.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "<unreadable URL>"
    folder, slash, last = parts.path.rpartition("/")
    if len(last) > LONGEST_SHOWN_SEGMENT:
        last = f"{last[:4]}…"
    return printable(urlunsplit((parts.scheme, host, f"{folder}{slash}{last}", "", "")))


def printable(text: str) -> str:
    """`text` with control and direction characters (all but tab and newline) escaped, at most 4 KiB long."""
    return _CONTROL.sub(lambda m: m.group().encode("unicode_escape").decode(), text)[:SERVER_TEXT_LIMIT_BYTES]


def masked(text: str) -> str:
    """Any text, such as the traceback of an error nobody foresaw, without what looks like a credential in it.

    URLs are redacted, and so are paths as urllib3 shows them. What names a secret by its value alone can't be known.
    """
    text = _URL.sub(lambda found: redact(found[0]), text)
    text = _TARGET.sub(lambda found: f"{found[1]}{redact(found[2])}", text)
    return _CREDENTIAL.sub(r"\1******", text)


def unconfided(text: str, confided: Iterable[str], url: str) -> str:
    """What a server says, without what it was told in confidence and now repeats.

    `confided` are values of header fields (of ``Bearer abc`` also ``abc`` alone); of `url`, that of the request, a long
    last segment and the query are cut out. What is shorter than `SHORTEST_SECRET` is no secret, and may be a word.
    """
    if not text:
        return text
    secrets = {part for value in confided for part in (value, value.partition(" ")[2])}
    _, _, last = url.partition("?")[0].rpartition("/")
    query = url.partition("?")[2]
    secrets |= {query, *(part.partition("=")[2] for part in query.split("&"))}
    if len(last) > LONGEST_SHOWN_SEGMENT:
        secrets.add(last)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < SHORTEST_SECRET:
            break
        text = text.replace(secret, "******")
        # The end of a long text may have been cut off, and a secret with it.
        begun = next((n for n in range(len(secret) - 1, SHORTEST_SECRET - 1, -1) if text.endswith(secret[:n])), 0)
        text = f"{text[: len(text) - begun]}******" if begun else text
    return text


class TUSUploadError(Exception):
    """Base of all errors of this package; raised itself only for what has no better name.

    `status`: HTTP status, if one was answered. `server_text`: body of that answer, at most 4 KiB, control characters
    escaped. `url`: the upload (or endpoint) in question, unredacted. `offset`: bytes the server was last known to have.
    `retry_after_seconds`: what the server asked for.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        server_text: str | None = None,
        url: str | None = None,
        offset: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.server_text = server_text
        self.url = url
        self.offset = offset
        self.retry_after_seconds = retry_after_seconds


class InvalidURL(TUSUploadError, ValueError):
    """An endpoint or upload URL that is no http:// or https:// URL."""


class InvalidMetadata(TUSUploadError, ValueError):
    """A metadata key or value that `Upload-Metadata` can't carry."""


class SourceUnavailable(TUSUploadError):
    """The file could not be opened: missing, forbidden, or no regular file."""


class SourceChanged(TUSUploadError):
    """The file's size, time or inode moved while it was being sent: what the server has is a mixture."""


class UploadCancelled(TUSUploadError):
    """The caller's `cancel` was set. The upload on the server stays and can be resumed."""


class DeadlineExceeded(TUSUploadError):
    """The caller's `deadline` passed. The upload on the server stays and can be resumed."""

    retryable = True


class UploadInterrupted(TUSUploadError):
    """Transient: network, timeout, a cut connection, a lock, 5xx. The same call with the same URL goes on."""

    retryable = True


class ServerBusy(UploadInterrupted):
    """The server asked for a pause (`retry_after_seconds`, at most an hour)."""


class UntrustedServer(UploadInterrupted):
    """The TLS certificate does not hold. Not retried within the call: only an operator can mend it."""


class AuthRequired(TUSUploadError):
    """401, 403 or 407. The upload URL stays good: fix the credentials and go on from there."""


class UploadRefused(TUSUploadError):
    """The server refused for good. Sending the same again gets the same answer."""


class UploadTooLarge(UploadRefused):
    """More bytes than the server, or a proxy before it, takes."""


class UploadGone(TUSUploadError):
    """404/410 for an upload that was there: expired or removed. Its URL is worthless, a new upload is needed."""


class UploadMismatch(UploadGone):
    """The upload on the server was created for another number of bytes than the source has."""


class NotATusServer(TUSUploadError):
    """The address answered, but not with what a tus server says there."""


class FinishedWithServerError(TUSUploadError):
    """The request that carried the last byte was answered with an error, and yet the upload is complete.

    tusd does so when a pre-finish hook fails: it will not run the hook again. A person must look.
    """


class ProtocolViolation(TUSUploadError):
    """The server contradicts itself or the protocol, so that going on could spoil the upload."""


class CreationFailed(TUSUploadError):
    """The upload could not be created. Always also one of the classes above, which says why and what can be done."""


_failed_creations: dict[type[TUSUploadError], type[TUSUploadError]] = {}


def _failed_creation(kind: type[TUSUploadError]) -> type[TUSUploadError]:
    if kind is TUSUploadError:
        return CreationFailed
    if kind not in _failed_creations:
        body = {"__doc__": kind.__doc__, "__module__": kind.__module__, "__reduce__": _reduce}
        _failed_creations[kind] = type(kind.__name__, (kind, CreationFailed), body)
    return _failed_creations[kind]


def creation_failed(error: TUSUploadError) -> TUSUploadError:
    """`error`, from now on also a `CreationFailed`; what says stop, not failure, stays as it is."""
    if not isinstance(error, UploadCancelled | DeadlineExceeded | CreationFailed):
        error.__class__ = _failed_creation(type(error))
    return error


def _reduce(self: TUSUploadError) -> tuple[Callable[..., TUSUploadError], tuple[object, ...], dict[str, object]]:
    # For pickle, which finds classes by their names: this one has its parent's.
    return _restored, (type(self).__bases__[0], *self.args), dict(self.__dict__)


def _restored(kind: type[TUSUploadError], *args: str) -> TUSUploadError:
    return creation_failed(kind(*args))
