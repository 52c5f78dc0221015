"""The jobs of a folder in numbers, from what the database knows of all."""

from ..jobs.reader import Overview
from ..jobs.states import WAITING
from .figures import today_of
from .replies import FolderCounts, jobs_by_state


def folder_counts(path: str, overview: Overview) -> FolderCounts:
    """The numbers of the watched folder at `path`; `overview` counts since `figures.instants`."""
    own = [count for count in overview.counts if count.folder == path]
    today = today_of(overview.tallies, path)
    return FolderCounts(
        path=path,
        jobs=jobs_by_state(own),
        waiting_bytes=sum(count.bytes for count in own if count.state in WAITING),
        oldest_waiting_at=overview.oldest_at.get(path),
        arrived_today=today.arrived,
        arrived_today_bytes=today.bytes,
        failed_today=today.failed,
    )
