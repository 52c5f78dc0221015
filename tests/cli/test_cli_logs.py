"""Log records: one line each, as text or JSON, for a terminal or the journal."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tusd_agent.cli.logs import LONGEST_LINE, JournalFormatter, JsonFormatter, TextFormatter, goes_to_journal, priority

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


PROGRAM = """
import logging, os, sys, threading, warnings
from tusd_agent.cli.logs import set_up_logging
if sys.argv[2] == "journal":
    found = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
set_up_logging(sys.argv[3], sys.argv[1], os.environ)
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
