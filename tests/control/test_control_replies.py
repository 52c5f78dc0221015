"""How a job is shown: exact where programs need it, safe where people read it, and no upload URL anybody could use."""

import json
from base64 import b64decode

import pytest

from tests.control.served import UPLOAD_URL, Served
from tusd_agent.control.replies import escaped, job_reply, jobs_by_state, redacted
from tusd_agent.jobs.model import Sent
from tusd_agent.jobs.states import State


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (UPLOAD_URL, "https://uploads.example/files/0123…"),
        ("http://localhost:1080/files/0123456789/", "http://localhost:1080/files/0123…"),
        ("http://localhost/files/abc", "http://localhost/files/a…"),
        ("http://localhost/files/1", "http://localhost/files/…"),
        ("http://localhost/files/0123456789#fragment", "http://localhost/files/0123…"),
        ("http://localhost/\x1bfiles/0123456789", "http://localhost/\\x1bfiles/0123…"),
        ("http://[broken", "…"),
        ("", "…"),
    ],
)
def test_an_upload_url_is_cut_short(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_texts_from_elsewhere_are_one_safe_line() -> None:
    assert escaped("500: <b>\r\n\x1b[31mÜ\u202e\udcff") == "500: <b>\\r\\n\\x1b[31mÜ\\u202e\\udcff"


def test_a_job_is_shown_whole(served: Served) -> None:
    served.enqueue(b"sub/\xff\x1b[31m\n.dat")
    served.fail(error="403: \x1b[31mno")
    job = served.reader.job(1)
    assert job is not None
    reply = job_reply(job)
    assert json.loads(json.dumps(reply)) == reply
    assert reply["path"] == "/srv/out/sub/\\xff\\x1b[31m\\n.dat"
    assert b64decode(reply["path_b64"]) == b"/srv/out/sub/\xff\x1b[31m\n.dat"
    assert reply["relative_path"] == "sub/\\xff\\x1b[31m\\n.dat"
    assert reply["last_error"] == "403: \\x1b[31mno"
    assert reply["upload_url"] == "https://uploads.example/files/0123…"
    assert "secret" not in json.dumps(reply)
    assert (reply["id"], reply["state"], reply["attempts"], reply["size_bytes"]) == (1, "failed", 1, 10)
    assert (reply["created_at"], reply["claimed_at"], reply["delivered_at"]) == (100.0, 200.0, None)
    assert (reply["finished_at"], reply["reason"]) == (300.0, "refused by the server")


def test_only_the_digest_of_the_whole_content_is_shown(served: Served) -> None:
    served.enqueue(b"part", b"whole")
    part = served.claims.progress(served.claim(), 4, b"p" * 32)
    assert part.digest is not None
    assert job_reply(part)["digest_sha256"] is None
    whole = served.claim()
    whole = served.claims.finish(whole, 300.0, sent=Sent(whole.fingerprint, b"w" * 32))
    assert job_reply(whole)["digest_sha256"] == (b"w" * 32).hex()


def test_every_state_is_counted(served: Served) -> None:
    served.enqueue(b"1", b"2")
    table = jobs_by_state(served.reader.counts())
    assert table == {**{str(state): 0 for state in State}, "pending": 2}
