"""The screen of ``tusd-agent status``: plain aligned text, from a reply. Pure: the page is given."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from ..control.figures import Periods
from ..control.replies import Counts, Endpoint, Folder, FolderCounts, InFlight, Pause, Status, Watcher, escaped
from .page import Page
from .views import StoppedStatus
from .words import aligned, bar, cut, cut_path, distance, duration, listed, percent, plural, rate, size, width, wrapped

MAX_UPLOADS = 20
"""So many uploads in flight are shown: there can be 256, and the screen has one page."""
BAR_COLUMNS, LONGEST_BAR_COLUMNS = 10, 40
NARROWEST_PATH = 12
LONGEST_REST_SECONDS = 365 * 86400.0
"""What would take longer at the speed of so far says only that hardly anything was sent yet."""

_COLOURS = {"ok": "green", "starting": "yellow", "stopping": "yellow"}
_COLOURS |= dict.fromkeys(("degraded", "not running", "not answering"), "red")
_ALWAYS = (("pending", "waiting"), ("uploading", "uploading"), ("done", "done"), ("failed", "failed"))
_IF_ANY = ("delivered", "disposing", "held", "cancelled", "vanished", "superseded")


class OtherVersion(Exception):
    """The reply lacks what is to be drawn: the running agent is of an older version than this command."""

    hint = "restart the agent; until then --json shows what it says"

    def __init__(self, status: Status | StoppedStatus, missing: KeyError) -> None:
        version = escaped(str(status.get("version", "unknown")))
        super().__init__(f"the agent that runs is another version ({version}): it does not tell {missing}")


def screen(status: Status | StoppedStatus, page: Page) -> str:
    """The whole screen. Raises `OtherVersion`."""
    try:
        return _screen(status, page)
    except KeyError as missing:
        raise OtherVersion(status, missing) from missing


def _screen(status: Status | StoppedStatus, page: Page) -> str:
    # Of an agent that does not run, the folders are those that have jobs.
    folders = folder_lines(status["folders"], status["now"], page) if _runs(status) or status["folders"] else []
    blocks = [state_lines(status, page), folders]
    if _runs(status) and status["folders"]:
        blocks.append(_watcher(status["watcher"], status["now"], page))
    blocks += [endpoint_lines(status["endpoints"], status["now"], page), upload_lines(status["in_flight"], page)]
    blocks.append(sum_lines(status, page))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def state_lines(status: Status | StoppedStatus, page: Page, *, brief: bool = False) -> list[str]:
    """How it is, what was paused or limited by hand, and why it is degraded; `brief`: a line for each reason."""
    state = page.paint(status["state"], _COLOURS.get(status["state"], "yellow"))
    if any(_is_all(pause) for pause in status["paused"]):
        state += page.paint(", paused", "yellow")
    line = f"tusd-agent: {state}"
    if _runs(status):
        line = f"tusd-agent {escaped(status['version'])}: {state}, up {duration(status['now'] - status['started_at'])}"
        line += f" (pid {status['pid']}, user {status['uid']})"
    shown = [
        page.paint(text, "yellow") for words in _pauses(status) for text in wrapped(words, page.width, "  ", "    ")
    ]
    if _runs(status):
        shown += [text for words in _limits(status) for text in wrapped(words, page.width, "  ", "    ")]
    problems = [_problem(reason, page)[: 1 if brief else None] for reason in status["reasons"]]
    return [line, *shown, *(text for lines in problems for text in lines)]


def _pauses(status: Status | StoppedStatus) -> list[str]:
    if not status["paused"]:
        return []
    from .pausing import pause_words  # with the commands themselves, which few screens have a need of

    return [pause_words(pause, status["now"]) for pause in status["paused"]]


def _limits(status: Status) -> list[str]:
    if not status["limits_by_hand"]:
        return []
    from .limiting import limit_words  # as above

    return [limit_words(limit) for limit in status["limits_by_hand"]]


def _is_all(pause: Pause) -> bool:
    return pause["folder"] is None and pause["endpoint"] is None


def _runs(status: Status | StoppedStatus) -> TypeGuard[Status]:
    return "started_at" in status


def folder_lines(
    folders: Sequence[Folder] | Sequence[FolderCounts], now: float, page: Page, *, brief: bool = False
) -> list[str]:
    """The folders, each with its numbers and, unless `brief`, what else there is to say of it."""
    if not folders:
        return wrapped("No folder is watched: add a [[watch]] table to the configuration.", page.width)
    head = ["FOLDER", "WAITING", "UPLOADING", "TODAY", "DONE", "FAILED"]
    rows = [[escaped(folder["path"]), *_numbers(folder)] for folder in folders]
    numbers = aligned([head[1:], *(row[1:] for row in rows)], right=range(len(head)))
    room = None if page.width is None else max(page.width - 2 - max(map(len, numbers)), NARROWEST_PATH)
    paths = aligned([["FOLDER"], *([cut_path(row[0], room, page.ellipsis)] for row in rows)])
    widest = max(map(width, paths))
    top, *lines = [f"{path}{' ' * (widest - width(path))}  {line}" for path, line in zip(paths, numbers, strict=True)]
    shown = [top]
    for folder, line in zip(folders, lines, strict=True):
        shown.append(page.paint(line, "red") if folder["jobs"].get("failed") else line)
        shown += [] if brief else _below_folder(folder, now, page)
    return shown


def _numbers(folder: Folder | FolderCounts) -> list[str]:
    jobs = folder["jobs"]
    return [
        str(jobs.get("pending", 0)),
        str(jobs.get("uploading", 0)),
        str(folder["arrived_today"]),
        str(jobs.get("done", 0)),
        str(jobs.get("failed", 0)),
    ]


def _below_folder(folder: Folder | FolderCounts, now: float, page: Page) -> Iterator[str]:
    """What a folder has to say beside its numbers."""
    facts = []
    if _watched(folder):
        if not folder["available"]:
            yield from _problem(f"unavailable: {folder['problem'] or 'it can not be looked at'}", page)
        elif folder["problem"]:
            yield from _problem(folder["problem"], page)
        facts += [f"to {escaped(folder['endpoint'])}, then {escaped(folder['after_upload'])}", escaped(folder["mode"])]
    if folder["waiting_bytes"]:
        facts.append(f"{size(folder['waiting_bytes'])} waiting")
    if folder["oldest_waiting_at"] is not None:
        facts.append(f"the oldest for {duration(now - folder['oldest_waiting_at'])}")
    if folder["arrived_today"]:
        facts.append(f"{size(folder['arrived_today_bytes'])} today")
    if folder["failed_today"]:
        facts.append(f"{folder['failed_today']} failed today")
    facts += [f"{folder['jobs'][state]} {state}" for state in _IF_ANY if folder["jobs"].get(state)]
    if _watched(folder):
        facts += _of_scans(folder, now)
    if facts:
        yield from listed(facts, page.width, "  ", "  ")
    if _watched(folder) and folder["growing"]:
        example = escaped(folder["growing_example"] or "")
        words = f"{plural(folder['growing'], 'file')} still growing, such as {example}"
        yield from (page.paint(line, "yellow") for line in wrapped(words, page.width, "  ", "  "))


def _of_scans(folder: Folder, now: float) -> Iterator[str]:
    if folder["settling"]:
        yield f"{plural(folder['settling'], 'file')} settling"
    if folder["scanning"]:
        seen = f", {plural(folder['scan_files_seen'], 'file')} so far" if folder["scan_files_seen"] else ""
        yield f"being scanned{seen}"
    elif folder["last_scan_at"] is not None:
        yield f"scanned {distance(folder['last_scan_at'], now)}"


def _watched(folder: Folder | FolderCounts) -> TypeGuard[Folder]:
    return "available" in folder


def _watcher(watcher: Watcher, now: float, page: Page) -> list[str]:
    if not watcher["alive"]:
        lines = wrapped("WATCHER  no events are read: folders are scanned only", page.width, "", "  ")
        return [page.paint(line, "yellow") for line in lines]
    facts = [plural(watcher["watches"], "directory", "directories") + " watched"]
    if watcher["canary_at"] is not None:
        facts.append(f"last proof of life {distance(watcher['canary_at'], now)}")
    counted = (("overflows", "overflow"), ("restarts", "restart"), ("gaps", "gap"))
    facts += [plural(watcher[key], word) for key, word in counted if watcher[key]]  # type: ignore[literal-required]
    return listed(facts, page.width, "WATCHER  ", "  ")


def endpoint_lines(endpoints: Sequence[Endpoint], now: float, page: Page, *, brief: bool = False) -> list[str]:
    """The endpoints, and how each is doing; `brief`: a line for each."""
    if not endpoints:
        return []
    names = aligned([["ENDPOINT"], *([escaped(one["name"])] for one in endpoints)])
    widest = max(map(width, names))
    room = None if page.width is None else max(page.width - widest - 2, NARROWEST_PATH)
    shown = [names[0] if brief else f"{names[0]:<{widest}}  URL"]
    for one, name in zip(endpoints, names[1:], strict=True):
        if brief:
            words = cut(", ".join(_endpoint_words(one, now)), room, page.ellipsis)
            line = f"{name}{' ' * (widest - width(name))}  {words}"
            shown.append(page.paint(line, "yellow") if one["breaker"] == "open" else line)
            continue
        url = cut_path(escaped(one["url"]), room, page.ellipsis)
        lines = [f"{name}{' ' * (widest - width(name))}  {url}"]
        lines += listed(_endpoint_words(one, now), page.width, "  ", "  ")
        shown += [page.paint(line, "yellow") for line in lines] if one["breaker"] == "open" else lines
    return shown


def _endpoint_words(endpoint: Endpoint, now: float) -> list[str]:
    words = [_breaker_words(endpoint, now)]
    if endpoint["in_flight"]:
        words.append(f"{endpoint['in_flight']} in flight")
    if endpoint["rate_bytes_per_second"]:
        words.append(rate(endpoint["rate_bytes_per_second"]))
    if endpoint["rate_limit_bytes_per_second"]:
        words.append(f"at most {rate(endpoint['rate_limit_bytes_per_second'])}")
    if endpoint["answered_at"] is not None:
        words.append(f"answered {distance(endpoint['answered_at'], now)}")
    return words


def _breaker_words(endpoint: Endpoint, now: float) -> str:
    if endpoint["breaker"] == "open":
        # Its kind: the whole sentence stands above, among the reasons.
        why = f" ({escaped(endpoint['reason']).partition(': ')[0]})" if endpoint["reason"] else ""
        probe_at = endpoint["next_probe_at"]
        tries = "" if probe_at is None else ", tried again " + (distance(probe_at, now) if probe_at > now else "now")
        return f"its jobs wait{why}{tries}"
    if endpoint["breaker"] == "returning":
        return "comes back, few at a time"
    return "accepts, but the last try failed" if endpoint["reason"] else "accepts"


def upload_lines(in_flight: Sequence[InFlight], page: Page, most: int = MAX_UPLOADS) -> list[str]:
    """The uploads in flight, at most so many, with bars as long as the page has room for."""
    if not in_flight:
        return []
    columns = BAR_COLUMNS if page.width is None else max(BAR_COLUMNS, min(page.width - 80, LONGEST_BAR_COLUMNS))
    rows = [["IN FLIGHT", "", "SIZE", "RATE", "LEFT"], *(_upload_cells(one, columns) for one in in_flight[:most])]
    left = aligned(rows, right=(1, 2, 3, 4))
    widest = max(map(width, left))
    room = None if page.width is None else max(page.width - widest - 2, NARROWEST_PATH)
    files = ["FILE", *(f"#{one['id']} {escaped(one['path'])}" for one in in_flight[:most])]
    shown = [f"{line:<{widest}}  {_file(file, room, page)}" for line, file in zip(left, files, strict=True)]
    left_out = len(in_flight) - most
    words = f"{page.ellipsis} and {left_out} more: tusd-agent jobs --state uploading"
    return [*shown, *(wrapped(words, page.width) if left_out > 0 else [])]


def _file(text: str, room: int | None, page: Page) -> str:
    """``#17 …/run-7.dat``: the number is what other commands take, the name is at the end."""
    number, blank, path = text.partition(" ")
    return number + blank + cut_path(path, None if room is None else room - width(number + blank), page.ellipsis)


def _upload_cells(one: InFlight, columns: int) -> list[str]:
    done = percent(one["offset_bytes"], one["size_bytes"])
    left = duration(one["eta_seconds"]) if one["eta_seconds"] is not None else escaped(one["phase"])
    speed = rate(one["rate_bytes_per_second"]) if one["rate_bytes_per_second"] else "-"
    return [bar(one["offset_bytes"], one["size_bytes"], columns), done, size(one["size_bytes"]), speed, left]


def sum_lines(status: Status | StoppedStatus, page: Page, *, brief: bool = False) -> list[str]:
    """All jobs together; `brief`: what matters most, a line for each."""
    rows = [
        ("Total:", _total(status)),
        ("Today:", _today(status["totals"])),
        ("Speed:", _speed(status)),
        ("Database:", size(status["database_bytes"])),
    ]
    if brief:
        return [cut(f"{title:<10}{words}", page.width, page.ellipsis) for title, words in rows[:3]]
    return [line for title, words in rows for line in wrapped(words, page.width, f"{title:<10}", " " * 10)]


def _total(status: Counts) -> str:
    jobs = status["jobs"]
    parts = [f"{jobs.get(state, 0)} {name}{_sum(status['bytes'], state)}" for state, name in _ALWAYS]
    parts += [f"{jobs[state]} {state}{_sum(status['bytes'], state)}" for state in _IF_ANY if jobs.get(state)]
    more = "; tusd-agent errors says more" if jobs.get("failed") or jobs.get("held") else ""
    return ", ".join(parts) + more


def _today(totals: Periods) -> str:
    today, day = totals["today"], totals["last_24_hours"]
    words = f"{today['arrived']} arrived ({size(today['arrived_bytes'])}), {today['failed']} failed"
    success = day["success_rate"]
    return words if success is None else f"{words}; {_percent(success)} of the last 24 h arrived"


def _percent(part: float) -> str:
    """100 and 0 only where it is all or nothing."""
    return "100 %" if part >= 1 else f"{min(part * 100, 99.9):.1f} %"


def _speed(status: Status | StoppedStatus) -> str:
    """How fast it was, and how long the rest takes at that of the last hour, or at that of now where it is faster."""
    totals = status["totals"]
    hour, day = (period["bytes_per_second"] or 0.0 for period in (totals["last_hour"], totals["last_24_hours"]))
    words = f"{rate(hour)} over 1 h, {rate(day)} over 24 h"
    if not _runs(status) or any(_is_all(pause) for pause in status["paused"]):
        return words  # nothing goes on by itself
    left = status["bytes"].get("pending", 0) + status["bytes"].get("uploading", 0)
    left -= sum(one["offset_bytes"] for one in status["in_flight"] if one["phase"] != "disposing")
    speed = max(hour, sum(one["rate_bytes_per_second"] for one in status["endpoints"]))
    if not speed or not speed < left <= speed * LONGEST_REST_SECONDS:
        return words
    return f"{words}; the rest takes {duration(left / speed)} at best"


def _sum(sizes: Mapping[str, int], state: str) -> str:
    return f" ({size(sizes[state])})" if sizes.get(state) else ""


def _problem(sentence: str, page: Page) -> list[str]:
    lines = wrapped(escaped(sentence), page.width, "  ! ", "    ")
    return [page.paint(line, "red") for line in lines]
