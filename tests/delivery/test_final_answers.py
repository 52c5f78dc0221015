"""The last byte was answered with an error: an upload that is complete all the same is never called delivered.

tusd answers so when a pre-finish hook refuses the file. What was said must outlive lost connections, restarts and
kills: a HEAD that is asked later only knows that all bytes are there.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tests.tus.fault_server import Fault, FaultServer
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import DatabaseUnwritable
from tusd_agent.jobs.model import Job
from tusd_agent.jobs.states import FINISHED_WITH_SERVER_ERROR, State

from .living import Delivery, delivering

DATA = bytes(range(250)) * 4
REFUSED = Fault(status=500, text="the hook says no", keep=len(DATA))
CUT = Fault(drop=True)
AWAY = Fault(status=502)


def nothing(d: Delivery) -> None:
    pass


def killed_and_started_again(d: Delivery) -> None:
    d.claims.claim(d.lane, d.clock.now + 3600.0)
    d.claims.recover()


@pytest.mark.parametrize("after_upload", ["keep", "delete"])
@pytest.mark.parametrize("meanwhile", [nothing, killed_and_started_again])
@pytest.mark.parametrize("heads_lost", [0, 1, 3])
def test_a_refusal_of_the_last_byte_is_remembered(
    tmp_path: Path, heads_lost: int, meanwhile: Callable[[Delivery], None], after_upload: str
) -> None:
    with FaultServer() as server, delivering(tmp_path, server.endpoint, after_upload=after_upload) as d:
        d.put(b"a", DATA)
        server.fail("PATCH", REFUSED)
        server.fail("HEAD", *[AWAY] * heads_lost)
        for _ in range(heads_lost):
            d.run(1)
            assert d.only().state is State.PENDING
            assert d.only().final_answer == "500: the hook says no"
            meanwhile(d)
        d.run(1)
        job = d.only()
        assert (job.state, job.reason) == (State.FAILED, FINISHED_WITH_SERVER_ERROR)
        assert "the hook says no" in (job.last_error or "")
        assert (d.folder / "a").read_bytes() == DATA
        assert len(server.of("PATCH")) == 1
        d.run(3)
        assert d.only().state is State.FAILED, "and no later attempt delivers it"

        d.orders.retry(job.id, d.clock())
        d.run(2)
        assert d.only().state is State.DONE
        assert d.only().final_answer is None
        assert len(server.of("POST")) == 2, "as a new upload, which the hook sees again"


def test_an_agent_that_is_killed_in_the_pause_after_the_refusal_knows_of_it(tmp_path: Path) -> None:
    with FaultServer() as server, delivering(tmp_path, server.endpoint) as d:
        d.put(b"a", DATA)
        d.client.max_retries, d.client.min_retry_delay = 1, 60.0
        server.fail("PATCH", REFUSED)
        d.pool.start()
        server.wait_for("PATCH")

        def noted() -> bool:
            return d.only().final_answer is not None

        wait_for(noted, 10, "it is on the disk before anything else is done")
        assert d.pool.stop()
        d.claims.recover()
        job = d.only()
        assert (job.state, job.final_answer) == (State.PENDING, "500: the hook says no")


class FullOnce(Claims):
    """A queue whose disk is full when the answer is to be noted, and has room afterwards."""

    full = True

    def answered_last_byte(self, job: Job, answer: str | None) -> Job:
        if self.full:
            self.full = False
            raise DatabaseUnwritable("the disk is full")
        return super().answered_last_byte(job, answer)


def test_a_refusal_that_a_full_disk_could_not_take_is_noted_before_the_job_goes_on(tmp_path: Path) -> None:
    with FaultServer() as server, delivering(tmp_path, server.endpoint, claims=FullOnce) as d:
        d.put(b"a", DATA)
        server.fail("PATCH", REFUSED)
        with pytest.raises(DatabaseUnwritable):
            d.run(1)
        assert (d.only().state, d.only().final_answer) == (State.UPLOADING, None)
        d.run(1)
        assert (d.only().state, d.only().reason) == (State.FAILED, FINISHED_WITH_SERVER_ERROR)


def test_a_refusal_that_was_about_bytes_that_did_not_arrive_is_forgotten(tmp_path: Path) -> None:
    with FaultServer() as server, delivering(tmp_path, server.endpoint) as d:
        d.put(b"a", DATA)
        server.fail("PATCH", Fault(status=500, text="the disk is full", keep=100))
        server.fail("HEAD", AWAY)
        d.run(1)
        assert d.only().final_answer is not None
        d.run(1)
        assert d.only().state is State.DONE
        assert d.only().final_answer is None
        assert bytes(server.only().data) == DATA


def test_an_answer_that_was_lost_is_no_refusal(tmp_path: Path) -> None:
    with FaultServer() as server, delivering(tmp_path, server.endpoint) as d:
        d.put(b"a", DATA)
        server.fail("PATCH", CUT)
        d.run(2)
        assert d.only().state is State.DONE
        assert len(server.of("PATCH")) == 1


def test_newer_content_begins_with_no_old_answer(tmp_path: Path) -> None:
    with FaultServer() as server, delivering(tmp_path, server.endpoint) as d:
        d.put(b"a", DATA)
        server.fail("PATCH", REFUSED)
        server.fail("HEAD", AWAY)
        d.run(1)
        d.put(b"a", DATA[::-1] + b"newer")
        d.run(2)
        assert d.states() == [State.SUPERSEDED, State.DONE]
        assert d.jobs()[-1].final_answer is None
