"""A job's story: each line of the log about a job has one form, so that one grep finds them all."""

import ast
from pathlib import Path

import pytest

import tusd_agent

ROOT = Path(tusd_agent.__file__).parent
MODULES = sorted(path for room in ("delivery", "intake", "service") for path in (ROOT / room).glob("*.py"))


def bare_lines_about_jobs(source: str) -> list[int]:
    """The lines on which the bare log is told of a job or of its place, instead of `jobs.story`."""
    return [
        call.lineno
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "log"
        and any(
            (isinstance(node, ast.Name) and node.id == "job")
            or (isinstance(node, ast.Attribute) and node.attr == "place")
            for argument in call.args
            for node in ast.walk(argument)
        )
    ]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_lines_about_jobs_are_told_by_their_story(module: Path) -> None:
    assert bare_lines_about_jobs(module.read_text()) == []


def test_others_are_seen() -> None:
    assert bare_lines_about_jobs('log.info("%d %s", job.id, x)\nlog.debug("%s", shown(place.path))') == [1]
    assert bare_lines_about_jobs('log.log(10, "%s", shown(twin.place.path))') == [1]
