"""What no single value shows: settings that exclude each other, folders that overlap, files that are not there.

Each function yields findings about sections that are valid by themselves, so that all problems of a
configuration can be told at once.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..mounts import is_in_doubt, is_network, mount_of
from ..trusted import weakness_of
from .credentials import CredentialError, TokenMissing, bearer_from_environment, bearer_from_file
from .models import AgentSettings, EndpointSettings, LimitSettings, WatchSettings
from .sources import Location

# sockaddr_un.sun_path is 108 bytes with the closing zero, unix(7).
LONGEST_SOCKET_PATH_BYTES = 107


class Finding(NamedTuple):
    """One thing that is wrong with the value at `location`."""

    location: Location
    wrong: str
    hint: str = ""


def check_agent(agent: AgentSettings) -> Iterator[Finding]:
    mount = mount_of(str(agent.state_dir))
    if mount is not None and is_network(mount.kind):
        yield Finding(
            ("agent", "state_dir"),
            f"{agent.state_dir} lies on a network file system: {mount.kind}, mounted at {mount.point}",
            "the database and its lock need a disk of this host: set agent.state_dir to a folder there",
        )
    location = ("agent", "socket")
    length = len(os.fsencode(agent.socket))
    if length > LONGEST_SOCKET_PATH_BYTES:
        yield Finding(
            location,
            f"{agent.socket} is {length} bytes long; the kernel takes at most {LONGEST_SOCKET_PATH_BYTES}",
            "set agent.socket to a shorter path",
        )
    if _anybody_may_write(agent.socket.parent):
        yield Finding(
            location,
            f"anybody may write to {agent.socket.parent}, and could put a socket of their own there",
            f"use a folder beneath it, such as {agent.socket.parent / 'tusd-agent' / agent.socket.name}",
        )


def check_endpoint(
    name: str, endpoint: EndpointSettings, config_dir: Path | None, environ: Mapping[str, str]
) -> Iterator[Finding]:
    here = ("endpoint", name)
    if name != "default" and "url" not in endpoint.model_fields_set:
        yield Finding((*here, "url"), "is missing", "only [endpoint.default] has a default url")
    yield from _check_headers(here, endpoint)
    try:
        if endpoint.bearer_token_file is not None:
            bearer_from_file(endpoint.bearer_token_file, config_dir, environ)
    except TokenMissing:
        # No reason not to start: at boot secrets may be brought later. It is read for each request, and warned of.
        if may_be_token(endpoint.bearer_token_file):
            wrong = "there is no such file, and it looks like a token itself"
            yield Finding((*here, "bearer_token_file"), wrong, "put the token alone into the file, on one line")
    except CredentialError as error:
        wrong = str(error)
        yield Finding((*here, "bearer_token_file"), wrong, "put the token alone into the file, on one line")
    try:
        if endpoint.bearer_token_env is not None:
            bearer_from_environment(endpoint.bearer_token_env, environ)
    except CredentialError as error:
        yield Finding((*here, "bearer_token_env"), str(error))
    if endpoint.client_key is not None and endpoint.client_cert is None:
        yield Finding((*here, "client_key"), "needs client_cert beside it")
    if endpoint.digest_metadata is not None and not endpoint.digest:
        yield Finding((*here, "digest_metadata"), "needs digest = true beside it")
    for key in ("ca_file", "client_cert", "client_key"):
        path: Path | None = getattr(endpoint, key)
        if path is not None and not (os.path.isfile(path) and os.access(path, os.R_OK)):
            wrong = "can't be read" if os.path.exists(path) else "there is no such file"
            yield Finding((*here, key), f"{wrong}: {path}")


def _check_headers(here: Location, endpoint: EndpointSettings) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for header in endpoint.headers:
        if (other := seen.setdefault(header.lower(), header)) != header:
            yield Finding((*here, "headers", header), f"is set twice, also as {other}")
    sources = [key for key in ("bearer_token_file", "bearer_token_env") if getattr(endpoint, key) is not None]
    sources += [f"headers.{seen['authorization']}"] if "authorization" in seen else []
    if len(sources) > 1:
        yield Finding((*here, sources[0]), f"excludes {' and '.join(sources[1:])}", "keep one of them")


def check_limit(index: int, limit: LimitSettings, endpoints: list[str]) -> Iterator[Finding]:
    here = ("limits", index)
    if limit.begins == limit.ends:
        yield Finding((*here, "to"), "is the same as from", 'a whole day is from = "00:00" to = "24:00"')
    if limit.begins == "24:00":
        yield Finding((*here, "from"), "ends the day", 'the next one begins at "00:00"')
    if limit.endpoint is not None and limit.endpoint not in endpoints:
        yield _no_such_endpoint((*here, "endpoint"), limit.endpoint, endpoints)


def _no_such_endpoint(location: Location, name: str, endpoints: list[str]) -> Finding:
    hint = f'there is only "{endpoints[0]}"' if len(endpoints) == 1 else f"there are {', '.join(endpoints)}"
    return Finding(location, f"there is no [endpoint.{name}]", hint)


def check_watches(
    watches: Mapping[int, WatchSettings], agent: AgentSettings | None, endpoints: list[str]
) -> Iterator[Finding]:
    """Checks the valid ones of the watched folders, by their index in the configuration."""
    for (first, one), (second, other) in combinations(watches.items(), 2):
        if contains(one.path, other.path) or contains(other.path, one.path):
            yield Finding(
                ("watch", second, "path"),
                f"{_named(other.path)} and {_named(one.path)}, which is watch[{first}].path, overlap",
                "watch the outer folder alone, and leave out parts of it with exclude",
            )
    for index, watch in watches.items():
        here = ("watch", index)
        if watch.endpoint not in endpoints:
            yield _no_such_endpoint((*here, "endpoint"), watch.endpoint, endpoints)
        if os.path.exists(watch.path) and not os.path.isdir(watch.path):
            yield Finding((*here, "path"), "is not a folder")
        if watch.max_size and watch.min_size > watch.max_size:
            yield Finding((*here, "min_size"), "is larger than max_size: no file can be taken")
        if watch.max_age_seconds and watch.min_age_seconds >= watch.max_age_seconds:
            yield Finding((*here, "min_age_seconds"), "is not less than max_age_seconds: no file can be taken")
        if agent is not None and contains(watch.path, agent.state_dir):
            yield Finding(
                (*here, "path"),
                f"contains {_named(agent.state_dir)}, where the agent keeps its own files (agent.state_dir)",
            )
        if watch.after_upload == "move":
            yield from _check_move_to(here, watch.move_to, watches)


def _check_move_to(here: Location, move_to: Path | None, watches: Mapping[int, WatchSettings]) -> Iterator[Finding]:
    if move_to is None:
        yield Finding((*here, "move_to"), 'is missing: after_upload = "move" needs it')
        return
    for index, watch in watches.items():
        if contains(watch.path, move_to):
            yield Finding(
                (*here, "move_to"),
                f"{_named(move_to)} lies in {_named(watch.path)}, which is watch[{index}].path:"
                " what is moved there would be uploaded again",
            )
        elif contains(move_to, watch.path):
            yield Finding(
                (*here, "move_to"),
                f"{_named(move_to)} contains {_named(watch.path)}, which is watch[{index}].path:"
                " what is moved there could land in it and be uploaded again",
            )


def check_command(index: int, watch: WatchSettings, file: Path | None, uid: int) -> Iterator[Finding]:
    """Of a folder whose files are given to a command, which the user `uid` will run."""
    location = ("watch", index, "command")
    if watch.after_upload != "command":
        return
    if not watch.command:
        yield Finding(location, 'is missing: after_upload = "command" needs it')
        return
    program = watch.command[0]
    if not os.path.isfile(program) or not os.access(program, os.X_OK):
        wrong = "can't be run" if os.path.exists(program) else "there is no such file"
        yield Finding(location, f"{wrong}: {program}")
        return
    for what, path in (("the program", program), ("the configuration file", file)):
        try:
            weakness = None if path is None else weakness_of(str(path), uid)
        except OSError as error:
            yield Finding(location, f"{what} {path} can't be looked at: {error.strerror}")
            continue
        if weakness is not None:
            wrong = f"others could change {what}, and with it what is run: {weakness.wrong}"
            yield Finding(location, wrong, weakness.remedy)


def find_warnings(
    agent: AgentSettings,
    endpoints: Mapping[str, EndpointSettings],
    watches: tuple[WatchSettings, ...],
    file: Path | None,
    environ: Mapping[str, str],
) -> Iterator[str]:
    """What holds, but is hardly meant so; one line each."""
    mount = mount_of(str(agent.state_dir))
    if mount is not None and is_in_doubt(mount.kind):
        yield (
            f"agent.state_dir: {agent.state_dir} lies on {mount.kind}, mounted at {mount.point}: if that leads to "
            "another host, the database may be damaged and the lock may not hold; a disk of this host is safe"
        )
    if not watches:
        yield "no folder is watched: there is no [[watch]]"
    for index, watch in enumerate(watches):
        here = f"watch[{index}]"
        if not os.path.exists(watch.path):
            yield f"{here}.path: {watch.path} is not there yet"
        elif not os.access(watch.path, os.R_OK | os.X_OK):
            yield f"{here}.path: {watch.path} can't be read"
        if file is not None and contains(watch.path, file):
            yield f"{here}.path: {watch.path} contains {file}, which would be uploaded"
        if watch.move_to is not None and watch.after_upload != "move":
            yield f'{here}.move_to has no effect while after_upload is "{watch.after_upload}"'
        if watch.command and watch.after_upload != "command":
            yield f'{here}.command has no effect while after_upload is "{watch.after_upload}"'
        if watch.remove_empty_folders and watch.after_upload not in ("delete", "move"):
            yield f'{here}.remove_empty_folders has no effect while after_upload is "{watch.after_upload}"'
    for name, endpoint in endpoints.items():
        if endpoint.bearer_token_file is not None:
            try:
                bearer_from_file(endpoint.bearer_token_file, None if file is None else file.parent, environ)
            except CredentialError as error:
                yield f"endpoint.{name}.bearer_token_file: {error}; until then its jobs wait"
        host = urlsplit(endpoint.url).hostname or ""
        local = host in {"localhost", "::1"} or re.fullmatch(r"127\.[0-9.]+", host)
        secret = endpoint.bearer_token_file or endpoint.bearer_token_env or endpoint.headers
        if endpoint.url.startswith("http:") and not local and secret:
            yield f"endpoint.{name}.url: the headers, and any secret in them, travel unencrypted over http"


def contains(folder: Path, path: Path) -> bool:
    """Whether `path` is `folder` or lies beneath it, symbolic links and bind mounts seen through.

    Names decide where a part does not exist yet; the same folder under two names is known by its inode.
    """
    outer = Path(os.path.realpath(folder))
    inner = Path(os.path.realpath(path))
    return any(step == outer or _same(step, outer) for step in (inner, *inner.parents))


def may_be_token(name: str | None) -> bool:
    """Whether somebody put a token where the name of its file belongs: then it is not repeated in messages."""
    if name is None or name.startswith(("/", "~")):
        return False
    return len(name) > 64 or name.startswith("eyJ") or " " in name


def _named(path: Path) -> str:
    real = os.path.realpath(path)
    return str(path) if real == str(path) else f"{path} ({real})"


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _anybody_may_write(folder: Path) -> bool:
    try:
        return bool(os.stat(folder).st_mode & stat.S_IWOTH)
    except OSError:
        return False
