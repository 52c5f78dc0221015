"""What a request is refused with: a status of HTTP, a code for programs, a sentence and a hint for people."""

import os
from collections.abc import Collection, Mapping

from .replies import Error, escaped

SHOWN_OF_VALUE = 80


class Refused(Exception):
    """A request that can't be answered as asked: `status` is that of HTTP, `error` the body of the answer."""

    def __init__(self, status: int, error: Error, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


def bad(name: str, found: object, allowed: str) -> Refused:
    """400: a parameter or member that means nothing."""
    message = f"{name} = {brief(str(found))} is not allowed"
    return Refused(400, Error(code="bad_request", message=message, hint=f"allowed: {allowed}"))


def brief(text: str) -> str:
    """A text of the request, for a sentence of the answer."""
    safe = escaped(text)
    return safe if len(safe) <= SHOWN_OF_VALUE else f"{safe[:SHOWN_OF_VALUE]}…"


def no_such_job(number: int) -> Refused:
    """404: a job that there is not."""
    message = f"there is no job {number}"
    return Refused(404, Error(code="no_such_job", message=message, hint="GET /v1/jobs lists them"))


def not_watched(folder: str, folders: Collection[str]) -> Refused:
    """404: no watched folder has this path. `folders` are those there are."""
    listed = ", ".join(map(brief, folders))
    hint = f"watched are: {listed}" if folders else "no folder is watched: add a [[watch]] table to the configuration"
    message = f"no folder {brief(folder)} is watched"
    return Refused(404, Error(code="not_watched", message=message, hint=hint, paths=[escaped(one) for one in folders]))


def outside(path: bytes) -> Refused:
    """404: a path in no watched folder, whether or not something is there: the socket is no way to look elsewhere."""
    message = f"{escaped(os.fsdecode(path))} lies in no watched folder"
    hint = "GET /v1/status, or tusd-agent status, lists the watched folders"
    return Refused(404, Error(code="not_watched", message=message, hint=hint))


def no_such_endpoint(name: str, names: Collection[str]) -> Refused:
    """404: an endpoint that there is not. `names` are those there are."""
    message, hint = f"there is no endpoint {brief(name)}", f"there are: {', '.join(names)}"
    return Refused(404, Error(code="no_such_endpoint", message=message, hint=hint, paths=list(names)))


def bad_configuration(problems: list[str]) -> Refused:
    """422: the configuration can't be used; what held before holds on."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    message = f"the configuration has {count}: nothing was changed"
    hint = "mend the file and reload again; tusd-agent check-config says the same without the agent"
    return Refused(422, Error(code="bad_configuration", message=message, hint=hint, problems=problems))


def not_now(message: str) -> Refused:
    """503: the agent is busy with something that excludes it."""
    return Refused(503, Error(code="busy", message=message, hint="ask again in a moment"))
