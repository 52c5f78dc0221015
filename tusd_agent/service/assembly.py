"""From the settings to the rules that each room works by: the one translates into the words of the others."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ..config import (
    WEEKDAYS,
    AgentSettings,
    CredentialError,
    EndpointSettings,
    Settings,
    WatchSettings,
    minute_of_day,
)
from ..delivery.bandwidth import Bandwidth, Throttle
from ..delivery.command import Command
from ..delivery.emptying import EmptyFolders
from ..delivery.rules import EndpointRules, FolderRules
from ..delivery.timetable import TimedLimit
from ..intake.folder import WatchedFolder
from ..intake.retiring import Keep
from ..jobs.database import Database
from ..jobs.retention import Retention
from ..tus import AuthRequired, TUSClient

RECONNECTS = 3
RECONNECT_SECONDS = 0.5
LONGEST_RECONNECT_SECONDS = 4.0
"""Within a claim a lost connection is taken up again for a few seconds; what lasts longer is deferred in the row."""


def keep_rules(agent: AgentSettings, database: Database) -> Keep | None:
    if not agent.retention_days:
        return None
    return Keep(Retention(database), agent.retention_days * 86_400.0, agent.retention_jobs)


def watched_folder(watch: WatchSettings) -> WatchedFolder:
    """The folder as the intake is told of it."""
    return WatchedFolder(
        path=str(watch.path),
        endpoint=watch.endpoint,
        recursive=watch.recursive,
        settle_seconds=watch.settle_seconds,
        renamed=watch.renamed,
        include=watch.include,
        exclude=watch.exclude,
        watch=watch.watch,
        poll_interval_seconds=watch.poll_interval_seconds,
        contract=watch.contract,
        marker_suffix=watch.marker_suffix,
        growing_after_seconds=watch.growing_after_seconds,
        existing=watch.existing,
        hidden=watch.hidden,
        max_depth=watch.max_depth,
        min_size_bytes=watch.min_size,
        max_size_bytes=watch.max_size,
        min_age_seconds=watch.min_age_seconds,
        max_age_seconds=watch.max_age_seconds,
        guard_file=watch.guard_file,
        mount_check=watch.mount_check,
    )


def folder_rules(watch: WatchSettings, config_file: Path | None, empty_folders: EmptyFolders) -> FolderRules:
    command = None
    if watch.after_upload == "command":
        file = None if config_file is None else str(config_file)
        command = Command(watch.command, watch.command_timeout_seconds, file)
    return FolderRules(
        path=str(watch.path),
        after_upload=watch.after_upload,
        move_to=str(watch.move_to) if watch.move_to is not None else None,
        command=command,
        marker_suffix=watch.marker_suffix if watch.contract == "marker" else None,
        empty_folders=empty_folders if watch.remove_empty_folders else None,
        priority=watch.priority,
        settle_seconds=watch.settle_seconds,
        give_up_after_seconds=watch.give_up_after_seconds,
        metadata=watch.metadata,
    )


def bandwidth_of(settings: Settings, clock: Callable[[], float]) -> Bandwidth:
    return Bandwidth(settings.agent.rate_limit, rates_of(settings), timed_limits(settings), clock=clock)


def rates_of(settings: Settings) -> dict[str, float]:
    """The limit of each endpoint."""
    return {name: endpoint.rate_limit for name, endpoint in settings.endpoint.items()}


def timed_limits(settings: Settings) -> list[TimedLimit]:
    """The timetable."""
    return [
        TimedLimit(
            from_minute=minute_of_day(limit.begins),
            to_minute=minute_of_day(limit.ends),
            rate_bytes_per_second=limit.rate,
            days=frozenset(WEEKDAYS.index(day) for day in limit.days),
            endpoint=limit.endpoint,
        )
        for limit in settings.limits
    ]


def endpoint_rules(
    name: str, settings: EndpointSettings, config_dir: Path | None, environ: Mapping[str, str], throttle: Throttle
) -> EndpointRules:
    headers = settings.request_headers(config_dir, environ)
    cert = (str(settings.client_cert), str(settings.client_key)) if settings.client_key else settings.client_cert
    client = TUSClient(
        settings.url,
        chunk_size=settings.chunk_size or None,
        timeout=settings.timeout_seconds,
        connect_timeout=settings.connect_timeout_seconds,
        max_retries=RECONNECTS,
        retry_delay=RECONNECT_SECONDS,
        max_retry_delay=LONGEST_RECONNECT_SECONDS,
        max_retry_after=0.0,  # what the server asks for is asked of all jobs: not slept off in a worker
        headers={key: _checked(value) if callable(value) else value for key, value in headers.items()},
        allow_other_origin=settings.allow_other_origin,
        verify=str(settings.ca_file) if settings.ca_file is not None else True,
        cert=cert if isinstance(cert, tuple) or cert is None else str(cert),
    )
    return EndpointRules(
        name=name,
        url=settings.url,
        client=client,
        digest=settings.digest,
        digest_metadata=settings.digest_metadata or "",
        fast_path_bytes=settings.small_file_fast_path_bytes,
        delete_proof=settings.delete_proof,
        max_concurrent=settings.max_concurrent,
        allow_other_origin=settings.allow_other_origin,
        throttle=throttle,
    )


def _checked(credential: Callable[[], str]) -> Callable[[], str]:
    """Credentials that can't be read now are to delivery what a server's 401 is: all jobs of the endpoint wait."""

    def value() -> str:
        try:
            return credential()
        except CredentialError as error:
            raise AuthRequired(str(error)) from error

    return value
