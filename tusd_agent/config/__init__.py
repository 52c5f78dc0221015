"""Every setting: default, unit, check. One TOML file, the environment above it, and all problems told at once.

`load` gives the `Settings`, or raises `ConfigError` with a `Problem` for each thing that is wrong. The file
``config.example.toml`` says what each setting means.
"""

from .credentials import CredentialError
from .loading import load
from .models import WEEKDAYS, AgentSettings, EndpointSettings, LimitSettings, Settings, WatchSettings
from .problems import ConfigError, Problem, printable
from .values import minute_of_day, parse_rate_bytes, parse_size_bytes

__all__ = [
    "WEEKDAYS",
    "AgentSettings",
    "ConfigError",
    "CredentialError",
    "EndpointSettings",
    "LimitSettings",
    "Problem",
    "Settings",
    "WatchSettings",
    "load",
    "minute_of_day",
    "parse_rate_bytes",
    "parse_size_bytes",
    "printable",
]
