"""What is read, and noted, before the last bytes of a file leave: it tells what an upload that is complete is of."""

import base64
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.tus.fault_server import Fault, FaultServer
from tusd_agent.delivery.source import READ_BYTES
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.model import Job, Sent
from tusd_agent.jobs.states import State

from .living import Delivery, delivering, rewrite_with_times_put_back

Delivering = Callable[..., AbstractContextManager[Delivery]]

SIZES = (0, 1000, READ_BYTES, READ_BYTES + 1000)


class Killed(BaseException):
    """The agent ends here."""


class KilledAtTheEnd(Claims):
    """Everything has arrived, and that is noted nowhere; the first time."""

    killed = False

    def finish(self, job: Job, now: float, reason: str | None = None, *, sent: Sent | None = None) -> Job:
        if not self.killed:
            self.killed = True
            raise Killed
        return super().finish(job, now, reason, sent=sent)


class KilledAfterTheCreation(Claims):
    """The server has made an upload, and that is noted nowhere; the first two times."""

    kills = 0

    def created(self, job: Job, upload_url: str, digest: bytes | None = None) -> Job:
        self._kill()
        return super().created(job, upload_url, digest)

    def finish(self, job: Job, now: float, reason: str | None = None, *, sent: Sent | None = None) -> Job:
        self._kill()
        return super().finish(job, now, reason, sent=sent)

    def _kill(self) -> None:
        if self.kills < 2:
            self.kills += 1
            raise Killed


@pytest.fixture
def here(tmp_path: Path) -> Delivering:
    return partial(delivering, tmp_path)


def data_of(size: int) -> bytes:
    return hashlib.shake_256(b"data").digest(size)


def run_killed(d: Delivery) -> None:
    """One job is taken, and the agent killed over it; then it starts again."""
    with pytest.raises(Killed):
        d.pool.run_once()
    d.next_life()


def contents(server: FaultServer) -> list[bytes]:
    return [bytes(upload.data) for upload in server.uploads.values()]


@pytest.mark.parametrize("size", SIZES)
def test_what_arrived_before_a_kill_is_known_again_after_a_chmod(here: Delivering, size: int) -> None:
    with FaultServer() as server, here(server.endpoint, claims=KilledAtTheEnd) as d:
        d.put(b"a", data_of(size))
        run_killed(d)
        (d.folder / "a").chmod(0o600)
        d.run(3)
        assert d.only().state is State.DONE
        assert d.only().whole_digest == hashlib.sha256(data_of(size)).digest()
        assert contents(server) == [data_of(size)], "not sent again"


@pytest.mark.parametrize("size", SIZES[1:])
def test_other_content_with_its_times_put_back_is_not_taken_for_it(here: Delivering, size: int) -> None:
    with FaultServer() as server, here(server.endpoint, claims=KilledAtTheEnd) as d:
        d.put(b"a", data_of(size))
        run_killed(d)
        other = data_of(size)[::-1]
        rewrite_with_times_put_back(d.folder / "a", other)
        d.run(6)
        assert d.states() == [State.SUPERSEDED, State.DONE]
        assert other in contents(server)


def test_a_digest_noted_ahead_outlives_an_attempt_that_gets_less_far(here: Delivering) -> None:
    size = 24 * READ_BYTES  # more than the kernel takes before the connection ends
    with FaultServer() as server, here(server.endpoint) as d:
        d.put(b"a", data_of(size))
        d.half_sent(d.claimed(), data_of(size)[:READ_BYTES])
        d.claims.read_whole(d.claimed(), hashlib.sha256(data_of(size)).digest())
        d.claims.recover()
        other = data_of(size)[::-1]
        rewrite_with_times_put_back(d.folder / "a", other)
        server.fail("PATCH", Fault(read=READ_BYTES, drop=True))
        d.run(1)
        assert d.only().state is State.PENDING
        assert d.only().whole_digest == hashlib.sha256(data_of(size)).digest()
        d.run(6)
        assert d.states() == [State.SUPERSEDED, State.DONE]
        assert [data for data in contents(server) if len(data) == size] == [other], "nothing is spliced"


@pytest.mark.parametrize("size", SIZES)
def test_the_digest_goes_with_the_metadata_where_that_is_asked_for(here: Delivering, size: int) -> None:
    with FaultServer() as server, here(server.endpoint, digest_metadata="sha256", metadata={"sha256": "mine"}) as d:
        d.put(b"a", data_of(size))
        d.run(2)
        assert d.only().state is State.DONE
        pairs = dict(pair.split(" ") for pair in server.of("POST")[0].headers["upload-metadata"].split(","))
        assert base64.b64decode(pairs["sha256"]).decode() == hashlib.sha256(data_of(size)).hexdigest()
        assert contents(server) == [data_of(size)]


@pytest.mark.parametrize("size", [0, 1000, 2000])
def test_on_the_fast_path_small_files_go_with_the_creation(here: Delivering, size: int) -> None:
    with FaultServer() as server, here(server.endpoint, fast_path_bytes=1000) as d:
        server.extensions += ",creation-with-upload"
        d.put(b"a", data_of(size))
        d.run(2)
        assert d.only().state is State.DONE
        assert contents(server) == [data_of(size)]
        assert d.only().upload_url == next(server.origin + path for path in server.uploads)
        fast = size == 1000
        assert ("PATCH" not in server.methods()) is (fast or size == 0)
        assert server.of("POST")[0].length == (size if fast else 0)


@pytest.mark.parametrize("fast_path_bytes", [0, 1000])
def test_each_creation_of_a_job_has_the_same_idempotency_key(here: Delivering, fast_path_bytes: int) -> None:
    with FaultServer() as server:
        server.extensions += ",creation-with-upload"
        settings = {"fast_path_bytes": fast_path_bytes, "claims": KilledAfterTheCreation}
        with here(server.endpoint, **settings) as d:
            d.put(b"a", data_of(1000))
            run_killed(d)
            run_killed(d)
            d.run(3)
            job = d.only()
            assert job.state is State.DONE
        posts = server.of("POST")
        (key,) = {post.headers["idempotency-key"] for post in posts}
        assert len(posts) == 3
        assert key.startswith(str(job.uuid))
        copies = [data for data in contents(server) if data]
        assert copies == [data_of(1000)] * (3 if fast_path_bytes else 1)


@pytest.mark.parametrize("fast_path_bytes", [0, 1000])
def test_newer_content_has_another_idempotency_key(here: Delivering, fast_path_bytes: int) -> None:
    """Else a server that keeps such keys would answer with the upload of the older one, which may be complete."""
    with FaultServer() as server:
        server.extensions += ",creation-with-upload"
        settings = {"fast_path_bytes": fast_path_bytes, "claims": KilledAfterTheCreation}
        with here(server.endpoint, **settings) as d:
            d.put(b"a", data_of(1000))
            run_killed(d)
            (d.folder / "a").write_bytes(data_of(1000)[::-1])
            d.run(1)
            run_killed(d)
            d.run(3)
            job = d.only()
            assert job.state is State.DONE
        older, *newer = (post.headers["idempotency-key"] for post in server.of("POST"))
        assert newer == [newer[0]] * 2
        assert newer[0] != older
