"""What `wait` makes of the agent's replies: decided, or still to be waited for."""

from typing import Any

import pytest

from tests.cli.test_cli_status_screen import folder, jobs, status
from tusd_agent.cli.arrival import Standing, of_directory, of_jobs, of_path, of_status, together

NOW = 1_000_000.0


def job(number: int, state: str, **changes: object) -> Any:
    return {"id": number, "state": state, "path": f"/srv/{number}", "last_error": None, "reason": None, **changes}


def path(**changes: object) -> Any:
    plain = {
        "path": "/srv/x",
        "seen": "file",
        "taken": True,
        "known": True,
        "rule": "r",
        "waits_for": None,
        "job": None,
    }
    return {**plain, **changes}


def polled(**changes: Any) -> Any:
    return folder(mode="poll (nfs)", last_scan_at=NOW + 5, **changes)


@pytest.mark.parametrize(
    ("changes", "waited_for"),
    [
        ({"jobs": jobs(done=3, cancelled=2, superseded=1)}, None),
        ({"jobs": jobs(pending=1)}, "1 file on the way"),
        ({"jobs": jobs(disposing=2)}, "2 files on the way"),
        ({"jobs": jobs(delivered=1, failed=1)}, "1 file on the way"),
        ({"state": "starting", "jobs": jobs()}, "starting"),
        ({"jobs": jobs(), "folders": [folder(settling=2)]}, "2 files of"),
        ({"jobs": jobs(), "folders": [folder(scanning=True)]}, "is being scanned"),
        (
            {"jobs": jobs(), "folders": [folder(mode="poll (nfs)", last_scan_at=NOW + 5, last_scan_seconds=6)]},
            "scan of",
        ),
        ({"jobs": jobs(), "folders": [polled(last_scan_seconds=4)]}, None),
    ],
)
def test_idle(changes: dict[str, object], waited_for: str | None) -> None:
    found = of_status(status(**changes), NOW)
    assert not found.failed
    assert found.is_decided is (waited_for is None)
    assert waited_for is None or waited_for in found.waiting[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"jobs": jobs(failed=2)}, "2 files failed"),
        ({"jobs": jobs(held=1)}, "1 file held"),
        ({"jobs": jobs(), "folders": [folder(available=False, problem="no disk")]}, "out of reach: no disk"),
    ],
)
def test_idle_with_something_left_undone(changes: dict[str, object], words: str) -> None:
    (told,) = of_status(status(**changes), NOW).failed
    assert words in told


def test_jobs() -> None:
    assert of_jobs([1, 2], [job(2, "done"), job(1, "done")]) == Standing()
    assert of_jobs([1, 2], [job(2, "uploading"), job(1, "done")]).waiting == ("job 2 (/srv/2): uploading",)
    found = of_jobs([1, 2], [job(1, "failed", last_error="403\x1b")])
    assert found.failed == (
        "job 1 (/srv/1) is failed (403\\x1b): tusd-agent show 1 says why, tusd-agent retry 1 tries again",
        "there is no job 2: tusd-agent jobs lists them",
    )
    assert found.is_decided, "though another may go on"
    assert together([Standing(waiting=("a",)), Standing(failed=("b",))]) == Standing(("a",), ("b",))


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({"job": job(1, "done")}, "done"),
        ({"job": job(1, "done"), "waits_for": "its digest"}, "waiting"),
        ({"job": job(1, "done"), "known": False, "waits_for": "rest"}, "waiting"),
        ({"job": None, "known": False}, "waiting"),
        ({"job": job(1, "pending")}, "waiting"),
        ({"job": job(1, "held")}, "failed"),
        ({"job": job(1, "done"), "seen": "nothing"}, "done"),
        ({"job": job(1, "disposing"), "seen": "nothing"}, "waiting"),
        ({"job": job(1, "vanished"), "seen": "nothing"}, "failed"),
        ({"job": None, "seen": "nothing"}, "failed"),
        ({"seen": "other", "taken": False}, "failed"),
        ({"seen": "closed_directory", "taken": False}, "failed"),
        ({"seen": "no_folder", "taken": False}, "waiting"),
    ],
)
def test_a_path(changes: dict[str, object], standing: str) -> None:
    found = of_path(path(**changes))
    assert standing == ("failed" if found.failed else "waiting" if found.waiting else "done")


def test_a_directory() -> None:
    assert of_directory("/srv", folder(), NOW, 0, []) == Standing()
    assert of_directory("/srv", folder(settling=1), NOW, 0, [job(1, "failed")]).waiting
    assert of_directory("/srv", None, NOW, 1, []).waiting == ("files below /srv on the way",)
    assert "is failed" in of_directory("/srv", folder(), NOW, 0, [job(1, "failed")]).failed[0]
