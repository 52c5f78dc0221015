"""What the control socket answers to who changes something; the jobs' own orders are answered as in `replies`."""

from typing import TypedDict

from .replies import JobReply, Pause


class PauseReply(TypedDict):
    """``POST /v1/pause`` and ``/v1/resume``: whether that changed anything, and all that is paused now."""

    changed: bool
    paused: list[Pause]


class TimedLimit(TypedDict):
    """A line of the timetable: between these two times of the day, on these days (none: on all)."""

    begins: str
    ends: str
    days: list[str]
    rate_bytes_per_second: float


class Limit(TypedDict):
    """How fast bodies may be sent to an endpoint, or (null) by the whole agent; 0: as fast as it goes.

    `rate_bytes_per_second` holds now. `by_hand_bytes_per_second` is what an operator has set, null: nothing; then
    `configured_bytes_per_second` and `timetable` count, of those that hold at a time the smallest.
    """

    endpoint: str | None
    rate_bytes_per_second: float
    by_hand_bytes_per_second: float | None
    configured_bytes_per_second: float
    timetable: list[TimedLimit]


class LimitsReply(TypedDict):
    """``GET /v1/limits`` and ``PUT /v1/limits``: that of the whole agent first, then those of the endpoints."""

    limits: list[Limit]


class ReloadReply(TypedDict):
    """``POST /v1/reload``: a line for each setting that holds from now on (`changed`) or would only after a restart.

    `held`: so many jobs were held, because their folder or endpoint is gone.
    """

    file: str | None
    changed: list[str]
    needs_restart: list[str]
    warnings: list[str]
    held: int


class AddReply(TypedDict):
    """``POST /v1/jobs``: `added`, what lies there has no job yet and gets one once it is complete.

    `waits_for` says until when that takes. Otherwise `job` is the one that it has, and `hint` what can be done.
    """

    path: str
    path_b64: str
    folder: str
    added: bool
    waits_for: str | None
    job: JobReply | None
    hint: str
