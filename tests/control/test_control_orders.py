"""Orders over the control socket: who may give them, which jobs they reach, and what is answered."""

import json
import os
from base64 import b64encode
from typing import Any

import pytest

from tests.control.served import FOLDER, Served, all_of, connected
from tusd_agent.control.commands import Asked
from tusd_agent.control.peer import Peer, peer_of
from tusd_agent.jobs.states import State


def tell(
    served: Served, target: str, body: object = None, may_change: bool = True, method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    content = b"" if body is None else json.dumps(body).encode()
    answer = served.commands.answer(Asked(method, target, content, may_change))
    return answer.status, json.loads(json.dumps(answer.body))


def states(served: Served) -> dict[int, str]:
    _, listed = served_get(served, "/v1/jobs?limit=1000")
    return {job["id"]: job["state"] for job in listed["jobs"]}


def served_get(served: Served, target: str) -> tuple[int, dict[str, Any]]:
    answer = served.commands.answer(Asked("GET", target))
    return answer.status, json.loads(json.dumps(answer.body))


def encoded(path: str) -> str:
    return b64encode(os.fsencode(path)).decode()


def test_one_job_by_its_number(served: Served) -> None:
    served.enqueue(b"a", b"b")
    status, job = tell(served, "/v1/jobs/1/hold")
    assert (status, job["state"], job["reason"]) == (200, "held", "held by the operator")
    assert states(served) == {1: "held", 2: "pending"}
    assert tell(served, "/v1/jobs/1/release")[1]["state"] == "pending"
    status, error = tell(served, "/v1/jobs/1/adopt")
    assert (status, error["code"], error["message"]) == (409, "not_possible", "job 1 is pending: it can't adopt")
    assert tell(served, "/v1/jobs/9/hold")[0] == 404
    assert tell(served, "/v1/jobs/1/eat")[1]["hint"].endswith("retry, hold, release, cancel, resend, adopt")


def test_who_may_only_look_changes_nothing(served: Served) -> None:
    served.enqueue(b"a")
    status, error = tell(served, "/v1/jobs/cancel", {"all": True}, may_change=False)
    assert (status, error["code"]) == (403, "not_allowed")
    assert "agent.socket_group" in error["hint"]
    assert states(served) == {1: "pending"}
    assert tell(served, "/v1/rescan", may_change=False)[0] == 403


@pytest.mark.parametrize(
    ("members", "reached"),
    [
        ({"all": True}, [1, 2, 3, 4, 5]),
        ({"ids": [2, 4, 99]}, [2, 4]),
        ({"states": ["failed"]}, [5]),
        ({"states": ["failed", "pending"], "folder": FOLDER}, [1, 2, 3, 5]),
        ({"folder": "/srv/other"}, [4]),
        ({"endpoint": "nowhere"}, []),
        ({"error": "FORBIDDEN"}, [5]),
        ({"error": "100%"}, []),
        ({"pattern": "*.tif"}, [2, 3]),
        ({"pattern": "/srv/out/b/*"}, [2, 3]),
        ({"paths_b64": [encoded("/srv/out/b")]}, [2, 3]),
        ({"paths_b64": [encoded("/srv/out/b/2.tif"), encoded("/srv/out/1")]}, [1, 2]),
        ({"paths_b64": [encoded("/srv/out")]}, [1, 2, 3, 5]),
        ({"paths_b64": [encoded("/srv/out/b/2")]}, []),
        ({"paths_b64": [encoded("/etc")]}, []),
        ({"created_before": 200.0}, [1, 2, 3, 5]),
        ({"created_after": 200.0}, [4]),
    ],
)
def test_what_a_selection_reaches(served: Served, members: dict[str, Any], reached: list[int]) -> None:
    served.enqueue(b"1", b"b/2.tif", b"b/3.tif")
    served.enqueue(b"4", folder="/srv/other", now=300.0)
    served.enqueue(b"5", now=50.0)
    for number in (1, 2, 3):
        tell(served, f"/v1/jobs/{number}/hold")
    assert served.fail().id == 5
    for number in (1, 2, 3):
        tell(served, f"/v1/jobs/{number}/release")
    status, reply = tell(served, "/v1/jobs/cancel", members)
    assert status == 200
    assert (sorted(reply["ids"]), reply["changed"], reply["refused"]) == (reached, len(reached), 0)
    assert [number for number, state in sorted(states(served).items()) if state == "cancelled"] == reached


def test_jobs_whose_state_does_not_allow_it_are_told_of(served: Served) -> None:
    served.enqueue(b"a", b"b")
    tell(served, "/v1/jobs/1/hold")
    _, reply = tell(served, "/v1/jobs/release", {"all": True})
    assert (reply["ids"], reply["refused"]) == ([1], 1)
    assert reply["refused_examples"] == [f"job 2 is pending: {FOLDER}/b"]


def test_many_jobs_are_reached_page_by_page(served: Served) -> None:
    served.enqueue(*(b"%d" % number for number in range(25)))
    reached: list[int] = []
    cursor: int | None = None
    while True:
        members: dict[str, Any] = {"all": True, "limit": 10}
        _, reply = tell(served, "/v1/jobs/hold", members if cursor is None else {**members, "cursor": cursor})
        reached += reply["ids"]
        cursor = reply["next_cursor"]
        if cursor is None:
            break
    assert sorted(reached) == list(range(1, 26))
    assert set(states(served).values()) == {"held"}


def test_resend_is_for_the_newest_content_of_a_path(served: Served) -> None:
    for size in (1, 2):
        served.enqueue(b"a", size=size)
        served.claims.finish(served.claims.created(served.claim(), "http://localhost/files/1"), 300.0)
    assert tell(served, "/v1/jobs/resend", {"paths_b64": [encoded(f"{FOLDER}/a")]})[1]["ids"] == [2]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "all = true"),
        ({}, "all = true"),
        ({"all": False}, "all = true"),
        ({"all": "yes"}, "true or false"),
        ({"all": True, "ids": [1]}, "all = true alone"),
        ({"id": 1}, "ids"),
        ({"ids": 1}, "a list"),
        ({"ids": []}, "a list"),
        ({"ids": ["1"]}, "a whole number"),
        ({"ids": [True]}, "a whole number"),
        ({"ids": [0]}, "a whole number"),
        ({"states": ["lost"]}, "one of pending"),
        ({"paths_b64": ["Zm9v"]}, "absolute path"),
        ({"folder": ""}, "a text"),
        ({"created_before": "now"}, "seconds since the epoch"),
        ({"all": True, "limit": 0}, "from 1 to 1000"),
        ({"all": True, "cursor": "x"}, "a whole number"),
        ([1, 2], "JSON object"),
    ],
)
def test_what_means_nothing_changes_nothing(served: Served, body: object, said: str) -> None:
    served.enqueue(b"a")
    status, error = tell(served, "/v1/jobs/cancel", body)
    assert (status, error["code"]) == (400, "bad_request")
    assert said in f"{error['message']} {error['hint']}"
    assert states(served) == {1: "pending"}


def test_a_rescan_is_of_a_watched_folder_or_of_all(served: Served) -> None:
    assert tell(served, "/v1/rescan")[1] == {"folders": [FOLDER]}
    assert tell(served, "/v1/rescan", {"folder": FOLDER})[1] == {"folders": [FOLDER]}
    status, error = tell(served, "/v1/rescan", {"folder": "/etc"})
    assert (status, error["code"]) == (404, "not_watched")
    assert tell(served, "/v1/rescan", {"path": "/etc"})[0] == 400


def raw(served: Served, request: bytes) -> tuple[int, dict[str, Any]]:
    with connected(served.socket) as connection:
        connection.sendall(request)
        head, _, body = all_of(connection).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


def test_a_body_over_the_socket(served: Served) -> None:
    served.enqueue(b"a")
    served.server.start()
    body = b'{"all": true}'
    head = b"POST /v1/jobs/hold HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n"
    assert raw(served, head % len(body) + body)[1]["ids"] == [1]
    assert raw(served, head % (2 << 20))[1]["code"] == "too_large"
    chunked = b"POST /v1/jobs/hold HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert raw(served, chunked)[1]["code"] == "length_required"
    assert raw(served, (head % 4) + b"{{{{")[1]["message"] == "the body is no JSON object"
    large = json.dumps({"paths_b64": [encoded(f"{FOLDER}/{'x' * 255}{number}") for number in range(200)]}).encode()
    assert raw(served, head % len(large) + large)[0] == 200


def test_the_kernel_says_who_asks(served: Served) -> None:
    served.server.start()
    with connected(served.socket) as connection:
        peer = peer_of(connection)
    assert peer.uid == os.geteuid()
    assert {os.getegid(), *os.getgroups()} <= peer.groups | {os.getegid()}
    assert peer.may_change(None)
    stranger = os.geteuid() + 1
    assert not Peer(stranger, frozenset({100})).may_change(101)
    assert Peer(stranger, frozenset({100, 101})).may_change(101)
    assert Peer(0, frozenset()).may_change(None)


def test_a_held_job_of_a_lost_ledger_is_released_or_adopted(served: Served) -> None:
    served.enqueue(b"a", b"b")
    tell(served, "/v1/jobs/hold", {"all": True})
    assert tell(served, "/v1/jobs/adopt", {"ids": [1]})[1]["ids"] == [1]
    assert tell(served, "/v1/jobs/release", {"ids": [2]})[1]["ids"] == [2]
    assert states(served) == {1: str(State.DONE), 2: str(State.PENDING)}
