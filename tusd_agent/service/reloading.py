"""Reading the configuration again while the agent works: checked first, then exchanged part by part."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..config import ConfigError, Settings
from ..control.refusals import bad_configuration
from ..control.replies import escaped
from ..control.replies_changes import ReloadReply
from ..delivery.bandwidth import Bandwidth
from ..delivery.emptying import EmptyFolders
from ..delivery.pool import Pool
from ..delivery.rules import EndpointRules
from ..intake.intake import Intake
from ..jobs.claims import Claims
from ..jobs.database import Database
from ..jobs.orders import Orders
from ..jobs.standing import Standing
from .assembly import endpoint_rules, folder_rules, keep_rules, rates_of, timed_limits, watched_folder
from .changing import apply_limits
from .differences import differences, sends_like
from .reporting import plural

log = logging.getLogger("tusd_agent.service")

ORPHANS_SECONDS = 3.0
"""So long it is waited for uploads that the new settings do not know to be put back: they are told to within one."""

INTAKE_SECONDS = 30.0
"""So long it is waited for the intake, which may just be adding watches for a large tree."""

SLICE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Parts:
    """What new settings are told to."""

    database: Database
    claims: Claims
    orders: Orders
    standing: Standing
    intake: Intake
    pool: Pool
    bandwidth: Bandwidth
    empty_folders: EmptyFolders


class Reloading:
    """Has new settings hold. Not thread-safe: one reload at a time. `settings` are those that hold.

    `read` reads and checks the configuration, and raises `ConfigError`; `endpoints` are the rules made of `settings`.
    Once `stopping` is set nothing is waited for any more.
    """

    def __init__(
        self,
        settings: Settings,
        endpoints: Mapping[str, EndpointRules],
        parts: Parts,
        environ: Mapping[str, str],
        read: Callable[[], Settings],
        stopping: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._endpoints = dict(endpoints)
        self._parts = parts
        self._environ = environ
        self._read = read
        self._stopping = stopping
        self._clock = clock
        self._holding = threading.Lock()
        self._held = 0

    def reload(self) -> ReloadReply:
        """Reads the configuration and has it hold. Raises `Refused`, with nothing changed, when it can't be used."""
        try:
            read = self._read()
        except ConfigError as error:
            log.error("the configuration is not reloaded, nothing is changed: %s", error)
            raise bad_configuration([f"{problem.origin}: {problem}" for problem in error.problems]) from None
        found = differences(self.settings, read)
        warnings = read.warnings()
        held_before = self._held
        # Also where nothing differs: certificates, the files that name them, and jobs held before may be others now.
        if not self._exchange(found.settings):
            warnings.append("the watched folders change a little later: the agent is busy with a large one")
        held = self.hold_orphans() - held_before
        for line in found.changed or ["nothing has changed"]:
            log.info("reloaded: %s", escaped(line))
        for line in found.needs_restart:
            log.warning("reloaded, but this needs a restart: %s", escaped(line))
        for line in warnings:
            log.warning("%s", line)
        return ReloadReply(
            file=None if read.file is None else escaped(str(read.file)),
            changed=[escaped(line) for line in found.changed],
            needs_restart=[escaped(line) for line in found.needs_restart],
            warnings=warnings,
            held=held,
        )

    def hold_orphans(self) -> int:
        """Holds the jobs whose folder or endpoint is gone, and releases those that are back. Any thread may call it.

        Returns how many have been held since the start.
        """
        with self._holding:
            folders = {str(watch.path) for watch in self.settings.watch}
            held = self._parts.orders.hold_orphans(
                folders, set(self.settings.endpoint), self._clock(), self._stopping.is_set
            )
            self._held += held
            if held:
                log.warning("%s held: the folder or endpoint is no longer in the configuration", plural(held, "job"))
            return self._held

    def _exchange(self, settings: Settings) -> bool:
        """Has the settings hold; returns whether everybody has taken them over."""
        parts, before = self._parts, self.settings
        # The index that this needs has to be there before, and until nobody asks by it any more.
        parts.claims.fit(by_age=any(watch.give_up_after_seconds for watch in (*before.watch, *settings.watch)))
        parts.bandwidth.use(settings.agent.rate_limit, rates_of(settings), timed_limits(settings))
        try:
            endpoints = self._endpoints_of(settings)
        except Exception:
            parts.bandwidth.use(before.agent.rate_limit, rates_of(before), timed_limits(before))
            raise
        apply_limits(parts.standing, parts.bandwidth, settings)
        if any(watch.remove_empty_folders for watch in settings.watch):
            parts.empty_folders.start()
        discarded = [rules for name, rules in self._endpoints.items() if endpoints.get(name) is not rules]
        self.settings, self._endpoints = settings, endpoints
        parts.pool.use(
            endpoints.values(),
            [folder_rules(watch, settings.file, parts.empty_folders) for watch in settings.watch],
            workers=settings.agent.workers,
        )
        taken_over = parts.intake.use(
            [watched_folder(watch) for watch in settings.watch],
            rescan_interval_seconds=settings.agent.rescan_interval_seconds,
            keep=keep_rules(settings.agent, parts.database),
        )
        set_log_level(settings.agent.log_level)
        parts.pool.wait_for_orphans(ORPHANS_SECONDS)
        for rules in discarded:
            rules.client.fresh_connections()  # nobody asks for those any more
        for _ in range(int(INTAKE_SECONDS / SLICE_SECONDS)):
            if taken_over.wait(SLICE_SECONDS) or self._stopping.is_set():
                break
        return taken_over.is_set()

    def _endpoints_of(self, settings: Settings) -> dict[str, EndpointRules]:
        """The rules of the endpoints; where requests stay as they are, those that hold go on, with their client."""
        made = {}
        for name, section in settings.endpoint.items():
            before = self.settings.endpoint.get(name)
            if before is not None and sends_like(before, section):
                made[name] = self._endpoints[name].with_concurrency(section.max_concurrent)
                made[name].client.fresh_connections()  # files of certificates are read for each connection
            else:
                throttle = self._parts.bandwidth.throttle(name)
                made[name] = endpoint_rules(name, section, settings.config_dir, self._environ, throttle)
        return made


def set_log_level(level: str) -> None:
    """Our own records from this level on, those of libraries from warning on."""
    ours = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("tusd_agent").setLevel(ours)
    logging.getLogger().setLevel(max(ours, logging.WARNING))
