"""The commands: what each answers, and what is said of requests that can't be answered."""

import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.control.served import Served
from tusd_agent.control.commands import TABLE, Asked, Commands
from tusd_agent.control.replies import InFlight
from tusd_agent.jobs.reader import Reader


def get(commands: Commands, path: str, **query: Any) -> dict[str, Any]:
    answer = commands.answer(Asked("GET", f"{path}?{urlencode(query, doseq=True)}"))
    assert answer.status == 200, answer
    body: dict[str, Any] = json.loads(json.dumps(answer.body))
    return body


def ids(page: dict[str, Any]) -> list[int]:
    return [job["id"] for job in page["jobs"]]


def test_status_is_passed_on(served: Served) -> None:
    served.enqueue(b"a")
    status = get(served.commands, "/v1/status")
    assert status == served.status()
    assert status["jobs"]["pending"] == 1


def test_jobs_come_newest_first_and_can_be_filtered(served: Served) -> None:
    served.enqueue(b"a", b"b", b"c", b"d")
    served.fail()
    served.claim()
    assert ids(get(served.commands, "/v1/jobs")) == [4, 3, 2, 1]
    assert ids(get(served.commands, "/v1/jobs", state="failed")) == [1]
    assert ids(get(served.commands, "/v1/jobs", state=["failed", "uploading"])) == [2, 1]
    assert ids(get(served.commands, "/v1/jobs", state="held")) == []


def test_pages_follow_each_other_without_gaps(served: Served) -> None:
    served.enqueue(*(b"%d" % number for number in range(7)))
    seen: list[int] = []
    cursor: dict[str, int] = {}
    for _ in range(4):
        page = get(served.commands, "/v1/jobs", limit=3, **cursor)
        seen += ids(page)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_a_job_by_its_number(served: Served) -> None:
    served.enqueue(b"a", b"b")
    assert get(served.commands, "/v1/jobs/2")["path"] == "/srv/out/b"


def test_a_job_that_is_being_sent_has_the_workers_own_offset(served: Served) -> None:
    served.enqueue(b"a", b"b", size=1000)
    job = served.claim()
    served.in_flight = [
        InFlight(
            id=job.id, path="a", path_b64="", endpoint="default", size_bytes=1000, offset_bytes=765,
            rate_bytes_per_second=1.0, eta_seconds=None, phase="uploading", started_at=0.0,
        )
    ]  # fmt: skip
    listed = get(served.commands, "/v1/jobs")["jobs"]
    assert [(one["id"], one["offset_bytes"]) for one in listed] == [(2, 0), (1, 765)]
    assert get(served.commands, f"/v1/jobs/{job.id}")["offset_bytes"] == 765


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_jobs_of_an_exact_path(served: Served, encode: Any) -> None:
    path = b"/srv/out/sub/\xff\xfe\xfb?>"
    served.enqueue(b"sub/\xff\xfe\xfb?>", b"other")
    assert ids(get(served.commands, "/v1/jobs", path_b64=encode(path).decode())) == [1]
    unquoted = f"/v1/jobs?path_b64={encode(path).decode().rstrip('=')}"
    answer = served.commands.answer(Asked("GET", unquoted))
    assert ids(dict(answer.body)) == [1], "a + that was not escaped, and no padding"


def test_the_contents_of_a_path_can_be_filtered_and_paged_too(served: Served) -> None:
    for now in (1.0, 2.0, 3.0):
        served.enqueue(b"a", now=now)
    path = b64encode(b"/srv/out/a").decode()
    first = get(served.commands, "/v1/jobs", path_b64=path, limit=2)
    assert (ids(first), first["next_cursor"]) == ([3, 2], 2)
    rest = get(served.commands, "/v1/jobs", path_b64=path, limit=2, cursor=2)
    assert (ids(rest), rest["next_cursor"]) == ([1], None)
    assert ids(get(served.commands, "/v1/jobs", path_b64=path, state="superseded")) == [2, 1]


def test_a_path_in_no_known_folder_has_no_jobs(served: Served) -> None:
    served.enqueue(b"a")
    for path in (b"/srv/outer/a", b"/srv/out/b", b"/srv", b"/elsewhere"):
        assert ids(get(served.commands, "/v1/jobs", path_b64=b64encode(path).decode())) == []


def test_the_path_of_a_folder_stands_for_all_below_it(served: Served) -> None:
    served.enqueue(b"a", b"x/b", b"x/y/c", b"xx/d")
    for path, found in ((b"/srv/out", [4, 3, 2, 1]), (b"/srv/out/x/", [3, 2]), (b"/srv/out/x/y", [3])):
        assert ids(get(served.commands, "/v1/jobs", path_b64=b64encode(path).decode())) == found


def test_jobs_are_found_by_more_than_their_state(served: Served) -> None:
    served.enqueue(b"a", b"b", now=100.0)
    served.enqueue(b"c", folder="/srv/other", now=200.0)
    served.fail("403 Forbidden")
    assert ids(get(served.commands, "/v1/jobs", folder="/srv/other")) == [3]
    assert ids(get(served.commands, "/v1/jobs", error="forbidden", state="failed")) == [1]
    assert ids(get(served.commands, "/v1/jobs", pattern="*/b")) == [2]
    assert ids(get(served.commands, "/v1/jobs", created_before=150, endpoint="default")) == [2, 1]
    assert ids(get(served.commands, "/v1/jobs", created_after=150.5)) == [3]
    assert ids(get(served.commands, "/v1/jobs", id=[1, 3])) == [3, 1]


def test_the_root_folder_can_be_watched(served: Served) -> None:
    served.enqueue(b"srv/file", folder="/")
    assert ids(get(served.commands, "/v1/jobs", path_b64=b64encode(b"/srv/file").decode())) == [1]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/v1/jobs?state=finished", ["state = finished", "pending, uploading", "superseded"]),
        ("/v1/jobs?state=", ["state = "]),
        ("/v1/jobs?limit=0", ["limit = 0", "from 1 to 1000"]),
        ("/v1/jobs?limit=1001", ["limit = 1001"]),
        ("/v1/jobs?limit=ten", ["limit = ten"]),
        ("/v1/jobs?limit=%D9%A3", ["limit = \u0663"]),
        ("/v1/jobs?limit=1&limit=2", ["limit is given 2 times"]),
        ("/v1/jobs?cursor=-1", ["cursor = -1"]),
        (f"/v1/jobs?cursor={2**63}", ["cursor = 9223372036854775808"]),
        ("/v1/jobs?path_b64=c3J2", ["path_b64 = c3J2", "absolute path"]),
        ("/v1/jobs?folder=a&folder=b", ["folder = given 2 times"]),
        ("/v1/jobs?created_after=now", ["created_after = now", "seconds since the epoch"]),
        ("/v1/jobs?id=x", ["id = x", "a whole number"]),
        ("/v1/jobs?path_b64=%00", ["path_b64 = \\x00"]),
        ("/v1/jobs?states=failed", ["unknown parameter states", "limit, cursor, id, path_b64, state, folder"]),
        ("/v1/status?verbose=1", ["unknown parameter verbose", "parameters here: none"]),
        ("/v1/jobs/seven", ["id = seven", "the number of a job"]),
        (f"/v1/jobs/{2**63}", ["id = 9223372036854775808"]),
        ("/v1/jobs/%1b%5b31m", ["id = \\x1b[31m"]),
        ("/v1/jobs?" + "&".join(["state=held"] * 100), ["can't be read"]),
        ("http://[", ["can't be read"]),
        (f"/v1/jobs?state={'x' * 9999}", ["state = xxx", "…"]),
    ],
)
def test_a_bad_request_is_told_what_would_be_right(served: Served, target: str, said: list[str]) -> None:
    answer = served.commands.answer(Asked("GET", target))
    assert (answer.status, answer.body.get("code")) == (400, "bad_request")
    text = f"{answer.body.get('message')} {answer.body.get('hint')}"
    assert [part for part in said if part not in text] == [], text
    assert len(text) < 500


@pytest.mark.parametrize("target", ["/", "/v1", "/v1/jobs/", "/v1/jobs/1/retry/2", "/v2/status", "*", "", "/%00"])
def test_an_unknown_path_is_told_which_there_are(served: Served, target: str) -> None:
    answer = served.commands.answer(Asked("GET", target))
    assert (answer.status, answer.body.get("code")) == (404, "no_such_path")
    assert answer.body.get("paths") == [command.path for command in TABLE]
    assert "GET /v1/jobs/{id}" in str(answer.body.get("hint"))


def test_a_number_nobody_has_is_404(served: Served) -> None:
    answer = served.commands.answer(Asked("GET", "/v1/jobs/5"))
    assert (answer.status, answer.body.get("code")) == (404, "no_such_job")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "get"])
def test_a_wrong_method_is_told_the_right_one(served: Served, method: str) -> None:
    answer = served.commands.answer(Asked(method, "/v1/jobs/5"))
    assert (answer.status, answer.headers) == (405, {"Allow": "GET, POST"})
    assert "GET" in str(answer.body.get("hint"))


def test_the_target_may_be_absolute(served: Served) -> None:
    assert served.commands.answer(Asked("GET", "http://agent/v1/status")).status == 200


def test_a_database_that_can_not_be_read_is_said(served: Served, tmp_path: Path) -> None:
    commands = Commands(Reader(tmp_path / "none.db"), served.status)
    answer = commands.answer(Asked("GET", f"/v1/jobs?path_b64={quote(b64encode(b'/a').decode())}"))
    assert (answer.status, answer.body.get("code")) == (503, "database_unusable")
    assert "none.db" in str(answer.body.get("message"))


def test_what_changes_something_is_no_get() -> None:
    assert [command.path for command in TABLE if command.changes and command.method in ("GET", "HEAD")] == []
    assert len({(command.method, command.path) for command in TABLE}) == len(TABLE)
