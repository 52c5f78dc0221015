"""``retry``, ``hold``, ``release``, ``cancel``, ``resend``, ``adopt``, ``rescan``: what they change and say."""

import json
import os

import pytest

from tests.cli.conftest import Line
from tests.control.served import FOLDER, Served
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import State

REFUSED = "1 job can't release as things are; that is for jobs that are held:"


def states(served: Served) -> list[State]:
    return [job.state for job in reversed(served.reader.page(Selection(), limit=1000).jobs)]


def test_jobs_by_number(served: Served, line: Line) -> None:
    served.enqueue(b"a", b"b")
    served.server.start()
    result = line("hold", "1")
    assert (result.exit_code, result.stdout) == (0, "1 job held back.\n")
    assert states(served) == [State.HELD, State.PENDING]
    assert line("adopt", "1").stdout == "1 job taken as done.\n"
    assert states(served) == [State.DONE, State.PENDING]


def test_jobs_by_the_path_of_a_file_or_of_a_folder(served: Served, line: Line) -> None:
    served.enqueue(b"1", b"x/2", b"x/3")
    served.server.start()
    assert line("cancel", f"{FOLDER}/x").stdout == "2 jobs cancelled.\n"
    assert line("hold", f"{FOLDER}/1").stdout == "1 job held back.\n"
    assert states(served) == [State.HELD, State.CANCELLED, State.CANCELLED]


def test_jobs_by_options_that_must_all_hold(served: Served, line: Line) -> None:
    served.enqueue(b"a.tif", b"b.tif", b"c")
    served.server.start()
    assert line("hold", "--pattern", "*.tif", "--folder", FOLDER, "--state", "pending").stdout == "2 jobs held back.\n"
    assert line("release", "--error", "by the operator", "--older", "1d").stdout == "2 jobs released.\n"
    nothing = line("hold", "--newer", "1h")
    assert (nothing.exit_code, nothing.stdout) == (0, "No job is selected: nothing was changed.\n")


def test_all_jobs_and_what_their_state_does_not_allow(served: Served, line: Line) -> None:
    served.enqueue(b"a", b"b")
    served.server.start()
    line("hold", "1")
    result = line("release", "all")
    assert (result.exit_code, result.stdout) == (
        0,
        f"1 job released.\n{REFUSED}\n  job 2 is pending: {FOLDER}/b\n",
    )
    refused = line("release", "2")
    assert (refused.exit_code, refused.stdout.splitlines()[0]) == (1, REFUSED)


def test_more_jobs_than_one_request_may_name(served: Served, line: Line) -> None:
    served.enqueue(*(b"%d" % number for number in range(450)))
    served.server.start()
    result = line("hold", "--json", *map(str, range(1, 451)))
    reply = json.loads(result.stdout)
    assert (reply["changed"], sorted(reply["ids"]), reply["refused"]) == (450, list(range(1, 451)), 0)


def test_what_is_named_and_not_there_is_an_error(served: Served, line: Line) -> None:
    served.enqueue(b"a")
    served.server.start()
    for arguments in (("hold", "99"), ("hold", "/etc/passwd")):
        result = line(*arguments)
        assert (result.exit_code, result.stdout) == (1, "No job is selected: nothing was changed.\n")
    assert states(served) == [State.PENDING]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "which jobs?"),
        (["retry", "all", "1"], "`all` stands alone"),
        (["retry", "all", "--state", "failed"], "`all` stands alone"),
        (["retry", "1", "/srv/out/a"], "./NAME"),
        (["retry", "--older", "soon"], "90s, 15min, 12h or 3d"),
        (["retry", "--state", "lost"], "'superseded'"),
    ],
)
def test_what_selects_nothing_sensible_is_told_what_would(line: Line, arguments: list[str], said: str) -> None:
    result = line(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_without_an_agent_nothing_is_changed(served: Served, line: Line) -> None:
    served.enqueue(b"a")
    result = line("cancel", "all")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "the agent is not running" in result.stderr
    assert states(served) == [State.PENDING]


def test_rescan(served: Served, line: Line) -> None:
    served.server.start()
    assert line("rescan").stdout == f"being scanned: {FOLDER}\n"
    assert json.loads(line("rescan", FOLDER, "--json").stdout) == {"folders": [FOLDER]}
    other = line("rescan", os.curdir)
    assert (other.exit_code, other.stdout) == (1, "")
    assert "is watched" in other.stderr
