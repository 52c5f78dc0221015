"""Why a file is taken or not, and what it waits for: the intake's own rules and looks, put into words."""

import errno
import os
import stat
from dataclasses import dataclass
from enum import StrEnum

from .. import beneath
from ..jobs.ledger import Ledger, Verdict
from ..jobs.model import Entry, Fingerprint, Found, Job, Place, shown
from ..jobs.states import EXISTING_IGNORED, LEDGER_LOST, State
from .follow import FollowedFolder
from .scan import ABSENT, FolderUnavailable
from .taking import Rest, look_at_rest

_THE_FOLDER = "the watched folder itself: it is not sent, the files in it are"
NEXT_LOOK = "the next look at it, which is due"
NEXT_SCAN = "the next scan of the folder, for no event told of it"


class Seen(StrEnum):
    """What a look at the path has shown."""

    FILE = "file"
    DIRECTORY = "directory"
    CLOSED_DIRECTORY = "closed_directory"
    """One that the rules do not enter."""

    OTHER = "other"
    """What is never sent, or lies behind a link."""

    NOTHING = "nothing"
    NO_FOLDER = "no_folder"
    """The watched folder itself can't be looked at."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a path. `rule` decides whether it is `taken`; `waits_for` is what has yet to happen; `job` is the
    newest of this path, and `known` says whether it is about the content that lies there now."""

    place: Place
    taken: bool
    rule: str
    waits_for: str | None
    job: Job | None
    seen: Seen = Seen.FILE
    known: bool = False


def explain(followed: FollowedFolder, relative: bytes, ledger: Ledger, wall: float, now: float) -> Explanation:
    """What becomes of the path below the folder. Looks at the disk; raises what the ledger raises.

    Any thread may ask. `wall` and `now` are the two clocks.
    """
    place = Place.below(followed.folder.path, relative)
    job = ledger.newest(place) if relative else None

    def answer(
        taken: bool, rule: str, waits_for: str | None = None, seen: Seen = Seen.FILE, known: bool = False
    ) -> Explanation:
        return Explanation(place, taken, rule, waits_for, job, seen, known)

    def by_name(waits_for: str | None, seen: Seen) -> Explanation:
        """What can be said of the name alone; one that is not taken waits for nothing."""
        return answer(name.taken, name.rule, waits_for if name.taken else None, seen)

    name = followed.rules.verdict(relative, is_directory=False)
    try:
        followed.ground.look()
    except FolderUnavailable as unavailable:
        if not relative:
            return answer(False, _THE_FOLDER, f"the folder to be available: {unavailable}", Seen.NO_FOLDER)
        return by_name(f"its folder to be available: {unavailable}", Seen.NO_FOLDER)
    if not relative:
        return answer(False, _THE_FOLDER, seen=Seen.DIRECTORY)
    try:
        found = beneath.status(place.folder, place.directory, place.name)
    except OSError as error:
        if link := _link_on_the_way(place):
            words = f"behind the symbolic link {shown(link)}: links in a watched folder are not followed"
            return answer(False, words, seen=Seen.OTHER)
        if job is not None and job.state is State.DONE and error.errno in ABSENT:
            return answer(True, "it was sent, and is not there any more", seen=Seen.NOTHING)
        return by_name(_absence(error), Seen.NOTHING)
    if stat.S_ISDIR(found.st_mode):
        entered = followed.rules.verdict(relative, is_directory=True)
        words = ": it is not sent itself, the files in it are" if entered.taken else f", not entered: {entered.rule}"
        seen = Seen.DIRECTORY if entered.taken else Seen.CLOSED_DIRECTORY
        return answer(False, f"a directory{words}", seen=seen)
    if not name.taken:
        return by_name(None, Seen.FILE)
    if not stat.S_ISREG(found.st_mode):
        return answer(False, f"no regular file but {_kind(found.st_mode)}: these are never opened", seen=Seen.OTHER)
    fingerprint = Fingerprint.of(found)
    look = ledger.look(Found(place, fingerprint, followed.folder.endpoint))
    if look.job is not None and look.job.state is State.CANCELLED and look.job.reason == EXISTING_IGNORED:
        return answer(False, EXISTING_IGNORED, known=True)
    if look.verdict is not Verdict.NEW:
        return answer(True, name.rule, _waits_in_ledger(look.verdict, look.job), known=True)
    by_content = followed.rules.content(fingerprint, wall)
    if by_content.again_at is not None:
        return answer(True, name.rule, f"its age: {by_content.rule}; {by_content.again_at - wall:.0f} s to go")
    if not by_content.taken:
        return answer(False, by_content.rule)
    if followed.taking.entry(place, fingerprint) is Entry.IGNORE:
        return answer(False, EXISTING_IGNORED)
    return answer(True, name.rule, _waits_on_disk(followed, place, fingerprint, wall, now))


def _waits_in_ledger(verdict: Verdict, job: Job | None) -> str | None:
    if verdict is Verdict.DOUBT:
        return "its digest to be compared: size and mtime are as sent, but the file was touched or changed since"
    if job is not None and job.reason == LEDGER_LOST:
        return "your word, for the ledger is incomplete: release sends it, adopt takes it as sent before"
    return None


def _waits_on_disk(
    followed: FollowedFolder, place: Place, fingerprint: Fingerprint, wall: float, now: float
) -> str | None:
    folder = followed.folder
    if followed.taking.marker_missing(place, fingerprint):
        return f"its marker file {shown(place.name)}{folder.marker_suffix}, written later than the file"
    if look_at_rest(place, fingerprint) is Rest.IN_USE:
        return "whoever has it open for writing, or mapped, to close it"
    left_seconds = followed.settling.left_seconds(place, now)
    if left_seconds is None:
        age_seconds = wall - fingerprint.ctime_ns / 1e9
        left_seconds = max(0.0, folder.settle_seconds - age_seconds) if folder.contract == "settle" else 0.0
    if left_seconds > 0:
        return f"rest: {left_seconds:.1f} s more without a change (settle_seconds = {folder.settle_seconds:g})"
    if place in followed.settling:
        return NEXT_LOOK
    return NEXT_SCAN


def _link_on_the_way(place: Place) -> bytes | None:
    """The first directory of the path that is a symbolic link, relative to the folder."""
    ends = [index for index, character in enumerate(place.relative) if character == ord("/")]
    for end in ends:
        above = Place.below(place.folder, place.relative[:end])
        try:
            if stat.S_ISLNK(beneath.status(above.folder, above.directory, above.name).st_mode):
                return above.relative
        except OSError:
            return None
    return None


def _absence(error: OSError) -> str:
    if error.errno in ABSENT:
        return "the file to be there"
    if error.errno == errno.ENAMETOOLONG:
        return "a shorter name: no file can have this one"
    return f"the file to be readable: {error.strerror or os.strerror(error.errno or 0)}"


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    return next((words for is_kind, words in kinds if is_kind(mode)), "something else")
