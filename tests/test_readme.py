"""The README's Python, executed from top to bottom as somebody would who tries it out, against the embedded server."""

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.files import write

README = Path(__file__).parents[1] / "README.md"
ENDPOINT = "http://localhost:1080/files/"
FILES = {"run-0042.h5": 300_000, "document.pdf": 50_000, "large_file.zip": 8_000_000}


def blocks() -> list[tuple[int, str]]:
    """Each ```python block with the number of its first line."""
    text = README.read_text()
    return [
        (text.count("\n", 0, found.start()) + 2, found[1])
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.fixture
def namespace(embedded_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the blocks leave behind."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for seed, (name, size) in enumerate(FILES.items()):
        write(folder / name, size, seed)
    (folder / "token").write_text("secret\n")
    found: dict[str, Any] = {"__name__": "readme"}
    for line, source in blocks():
        # Blank lines before it, so that a traceback points into the README.
        code = compile("\n" * (line - 1) + source.replace(ENDPOINT, embedded_server.url), str(README), "exec")
        exec(code, found)
    return found


def test_all_of_it_runs(
    capsys: pytest.CaptureFixture[str], namespace: dict[str, Any], embedded_server: Server, tmp_path: Path
) -> None:
    assert len(blocks()) == 15
    printed = capsys.readouterr().out
    assert "100%" in printed
    assert "stopped; the server has" in printed
    assert "no-such-file.h5 can't be opened" in printed
    assert re.search(r"100\.0% +[\d.]+ MB/s", printed)

    arrived = {(one.size, one.metadata.get("filename")) for one in embedded_server.stored() if one.complete}
    for name, size in FILES.items():
        assert (size, name.encode()) in arrived
    assert (14, b"hello.txt") in arrived
    assert any(name == b"documents.tar" for _, name in arrived)
    whole = {one.sha256() for one in embedded_server.stored() if one.metadata.get("filename") == b"run-0042.h5"}
    assert whole == {write(tmp_path / "again", FILES["run-0042.h5"], 0)}
    assert not list(Path("state/uploads").glob("*.json"))


def test_the_web_application_passes_a_file_on(namespace: dict[str, Any], embedded_server: Server) -> None:
    browser = namespace["app"].test_client()
    form = {"file": (io.BytesIO(b"content"), "report.txt")}
    answer = browser.post("/reports", data=form, content_type="multipart/form-data")
    assert (answer.status_code, answer.json["size"]) == (201, 7)
    (stored,) = [one for one in embedded_server.stored() if one.metadata.get("filename") == b"report.txt"]
    assert stored.path.read_bytes() == b"content"
    embedded_server.stop()
    namespace["client"].max_retries = 0
    answer = browser.post("/reports", data={"file": (io.BytesIO(b"x"), "x")}, content_type="multipart/form-data")
    assert answer.status_code == 503
    assert "no answer" in answer.json["error"]
