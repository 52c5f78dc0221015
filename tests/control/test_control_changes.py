"""Pauses, limits and the like over the control socket: what means nothing is refused, with a word on what would."""

import pytest

from tests.control.served import FOLDER, Served

from .test_control_orders import served_get, tell


def put(served: Served, target: str, body: object) -> tuple[int, dict[str, object]]:
    return tell(served, target, body, method="PUT")


def test_a_pause_is_of_one_thing_and_is_told_of(served: Served) -> None:
    assert tell(served, "/v1/pause") == (
        200, {"changed": True, "paused": [{"folder": None, "endpoint": None, "since": 1000.0}]}
    )  # fmt: skip
    assert tell(served, "/v1/pause", {"folder": FOLDER})[1]["changed"]
    assert not tell(served, "/v1/pause", {"folder": FOLDER, "endpoint": None})[1]["changed"]
    assert len(served_get(served, "/v1/status")[1]["paused"]) == 2
    assert tell(served, "/v1/resume", {"folder": None})[1] == {
        "changed": True, "paused": [{"folder": FOLDER, "endpoint": None, "since": 1000.0}]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"folder": 1}, "the path of a watched folder"),
        ({"folder": ""}, "the path of a watched folder"),
        ({"endpoint": ["lab"]}, "the name of an endpoint"),
        ({"folder": "/a", "endpoint": "b"}, "one of them"),
        ({"job": 1}, "folder, endpoint"),
        ([], "JSON object"),
    ],
)
def test_a_pause_of_what_means_nothing(served: Served, body: object, said: str) -> None:
    status, error = tell(served, "/v1/pause", body)
    assert (status, error["code"]) == (400, "bad_request")
    assert said in f"{error['message']} {error['hint']}"
    assert not served.standing.pauses().since


@pytest.mark.parametrize("rate", [-1, 1.5, True, "2MiB/s", 1e300, [1]])
def test_a_limit_that_is_no_number_of_bytes(served: Served, rate: object) -> None:
    status, error = put(served, "/v1/limits", {"rate_bytes_per_second": rate})
    assert (status, error["code"]) == (400, "bad_request")
    assert "a whole number from 0" in str(error["hint"])
    assert not served.standing.limits()


def test_a_limit(served: Served) -> None:
    assert put(served, "/v1/limits", {})[0] == 400, "nothing said is nothing changed"
    assert put(served, "/v1/limits", {"rate_bytes_per_second": 5, "endpoint": "lab"})[0] == 200
    assert served.standing.limits() == {"lab": 5.0}
    assert put(served, "/v1/limits", {"rate_bytes_per_second": None, "endpoint": "lab"})[0] == 200
    assert served.standing.limits() == {}
    assert tell(served, "/v1/limits", {})[0] == 405


@pytest.mark.parametrize(("method", "target"), [("POST", "/v1/pause"), ("POST", "/v1/resume"), ("PUT", "/v1/limits")])
def test_who_may_only_look_changes_nothing(served: Served, method: str, target: str) -> None:
    status, error = tell(served, target, {"rate_bytes_per_second": 1}, may_change=False, method=method)
    assert (status, error["code"]) == (403, "not_allowed")
