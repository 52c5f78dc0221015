"""What an operator tells the agent over the control socket, carried out on its parts."""

import logging
import threading
from collections.abc import Callable

from ..config import Settings
from ..control.events import Events
from ..control.refusals import no_such_endpoint, not_watched
from ..control.replies import escaped, pause_replies
from ..control.replies_changes import AddReply, Limit, LimitsReply, PauseReply, ReloadReply, TimedLimit
from ..delivery.bandwidth import Bandwidth
from ..delivery.pool import Pool
from ..intake.intake import Intake
from ..jobs.orders import Applied, Orders, Verb
from ..jobs.selection import Selection
from ..jobs.standing import Scope, Standing
from ..jobs.story import MAX_TOLD_SINGLY, about
from .adding import add

log = logging.getLogger("tusd_agent.service")


class Changing:
    """Any thread may ask. `settings()` are those that hold."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        orders: Orders,
        standing: Standing,
        intake: Intake,
        pool: Pool,
        bandwidth: Bandwidth,
        reload: Callable[[], ReloadReply],
        events: Events,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._orders = orders
        self._standing = standing
        self._intake = intake
        self._pool = pool
        self._bandwidth = bandwidth
        self.reload = reload
        self._events = events
        self._clock = clock
        self._one_at_a_time = threading.Lock()

    def order(self, verb: Verb, selection: Selection, limit: int, cursor: int | None) -> Applied:
        """What is asked of jobs."""
        applied = self._orders.apply(verb, selection, self._clock(), limit=limit, cursor=cursor)
        level = logging.INFO if len(applied.changed) <= MAX_TOLD_SINGLY else logging.DEBUG
        for job in applied.changed:
            about(log, job).log(level, "%s by the operator: %s", verb, job.state)
        if len(applied.changed) > MAX_TOLD_SINGLY:
            log.info("%s by the operator: %d jobs", verb, len(applied.changed))
        return applied

    def rescan(self, folder: str | None) -> list[str]:
        """Has a folder scanned, or all, as soon as possible; returns which."""
        return self._intake.rescan(folder)

    def add(self, path: bytes) -> AddReply:
        """Has the file looked at now, or the files below a directory. Raises `Refused`."""
        return add(self._intake, self._pool.pauses, path)

    def pause(self, scope: Scope) -> PauseReply:
        """Nothing of it is sent or disposed of until it is resumed, also after a restart. Raises `Refused`."""
        self._check(scope)
        with self._one_at_a_time:
            changed = self._standing.pause(scope, self._clock())
            return self._paused("pause", scope, changed)

    def resume(self, scope: Scope) -> PauseReply:
        """Ends the pause of exactly that; of another one it says that it lasts. Raises `Refused`."""
        with self._one_at_a_time:
            if scope not in self._standing.pauses().since:
                self._check(scope)
            changed = self._standing.resume(scope)
            return self._paused("resume", scope, changed)

    def _paused(self, order: str, scope: Scope, changed: bool) -> PauseReply:
        pauses = self._standing.pauses()
        self._pool.pause(pauses)
        reply = PauseReply(changed=changed, paused=pause_replies(pauses))
        if changed:
            log.info("%sd by the operator: %s", order, scope_words(scope))
            self._events.tell(order, reply)
        return reply

    def limits(self) -> LimitsReply:
        """How fast bodies may be sent, now and at other hours."""
        return LimitsReply(limits=[self._limit_reply(name) for name in (None, *self._settings().endpoint)])

    def limit(self, rate_bytes_per_second: int | None, endpoint: str | None) -> LimitsReply:
        """Holds in the place of the configuration's, also after a restart; `None` takes it back. Raises `Refused`."""
        self._check(Scope(endpoint=endpoint))
        with self._one_at_a_time:
            self._standing.limit(rate_bytes_per_second, endpoint)
            rate = None if rate_bytes_per_second is None else float(rate_bytes_per_second)
            self._bandwidth.set_limit(rate, endpoint)
        said = "as configured" if rate_bytes_per_second is None else f"{rate_bytes_per_second or 'no limit of'} bytes/s"
        log.info("limit set by the operator for %s: %s", scope_words(Scope(endpoint=endpoint)), said)
        reply = self.limits()
        self._events.tell("limit", reply)
        return reply

    def _limit_reply(self, endpoint: str | None) -> Limit:
        return Limit(
            endpoint=endpoint,
            rate_bytes_per_second=self._bandwidth.rate(endpoint),
            by_hand_bytes_per_second=self._bandwidth.by_hand.get(endpoint),
            configured_bytes_per_second=self._bandwidth.configured(endpoint),
            timetable=[
                TimedLimit(begins=one.begins, ends=one.ends, days=list(one.days), rate_bytes_per_second=one.rate)
                for one in self._settings().limits
                if one.endpoint == endpoint
            ],
        )

    def _check(self, scope: Scope) -> None:
        folders = [str(watch.path) for watch in self._settings().watch]
        if scope.folder is not None and scope.folder not in folders:
            raise not_watched(scope.folder, folders)
        endpoints = list(self._settings().endpoint)
        if scope.endpoint is not None and scope.endpoint not in endpoints:
            raise no_such_endpoint(scope.endpoint, endpoints)


def scope_words(scope: Scope) -> str:
    """``the agent``, ``folder /srv/outgoing``, ``endpoint lab``."""
    if scope.folder is not None:
        return f"folder {escaped(scope.folder)}"
    return "the agent" if scope.endpoint is None else f"endpoint {escaped(scope.endpoint)}"


def apply_limits(standing: Standing, bandwidth: Bandwidth, settings: Settings) -> None:
    """Has the limits hold that were set by hand earlier."""
    for endpoint, rate in standing.limits().items():
        if endpoint is None or endpoint in settings.endpoint:
            bandwidth.set_limit(rate, endpoint)
