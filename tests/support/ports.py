"""TCP ports on 127.0.0.1 that stay ours while a server is down, so that it can come back on the same one."""

import random
import socket

HOST = "127.0.0.1"
# Below every range from which the kernel takes the source ports of outgoing connections (ip(7),
# ip_local_port_range): such a connection could otherwise take the port while its server is down.
LOWEST, HIGHEST = 10240, 32767


class ReservedPort:
    """A port that nothing listens on now and that no other test on this machine will be given.

    The reservation is a name in the abstract socket namespace (unix(7)): it vanishes with its owner, however
    that one ends.
    """

    def __init__(self) -> None:
        self.number, self._reservation = _reserve()

    def release(self) -> None:
        self._reservation.close()


def _reserve() -> tuple[int, socket.socket]:
    for _ in range(1000):
        number = random.randint(LOWEST, HIGHEST)
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            reservation.bind(f"\0tusd-agent-tests-port-{number}")
            socket.create_server((HOST, number)).close()
        except OSError:
            reservation.close()
            continue
        return number, reservation
    raise RuntimeError(f"no free port between {LOWEST} and {HIGHEST}")
