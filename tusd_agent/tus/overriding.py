"""PATCH and DELETE through POST, where something on the way does not let them pass (tus 1.0, X-HTTP-Method-Override).

Never HEAD: servers answer a tunnelled one like a HEAD, without the body that a POST's answer must have.
"""

import threading
from collections.abc import Mapping
from typing import Any

from .transport import Answer, Transport

OVERRIDABLE = {"PATCH", "DELETE"}
_NOT_ALLOWED = {405, 501}


class OverridingTransport(Transport):
    """A transport that tunnels from the start (`always`), or for a method that was answered 405 or 501.

    What an answer teaches holds for the endpoint, one method at a time: tunnelled from then on where that got another
    answer from a tus server, never again where it did not.
    """

    def __init__(self, endpoint: str, *arguments: Any, always: bool = False, **options: Any) -> None:
        super().__init__(endpoint, *arguments, **options)
        self._lock = threading.Lock()
        self._tunnelled = set(OVERRIDABLE) if always else set()
        self._hopeless: set[str] = set()

    def request(self, method: str, url: str, headers: Mapping[str, str], **options: Any) -> Answer:
        """As `Transport.request`."""
        if method not in OVERRIDABLE:
            return super().request(method, url, headers, **options)
        through_post = {**headers, "X-HTTP-Method-Override": method}
        if method in self._tunnelled:
            return super().request("POST", url, through_post, **options)
        answer = super().request(method, url, headers, **options)
        if answer.status not in _NOT_ALLOWED or method in self._hopeless:
            return answer
        second = super().request("POST", url, through_post, **options)
        helped = second.from_tus and second.status not in _NOT_ALLOWED and second.status != 404
        with self._lock:
            (self._tunnelled if helped else self._hopeless).add(method)
        return second if helped else answer
