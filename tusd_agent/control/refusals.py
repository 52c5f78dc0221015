"""What a request is refused with: a status of HTTP, a code for programs, a sentence and a hint for people."""

from collections.abc import Mapping

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
