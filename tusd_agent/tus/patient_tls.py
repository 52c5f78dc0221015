"""`PatientSocket` (`patience`) beneath TLS."""

import ssl
from typing import Any

from .patience import Patience, aside, give_up_after, in_slices


class PatientTLSSocket(ssl.SSLSocket):
    """The same as `PatientSocket`. A write is repeated with the very same bytes, as OpenSSL demands (SSL_write(3))."""

    _patience: Patience | None = None

    @property
    def patience(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(super().gettimeout())
        return self._patience

    def settimeout(self, value: float | None) -> None:
        self.patience.idle_seconds = value
        give_up_after(self, value)
        super().settimeout(in_slices(value))

    def gettimeout(self) -> float | None:
        return self.patience.idle_seconds

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def do_handshake(self, block: bool = False) -> None:
        with aside():
            self.patience.wait(self, super().do_handshake, block)

    def send(self, data: Any, flags: int = 0) -> int:
        self.patience.reading = False
        return self.patience.wait(self, super().send, data, flags)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return self.patience.receive(self, super().recv, buflen, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        return self.patience.receive(self, super().recv_into, buffer, nbytes, flags)
