"""The screen of ``tusd-agent status``: plain aligned text, from a reply. Pure but for the colours, which are given."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeGuard

from ..control.replies import Counts, Endpoint, Folder, FolderCounts, InFlight, Pause, Status, Watcher, escaped
from .limiting import limit_words
from .pausing import pause_words
from .views import StoppedStatus
from .words import aligned, distance, duration, percent, plural, rate, size

MAX_UPLOADS = 20
"""So many uploads in flight are shown: there can be 256, and the screen has one page."""

Paint = Callable[[str, str], str]
"""Gives a text a colour by its name: green, yellow, red."""

_COLOURS = {"ok": "green", "starting": "yellow", "stopping": "yellow", "degraded": "red", "not running": "red"}
_ALWAYS = (("pending", "waiting"), ("uploading", "uploading"), ("done", "done"), ("failed", "failed"))
_IF_ANY = ("delivered", "disposing", "held", "cancelled", "vanished", "superseded")


def screen(status: Status | StoppedStatus, paint: Paint) -> str:
    """The whole screen."""
    blocks = [_state(status, paint), _folders(status["folders"], status["now"], paint)]
    if _runs(status) and status["folders"]:
        blocks.append([_watcher(status["watcher"], status["now"], paint)])
    blocks += [_endpoints(status["endpoints"], status["now"], paint), _uploads(status["in_flight"])]
    blocks.append([_total(status)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _state(status: Status | StoppedStatus, paint: Paint) -> list[str]:
    state = paint(status["state"], _COLOURS.get(status["state"], "yellow"))
    if any(_is_all(pause) for pause in status["paused"]):
        state += paint(", paused", "yellow")
    line = f"tusd-agent: {state}"
    if _runs(status):
        line = f"tusd-agent {escaped(status['version'])}: {state}, up {duration(status['now'] - status['started_at'])}"
        line += f" (pid {status['pid']}, user {status['uid']})"
    pauses = [paint(f"  {pause_words(pause, status['now'])}", "yellow") for pause in status["paused"]]
    if _runs(status):
        pauses += [f"  {limit_words(limit)}" for limit in status["limits_by_hand"]]
    return [line, *pauses, *(_problem(reason, paint) for reason in status["reasons"])]


def _is_all(pause: Pause) -> bool:
    return pause["folder"] is None and pause["endpoint"] is None


def _runs(status: Status | StoppedStatus) -> TypeGuard[Status]:
    return "started_at" in status


def _folders(folders: Sequence[Folder] | Sequence[FolderCounts], now: float, paint: Paint) -> list[str]:
    if not folders:
        return ["No folder is watched: add a [[watch]] table to the configuration."]
    others = [state for state in _IF_ANY if any(folder["jobs"].get(state) for folder in folders)]
    states = [*(state for state, _ in _ALWAYS), *others]
    rows = [["FOLDER", *(name.upper() for _, name in _ALWAYS), *(name.upper() for name in others)]]
    rows += [[escaped(folder["path"]), *(str(folder["jobs"].get(state, 0)) for state in states)] for folder in folders]
    head, *lines = aligned(rows, right=range(1, len(states) + 1))
    shown = [head]
    for folder, line in zip(folders, lines, strict=True):
        shown += [line, *_below_folder(folder, now, paint)]
    return shown


def _below_folder(folder: Folder | FolderCounts, now: float, paint: Paint) -> Iterator[str]:
    """What a folder has to say beside its numbers."""
    if not _watched(folder):
        return
    if not folder["available"]:
        yield _problem(f"unavailable: {folder['problem'] or 'it can not be looked at'}", paint)
    elif folder["problem"]:
        yield _problem(folder["problem"], paint)
    facts = [f"to {escaped(folder['endpoint'])}, then {escaped(folder['after_upload'])}", escaped(folder["mode"])]
    if folder["waiting_bytes"]:
        facts.append(f"{size(folder['waiting_bytes'])} waiting")
    if folder["settling"]:
        facts.append(f"{plural(folder['settling'], 'file')} settling")
    if folder["scanning"]:
        seen = f", {plural(folder['scan_files_seen'], 'file')} so far" if folder["scan_files_seen"] else ""
        facts.append(f"being scanned{seen}")
    elif folder["last_scan_at"] is not None:
        facts.append(f"scanned {distance(folder['last_scan_at'], now)}")
    yield "  " + ", ".join(facts)
    if folder["growing"]:
        example = escaped(folder["growing_example"] or "")
        yield paint(f"  {plural(folder['growing'], 'file')} still growing, such as {example}", "yellow")


def _watched(folder: Folder | FolderCounts) -> TypeGuard[Folder]:
    return "available" in folder


def _watcher(watcher: Watcher, now: float, paint: Paint) -> str:
    if not watcher["alive"]:
        return paint("WATCHER  no events are read: folders are scanned only", "yellow")
    facts = [plural(watcher["watches"], "directory", "directories") + " watched"]
    if watcher["canary_at"] is not None:
        facts.append(f"last proof of life {distance(watcher['canary_at'], now)}")
    counted = (("overflows", "overflow"), ("restarts", "restart"), ("gaps", "gap"))
    facts += [plural(watcher[key], word) for key, word in counted if watcher[key]]  # type: ignore[literal-required]
    return f"WATCHER  {', '.join(facts)}"


def _endpoints(endpoints: Sequence[Endpoint], now: float, paint: Paint) -> list[str]:
    if not endpoints:
        return []
    rows = [["ENDPOINT", "URL", ""]]
    rows += [[escaped(one["name"]), escaped(one["url"]), _endpoint_words(one, now)] for one in endpoints]
    head, *lines = aligned(rows)
    return [
        head,
        *(paint(line, "yellow") if one["breaker"] == "open" else line
          for one, line in zip(endpoints, lines, strict=True)),
    ]  # fmt: skip


def _endpoint_words(endpoint: Endpoint, now: float) -> str:
    words = [_breaker_words(endpoint, now)]
    if endpoint["in_flight"]:
        words.append(f"{endpoint['in_flight']} in flight")
    if endpoint["answered_at"] is not None:
        words.append(f"answered {distance(endpoint['answered_at'], now)}")
    if endpoint["rate_limit_bytes_per_second"]:
        words.append(f"at most {rate(endpoint['rate_limit_bytes_per_second'])}")
    return ", ".join(words)


def _breaker_words(endpoint: Endpoint, now: float) -> str:
    if endpoint["breaker"] == "open":
        why = f" ({escaped(endpoint['reason'])})" if endpoint["reason"] else ""
        probe_at = endpoint["next_probe_at"]
        tries = "" if probe_at is None else ", tried again " + (distance(probe_at, now) if probe_at > now else "now")
        return f"its jobs wait{why}{tries}"
    if endpoint["breaker"] == "returning":
        return "comes back, few at a time"
    return "accepts, but the last try failed" if endpoint["reason"] else "accepts"


def _uploads(in_flight: Sequence[InFlight]) -> list[str]:
    if not in_flight:
        return []
    rows = [_upload_cells(one) for one in in_flight[:MAX_UPLOADS]]
    left_out = len(in_flight) - MAX_UPLOADS
    more = [f"… and {left_out} more: tusd-agent jobs --state uploading"] if left_out > 0 else []
    return ["IN FLIGHT", *("  " + line for line in aligned(rows, right=(0, 1, 2))), *more]


def _upload_cells(one: InFlight) -> list[str]:
    sizes = f"{size(one['offset_bytes'])} of {size(one['size_bytes'])}"
    left = f"{duration(one['eta_seconds'])} left" if one["eta_seconds"] is not None else escaped(one["phase"])
    speed = rate(one["rate_bytes_per_second"]) if one["rate_bytes_per_second"] else "-"
    return [percent(one["offset_bytes"], one["size_bytes"]), sizes, speed, left, f"#{one['id']} {escaped(one['path'])}"]


def _total(status: Counts) -> str:
    jobs = status["jobs"]
    parts = [f"{jobs.get(state, 0)} {name}{_sum(status['bytes'], state)}" for state, name in _ALWAYS]
    parts += [f"{jobs[state]} {state}{_sum(status['bytes'], state)}" for state in _IF_ANY if jobs.get(state)]
    return f"Total: {', '.join(parts)}; database {size(status['database_bytes'])}"


def _sum(sizes: Mapping[str, int], state: str) -> str:
    return f" ({size(sizes[state])})" if sizes.get(state) else ""


def _problem(sentence: str, paint: Paint) -> str:
    return paint(f"  ! {escaped(sentence)}", "red")
