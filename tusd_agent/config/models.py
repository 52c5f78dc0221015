"""Every setting: its name, default, limits, and in `description` what is allowed, as error messages say it.

Names are those of the TOML file, units as the name says; sizes are bytes. The models are frozen: threads share
them, and a reload can compare sections with ``==``.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from .credentials import bearer_from_environment, bearer_from_file
from .values import (
    AbsolutePath,
    Argv,
    EndpointName,
    FileName,
    Headers,
    LimitingRate,
    Metadata,
    OptionalMetadataKey,
    OptionalPath,
    OptionalText,
    OptionalVariable,
    Patterns,
    RateBytes,
    Seconds,
    SizeBytes,
    Suffix,
    TimeOfDay,
    Url,
    Whole,
)

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SWITCH = "true or false"
_PATH = "a path: absolute, beginning with ~, or relative to the folder of the configuration file"
_RATE = 'bytes per second, such as 500000, "25MiB/s" or "25MiB"; 0: no limit'
_YEARS = 10 * 366 * 86400
_AGE = "seconds, from 0 to 316224000 (ten years); 0: no limit"
_PATTERNS = 'a list of patterns as in .gitignore, such as ["*.tif", "!draft-*"]'


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AgentSettings(_Section):
    """``[agent]``: the process itself."""

    workers: Annotated[Whole, Field(ge=1, le=256, description="a whole number from 1 to 256")] = 4
    small_file_bytes: Annotated[SizeBytes, Field(description='bytes, such as 1048576, "16MiB" or "16MB"')] = 16 << 20
    state_dir: Annotated[AbsolutePath, Field(description=_PATH)]
    socket: Annotated[AbsolutePath, Field(description=f"{_PATH}; at most 107 bytes long")]
    socket_group: Annotated[OptionalText, Field(description="the name of a group")] = None
    rescan_interval_seconds: Annotated[
        Seconds, Field(ge=1, le=31 * 86400, description="seconds, from 1 to 2678400 (31 days)")
    ] = 600.0
    retention_days: Annotated[
        Seconds, Field(ge=0, le=36600, description="days, from 0 to 36600 (a century); 0: for ever")
    ] = 90.0
    retention_jobs: Annotated[Whole, Field(ge=0, description="a whole number, 0 or more; 0: no limit")] = 1_000_000
    rate_limit: Annotated[RateBytes, Field(description=_RATE)] = 0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="debug, info, warning or error")
    ] = "info"
    log_format: Annotated[Literal["text", "json"], Field(description="text or json")] = "text"


class EndpointSettings(_Section):
    """``[endpoint.NAME]``: a tus server, and how to speak with it."""

    url: Annotated[
        Url,
        Field(description="an http or https URL without user, password, query and fragment"),
    ] = "http://localhost:1080/files/"
    chunk_size: Annotated[SizeBytes, Field(description='bytes, such as 8388608, "8MiB" or "10MB"; 0: no chunks')] = 0
    small_file_fast_path_bytes: Annotated[
        SizeBytes, Field(description='bytes, such as 65536, "64KiB" or "1MB"; 0: never')
    ] = 0
    headers: Annotated[Headers, Field(description='a table of texts, such as { X-Site = "lab-7" }')] = Field(
        default_factory=dict
    )
    bearer_token_file: Annotated[
        OptionalText,
        Field(
            description="a file with one line; relative: in $CREDENTIALS_DIRECTORY, then beside the configuration file"
        ),
    ] = None
    bearer_token_env: Annotated[OptionalVariable, Field(description="the name of an environment variable")] = None
    digest: Annotated[bool, Field(description=_SWITCH)] = True
    digest_metadata: Annotated[
        OptionalMetadataKey,
        Field(description='a name for the metadata, such as "sha256": ASCII without spaces and commas'),
    ] = None
    timeout_seconds: Annotated[
        Seconds, Field(gt=0, le=86400, description="seconds, more than 0, at most 86400 (a day)")
    ] = 60.0
    connect_timeout_seconds: Annotated[
        Seconds, Field(gt=0, le=3600, description="seconds, more than 0, at most 3600 (an hour)")
    ] = 10.0
    rate_limit: Annotated[RateBytes, Field(description=_RATE)] = 0
    ca_file: Annotated[OptionalPath, Field(description=_PATH)] = None
    client_cert: Annotated[OptionalPath, Field(description=_PATH)] = None
    client_key: Annotated[OptionalPath, Field(description=_PATH)] = None
    allow_other_origin: Annotated[bool, Field(description=_SWITCH)] = False
    delete_proof: Annotated[Literal["head", "answer"], Field(description="head or answer")] = "head"
    max_concurrent: Annotated[
        Whole, Field(ge=0, le=256, description="a whole number from 0 to 256; 0: as many as there are workers")
    ] = 0

    def request_headers(
        self, config_dir: Path | None, environ: Mapping[str, str]
    ) -> dict[str, str | Callable[[], str]]:
        """The headers of every request to this endpoint, in clear: for the client's hands only, not for logs.

        The bearer token is a callable, to be asked for each request: a token file may be renewed at any time.
        It raises `CredentialError` when the file can't be read or holds no token at that moment.
        """
        headers: dict[str, str | Callable[[], str]] = {
            name: value.get_secret_value() for name, value in self.headers.items()
        }
        if self.bearer_token_file is not None:
            name = self.bearer_token_file
            headers["Authorization"] = lambda: "Bearer " + bearer_from_file(name, config_dir, environ)
        elif self.bearer_token_env is not None:
            variable = self.bearer_token_env
            headers["Authorization"] = lambda: "Bearer " + bearer_from_environment(variable, environ)
        return headers


class WatchSettings(_Section):
    """``[[watch]]``: a folder whose files are uploaded."""

    path: Annotated[AbsolutePath, Field(description=f"{_PATH}; watched folders must not overlap")]
    endpoint: Annotated[str, Field(description="the NAME of an [endpoint.NAME]")] = "default"
    recursive: Annotated[bool, Field(description=_SWITCH)] = True
    max_depth: Annotated[Whole, Field(ge=0, le=4096, description="a whole number from 0 to 4096; 0: no limit")] = 0
    watch: Annotated[Literal["auto", "inotify", "poll"], Field(description="auto, inotify or poll")] = "auto"
    poll_interval_seconds: Annotated[
        Seconds, Field(ge=0.1, le=86400, description="seconds, from 0.1 to 86400 (a day)")
    ] = 10.0
    contract: Annotated[Literal["settle", "rename", "marker"], Field(description="settle, rename or marker")] = "settle"
    marker_suffix: Annotated[Suffix, Field(description="the end of a name, such as .done")] = ".done"
    settle_seconds: Annotated[Seconds, Field(ge=0.1, le=86400, description="seconds, from 0.1 to 86400 (a day)")] = 2.0
    growing_after_seconds: Annotated[
        Seconds, Field(ge=1, le=31 * 86400, description="seconds, from 1 to 2678400 (31 days)")
    ] = 3600.0
    existing: Annotated[Literal["upload", "ignore"], Field(description="upload or ignore")] = "upload"
    renamed: Annotated[Literal["same", "new"], Field(description="same or new")] = "same"
    include: Annotated[Patterns, Field(description=_PATTERNS)] = ()
    exclude: Annotated[Patterns, Field(description=_PATTERNS)] = ()
    hidden: Annotated[bool, Field(description=_SWITCH)] = False
    min_size: Annotated[SizeBytes, Field(description='bytes, such as 1024, "1KiB" or "1MB"; 0: no limit')] = 0
    max_size: Annotated[SizeBytes, Field(description='bytes, such as 8388608, "8MiB" or "10GB"; 0: no limit')] = 0
    min_age_seconds: Annotated[Seconds, Field(ge=0, le=_YEARS, description=_AGE)] = 0.0
    max_age_seconds: Annotated[Seconds, Field(ge=0, le=_YEARS, description=_AGE)] = 0.0
    guard_file: Annotated[FileName, Field(description="a name or a path below the folder")] = None
    mount_check: Annotated[bool, Field(description=_SWITCH)] = True
    after_upload: Annotated[
        Literal["keep", "delete", "move", "command"], Field(description="keep, delete, move or command")
    ] = "keep"
    move_to: Annotated[OptionalPath, Field(description=f"{_PATH}; outside every watched folder")] = None
    command: Annotated[
        Argv,
        Field(description='a list: the absolute path of a program, and arguments: ["/usr/local/bin/after", "--flag"]'),
    ] = ()
    command_timeout_seconds: Annotated[
        Seconds, Field(gt=0, le=31 * 86400, description="seconds, more than 0, at most 2678400 (31 days)")
    ] = 300.0
    remove_empty_folders: Annotated[bool, Field(description=_SWITCH)] = False
    priority: Annotated[Whole, Field(ge=-100, le=100, description="a whole number from -100 to 100")] = 0
    give_up_after_seconds: Annotated[Seconds, Field(ge=0, le=_YEARS, description=_AGE.replace("no limit", "never"))] = (
        0.0
    )
    metadata: Annotated[Metadata, Field(description="a table of texts, numbers or true and false; keys are ASCII")] = (
        Field(default_factory=dict)
    )


class LimitSettings(_Section):
    """``[[limits]]``: how fast bodies may be sent at certain hours of local time.

    `begins` and `ends` are ``from`` and ``to`` in the file, which Python keeps for itself.
    """

    begins: Annotated[TimeOfDay, Field(alias="from", description='a time of the day, such as "08:00"')]
    ends: Annotated[TimeOfDay, Field(alias="to", description='a time of the day, such as "18:00", at most "24:00"')]
    rate: Annotated[LimitingRate, Field(description='bytes per second, more than 0, such as "2MiB/s"')]
    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...],
        Field(description="a list of mon, tue, wed, thu, fri, sat or sun; empty: every day"),
    ] = ()
    endpoint: Annotated[OptionalText, Field(description="the NAME of an [endpoint.NAME]; none: the whole agent")] = None


class Settings(BaseModel):
    """All settings. `load` makes one; what it says is checked, also across sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    agent: AgentSettings
    endpoint: dict[EndpointName, EndpointSettings] = Field(default_factory=lambda: {"default": EndpointSettings()})
    limits: tuple[LimitSettings, ...] = ()
    watch: tuple[WatchSettings, ...] = ()

    _file: Path | None = PrivateAttr(default=None)
    _variables: tuple[str, ...] = PrivateAttr(default=())
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def file(self) -> Path | None:
        """The configuration file that was read, absolute; None: there was none."""
        return self._file

    @property
    def config_dir(self) -> Path | None:
        """The folder relative paths refer to; None where no file was read."""
        return None if self._file is None else self._file.parent

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the environment variables that were taken into account."""
        return self._variables

    def warnings(self) -> list[str]:
        """What holds, but is hardly meant so, as it was when the settings were loaded; one line each."""
        return list(self._warnings)
