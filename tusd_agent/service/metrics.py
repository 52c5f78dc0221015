"""The metrics: what `status` shows and what the delivery has counted, as Prometheus reads it.

Names and units follow https://prometheus.io/docs/practices/naming/; the format is the text exposition 0.0.4. Every
label is one of few values: folders and endpoints of the configuration, states, causes. Nothing names a file or a job.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..control.replies import Endpoint, Folder, Status, escaped
from ..delivery.breaker import BreakerState
from ..delivery.tally import DURATION_BOUNDS_SECONDS, Durations, Totals
from ..jobs.database import DatabaseUnusable
from ..jobs.reader import Count
from ..jobs.states import State

Values = Mapping[tuple[str, ...], float]
"""What a metric has for each combination of its labels."""


class Metrics(Collector):
    """Collects when it is asked, and keeps nothing. `counts` are the jobs of each lane and state."""

    def __init__(
        self, status: Callable[[], Status], counts: Callable[[], list[Count]], totals: Callable[[], Totals]
    ) -> None:
        self._status = status
        self._counts = counts
        self._totals = totals
        # Of its own: in the library's there is what it says of Python, and what other code may have put there.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> str:
        """All of them. Raises what the functions given raise."""
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        """What the library asks for."""
        status, totals = self._status(), self._totals()
        yield from _agent(status)
        yield from _jobs(status, self._lanes())
        yield from _uploads(totals, [endpoint["name"] for endpoint in status["endpoints"]])
        yield from _disposals(totals, status["folders"])
        yield from _endpoints(status["endpoints"])
        yield from _folders(status["folders"])
        yield from _watcher(status)

    def _lanes(self) -> list[Count]:
        try:
            return self._counts()
        except DatabaseUnusable:
            return []  # the status could be had all the same: it says that the database is waited for


def _gauge(name: str, documentation: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = GaugeMetricFamily(f"tusd_agent_{name}", documentation, labels=labels)
    for key, value in values.items():
        family.add_metric([escaped(text) for text in key], value)
    return family


def _counter(name: str, documentation: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = CounterMetricFamily(f"tusd_agent_{name}", documentation, labels=labels)
    for key, value in values.items():
        family.add_metric([escaped(text) for text in key], value)
    return family


def _agent(status: Status) -> Iterator[Metric]:
    build = InfoMetricFamily("tusd_agent_build", "The version of the agent, and of Python.")
    build.add_metric([], {"version": status["version"], "python": platform.python_version()})
    yield build
    yield _gauge("start_time_seconds", "When the agent started, since the epoch.", (), {(): status["started_at"]})
    degraded = float(status["state"] == "degraded")
    pauses: Values = {(pause["folder"] or "", pause["endpoint"] or ""): 1.0 for pause in status["paused"]}
    yield _gauge(
        "paused",
        "1 for each pause: of a folder, an endpoint, or (both empty) the agent.",
        ("folder", "endpoint"),
        pauses,
    )
    yield _gauge("degraded", "1 while something needs the operator; status says what.", (), {(): degraded})
    yield _gauge("database_size_bytes", "Size of the database with its log.", (), {(): float(status["database_bytes"])})


def _jobs(status: Status, counts: list[Count]) -> Iterator[Metric]:
    # Those of the configuration are there with every state, so that an alert on `failed` finds a 0 and no gap.
    lanes = {(folder["path"], folder["endpoint"]) for folder in status["folders"]}
    jobs: dict[tuple[str, ...], float] = {(*lane, str(state)): 0.0 for lane in sorted(lanes) for state in State}
    sizes = dict(jobs)
    for count in counts:
        jobs[count.folder, count.endpoint, str(count.state)] = count.jobs
        sizes[count.folder, count.endpoint, str(count.state)] = count.bytes
    labels = ("folder", "endpoint", "state")
    yield _gauge("jobs", "Jobs by folder, endpoint and state.", labels, jobs)
    yield _gauge("jobs_size_bytes", "Sizes of the files of these jobs.", labels, sizes)
    yield _gauge(
        "oldest_waiting_job_time_seconds",
        "Since when the job waits to be sent that does so longest, since the epoch.",
        ("folder",),
        {(each["path"],): at for each in status["folders"] if (at := each["oldest_waiting_at"]) is not None},
    )


def _uploads(totals: Totals, endpoints: list[str]) -> Iterator[Metric]:
    def of_each(counted: Mapping[str, int]) -> Values:
        return {(name,): float(counted.get(name, 0)) for name in {**dict.fromkeys(endpoints), **counted}}

    label = ("endpoint",)
    yield _counter("upload_attempts", "Attempts to upload a file, since the start.", label, of_each(totals.attempts))
    yield _counter(
        "upload_errors",
        "Attempts that did not bring the file to the server, by cause.",
        ("endpoint", "cause"),
        {key: float(count) for key, count in sorted(totals.errors.items())},
    )
    yield _counter(
        "sent_bytes", "Bytes of files handed to the network, those sent again too.", label, of_each(totals.sent_bytes)
    )
    yield _counter("arrived_bytes", "Sizes of the files that arrived.", label, of_each(totals.arrived_bytes))
    family = HistogramMetricFamily(
        "tusd_agent_upload_duration_seconds", "How long the attempts took that brought a file there.", labels=label
    )
    for endpoint, durations in {**{name: Durations() for name in endpoints}, **totals.durations}.items():
        bounds = [*(str(bound) for bound in DURATION_BOUNDS_SECONDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(durations.counts), strict=True))
        family.add_metric([endpoint], buckets, durations.sum_seconds)
    yield family


def _disposals(totals: Totals, folders: list[Folder]) -> Iterator[Metric]:
    paths = [folder["path"] for folder in folders if folder["after_upload"] != "keep"]
    yield _counter(
        "after_uploads",
        "Files for which what follows an upload (delete, move, command) was carried out.",
        ("folder",),
        {(path,): float(totals.disposals.get(path, 0)) for path in {**dict.fromkeys(paths), **totals.disposals}},
    )
    yield _counter(
        "after_upload_errors",
        "How often that could not be carried out, by cause.",
        ("folder", "cause"),
        {key: float(count) for key, count in sorted(totals.disposal_errors.items())},
    )


def _endpoints(endpoints: list[Endpoint]) -> Iterator[Metric]:
    label = ("endpoint",)
    yield _gauge(
        "breaker_state",
        "1 for the state that the endpoint's circuit breaker is in; while it is open, jobs wait.",
        ("endpoint", "state"),
        {
            (endpoint["name"], str(state)): float(endpoint["breaker"] == state)
            for endpoint in endpoints
            for state in BreakerState
        },
    )
    yield _gauge(
        "last_answer_time_seconds",
        "When the endpoint last did as it should, since the epoch.",
        label,
        {(each["name"],): each["answered_at"] for each in endpoints if each["answered_at"] is not None},
    )
    in_flight: Values = {(each["name"],): float(each["in_flight"]) for each in endpoints}
    yield _gauge("jobs_in_flight", "Jobs in workers' hands.", label, in_flight)
    yield _gauge(
        "rate_limit_bytes_per_second",
        "The limit that holds now; 0 is none.",
        label,
        {(each["name"],): each["rate_limit_bytes_per_second"] for each in endpoints},
    )


def _folders(folders: list[Folder]) -> Iterator[Metric]:
    def of_each(figure: Callable[[Folder], float | None]) -> Values:
        return {(each["path"],): value for each in folders if (value := figure(each)) is not None}

    label = ("folder",)
    yield _gauge(
        "folder_available",
        "1 while the watched folder is there and can be read.",
        label,
        of_each(lambda folder: float(folder["available"])),
    )
    yield _gauge(
        "folder_events",
        "1 while the kernel tells of the folder's changes; 0: it is read again and again.",
        label,
        of_each(lambda folder: float(folder["mode"].startswith("inotify"))),
    )
    yield _gauge(
        "settling_files", "Files that are not complete yet.", label, of_each(lambda folder: float(folder["settling"]))
    )
    yield _gauge(
        "growing_files",
        "Those of them that do not come to rest.",
        label,
        of_each(lambda folder: float(folder["growing"])),
    )
    yield _gauge(
        "last_scan_time_seconds",
        "When the last complete scan ended, since the epoch.",
        label,
        of_each(lambda folder: folder["last_scan_at"]),
    )
    yield _gauge(
        "last_scan_duration_seconds", "How long it took.", label, of_each(lambda folder: folder["last_scan_seconds"])
    )
    yield _gauge("last_scan_files", "Files that it saw.", label, of_each(lambda folder: float(folder["files_seen"])))


def _watcher(status: Status) -> Iterator[Metric]:
    watcher = status["watcher"]
    yield _gauge("watcher_alive", "1 while file events are read.", (), {(): float(watcher["alive"])})
    yield _gauge("watched_directories", "Directories that events come from.", (), {(): float(watcher["watches"])})
    yield _counter(
        "watcher_overflows", "How often the kernel's queue overflowed.", (), {(): float(watcher["overflows"])}
    )
    yield _counter(
        "watcher_restarts", "How often its threads were found dead or deaf.", (), {(): float(watcher["restarts"])}
    )
    yield _counter("watcher_gaps", "Directories found without a watch, mended.", (), {(): float(watcher["gaps"])})
    canary_at = watcher["canary_at"]
    yield _gauge(
        "watcher_canary_time_seconds",
        "When an event of the agent's own last came back, since the epoch.",
        (),
        {} if canary_at is None else {(): canary_at},
    )
