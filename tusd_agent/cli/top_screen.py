"""What ``tusd-agent top`` shows at one moment, as lines that fit the terminal. Pure: reply and page are given."""

from collections.abc import Sequence

from ..control.replies import Status
from .page import Page
from .status_screen import OtherVersion, endpoint_lines, folder_lines, state_lines, sum_lines, upload_lines
from .views import StoppedStatus
from .words import cut, wrapped

FEWEST_UPLOADS = 3
FEWEST_LINES = 4
FOOTER = "q ends"


def frame(status: Status | StoppedStatus | None, notes: Sequence[str], page: Page) -> list[str]:
    """The lines, at most as many as the page is high; `notes` say why there is no answer, or whose it is.

    Where it is low there are fewer uploads, then all is said briefly, then there are fewer folders and endpoints.
    """
    said = [page.paint(line, "red") for note in notes for line in wrapped(note, page.width, "", "  ")]
    if status is None:
        return [*said, "", FOOTER]
    try:
        return _filled(status, said, page, page.height or 10_000)
    except KeyError as missing:
        other = OtherVersion(status, missing)
        return [*wrapped(f"{other}. {other.hint}", page.width, "", "  "), "", FOOTER]


def _filled(status: Status | StoppedStatus, said: list[str], page: Page, height: int) -> list[str]:
    now, in_flight = status["now"], status["in_flight"]
    for brief in (False, True):
        for most in (len(in_flight), FEWEST_UPLOADS):
            blocks = [
                [*said, *state_lines(status, page, brief=brief)],
                folder_lines(status["folders"], now, page, brief=brief),
                endpoint_lines(status["endpoints"], now, page, brief=brief),
                upload_lines(in_flight, page, most),
                sum_lines(status, page, brief=brief),
            ]
            if _height(blocks) <= height:
                return _joined(blocks, page)
    for number in (1, 2, 0, 3):
        too_many = _height(blocks) - height
        blocks[number] = _at_most(blocks[number], max(len(blocks[number]) - too_many, FEWEST_LINES), page)
    lines = _joined(blocks, page)
    return lines if len(lines) <= height else [*lines[: height - 1], lines[-1]]


def _joined(blocks: Sequence[Sequence[str]], page: Page) -> list[str]:
    lines = [line for block in blocks if block for line in (*block, "")]
    return [*lines, cut(FOOTER, page.width, page.ellipsis)]


def _height(blocks: Sequence[Sequence[str]]) -> int:
    return sum(len(block) + 1 for block in blocks if block) + 1


def _at_most(lines: list[str], most: int, page: Page) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], cut(f"{page.ellipsis} {len(lines) - most + 1} more lines", page.width, page.ellipsis)]
