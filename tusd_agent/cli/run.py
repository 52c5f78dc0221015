"""``tusd-agent run``: the agent itself, until a signal stops it."""

import logging
import os
import signal
import threading
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

import click

from .find import SOCKET_VARIABLE
from .options import EXIT_BAD_CONFIG, EXIT_FAILED, config_option, fail, socket_option, warn

log = logging.getLogger("tusd_agent")

_STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP: the terminal was closed."""


@click.command("run")
@config_option
@socket_option
def run_command(config: Path | None, socket: Path | None) -> None:
    """Run the agent until it is stopped (SIGTERM, or Ctrl-C); a second signal ends it at once.

    It logs to stderr. Exit codes: 0 stopped; 1 it could not start; 78 bad configuration.

    Example: tusd-agent run --config ./config.toml
    """
    from .. import service
    from ..config import ConfigError, load
    from .logs import set_up_logging

    stop = threading.Event()
    stop_on_signals(stop)
    named = {} if socket is None else {SOCKET_VARIABLE: str(socket.absolute())}
    try:
        settings = load(config, {**os.environ, **named})
    except ConfigError as error:
        warn(str(error))
        raise SystemExit(EXIT_BAD_CONFIG) from None
    set_up_logging(settings.agent.log_level, settings.agent.log_format, os.environ)
    for text in settings.warnings():
        log.warning("%s", text)
    try:
        service.Service(settings, os.environ).run(stop)
    except service.StartError as error:
        fail(str(error), "", error.exit_code)
    except Exception:
        log.critical("ended by an error of the program", exc_info=True)
        raise SystemExit(EXIT_FAILED) from None


def stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM, SIGINT and SIGHUP set `stop`; the second of them ends the process: the next start repairs that."""

    # A handler must not set an event itself: it may have interrupted the very wait() that holds the event's lock. A
    # SimpleQueue may be used from anywhere.
    received: SimpleQueue[int] = SimpleQueue()
    asked: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(1)
        asked.append(number)
        received.put(number)

    def pass_on() -> None:
        received.get()
        stop.set()

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in _STOPPING_SIGNALS:
        signal.signal(number, on_signal)
