"""Who asks: user and groups at the other end of a Unix socket, as the kernel knows them (unix(7), socket(7))."""

import os
import socket
import struct
from dataclasses import dataclass

_SO_PEERGROUPS = 59  # socket(7); the module socket has no name for it
_UCRED = struct.Struct("3i")
_GID = struct.Struct("I")
_MOST_GROUPS = 65_536  # NGROUPS_MAX


@dataclass(frozen=True, slots=True)
class Peer:
    """`uid` and `groups` (the primary one among them) that the other side had when it connected."""

    uid: int
    groups: frozenset[int]

    def may_change(self, socket_gid: int | None) -> bool:
        """Whether it may do more than look: root, the agent's own user, and members of the socket's group may."""
        return self.uid in (0, os.geteuid()) or (socket_gid is not None and socket_gid in self.groups)


def peer_of(connection: socket.socket) -> Peer:
    """The peer of a connection; raises `OSError`."""
    _, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(uid, frozenset([gid, *_groups_of(connection)]))


def _groups_of(connection: socket.socket) -> list[int]:
    room = 64
    while True:
        try:
            found = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, room * _GID.size)
        except OSError:
            # Too many for the room (ERANGE), or a kernel before 4.13, which can't tell.
            if room >= _MOST_GROUPS:
                return []
            room *= 8
        else:
            return [gid for (gid,) in _GID.iter_unpack(found)]
