"""How an upload begins: with the creation alone, with its whole body in the same request, or without a length."""

from . import creation
from .body import Body
from .creation import Created
from .discovery import Discovery
from .errors import TUSUploadError, UploadRefused, creation_failed, redact
from .order import Learnt, Order
from .patience import Watch
from .retry import BodyTooLarge
from .transport import Credentials, Transport

# Length or type of a body that something on the way did not expect with a POST.
_NO_BODY_WANTED = {411, 415}


class Beginning:
    """The creations of one upload: the first, those repeated, and those of further beginnings."""

    def __init__(self, order: Order, transport: Transport, discovery: Discovery, learnt: Learnt, watch: Watch) -> None:
        self._order = order
        self._transport = transport
        self._discovery = discovery
        self._learnt = learnt
        self._watch = watch
        self._body_refused = False
        self._restarts = 0

    def again(self) -> None:
        """The upload that was created is lost; the next creation is another one."""
        self._restarts += 1
        self._body_refused = False

    def takes_body(self, size: int | None) -> bool:
        """Whether the whole body should go with the creation (tus 1.0, Creation With Upload)."""
        if size is None or not 0 < size <= self._order.small_file_bytes:
            return False
        if self._order.checksum is not None or self._body_refused or not self._learnt.creation_takes_body:
            return False
        return "creation-with-upload" in self._discovery.ask(self._watch).extensions

    def create(self, size: int | None, body: Body | None) -> Created:
        """The new upload. What goes wrong is also `CreationFailed`.

        When an answer refuses a creation with a body, the next one goes the ordinary way: there the answers tell apart
        what is wrong with the upload and what a hook makes of it when it is finished.
        """
        if size is None:
            self._check_deferring()
        key = self._order.idempotency_key + (f"-{self._restarts}" if self._restarts else "")
        if self._body_refused:
            # With and without a body are two requests: a server that keeps keys would answer the one for the other.
            key += "-empty"
        headers = {"Idempotency-Key": key, **(self._order.request_headers or {})}
        try:
            created = creation.create(
                self._transport,
                size,
                self._order.metadata,
                watch=self._watch,
                body=body,
                extra=Credentials(headers, self._transport.endpoint),
                more=self._order.creation_headers,
                max_size=self._discovery.remembered.max_size,
                allow_other_origin=self._order.allow_other_origin,
            )
        except TUSUploadError as error:
            if body is not None and (isinstance(error, BodyTooLarge) or error.status in _NO_BODY_WANTED):
                self._body_refused = True
                return self.create(size, None)
            self._body_refused = self._body_refused or (body is not None and error.status is not None)
            raise creation_failed(error) from error.__cause__
        if body is not None and created.offset is None:
            self._learnt.creation_takes_body = False
        return created

    def _check_deferring(self) -> None:
        info = self._discovery.ask(self._watch)
        if info.known and "creation-defer-length" not in info.extensions:
            raise creation_failed(
                UploadRefused(
                    f"{redact(self._transport.endpoint)} does not take uploads of unknown length (extension "
                    "creation-defer-length). Give the stream's size, or upload a file or a seekable object.",
                    url=self._transport.endpoint,
                )
            )
