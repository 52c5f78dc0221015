"""Log records: one line each, as text or JSON, for a terminal or the journal."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tusd_agent.cli.logs import (
    LONGEST_LINE,
    JournalFormatter,
    JournalHandler,
    JsonFormatter,
    TextFormatter,
    goes_to_journal,
    priority,
)
from tusd_agent.jobs.model import Place
from tusd_agent.jobs.story import Story

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


def record(message: str, level: int = logging.INFO, *, error: Exception | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("tusd_agent.delivery", level, __file__, 1, message, (), exc_info)


def raised() -> Exception:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        return error


def test_text_has_time_level_and_name() -> None:
    line = TextFormatter(timestamps=True).format(record("endpoint default answers again"))
    assert re.fullmatch(STAMP + " INFO tusd_agent.delivery: endpoint default answers again", line)


def test_a_record_is_one_line_without_control_characters() -> None:
    formatter = TextFormatter(timestamps=False)
    assert formatter.format(record("a\nb\x1b[31m")) == "tusd_agent.delivery: a | b\\x1b[31m"
    line = formatter.format(record("it failed", error=raised()))
    assert "\n" not in line
    assert line.startswith("tusd_agent.delivery: it failed | Traceback")
    assert line.endswith("ValueError: first | second")


@pytest.mark.parametrize("formatter", [TextFormatter(timestamps=True), JsonFormatter()])
def test_tracebacks_give_nothing_away(formatter: logging.Formatter) -> None:
    try:
        try:
            raise OSError("Pool(host='x'): Max retries exceeded with url: /files/geheimes-upload?sig=geheim2 (y)")
        except OSError as error:
            headers = {"Authorization": "Bearer geheim-3-und-lang", "X": "y"}
            raise ValueError(
                f"http://u:geheim4@h/files/geheimer-name?sig=geheim5: {headers}, basic Z2VoZWltNjp4"
            ) from error
    except ValueError as error:
        line = formatter.format(record("http://h/?geheim7 failed", error=error))
    assert "geheime" not in line
    assert not re.search(r"geheim\d|geheim-3|Z2Vo", line)
    assert "http://h/files/gehe" in line
    assert "Max retries exceeded with url: /files/gehe" in line


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(record("Ü\n\x1b", logging.WARNING, error=raised()))
    assert "\n" not in line
    document = json.loads(line)
    assert re.fullmatch(STAMP, document.pop("at"))
    assert "ValueError: first" in document.pop("exception")
    assert document == {
        "level": "warning",
        "logger": "tusd_agent.delivery",
        "thread": "MainThread",
        "message": "Ü\n\x1b",
    }


@pytest.mark.parametrize("formatter", [TextFormatter(timestamps=True), JsonFormatter()])
def test_a_line_has_an_end(formatter: logging.Formatter) -> None:
    assert len(formatter.format(record("x" * 10**6))) < LONGEST_LINE + 200


@pytest.mark.parametrize(
    ("level", "number"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2), (5, 7)],
)
def test_the_journal_gets_the_priority_in_front(level: int, number: int) -> None:
    assert priority(level) == number
    line = JournalFormatter(TextFormatter(timestamps=False)).format(record("said", level))
    assert line == f"<{number}>tusd_agent.delivery: said"


def test_the_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "w") as stream:
        found = os.fstat(stream.fileno())
        assert goes_to_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, stream.fileno())
        assert not goes_to_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}, stream.fileno())
        assert not goes_to_journal({"JOURNAL_STREAM": "nonsense"}, stream.fileno())
        assert not goes_to_journal({}, stream.fileno())
    assert not goes_to_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, 9999)


def about_a_job(name: bytes = b"a 100%.dat") -> logging.LogRecord:
    """The record of a line about a job."""
    found: list[logging.LogRecord] = []
    log = logging.Logger("tusd_agent.delivery")
    log.addFilter(lambda record: found.append(record) or False)  # type: ignore[func-returns-value]  # it is kept
    Story(log, 28, Place("/srv/out", b"", name), "default").warning("deferred for %.0f s", 3)
    return found[0]


def test_a_line_about_a_job_has_one_form_and_its_fields() -> None:
    text = TextFormatter(timestamps=False).format(about_a_job())
    assert text == "tusd_agent.delivery: job 28 (/srv/out/a 100%.dat): deferred for 3 s"
    document = json.loads(JsonFormatter().format(about_a_job()))
    assert (document["job"], document["path"], document["endpoint"]) == (28, "/srv/out/a 100%.dat", "default")


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.settimeout(5)
        path = str(tmp_path / "journal")
        journal.bind(path)
        handler = JournalHandler(path)
        handler.setFormatter(TextFormatter(timestamps=False))
        handler.handle(about_a_job(b"a\nPRIORITY=0\n"))
        handler.handle(record("a\nb"))
        first, second = (
            dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines()) for _ in range(2)
        )
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.settimeout(5)
        journal.bind(path)
        handler.handle(record("said after the journal was started anew"))
        assert b"MESSAGE=tusd_agent.delivery: said after the journal was started anew\n" in journal.recv(65536)
    handler.close()
    assert first["PRIORITY"] == "4"
    assert first["TUSD_AGENT_JOB"] == "28"
    assert first["TUSD_AGENT_PATH"] == r"/srv/out/a\nPRIORITY=0\n"
    assert first["TUSD_AGENT_ENDPOINT"] == "default"
    assert first["MESSAGE"].endswith(r"job 28 (/srv/out/a\nPRIORITY=0\n): deferred for 3 s")
    assert first["SYSLOG_IDENTIFIER"] == "tusd-agent"
    assert "TUSD_AGENT_JOB" not in second
    with pytest.raises(FileNotFoundError):
        JournalHandler(str(tmp_path / "nobody"))


PROGRAM = """
import logging, os, sys, threading, warnings
from tusd_agent.cli.logs import set_up_logging
if sys.argv[2] == "journal":
    found = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
set_up_logging(sys.argv[3], sys.argv[1], os.environ, journal_socket="/nowhere")
logging.getLogger("tusd_agent.x").debug("ours at debug")
logging.getLogger("tusd_agent.x").info("ours at info")
logging.getLogger("urllib3").info("theirs at info")
logging.getLogger("urllib3").warning("theirs at warning")
warnings.warn("deprecated\\nsomehow")
def die():
    raise ValueError("of the thread")
thread = threading.Thread(target=die, name="worker-7")
thread.start()
thread.join()
"""


def logged(form: str, where: str, level: str) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, form, where, level], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_levels_and_what_else_reaches_stderr() -> None:
    lines = logged("text", "terminal", "info")
    assert [re.sub(STAMP, "AT", line)[:45] for line in lines[:2]] == [
        "AT INFO tusd_agent.x: ours at info",
        "AT WARNING urllib3: theirs at warning",
    ]
    assert len(lines) == 4
    assert "deprecated | somehow" in lines[2]
    assert "CRITICAL tusd_agent: thread worker-7" in lines[3]
    assert lines[3].endswith("ValueError: of the thread")
    assert "ours at debug" in logged("text", "terminal", "debug")[0]
    assert "ours at" not in "".join(logged("text", "terminal", "error"))


def test_the_journal_gets_text_without_times_and_json_with() -> None:
    assert logged("text", "journal", "info")[0] == "<6>tusd_agent.x: ours at info"
    first = logged("json", "journal", "info")[0]
    assert first.startswith("<6>{")
    assert json.loads(first[3:])["message"] == "ours at info"
