"""Real tus servers on loopback: tuspyserver (the demonstration's), tusd and @tus/server, all used alike."""

from .install import NotInstalled
from .kinds import KINDS, EmbeddedServer, NodeServer, TusdServer
from .server import Server
from .stored import Stored

__all__ = ["KINDS", "EmbeddedServer", "NodeServer", "NotInstalled", "Server", "Stored", "TusdServer"]
