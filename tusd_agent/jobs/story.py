"""Log lines about a job, in one form everywhere: ``job 28 (/srv/out/a.dat): arrived``.

One grep for ``job 28 (`` finds a job's whole story, under whatever name its file had. The same figures go along as
fields of the record (`job`, `path`, `endpoint`), for logs that are read by programs.
"""

import logging
from typing import Any

from .model import Job, Place, shown

FIELDS = ("job", "path", "endpoint")
"""The attributes that a record may have beyond those of every record."""

MAX_TOLD_SINGLY = 10
"""Of so many jobs that something happens to at once each has its line in the log; of more their number is said."""


class Story(logging.LoggerAdapter[logging.Logger]):
    """Logs lines about the job of this id, whose file lies at `place`."""

    def __init__(self, log: logging.Logger, job_id: int, place: Place, endpoint: str) -> None:
        super().__init__(log, {"job": job_id, "path": shown(place.path), "endpoint": endpoint})
        self._job_id = job_id
        self._path = shown(place.path)

    # The prefix goes into the arguments: a path may hold a percent sign.
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            told = {"stacklevel": 2, **kwargs, "extra": self.extra}
            self.logger.log(level, f"job %d (%s): {msg}", self._job_id, self._path, *args, **told)


def about(log: logging.Logger, job: Job) -> Story:
    """What logs lines about this job."""
    return Story(log, job.id, job.place, job.endpoint)
