"""The screen of ``status``: what an operator has to see of each kind of trouble."""

import pytest

from tusd_agent.cli.page import Page
from tusd_agent.cli.status_screen import MAX_UPLOADS, screen
from tusd_agent.cli.words import width as columns
from tusd_agent.control.figures import Period, Periods
from tusd_agent.control.replies import Endpoint, Folder, InFlight, Status, Watcher
from tusd_agent.jobs.states import State

NOW = 10_000.0


def jobs(**counts: int) -> dict[str, int]:
    return {**{str(state): 0 for state in State}, **counts}


def folder(path: str = "/srv/out", **changes: object) -> Folder:
    plain = Folder(
        path=path, endpoint="default", after_upload="keep", mode="inotify", available=True, problem=None, settling=0,
        growing=0, growing_example=None, scanning=False, scan_files_seen=0, last_scan_at=NOW - 180,
        last_scan_seconds=0.1, files_seen=3,
        jobs=jobs(pending=3, done=1204), waiting_bytes=12 * 1024**2, oldest_waiting_at=NOW - 400,
        arrived_today=112, arrived_today_bytes=3 * 1024**3, failed_today=0,
    )  # fmt: skip
    return {**plain, **changes}  # type: ignore[typeddict-item]  # as the tests name them


def watcher(**changes: object) -> Watcher:
    plain = Watcher(alive=True, watches=12, overflows=0, restarts=0, gaps=0, canary_at=NOW - 20)
    return {**plain, **changes}  # type: ignore[typeddict-item]  # as the tests name them


def endpoint(**changes: object) -> Endpoint:
    plain = Endpoint(
        name="default", url="https://uploads.example/files/", breaker="closed", reason=None, next_probe_at=None,
        in_flight=0, answered_at=None, rate_bytes_per_second=0, rate_limit_bytes_per_second=0,
    )  # fmt: skip
    return {**plain, **changes}  # type: ignore[typeddict-item]  # as the tests name them


def upload(number: int = 12, **changes: object) -> InFlight:
    plain = InFlight(
        id=number, path=f"/srv/out/{number}.dat", path_b64="", endpoint="default", size_bytes=4 * 1024**3,
        offset_bytes=1024**3, rate_bytes_per_second=12 * 1024**2, eta_seconds=256.0, phase="uploading", started_at=NOW,
    )  # fmt: skip
    return {**plain, **changes}  # type: ignore[typeddict-item]  # as the tests name them


def totals(rate: float | None = 3.5 * 1024**2) -> Periods:
    period = Period(
        arrived=112, arrived_bytes=3 * 1024**3, failed=1, success_rate=112 / 113, bytes_per_second=rate
    )  # fmt: skip
    return Periods(ever=period, today=period, last_hour=period, last_24_hours=period)


def status(**changes: object) -> Status:
    plain = Status(
        state="ok", reasons=[], paused=[], limits_by_hand=[], version="1.2.3",
        pid=4711, uid=107, started_at=NOW - 11_520, now=NOW,
        database_bytes=2 * 1024**2, jobs=jobs(pending=3, done=1204), bytes=jobs(pending=12 * 1024**2),
        totals=totals(), folders=[folder()], watcher=watcher(), endpoints=[endpoint()], in_flight=[],
    )  # fmt: skip
    return {**plain, **changes}  # type: ignore[typeddict-item]  # as the tests name them


def drawn(**changes: object) -> str:
    return screen(status(**changes), Page())


def test_when_all_is_well() -> None:
    assert drawn() == (
        "tusd-agent 1.2.3: ok, up 3 h 12 min (pid 4711, user 107)\n"
        "\n"
        "FOLDER    WAITING  UPLOADING  TODAY  DONE  FAILED\n"
        "/srv/out        3          0    112  1204       0\n"
        "  to default, then keep, inotify, 12 MiB waiting, the oldest for 6 min, 3.0 GiB today, scanned 3 min ago\n"
        "\n"
        "WATCHER  12 directories watched, last proof of life 20 s ago\n"
        "\n"
        "ENDPOINT  URL\n"
        "default   https://uploads.example/files/\n"
        "  accepts\n"
        "\n"
        "Total:    3 waiting (12 MiB), 0 uploading, 1204 done, 0 failed\n"
        "Today:    112 arrived (3.0 GiB), 1 failed; 99.1 % of the last 24 h arrived\n"
        "Speed:    3.5 MiB/s over 1 h, 3.5 MiB/s over 24 h; the rest takes 3 s at best\n"
        "Database: 2.0 MiB"
    )


def test_reasons_stand_below_the_state() -> None:
    text = drawn(state="degraded", reasons=["folder /srv/out: gone", "the disk is full"])
    assert "1.2.3: degraded, up" in text
    assert "\n  ! folder /srv/out: gone\n  ! the disk is full\n" in text


def test_what_happened_to_the_watching() -> None:
    assert "12 directories watched, last proof of life 20 s ago, 1 overflow, 2 restarts, 3 gaps\n" in drawn(
        watcher=watcher(overflows=1, restarts=2, gaps=3)
    )
    assert "\nWATCHER  no events are read: folders are scanned only\n" in drawn(watcher=watcher(alive=False))


def test_files_that_never_rest_and_how_far_a_scan_is() -> None:
    text = drawn(folders=[folder(growing=2, growing_example="/srv/out/log", scanning=True, scan_files_seen=5000)])
    assert "being scanned, 5000 files so far\n  2 files still growing, such as /srv/out/log\n" in text


def test_a_folder_that_is_gone_and_one_with_a_problem() -> None:
    text = drawn(
        folders=[
            folder("/mnt/nas", available=False, problem="the folder does not exist", last_scan_at=None),
            folder("/srv/big", problem="watch limit reached", settling=1, scanning=True),
        ]
    )
    assert "\n  ! unavailable: the folder does not exist\n" in text
    assert "\n  ! watch limit reached\n  to default, then keep, inotify, " in text
    assert ", 1 file settling, being scanned\n" in text


def test_states_that_are_rare_are_said_when_there_are_jobs_in_them() -> None:
    text = drawn(folders=[folder(jobs=jobs(held=2)), folder("/srv/b")], jobs=jobs(held=2, failed=1), bytes=jobs())
    lines = text.splitlines()
    assert ", 2 held, " in lines[4]
    assert "held" not in lines[6]
    assert len(lines[3]) == len(lines[5]) == len(lines[2]), "numbers end below the headings"
    assert "\nTotal:    0 waiting, 0 uploading, 0 done, 1 failed, 2 held; tusd-agent errors says more\n" in text


def test_no_rate_of_success_where_nothing_ended() -> None:
    nothing = Period(arrived=0, arrived_bytes=0, failed=0, success_rate=None, bytes_per_second=None)
    text = drawn(totals=Periods(ever=nothing, today=nothing, last_hour=nothing, last_24_hours=nothing))
    assert "\nToday:    0 arrived (0 B), 0 failed\nSpeed:    0 B/s over 1 h, 0 B/s over 24 h\n" in text


def test_how_long_the_rest_takes() -> None:
    """At the speed of now where that is higher: an hour in which hardly anything was sent yet says nothing."""
    left = {"jobs": jobs(uploading=1), "bytes": jobs(uploading=36 * 1024**2)}
    assert "over 24 h; the rest takes 6 s at best\n" in drawn(
        **left, totals=totals(1.0), endpoints=[endpoint(rate_bytes_per_second=6.0 * 1024**2)]
    )
    assert "over 24 h; the rest takes 10 s at best\n" in drawn(**left, endpoints=[endpoint(rate_bytes_per_second=1.0)])
    nothing_to_say = (
        {"totals": totals(1.0)},  # a year and more
        {"totals": totals(None)},
        {"paused": [{"folder": None, "endpoint": None, "since": NOW}]},
    )
    for changes in nothing_to_say:
        assert "the rest" not in drawn(**left, **changes)
    wide = totals(1023 * 1024.0)
    text = screen(status(jobs=jobs(pending=1), bytes=jobs(pending=80_000 * 1023 * 1024), totals=wide), Page(width=80))
    assert "\nSpeed:    1023 KiB/s over 1 h, 1023 KiB/s over 24 h; the rest takes 22 h 13 min" in text


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("ellipsis", ["…", "..."])
def test_nothing_is_wider_than_the_page(width: int, ellipsis: str) -> None:
    deep = "/srv/" + "/".join(["instrument-data-ö"] * 12)
    text = screen(
        status(
            state="degraded",
            reasons=["the disk is full " * 9, "x" * 300],
            folders=[
                folder(deep, growing=1, growing_example=deep + "/log"),
                folder(deep, available=False, problem=deep, failed_today=7, mode="poll (nfs, which reports nothing)"),
                folder("/srv/漢字" * 9, jobs=jobs(pending=10**6, done=10**7, held=3, cancelled=9, superseded=10**5)),
            ],
            watcher=watcher(overflows=1, restarts=2, gaps=3),
            endpoints=[
                endpoint(name="n" * 15, url="https://uploads.example/" + "f" * 99, breaker="open", reason="x " * 99),
                endpoint(rate_bytes_per_second=1e7, rate_limit_bytes_per_second=2e7, in_flight=3, answered_at=NOW - 5),
            ],
            in_flight=[upload(path=deep + "/run-0042.h5"), *(upload(number) for number in range(30))],
        ),
        Page(width=width, ellipsis=ellipsis),
    )
    too_wide = [line for line in text.splitlines() if columns(line) > width]
    # So narrow a terminal shows the numbers whole all the same.
    assert [line for line in too_wide if width >= 80] == []
    assert not [line for line in too_wide if line.startswith(("  ", "ENDPOINT", "WATCHER", "Total", "Today"))]
    if width >= 80:
        assert "run-0042.h5\n" in text, "the end of a path is its name"


def test_no_folder_is_said() -> None:
    assert "No folder is watched" in drawn(folders=[])


def test_breakers_in_words() -> None:
    text = drawn(
        endpoints=[
            endpoint(breaker="open", reason="auth: 401", next_probe_at=NOW + 43, answered_at=NOW - 7200),
            endpoint(name="due", breaker="open", next_probe_at=NOW - 1),
            endpoint(
                name="back",
                breaker="returning",
                in_flight=1,
                rate_bytes_per_second=2 * 1024**2,
                rate_limit_bytes_per_second=25 * 1024**2,
            ),
        ]
    )
    assert "its jobs wait (auth), tried again in 43 s, answered 2 h ago" in text
    assert "its jobs wait, tried again now\n" in text
    assert "comes back, few at a time, 1 in flight, 2.0 MiB/s, at most 25 MiB/s" in text


def test_uploads_in_flight() -> None:
    text = drawn(
        in_flight=[upload(), upload(13, offset_bytes=0, rate_bytes_per_second=0, eta_seconds=None, phase="starting")]
    )
    assert "\n[##........]  25 %  4.0 GiB  12 MiB/s     4 min  #12 /srv/out/12.dat\n" in text
    assert "\n[..........]   0 %  4.0 GiB         -  starting  #13 /srv/out/13.dat\n" in text


def test_many_uploads_do_not_fill_more_than_a_screen() -> None:
    text = drawn(in_flight=[upload(number) for number in range(100)])
    assert text.count("[##........]") == MAX_UPLOADS
    assert f"and {100 - MAX_UPLOADS} more" in text


def test_nothing_that_was_named_elsewhere_reaches_the_terminal_raw() -> None:
    evil = "\x1b]0;owned\x07\r\n"
    text = drawn(
        version=evil,
        reasons=[evil],
        folders=[folder(evil, problem=evil, endpoint=evil, mode=evil, after_upload=evil)],
        endpoints=[endpoint(name=evil, url=evil, breaker="open", reason=evil)],
        in_flight=[upload(path=evil, phase=evil, eta_seconds=None)],
    )
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    assert "\\x1b]0;owned" in text


def test_colours_are_given_by_name() -> None:
    text = screen(
        status(state="degraded", reasons=["why"], endpoints=[endpoint(breaker="open")]),
        Page(paint=lambda text, colour: f"<{colour}>{text}</>"),
    )
    assert text.startswith("tusd-agent 1.2.3: <red>degraded</>, up")
    assert "\n<red>  ! why</>\n" in text
    assert "\n<yellow>default   https://uploads.example/files/</>\n<yellow>  its jobs wait</>\n" in text
