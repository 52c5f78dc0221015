"""Where the agent is to be found: its control socket and its database, without reading the whole configuration.

Loading the settings takes longer than asking the agent; `status` needs two paths of them.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .. import places

CONFIG_VARIABLE = "TUSD_AGENT_CONFIG"
SOCKET_VARIABLE = "TUSD_AGENT_AGENT__SOCKET"
STATE_VARIABLE = "TUSD_AGENT_AGENT__STATE_DIR"


class ConfigUnreadable(Exception):
    """The configuration file that was named can't be read; the message says why."""


class AgentPaths(NamedTuple):
    """The control socket and the database of one agent; neither need be there.

    `database` is None where only the socket was named and nothing tells where this user's state lies.
    """

    socket: Path
    database: Path | None


def find_agent(
    socket: Path | None, config: Path | None, environ: Mapping[str, str], uid: int | None = None
) -> AgentPaths:
    """The agent that is meant.

    A socket that was named (the option, then $TUSD_AGENT_AGENT__SOCKET) counts. So does a configuration file that was
    named (the option, then $TUSD_AGENT_CONFIG). Where neither was: the agent of this user in its usual place, else as
    its configuration in the usual place has it, else the system's, whichever is the first with a socket.
    Raises `ConfigUnreadable`, and `places.HomeUnknownError` where no socket was named and no home folder is known.
    """
    uid = os.geteuid() if uid is None else uid
    if socket is None and environ.get(SOCKET_VARIABLE):
        socket = _absolute(environ[SOCKET_VARIABLE], Path.cwd(), environ, uid)
    if config is None and environ.get(CONFIG_VARIABLE):
        config = _absolute(environ[CONFIG_VARIABLE], Path.cwd(), environ, uid)
    if config is not None:
        return _paths(socket, _agent_table(config), config.absolute().parent, environ, uid)
    usual = _paths(socket, {}, Path("/"), environ, uid)
    if _there(usual.socket):
        return usual
    with suppress(ConfigUnreadable, places.HomeUnknownError):
        # Nobody named the file: it may well not be there, or not be ours to read.
        file = places.config_file(environ, uid)
        usual = _paths(socket, _agent_table(file), file.parent, environ, uid)
    if socket is not None or _there(usual.socket):
        return usual
    system = _paths(None, {}, Path("/"), {}, places.ROOT_UID)
    return system if _there(system.socket) else usual


def _paths(
    socket: Path | None, agent: Mapping[str, Any], folder: Path, environ: Mapping[str, str], uid: int
) -> AgentPaths:
    """What the ``[agent]`` table of a file in `folder` says, below the environment and above the usual places."""
    state_dir = environ.get(STATE_VARIABLE) or agent.get("state_dir")
    try:
        state = (
            _absolute(state_dir, folder, environ, uid)
            if state_dir and isinstance(state_dir, str)
            else places.state_dir(environ, uid)
        )
    except places.HomeUnknownError:
        if socket is None:
            raise
        return AgentPaths(socket.absolute(), None)
    if socket is None:
        named = agent.get("socket")
        socket = (
            _absolute(named, folder, environ, uid)
            if named and isinstance(named, str)
            else places.socket_path(environ, uid, state)
        )
    return AgentPaths(socket.absolute(), state.absolute() / "queue.db")


def _absolute(text: str, folder: Path, environ: Mapping[str, str], uid: int) -> Path:
    if text == "~" or text.startswith("~/"):
        return places.home_dir(environ, uid) / text[2:]
    return folder / os.path.expanduser(text)


def _agent_table(config: Path) -> Mapping[str, Any]:
    import tomllib  # whose socket was named needs none

    try:
        agent = tomllib.loads(config.read_text("utf-8-sig")).get("agent", {})
    except OSError as error:
        raise ConfigUnreadable(f"the configuration file {config} can't be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8; the line in question may hold a secret
        raise ConfigUnreadable(f"the configuration file {config} is not TOML") from error
    return agent if isinstance(agent, dict) else {}


def _there(socket: Path) -> bool:
    """Whether there is a socket, or may be one in a folder that this user can't look into."""
    folder = socket.parent
    return os.path.lexists(socket) or (os.path.isdir(folder) and not os.access(folder, os.X_OK, effective_ids=True))
