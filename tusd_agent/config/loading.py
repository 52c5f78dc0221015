"""`load`: read, merge, check everything, and say everything that is wrong at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from .. import places
from .checks import Finding, check_agent, check_command, check_endpoint, check_limit, check_watches, find_warnings
from .explaining import SECTIONS, explain, explain_invalid, explain_unknown, explain_unknown_variable
from .models import AgentSettings, EndpointSettings, LimitSettings, Settings, WatchSettings
from .problems import ConfigError, Problem, printable
from .sources import CONFIG_VARIABLE, Given, Location, add_environment, read_toml
from .values import AbsolutePath, EndpointName, PathContext

Section = TypeVar("Section", AgentSettings, EndpointSettings, LimitSettings, WatchSettings)


def load(path: Path | None, environ: Mapping[str, str], *, uid: int | None = None) -> Settings:
    """The settings from the file and, above it, the TUSD_AGENT_ variables in `environ`.

    `path` is the file; None: $TUSD_AGENT_CONFIG, else the usual place of `uid` (default: who runs this), and
    defaults alone where no file lies there. Reads token files, and looks at certificates and folders; writes
    nothing. Raises ConfigError with every problem that was found.
    """
    uid = os.geteuid() if uid is None else uid
    file = _file(path, environ, uid)
    hint = "" if path is not None else f"{CONFIG_VARIABLE} names it" if environ.get(CONFIG_VARIABLE) else ""
    given = Given(read_toml(file, hint) if file is not None else {})
    variables = add_environment(given, environ)
    checking = _Checking(given, file, environ, uid)
    settings = checking.settings()
    if settings is None or checking.problems:
        raise ConfigError(checking.problems)
    settings._file = file
    settings._variables = tuple(variables)
    warnings = find_warnings(settings.agent, settings.endpoint, settings.watch, file, environ)
    settings._warnings = tuple(printable(text) for text in warnings)
    return settings


def _file(path: Path | None, environ: Mapping[str, str], uid: int) -> Path | None:
    """The file to read, absolute; a file somebody named is meant, one in the usual place may be missing."""
    if path is not None:
        return Path(os.path.abspath(path))
    if named := environ.get(CONFIG_VARIABLE):
        return Path(os.path.abspath(os.path.expanduser(named)))
    try:
        usual = places.config_file(environ, uid)
    except places.HomeUnknownError:
        return None
    return usual if os.path.lexists(usual) else None


class _Checking:
    """One pass over what was given; collects problems instead of stopping at the first."""

    def __init__(self, given: Given, file: Path | None, environ: Mapping[str, str], uid: int) -> None:
        self.problems: list[Problem] = list(given.problems)
        self._given = given
        self._file = file
        self._environ = environ
        self._uid = uid
        # Settings whose problem is told already: what follows from them is not.
        self._wrong: set[Location] = set()
        try:
            home = places.home_dir(environ, uid)
        except places.HomeUnknownError:
            home = None
        self._paths = PathContext(None if file is None else file.parent, home)

    def settings(self) -> Settings | None:
        """All sections, each checked alone and then together; None when one of them can't be used."""
        for key in self._given.data.keys() - SECTIONS.keys():
            self.problems.append(explain_unknown((key,), self._given, self._file))
        agent = self._agent()
        endpoints = self._endpoints()
        limits = self._tables("limits", LimitSettings, '{"from": "08:00", "to": "18:00", "rate": "2MiB/s"}')
        watches = self._tables("watch", WatchSettings, '{"path": "/srv/outgoing"}')
        self._check_variables()
        if agent is not None:
            self._add(*check_agent(agent))
        for name, endpoint in endpoints.items():
            if endpoint is not None:
                self._add(*check_endpoint(name, endpoint, self._paths.folder, self._environ))
        for index, limit in enumerate(limits):
            if limit is not None:
                self._add(*check_limit(index, limit, list(endpoints)))
        valid_watches = {index: watch for index, watch in enumerate(watches) if watch is not None}
        self._add(*check_watches(valid_watches, agent, list(endpoints)))
        for index, watch in valid_watches.items():
            self._add(*check_command(index, watch, self._file, self._uid))
        if self.problems or agent is None:
            return None
        return Settings(
            agent=agent,
            endpoint={name: endpoint for name, endpoint in endpoints.items() if endpoint is not None},
            limits=tuple(limit for limit in limits if limit is not None),
            watch=tuple(valid_watches.values()),
        )

    def _agent(self) -> AgentSettings | None:
        raw = self._given.data.get("agent", {})
        if isinstance(raw, dict):
            try:
                raw = self._default_places(raw) | raw
            except places.HomeUnknownError as error:
                self._add(Finding(("agent", "state_dir"), f"has no default: {error}", "set agent.state_dir"))
                return None
        return self._section(AgentSettings, ("agent",), raw)

    def _default_places(self, raw: Mapping[str, object]) -> dict[str, object]:
        """The folders that the section leaves to us; the socket may have to lie in the state folder."""
        state_dir = raw["state_dir"] if "state_dir" in raw else str(places.state_dir(self._environ, self._uid))
        try:
            folder = TypeAdapter[Path](AbsolutePath).validate_python(state_dir, context=self._paths)
        except ValidationError:
            # Told with all else that is wrong in the section; until then any place will do.
            folder = Path("/")
        return {"state_dir": state_dir, "socket": str(places.socket_path(self._environ, self._uid, folder))}

    def _endpoints(self) -> dict[str, EndpointSettings | None]:
        raw = self._given.data.get("endpoint", {})
        if not isinstance(raw, dict):
            self._add(Finding(("endpoint",), "is not a table", "write [endpoint.default]"))
            return {}
        for name in raw:
            try:
                TypeAdapter[str](EndpointName).validate_python(name)
            except ValidationError:
                self._add(Finding(("endpoint", name), "is not the name of an endpoint"))
        return {
            name: self._section(EndpointSettings, ("endpoint", name), table)
            for name, table in (raw or {"default": {}}).items()
        }

    def _tables(self, name: str, model: type[Section], example: str) -> list[Section | None]:
        raw = self._given.data.get(name, [])
        if not isinstance(raw, list):
            by_variable = any(leaf[0] == name for leaf in self._given.leaves)
            hint = f"write TUSD_AGENT_{name.upper()}='[{example}]'" if by_variable else f"write [[{name}]]"
            self._add(Finding((name,), "is not a list of tables", hint))
            return []
        return [self._section(model, (name, index), table) for index, table in enumerate(raw)]

    def _section(self, model: type[Section], location: Location, raw: object) -> Section | None:
        if not isinstance(raw, dict):
            self._add(Finding(location, "is not a table"))
            return None
        try:
            return model.model_validate(raw, context=self._paths)
        except ValidationError as invalid:
            wrong_keys = set()
            for error in invalid.errors():
                self.problems.append(explain_invalid(location, error, self._given, self._file))
                wrong_keys.add(error["loc"][0])
        # The rest of the section is checked against the others all the same.
        self._wrong |= {(*location, key) for key in wrong_keys}
        rest = {key: value for key, value in raw.items() if key not in wrong_keys}
        try:
            return model.model_validate(rest, context=self._paths)
        except ValidationError:
            return None

    def _check_variables(self) -> None:
        """Refuses variables that mean nothing. One that holds a token may well be called TUSD_AGENT_TOKEN."""
        endpoints = self._given.data.get("endpoint", {})
        tables = endpoints.values() if isinstance(endpoints, dict) else []
        tokens = [table.get("bearer_token_env") for table in tables if isinstance(table, dict)]
        self.problems += [explain_unknown_variable(name) for name in self._given.unknown if name not in tokens]

    def _add(self, *findings: Finding) -> None:
        for finding in findings:
            location = finding.location
            if not any(location[: len(wrong)] == wrong for wrong in self._wrong):
                self.problems.append(explain(finding, self._given, self._file))
