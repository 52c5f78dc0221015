"""What the demonstration draws on a terminal, and writes where there is none."""

import io
from typing import Any, cast

import pytest
from rich.console import Console

from tusd_agent.control.replies import InFlight, JobReply
from tusd_agent.demo.drawing import TerminalScreen, open_screen
from tusd_agent.demo.picture import (
    Line,
    Pace,
    Picture,
    Stand,
    left_text,
    lines_of,
    mebibytes_text,
    part_text,
    size_text,
)
from tusd_agent.demo.plain import PlainScreen
from tusd_agent.demo.verify import Verdict

MIB = 1 << 20
UPLOADING = Line("big [bold].bin", 200 * MIB, 50 * MIB, Stand.UPLOADING, 25 * MIB, 6.0)
LINES = (
    UPLOADING,
    Line("empty", 0, 0, Stand.ARRIVED, seconds=0.1),
    Line("soon", 5 * MIB, 0, Stand.SETTLING),
    Line("never", 5 * MIB, 0, Stand.LEFT, why="failed: refused"),
)
PICTURE = Picture("1 of 4 files arrived", LINES, 25 * MIB)
VERDICTS = [Verdict("a", 200 * MIB, "0123456789abcdef", ""), Verdict("longer name", 0, "f" * 64, "not on the server")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain() -> tuple[PlainScreen, list[str], Clock]:
    written: list[str] = []
    clock = Clock()
    return PlainScreen(written.append, clock), written, clock


def job(state: str, **more: Any) -> JobReply:
    facts: dict[str, Any] = {"id": 7, "relative_path": "a", "state": state, "offset_bytes": 3, "created_at": 10.0}
    facts |= {"finished_at": None, "reason": None, "last_error": None}
    return cast(JobReply, facts | more)  # only what the picture looks at


def flight(offset_bytes: int) -> InFlight:
    return InFlight(
        id=7,
        path="/w/a",
        path_b64="",
        endpoint="default",
        size_bytes=10,
        offset_bytes=offset_bytes,
        rate_bytes_per_second=2.0,
        eta_seconds=3.0,
        phase="uploading",
        started_at=10.0,
    )


@pytest.mark.parametrize(
    ("jobs", "flights", "expected"),
    [
        ([], [], Line("a", 10, 0, Stand.SETTLING)),
        ([job("pending")], [], Line("a", 10, 3, Stand.WAITING)),
        ([job("pending", last_error="refused")], [], Line("a", 10, 3, Stand.WAITING, why="refused")),
        ([job("uploading")], [flight(4)], Line("a", 10, 4, Stand.UPLOADING, 2.0, 3.0)),
        ([job("done", finished_at=12.5)], [flight(10)], Line("a", 10, 10, Stand.ARRIVED, seconds=2.5)),
        ([job("failed", reason="refused")], [], Line("a", 10, 0, Stand.LEFT, why="failed: refused")),
        ([job("superseded")], [], Line("a", 10, 0, Stand.LEFT, why="superseded")),
    ],
)
def test_where_a_file_stands(jobs: list[JobReply], flights: list[InFlight], expected: Line) -> None:
    assert lines_of({"a": 10}, jobs, flights) == (expected,)


def test_all_files_together() -> None:
    assert (PICTURE.size_bytes, PICTURE.sent_bytes, PICTURE.over) == (210 * MIB, 50 * MIB, False)
    assert PICTURE.eta_seconds == pytest.approx(160 / 25)
    assert Picture("", LINES, 0.0).eta_seconds is None
    over = Picture("", (LINES[1], LINES[3]), 0.0)
    assert over.over


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.at(0.0, 0) == 0.0
    assert pace.at(1.0, 100) == 100.0
    assert pace.at(10.0, 1000) == pytest.approx(100.0)
    assert pace.at(11.0, 3000) == 2000.0
    assert pace.at(11.5, 0) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (size_text(0), "0 B"),
        (size_text(1023), "1023 B"),
        (size_text(1024), "1.0 KiB"),
        (size_text(MIB - 1), "1.0 MiB"),
        (size_text(200 * MIB), "200.0 MiB"),
        (size_text(3 * 1024**4), "3.0 TiB"),
        (part_text(50 * MIB, 200 * MIB), "50.0 of 200.0 MiB"),
        (part_text(1024, 200 * MIB), "1.0 KiB of 200.0 MiB"),
        (part_text(0, MIB), "1.0 MiB"),
        (part_text(MIB, MIB), "1.0 MiB"),
        (mebibytes_text(100 * MIB - 65536), "99.94 MiB"),
        (left_text(None), "-:--"),
        (left_text(6.4), "0:06"),
        (left_text(3725.0), "1:02:05"),
    ],
)
def test_figures(text: str, expected: str) -> None:
    assert text == expected


def test_plain_lines_come_once_a_second_and_once_for_each_arrival() -> None:
    screen, written, clock = plain()
    screen.draw(PICTURE)
    assert written == [
        "   0.0 s  arrived: empty, 0 B\n",
        "   0.0 s  big [bold].bin: 50.0 of 200.0 MiB (25 %), 25.0 MiB/s, 0:06 left\n",
        "   0.0 s  total: 1 of 4 files arrived, 50.0 of 210.0 MiB, 25.0 MiB/s, 0:06 left\n",
    ]
    written.clear()
    clock.now = 0.9
    screen.draw(PICTURE)
    assert written == []
    clock.now = 1.0
    screen.draw(PICTURE)
    assert len(written) == 2
    assert not any("arrived: empty" in line for line in written)


def test_plain_table_is_aligned() -> None:
    screen, written, _ = plain()
    screen.table(VERDICTS, {"a": 8.62})
    assert written == [
        "file              size  seconds  SHA-256       verdict\n",
        "a            200.0 MiB      8.6  0123456789ab  ✓ equal\n",
        "longer name        0 B        -  ffffffffffff  ✗ not on the server\n",
    ]


def test_without_a_terminal_there_are_plain_lines_at_once() -> None:
    class Pipe(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    pipe = Pipe()
    screen = open_screen(pipe)
    assert isinstance(screen, PlainScreen)
    screen.tell("told [bold]")
    screen.draw(PICTURE)
    assert pipe.getvalue().startswith("told [bold]\n")
    assert "\x1b" not in pipe.getvalue()
    assert pipe.flushed == 4


def test_a_terminal_that_cannot_draw_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_screen(Terminal()), PlainScreen)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(open_screen(Terminal()), TerminalScreen)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_drawing_fits_and_says_everything(width: int) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=width, height=24, color_system=None, markup=False)
    screen = TerminalScreen(console, Clock())
    screen.tell("told [bold]")
    screen.draw(PICTURE)
    screen.happened("cut")
    screen.draw(PICTURE)
    screen.table(VERDICTS, {"a": 8.62})
    screen.close()
    text = output.getvalue()
    assert "told [bold]\n" in text
    assert "   0.0 s  cut\n" in text
    assert "✓ equal" in text
    assert "\x1b[?25h" in text, "the cursor is back"
    big, total = (next(line for line in text.splitlines() if word in line) for word in ("big [bold]", "1 of 4"))
    assert big.split()[-7:] == ["50.0", "of", "200.0", "MiB", "25.0", "MiB/s", "0:06"]
    assert total.split()[-7:] == ["50.0", "of", "210.0", "MiB", "25.0", "MiB/s", "0:06"]
    assert ("━" in big) == (width > 60)
    assert "settling" in text
    assert "not sent" in text


def test_more_files_than_lines() -> None:
    """Those that move are shown before those that have arrived."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, height=8, color_system=None)
    screen = TerminalScreen(console)
    arrived = tuple(Line(f"arrived {number}", 1, 1, Stand.ARRIVED) for number in range(50))
    screen.draw(Picture("50 of 51", (*arrived, UPLOADING), 0.0))
    screen.close()
    shown = [line for line in output.getvalue().splitlines() if "arrived " in line or "big" in line]
    assert "big [bold].bin" in shown[0]
    assert len(set(shown)) == 4


def test_nothing_in_flight_is_one_line() -> None:
    output = io.StringIO()
    screen = TerminalScreen(Console(file=output, force_terminal=True, width=80, color_system=None))
    screen.draw(Picture("0 uploading, 0 waiting", (), 0.0))
    screen.close()
    assert "0 uploading, 0 waiting" in output.getvalue()
    assert "MiB" not in output.getvalue()
