"""``tusd-agent run``: the agent itself, until a signal stops it."""

import faulthandler
import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from .find import SOCKET_VARIABLE
from .options import EXIT_BAD_CONFIG, EXIT_FAILED, config_option, socket_option, warn

log = logging.getLogger("tusd_agent.run")

_STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command("run")
@config_option
@socket_option
def run_command(config: Path | None, socket: Path | None) -> None:
    """Run the agent until it is stopped (SIGTERM, or Ctrl-C); a second signal ends it at once.

    SIGHUP has the configuration read again, as `tusd-agent reload` does. It logs to stderr. Exit codes: 0 stopped; 1
    it could not start; 78 bad configuration.

    Example: tusd-agent run --config ./config.toml
    """
    from .. import service
    from ..config import ConfigError, load
    from .logs import set_up_logging

    stop, reload_asked = threading.Event(), threading.Event()
    stop_on_signals(stop, reload_asked)
    named = {} if socket is None else {SOCKET_VARIABLE: str(socket.absolute())}
    environ = {**os.environ, **named}
    try:
        settings = load(config, environ)
    except ConfigError as error:
        _end(str(error), EXIT_BAD_CONFIG)
    set_up_logging(settings.agent.log_level, settings.agent.log_format, os.environ)
    # When systemd's watchdog ends it (SIGABRT), the log says what each thread was doing.
    faulthandler.enable()
    if os.geteuid() == 0:
        log.warning(
            "the agent runs as root, and may read and delete everything: install-service gives it a user of its own"
        )
    for text in settings.warnings():
        log.warning("%s", text)
    try:
        agent = service.Service(settings, os.environ, read=lambda: load(settings.file, environ))
        agent.run(stop, reload_asked)
    except service.StartError as error:
        _end(f"tusd-agent: {error}", error.exit_code)
    except Exception:
        log.critical("ended by an error of the program", exc_info=True)
        raise SystemExit(EXIT_FAILED) from None


def _end(text: str, exit_code: int) -> NoReturn:
    """Says why, as an error: the journal wants the priority before each line (sd-daemon(3))."""
    from .logs import goes_to_journal, priority

    if goes_to_journal(os.environ, 2):
        text = "\n".join(f"<{priority(logging.ERROR)}>{line}" for line in text.splitlines())
    warn(text)
    raise SystemExit(exit_code)


def stop_on_signals(stop: threading.Event, reload_asked: threading.Event | None = None) -> None:
    """SIGTERM and SIGINT set `stop`; the second of them ends the process: the next start repairs that.

    SIGHUP sets `reload_asked`, unless it says that the terminal is gone: then it stops as those do. Who had it ignored,
    as nohup does, is not stopped by that.
    """
    ends_with_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()

    # Python runs a handler only once its main thread does something, and one that has just begun to wait without end
    # does nothing: the signal would be heard with the next one. The interpreter writes to this pipe at once, in
    # whatever thread the signal has come (signal.set_wakeup_fd).
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def listen() -> None:
        while True:
            for number in os.read(reading, 16):
                hung_up = number == signal.SIGHUP and ends_with_terminal and not _has_terminal()
                if number in _STOPPING_SIGNALS or hung_up:
                    if stop.is_set():
                        os._exit(1)
                    stop.set()
                elif number == signal.SIGHUP and reload_asked is not None:
                    reload_asked.set()

    threading.Thread(target=listen, name="signals", daemon=True).start()
    for number in (*_STOPPING_SIGNALS, signal.SIGHUP):
        signal.signal(number, _told_by_the_pipe)


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal that is still there (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _told_by_the_pipe(number: int, frame: FrameType | None) -> None:
    """A handler there must be, or the signal would end the process."""
