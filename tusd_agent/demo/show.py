"""The story of ``tusd-agent demo``: files are dropped, the network breaks, everything arrives, and it is proven."""

import io
import sys
import time
from collections.abc import Sequence
from typing import cast

from ..config import printable
from ..control.client import ControlClient, ControlError, NoAnswer, Unanswered
from ..control.replies import InFlight, JobReply, Status
from .drawing import Screen, open_screen
from .onward import go_on, tell_warnings
from .picture import Pace, Picture, Stand, count_text, lines_of, mebibytes_text, size_text
from .samples import BIG, SAMPLES, drop
from .signals import Interrupted, Signals
from .stage import RATE_LIMIT, CannotShow, Stage, set_up
from .verify import Verdict, compare, stored

TICK_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
"""So long nothing may move before the demonstration says that something is wrong."""

INTRODUCTION = """\
tusd-agent: files on their way to a server, over a network that breaks.

You drop a file into a watched folder. The agent takes it as soon as nobody
writes to it any more, and uploads it. The server speaks tus (https://tus.io),
an open protocol over HTTP for uploads that can be resumed: after a broken
connection the agent asks how much has arrived, and goes on from there.
Here all of it runs on this machine, in a temporary folder:
"""


def run_demo(once: bool) -> int:
    """Shows it; returns the exit code.

    0: every file arrived exactly once with an equal SHA-256, and the upload whose connection was cut was resumed. 1:
    not so, or it could not be shown; what is wrong is said. 128 + N: signal N ended it early. On a terminal, unless
    `once`, it goes on watching then, until a signal ends it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where there is no ✓, the words beside it say the same
    screen = open_screen(sys.stdout)
    with Signals() as signals:
        try:
            with set_up(BIG.size_bytes // 2, signals.check) as stage:
                wrong = Show(stage, screen, signals).run()
                if wrong:
                    sys.stderr.writelines(f"{line}\n" for line in ["the agent's log:", *stage.log.recent])
                elif not once and sys.stdout.isatty():
                    go_on(stage, screen, signals)
            screen.tell("Nothing runs any more, and the folder is removed.")
        except Interrupted as interrupted:
            screen.close()
            sys.stderr.write(f"Stopped by {interrupted}. Nothing runs any more, and the folder is removed.\n")
            return interrupted.exit_code
        except (CannotShow, Unanswered) as why:
            screen.close()
            sys.stderr.write(f"{why}\n")
            return 1
        finally:
            screen.close()
    return 1 if wrong else 0


class Show:
    """One showing, from the first line to the verdict: `run` once."""

    def __init__(self, stage: Stage, screen: Screen, signals: Signals) -> None:
        self._stage = stage
        self._screen = screen
        self._signals = signals
        self._agent = ControlClient(stage.socket)
        self._sizes = {sample.path: sample.size_bytes for sample in SAMPLES}
        self._pace = Pace()
        self._told: set[str] = set()

    def run(self) -> list[str]:
        """Returns what was not as it should be; all of it has been told by then."""
        began_at = time.monotonic()
        self._introduce()
        drop(SAMPLES, self._stage.watched, self._stage.staging, self._signals.check)
        picture = self._follow()
        self._screen.close()
        uploads = stored(self._stage.uploads)
        verdicts = compare(self._sizes, self._stage.watched, uploads, self._signals.check)
        self._screen.tell("\nWhat lies in the watched folder, compared with what the server has stored:\n")
        self._screen.table(verdicts, {line.path: line.seconds for line in picture.lines if line.seconds is not None})
        wrong = self._what_is_wrong(verdicts, picture)
        nobodys = sorted({upload.relative_path for upload in uploads} - self._sizes.keys())
        wrong += [f"{printable(path)}: on the server, though nobody dropped it" for path in nobodys]
        self._conclude(verdicts, wrong, time.monotonic() - began_at)
        return wrong

    def _introduce(self) -> None:
        self._screen.tell(INTRODUCTION)
        for name, text in (
            ("folder", printable(str(self._stage.watched))),
            ("agent", f"uploads at {RATE_LIMIT} at most, so that there is something to see"),
            ("network", "a relay that cuts the connection once, in the largest file"),
            ("server", f"{self._stage.server_url}, keeps its uploads in {printable(self._stage.uploads.name)}/"),
        ):
            self._screen.tell(f"  {name:<8} {text}")
        sizes = size_text(sum(self._sizes.values()))
        self._screen.tell(f"\n{count_text(len(SAMPLES), 'file')} of {sizes} in all are dropped into the folder now.\n")

    def _follow(self) -> Picture:
        """Shows how it goes until nothing more will happen; the last picture."""
        moved_at, sent_bytes = time.monotonic(), -1
        picture = self._picture([], [])
        while not picture.over:
            self._signals.sleep(TICK_SECONDS)
            tell_warnings(self._stage, self._screen)
            self._tell_of_the_cut()
            try:
                status = cast(Status, self._agent.get("/v1/status"))
                jobs = cast(list[JobReply], self._agent.get("/v1/jobs")["jobs"])
            except (NoAnswer, ControlError):
                continue  # it may be busy just now
            picture = self._picture(jobs, status["in_flight"])
            self._screen.draw(picture)
            now = time.monotonic()
            if picture.sent_bytes != sent_bytes:
                moved_at, sent_bytes = now, picture.sent_bytes
            elif now - moved_at > PATIENCE_SECONDS:
                self._screen.happened(f"nothing has moved for {PATIENCE_SECONDS:.0f} s: given up")
                break
        self._tell_of_the_cut()
        return picture

    def _picture(self, jobs: Sequence[JobReply], in_flight: Sequence[InFlight]) -> Picture:
        lines = lines_of(self._sizes, jobs, in_flight)
        arrived = sum(line.stand is Stand.ARRIVED for line in lines)
        rate = self._pace.at(time.monotonic(), sum(line.sent_bytes for line in lines))
        return Picture(f"{arrived} of {count_text(len(lines), 'file')} arrived", lines, rate)

    def _tell_of_the_cut(self) -> None:
        cut, resumed = self._stage.relay.cut, self._stage.relay.resumed
        if cut is not None and "cut" not in self._told:
            self._told.add("cut")
            self._screen.happened(f"connection cut by the relay at {mebibytes_text(cut.sent_bytes)} of {BIG.path}")
        if cut is not None and resumed is not None and "resumed" not in self._told:
            self._told.add("resumed")
            self._screen.happened(
                f"resumed at {mebibytes_text(resumed.offset_bytes)}, {resumed.at - cut.at:.1f} s later, "
                f"sent twice: {mebibytes_text(cut.sent_bytes - resumed.offset_bytes)}"
            )

    def _what_is_wrong(self, verdicts: Sequence[Verdict], picture: Picture) -> list[str]:
        relay = self._stage.relay
        wrong = [f"{verdict.path}: {verdict.fault}" for verdict in verdicts if not verdict.equal]
        wrong += [
            f"{line.path}: the agent has it as {line.why or line.stand}"
            for line in picture.lines
            if line.stand is not Stand.ARRIVED
        ]
        if relay.cut is None:
            wrong.append("the connection was never cut")
        elif relay.resumed is None or relay.resumed.offset_bytes == 0:
            wrong.append("after the cut the upload was not resumed")
        return wrong

    def _conclude(self, verdicts: Sequence[Verdict], wrong: Sequence[str], seconds: float) -> None:
        relay = self._stage.relay
        equal = sum(verdict.equal for verdict in verdicts)
        self._screen.tell(
            f"\n{equal} of {count_text(len(verdicts), 'file')} arrived exactly once with an equal SHA-256, "
            f"after {seconds:.1f} s."
        )
        if relay.cut is not None and relay.resumed is not None:
            twice = mebibytes_text(relay.body_bytes(relay.cut.path) - BIG.size_bytes)
            self._screen.tell(
                f"The connection was cut once: {twice} of {size_text(BIG.size_bytes)} went through the relay twice."
            )
        for each in wrong:
            self._screen.tell(f"Wrong: {each}")
