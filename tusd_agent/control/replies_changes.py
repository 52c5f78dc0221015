"""What the control socket answers to who changes something; the jobs' own orders are answered as in `replies`."""

from typing import TypedDict

from .replies import Pause


class PauseReply(TypedDict):
    """``POST /v1/pause`` and ``/v1/resume``: whether that changed anything, and all that is paused now."""

    changed: bool
    paused: list[Pause]
