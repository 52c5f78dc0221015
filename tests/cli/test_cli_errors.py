"""``errors`` and the failed attempts of ``show``, of a running agent and of a stopped one's database."""

import json
import time

import pytest

from tests.cli.conftest import Line
from tests.control.served import Served
from tusd_agent.cli.errors import _lines
from tusd_agent.cli.page import Page
from tusd_agent.control.replies import JobReply, job_reply
from tusd_agent.control.troubles import ErrorGroup, ErrorsReply
from tusd_agent.jobs import troubles

EVIL = "\x1b]0;owned\x07"


def in_trouble(served: Served) -> None:
    served.enqueue(b"a", b"b", b"c", b"d", b"fine")
    for error in ("422: bad file 17", f"422: bad file 18{EVIL}"):
        served.claims.fail(served.claim(), error, 300.0, "refused", "refused 422")
    served.claims.defer(served.claim(), time.time() + 7200, "the network is down", cause="out of reach")
    served.orders.hold(served.claim().id, 300.0)


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_errors(served: Served, line: Line, runs: bool) -> None:
    in_trouble(served)
    if runs:
        served.server.start()
    result = line("errors")
    assert result.exit_code == (0 if runs else 3)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["CAUSE", "FAILED", "WAITING", "HELD"]
    assert lines[1].split() == ["refused", "422", "2", "0", "0"]
    assert lines[2].startswith("  #2 /srv/out/b, ")
    assert "422: bad file 18\\x1b]0;owned" in lines[2]
    assert lines[3].startswith("  do: read the server's words")
    assert [row.rsplit(maxsplit=3)[0] for row in lines[4::3]] == ["held by the operator", "out of reach"]
    reply = json.loads(line("errors", "--json").stdout)
    assert (reply["complete"], reply["groups"][0]["jobs"]) == (True, {"failed": 2})
    assert [json.loads(one)["id"] for one in line("jobs", "--error", "refused 422", "--json").stdout.splitlines()] == [
        2,
        1,
    ]


def test_no_errors(served: Served, line: Line) -> None:
    served.enqueue(b"a")
    served.server.start()
    result = line("errors")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No job is in trouble.\n")
    assert line("errors", "--json").exit_code == 0


def test_what_is_not_counted_is_said(served: Served, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    in_trouble(served)
    monkeypatch.setattr(troubles, "MAX_COUNTED", 1)
    monkeypatch.setattr("tusd_agent.cli.stored.MAX_COUNTED", 1)
    result = line("errors")
    assert "\nrefused 422" in result.stdout
    assert " 1+ " in result.stdout
    assert result.stdout.endswith("Not all is counted: 1 jobs of a cause at most.\n")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_errors_fit_the_page(served: Served, width: int) -> None:
    in_trouble(served)
    job = JobReply(**{**served_job(served), "path": "/srv/" + "x" * 300, "last_error": "no " * 100})  # type: ignore[typeddict-item]  # all there
    group = ErrorGroup(cause="file: " + "y" * 90, hint="do this " * 30, jobs={"failed": 3, "held": 7}, example=job)
    reply = ErrorsReply(groups=[group], complete=False, counted_up_to=100_000)
    assert max(map(len, _lines(reply, Page(width=width), 1000.0))) <= max(width, 45)


def served_job(served: Served) -> dict[str, object]:
    job = served.reader.job(1)
    assert job is not None
    return dict(job_reply(job))


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_show_has_the_failed_attempts(served: Served, line: Line, runs: bool) -> None:
    in_trouble(served)
    if runs:
        served.server.start()
    text = line("show", "3").stdout
    assert "\n  what to do    nothing, it goes on by itself" in text
    assert "\nfailed attempts, the latest last:\n  1970-01-01" in text
    assert text.endswith("out of reach\n    the network is down\n")
    assert "next try" in text
    for found in (line.json("show", "2"), line.json("show", "/srv/out/b")):
        (job,) = found
        assert job["failures"] == [{"at": 300.0, "cause": "refused 422", "error": "422: bad file 18\\x1b]0;owned\\x07"}]
        assert job["cause"] == "refused 422"
    fine = line("show", "5").stdout
    assert "failed attempts" not in fine
    assert "what to do" not in fine


def test_show_tells_an_error_that_comes_again_once(served: Served, line: Line) -> None:
    served.enqueue(b"a")
    for at, error in ((200.0, "the network is down"), (300.0, "the network is down"), (400.0, "503")):
        served.claims.defer(served.claim(now=at), at, error, now=at, cause="out of reach")
    served.server.start()
    told = [words.partition(")  ")[2] or words for words in line("show", "1").stdout.splitlines()[-5:]]
    assert told == ["out of reach", "    the network is down", "out of reach, as before", "out of reach", "    503"]
