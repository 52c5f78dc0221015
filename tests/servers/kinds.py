"""The three servers: how each is started and where it keeps what."""

import sys

from tests.support.ports import HOST

from .install import node_server, tusd_binary
from .server import Server
from .stored import Stored, infos, stored


class EmbeddedServer(Server):
    """tuspyserver under uvicorn, the very one that ``tusd-agent demo`` runs."""

    name = "tuspyserver"

    def command(self) -> list[str]:
        module = [sys.executable, "-m", "tusd_agent.demo.server"]
        return [*module, "--folder", str(self.uploads), "--port", str(self.port), "--until-stdin-closes"]

    def stored(self) -> list[Stored]:
        found = [
            stored(path, info["size"], info["metadata"], info["is_partial"])
            for path, info in infos(self.uploads, ".info")
        ]
        return [upload for upload in found if upload]


class TusdServer(Server):
    """tusd itself; hooks, size limits and the like are `flags`: ``["-hooks-dir", …]``, ``["-max-size", "1000"]``."""

    name = "tusd"

    def command(self) -> list[str]:
        where = ["-host", HOST, "-port", str(self.port), "-base-path", "/files/"]
        return [str(tusd_binary()), *where, "-upload-dir", str(self.uploads)]

    def stored(self) -> list[Stored]:
        found = [
            stored(path, None if info["SizeIsDeferred"] else info["Size"], info["MetaData"], info["IsPartial"])
            for path, info in infos(self.uploads, ".info")
        ]
        return [upload for upload in found if upload]


class NodeServer(Server):
    """@tus/server on Node.js; `flags`: ``["--max-size", BYTES]``, ``["--expire-seconds", SECONDS]``."""

    name = "node"

    def command(self) -> list[str]:
        program = ["node", str(node_server())]
        return [*program, "--folder", str(self.uploads), "--port", str(self.port), "--until-stdin-closes"]

    def stored(self) -> list[Stored]:
        found = [stored(path, info.get("size"), info.get("metadata")) for path, info in infos(self.uploads, ".json")]
        return [upload for upload in found if upload]


KINDS: dict[str, type[Server]] = {kind.name: kind for kind in (EmbeddedServer, TusdServer, NodeServer)}
