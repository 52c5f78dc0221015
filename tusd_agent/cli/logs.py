"""Where log records go: one line each on stderr, as text or JSON; to the journal, with fields, if it listens there."""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from ..control.replies import escaped
from ..jobs.story import FIELDS
from ..tus.errors import masked

LONGEST_LINE = 8192
"""In characters. The journal cuts lines at 48 KiB (LineMax=, journald.conf(5)), and a line is for people."""

JOURNAL_SOCKET = "/run/systemd/journal/socket"

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


class TextFormatter(logging.Formatter):
    """``2026-08-01T12:00:00.123+02:00 INFO tusd_agent.delivery: message``; for the journal without the first two."""

    def __init__(self, *, timestamps: bool) -> None:
        super().__init__()
        self._timestamps = timestamps

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.name}: {_message(record)}"
        if self._timestamps:
            line = f"{_at(record)} {record.levelname} {line}"
        return _cut(line)


class JsonFormatter(logging.Formatter):
    """One object a line: at (local ISO 8601), level, logger, thread, message; exception where there is one.

    A line about a job has job (its number), path and endpoint too, one about an endpoint has endpoint.
    """

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": _cut(masked(record.getMessage())),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            document["exception"] = _cut(masked(self.formatException(record.exc_info)))
        return json.dumps(document)


class JournalFormatter(logging.Formatter):
    """What another formatter gives, with the priority in front that the journal takes from it (sd-daemon(3)).

    For where the journal can't be reached but by stderr, which has no room for fields.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return f"<{priority(record.levelno)}>{self._inner.format(record)}"


class JournalHandler(logging.Handler):
    """Sends records to the journal's own socket, with fields: ``journalctl TUSD_AGENT_JOB=28`` tells a job's story.

    The protocol is systemd's "native" one (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): a datagram of ``NAME=value``
    lines; none of our values has more than one. Raises `OSError` where nobody listens on `socket_path`.
    """

    def __init__(self, socket_path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._socket_path = socket_path
        self._socket = _connected(socket_path)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = {
                "PRIORITY": priority(record.levelno),
                "SYSLOG_IDENTIFIER": "tusd-agent",
                "LOGGER": record.name,
                "CODE_FILE": record.pathname,
                "CODE_LINE": record.lineno,
                **{f"TUSD_AGENT_{name.upper()}": getattr(record, name) for name in FIELDS if hasattr(record, name)},
                "MESSAGE": self.format(record),
            }
            lines = (f"{name}={escaped(str(value))}\n" for name, value in fields.items())
            datagram = "".join(lines).encode("utf-8", "backslashreplace")
            try:
                self._socket.send(datagram)
            except OSError:  # the journal was started anew, with a socket of its own
                self._socket.close()
                self._socket = _connected(self._socket_path)
                self._socket.send(datagram)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def _connected(path: str) -> socket.socket:
    sending = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sending.connect(path)
    except OSError:
        sending.close()
        raise
    return sending


def priority(level: int) -> int:
    """The syslog priority of a level."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG_PRIORITY)


def set_up_logging(
    level: str, form: str, environ: Mapping[str, str], descriptor: int = 2, journal_socket: str = JOURNAL_SOCKET
) -> None:
    """Sends all records to stderr, or to the journal where stderr leads there: ours from `level` on (debug, info, …),
    those of libraries from warning on.

    `form` is text or json. `descriptor` is that of stderr.
    """
    journal = goes_to_journal(environ, descriptor)
    formatter: logging.Formatter = JsonFormatter() if form == "json" else TextFormatter(timestamps=not journal)
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JournalFormatter(formatter) if journal else formatter)
    if journal:
        with suppress(OSError):
            native = JournalHandler(journal_socket)
            native.setFormatter(formatter)
            handler = native
    ours = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(ours, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("tusd_agent").setLevel(ours)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_death


def _log_thread_death(death: threading.ExceptHookArgs) -> None:
    name = death.thread.name if death.thread is not None else "?"
    cause = death.exc_value or death.exc_type()
    logging.getLogger("tusd_agent").critical("thread %s ended by an error of the program", name, exc_info=cause)


def goes_to_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """Whether what is written there reaches the journal: $JOURNAL_STREAM names device and inode (systemd.exec(5)).

    That it is set says nothing: it is inherited by processes whose stderr goes elsewhere.
    """
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return " | ".join(escaped(line) for line in masked(text).splitlines())


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"
