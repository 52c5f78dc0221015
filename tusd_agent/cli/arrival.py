"""What a script waits for: whether it has come, can't come any more, or what is still missing. From replies; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..control.replies import Explanation, Folder, JobReply, Status, escaped
from .words import plural

WAITING = ("pending", "uploading", "delivered", "disposing")
ENDED_BADLY = ("failed", "held", "cancelled", "vanished", "superseded")

_WHAT_TO_DO = {
    "failed": "tusd-agent show {id} says why, tusd-agent retry {id} tries again",
    "held": "tusd-agent release {id} lets it go on",
    "cancelled": "tusd-agent retry {id} sends it after all",
    "vanished": "its file went before it was sent",
    "superseded": "its file has newer content, which is a job of its own: wait --path",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What is still waited for, and what will not come by itself; a sentence each. Neither: it is all there."""

    waiting: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def is_decided(self) -> bool:
        """Whether waiting longer can't make it better."""
        return bool(self.failed) or not self.waiting


def together(standings: Iterable[Standing]) -> Standing:
    """All of them."""
    several = list(standings)
    return Standing(
        tuple(words for one in several for words in one.waiting),
        tuple(words for one in several for words in one.failed),
    )


def of_status(status: Status, began_at: float) -> Standing:
    """Whether the agent has nothing to do. What failed or is held counts once nothing else is left.

    `began_at`: since when it is waited, seconds since the epoch.
    """
    waiting = []
    if status["state"] in ("starting", "stopping"):
        waiting.append(f"the agent is {status['state']}")
    unsent = sum(status["jobs"].get(state, 0) for state in WAITING)
    if unsent:
        paused = ", and something is paused: tusd-agent status" if status["paused"] else ""
        waiting.append(f"{plural(unsent, 'file')} on the way{paused}")
    for folder in status["folders"]:
        waiting += _folder(folder, began_at)
    if waiting:
        return Standing(waiting=tuple(waiting))
    failed = [
        f"{escaped(folder['path'])} is out of reach: {escaped(folder['problem'] or 'it can not be looked at')}"
        for folder in status["folders"]
        if not folder["available"]
    ]
    if status["jobs"].get("failed"):
        failed.append(f"{plural(status['jobs']['failed'], 'file')} failed: tusd-agent errors, tusd-agent retry")
    if status["jobs"].get("held"):
        failed.append(
            f"{plural(status['jobs']['held'], 'file')} held: tusd-agent jobs --state held, tusd-agent release"
        )
    return Standing(failed=tuple(failed))


def _folder(folder: Folder, began_at: float) -> list[str]:
    if not folder["available"]:
        return []
    path = escaped(folder["path"])
    if folder["settling"]:
        return [f"{plural(folder['settling'], 'file')} of {path} not complete yet"]
    if folder["scanning"]:
        return [f"{path} is being scanned"]
    scan_began_at = (folder["last_scan_at"] or 0.0) - (folder["last_scan_seconds"] or 0.0)
    if folder["mode"].startswith("poll") and scan_began_at < began_at:
        # Nothing but a scan tells what has come to it.
        return [f"the next scan of {path}"]
    return []


def of_jobs(wanted: Sequence[int], found: Iterable[JobReply]) -> Standing:
    """Whether these jobs are done."""
    by_id = {job["id"]: job for job in found}
    return together(
        _of_job(by_id[number])
        if number in by_id
        else Standing(failed=(f"there is no job {number}: tusd-agent jobs lists them",))
        for number in wanted
    )


def _of_job(job: JobReply) -> Standing:
    name = f"job {job['id']} ({escaped(job['path'])})"
    if job["state"] == "done":
        return Standing()
    if job["state"] in ENDED_BADLY:
        why = job["last_error"] or job["reason"]
        words = f"{name} is {job['state']}" + (f" ({escaped(why)})" if why else "")
        return Standing(failed=(f"{words}: {_WHAT_TO_DO[job['state']].format(id=job['id'])}",))
    return Standing(waiting=(f"{name}: {job['state']}",))


def of_path(found: Explanation) -> Standing:
    """Whether the content that lies at the path has arrived."""
    path, job = escaped(found["path"]), found["job"]
    if found["seen"] == "no_folder":
        return Standing(waiting=(f"{path}: {found['waits_for'] or 'its folder'}",))
    if found["seen"] == "nothing":
        # What has arrived may have been deleted or moved after that, as its folder asks.
        return Standing(failed=(f"{path} is not there",)) if job is None else _of_job(job)
    if not found["taken"]:
        return Standing(failed=(f"{path} is not taken: {escaped(found['rule'])}",))
    if not found["known"] or (found["waits_for"] and job is not None and job["state"] == "done"):
        return Standing(waiting=(f"{path}: {found['waits_for'] or 'to be taken'}",))
    return _of_job(job) if job is not None else Standing(waiting=(f"{path}: to be taken",))


def of_directory(path: str, folder: Folder | None, began_at: float, unsent: int, bad: Sequence[JobReply]) -> Standing:
    """Whether all below a directory has arrived: `unsent` jobs are on the way, `bad` (some of them) ended otherwise."""
    waiting = _folder(folder, began_at) if folder is not None else []
    if unsent:
        waiting.append(f"files below {escaped(path)} on the way")
    if waiting:
        return Standing(waiting=tuple(waiting))
    return together(_of_job(job) for job in bad)
