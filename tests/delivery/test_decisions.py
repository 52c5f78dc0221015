"""What delivery decides, as values: the breaker, the judge, the rate limit. Time is an argument."""

import errno
import random

import pytest

from tusd_agent.delivery.breaker import Breaker, BreakerState
from tusd_agent.delivery.policy import (
    FIRST_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    Blame,
    Decision,
    backoff_seconds,
    cause_of,
    judge,
)
from tusd_agent.jobs.causes import HINTS, OTHER, hint_of
from tusd_agent.jobs.states import FINISHED_WITH_SERVER_ERROR
from tusd_agent.tus import errors


def breaker(full: int = 4) -> Breaker:
    return Breaker(full, rng=random.Random(1))


def test_one_job_failing_again_and_again_does_not_open_the_breaker() -> None:
    closed = breaker()
    assert not any(closed.failed(7, "403", float(now)) for now in range(10))
    assert closed.limit(10.0) == 4


def test_several_different_jobs_in_a_row_open_it_and_a_success_between_does_not() -> None:
    b = breaker()
    assert not b.failed(1, "cut", 0.0)
    assert not b.failed(2, "cut", 0.0)
    assert b.reason == "cut", "said even before the breaker opens"
    b.succeeded()
    assert b.reason is None
    assert not b.failed(3, "cut", 0.0)
    assert not b.failed(4, "cut", 0.0)
    assert b.failed(5, "cut", 0.0)
    assert b.state is BreakerState.OPEN
    assert b.reason == "cut"


def test_while_open_one_real_job_at_a_time_is_the_probe() -> None:
    b = breaker()
    assert b.failed(1, "auth", 100.0, at_once=True)
    assert b.limit(100.0) == 0
    assert b.limit(b.probe_at) == 1


def test_probes_grow_apart_up_to_the_longest_and_honour_what_the_server_asks() -> None:
    b = breaker()
    gaps = []
    now = 0.0
    for _ in range(12):
        b.failed(1, "down", now, at_once=True)
        gaps.append(b.probe_at - now)
        now = b.probe_at
    assert gaps[0] <= b.first_probe_seconds
    assert all(b.longest_probe_seconds / 2 <= gap <= b.longest_probe_seconds for gap in gaps[-3:])
    b.failed(1, "busy", now, wait_seconds=1000)
    assert b.probe_at == now + 1000


def test_the_return_is_gradual() -> None:
    b = breaker(full=3)
    b.failed(1, "down", 0.0, at_once=True)
    b.succeeded()
    allowed = []
    while b.state is not BreakerState.CLOSED:
        allowed.append(b.limit(0.0))
        b.succeeded()
    assert allowed == [1, 2]
    assert b.limit(0.0) == 3


def test_with_one_upload_at_a_time_the_return_is_over_at_once() -> None:
    b = breaker(full=1)
    b.failed(1, "down", 0.0, at_once=True)
    b.succeeded()
    assert b.state is BreakerState.CLOSED


def test_one_refused_file_does_not_undo_the_return_but_several_do() -> None:
    b = breaker()
    b.failed(1, "down", 0.0, at_once=True)
    for _ in range(3):
        b.succeeded()
        assert not b.failed(7, "403", 0.0)
        assert not b.failed(7, "403", 0.0)
        assert b.limit(0.0) == 1, "but it goes no faster"
    assert not b.failed(8, "403", 0.0)
    assert b.failed(9, "403", 0.0)


def test_a_pause_the_server_asks_for_holds_for_the_endpoint_at_once() -> None:
    b = breaker()
    assert b.failed(1, "busy", 100.0, wait_seconds=30.0)
    assert (b.limit(129.9), b.limit(130.0)) == (0, 1)


def test_what_began_before_it_opened_is_no_probe() -> None:
    b = breaker()
    b.failed(1, "down", 100.0, at_once=True)
    probe_at = b.probe_at
    assert all(b.failed(number, "down", 100.0) for number in range(2, 20))
    assert b.probe_at == probe_at
    assert b.failed(20, "busy", 100.0, wait_seconds=50.0)
    assert b.probe_at == 150.0


def test_a_breaker_that_stays_open_remembers_no_jobs() -> None:
    b = breaker()
    now = 0.0
    for number in range(10_000):
        b.failed(number, "down", now)
        now = max(now, b.probe_at)
    assert len(b._failed_jobs) <= b.threshold


def test_backoff_has_jitter_grows_and_is_capped() -> None:
    rng = random.Random(3)
    first = [backoff_seconds(1, rng) for _ in range(200)]
    assert max(first) <= FIRST_BACKOFF_SECONDS
    assert min(first) >= FIRST_BACKOFF_SECONDS / 10
    assert len({round(value, 3) for value in first}) > 100
    late = [backoff_seconds(500, rng) for _ in range(200)]
    assert max(late) <= LONGEST_BACKOFF_SECONDS
    assert sum(late) / len(late) > LONGEST_BACKOFF_SECONDS / 3


@pytest.mark.parametrize(
    ("error", "decision", "blame", "reason"),
    [
        (errors.UploadCancelled("stop"), Decision.INTERRUPT, Blame.NOBODY, "interrupted"),
        (errors.AuthRequired("401", status=401), Decision.DEFER, Blame.ENDPOINT_AT_ONCE, "auth"),
        (errors.AuthRequired("no token file"), Decision.DEFER, Blame.ENDPOINT_AT_ONCE, "auth"),
        (errors.AuthRequired("403", status=403), Decision.DEFER, Blame.ENDPOINT, "forbidden"),
        (errors.NotATusServer("404"), Decision.DEFER, Blame.ENDPOINT_AT_ONCE, "no tus server"),
        (errors.UploadGone("404", status=404), Decision.RESTART, Blame.NOBODY, "the server lost the upload"),
        (errors.UploadMismatch("other length"), Decision.RESTART, Blame.NOBODY, "the server lost the upload"),
        (errors.UploadTooLarge("413", status=413), Decision.FAIL, Blame.NOBODY, "refused"),
        (errors.FinishedWithServerError("500"), Decision.FAIL, Blame.NOBODY, FINISHED_WITH_SERVER_ERROR),
        (errors.UploadInterrupted("cut"), Decision.DEFER, Blame.ENDPOINT, "out of reach"),
        (errors.ProtocolViolation("offset -1"), Decision.DEFER, Blame.NOBODY, "protocol"),
        (OSError(errno.EIO, "I/O error"), Decision.DEFER, Blame.NOBODY, "file"),
        (RuntimeError("surprise"), Decision.DEFER, Blame.NOBODY, "internal"),
    ],
)
def test_what_a_failure_means(error: Exception, decision: Decision, blame: Blame, reason: str) -> None:
    judged = judge(error, 1, random.Random(1))
    assert (judged.decision, judged.blame, judged.reason) == (decision, blame, reason)
    assert judged.words


def test_the_server_s_own_wait_counts_for_job_and_endpoint() -> None:
    judged = judge(errors.ServerBusy("429", retry_after_seconds=1800.0), 1, random.Random(1))
    assert judged.wait_seconds >= 1800
    assert judged.asked_seconds == 1800


def test_an_unreadable_file_is_looked_at_again_soon_and_says_what_to_do() -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    judged = judge(error, 50, random.Random(1))
    assert judged.wait_seconds <= 300
    assert "right to read" in judged.words


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (errors.UploadRefused("422 for /srv/a", status=422), "refused 422"),
        (errors.InvalidMetadata("é"), "refused"),
        (errors.UploadTooLarge("413", status=413), "too large"),
        (errors.UntrustedServer("expired"), "certificate"),
        (errors.UploadInterrupted("503", status=503), "out of reach"),
        (PermissionError(errno.EACCES, "Permission denied", "/srv/out/7"), "file: Permission denied"),
        (OSError("strange"), "file"),
        (ValueError("7"), "internal"),
    ],
)
def test_what_jobs_are_counted_by_names_no_file(error: Exception, cause: str) -> None:
    assert cause_of(error, judge(error, 1, random.Random(1))) == cause
    assert hint_of(cause) != HINTS[OTHER]
