"""Answers that outlive a call: a pause that is asked for, and an error about the last byte."""

import time

import pytest

from tusd_agent.tus import BytesSource, FinishedWithServerError, ServerBusy, TUSUploadError

from .conftest import quick
from .fault_server import Fault, FaultServer

DATA = bytes(range(250)) * 4
SOURCE = BytesSource(DATA)
BUSY = Fault(status=429, headers={"Retry-After": "2"})


@pytest.mark.parametrize(("method", "requests"), [("POST", "POST"), ("PATCH", "POST PATCH")])
def test_a_pause_longer_than_is_waited_for_ends_the_call_at_once(
    server: FaultServer, method: str, requests: str
) -> None:
    server.fail(method, BUSY, BUSY)
    with quick(server.endpoint, max_retries=5, max_retry_after=1.9) as client:
        began_at = time.monotonic()
        with pytest.raises(ServerBusy) as caught:
            client.send(SOURCE)
        assert time.monotonic() - began_at < 1.9
    assert caught.value.retry_after_seconds == 2.0
    # One more HEAD is allowed: an error about the last byte is looked into.
    assert server.methods().removesuffix(" HEAD") == requests


def test_a_pause_that_may_be_waited_for_is(server: FaultServer) -> None:
    server.fail("POST", BUSY)
    with quick(server.endpoint, max_retry_after=2.0) as client:
        began_at = time.monotonic()
        client.send(SOURCE)
        assert time.monotonic() - began_at >= 2.0


def test_what_the_last_byte_was_answered_is_told_and_can_be_given_back(server: FaultServer) -> None:
    told: list[str | None] = []
    server.fail("PATCH", Fault(status=500, text="no", keep=len(DATA)))
    server.fail("HEAD", Fault(status=502), Fault(status=502))
    with quick(server.endpoint, max_retries=0) as client:
        with pytest.raises(TUSUploadError) as caught:
            client.send(SOURCE, on_final_answer=told.append)
        assert not isinstance(caught.value, FinishedWithServerError)
        assert told == ["500: no"]
        url = caught.value.url
        with pytest.raises(TUSUploadError) as caught:
            client.send(SOURCE, upload_url=url, final_answer=told[0], on_final_answer=told.append)
        assert not isinstance(caught.value, FinishedWithServerError)
        with pytest.raises(FinishedWithServerError, match="answered the last request 500: no"):
            client.send(SOURCE, upload_url=url, final_answer=told[0], on_final_answer=told.append)
    assert told == ["500: no"]


def test_an_answer_about_bytes_that_did_not_arrive_is_taken_back(server: FaultServer) -> None:
    told: list[str | None] = []
    url = server.add(len(DATA), DATA[:100])
    with quick(server.endpoint) as client:
        client.send(SOURCE, upload_url=url, final_answer="500: no", on_final_answer=told.append)
    assert told == [None]
    assert bytes(server.only().data) == DATA
