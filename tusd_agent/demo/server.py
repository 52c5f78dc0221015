"""A small real tus server for the demonstration: tuspyserver under uvicorn, on loopback only.

    python -m tusd_agent.demo.server --folder DIR --port N [--until-stdin-closes]

prints one line, ``listening on http://127.0.0.1:PORT/files/``, when it answers. SIGTERM ends it; with
``--until-stdin-closes`` so does the end of its stdin, so that it never outlives a parent that was killed.
Needs the extra ``demo``. Two weaknesses of tuspyserver 4.4 are mended here, because the demonstration cuts
connections and kills servers for a living: see `mend` and `OneAtATime`.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PREFIX = "/files"
GRACE_SECONDS = 1
"""How long a stop waits for requests in flight; what they have brought is on disk already, see `mend`."""
DRAIN_SECONDS = 0.5
"""How long a request that has to leave may go on reading: what a dead connection had brought is not thrown away."""

MISSING_EXTRA = "the demonstration's server needs tuspyserver and uvicorn: pip install 'tusd-agent[demo]'"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def mend(folder: Path) -> None:
    """Make every upload's recorded offset equal to the bytes that lie in its file.

    tuspyserver writes the offset into ``ID.info`` when a PATCH ends, and appends to ``ID`` whatever the offset
    says: after a hard kill in the middle of a body the next PATCH would be appended behind bytes the offset
    leaves out. The bytes on disk are in order and whole up to their end, so their count is the truth, as in tusd.
    """
    for info_path in folder.glob("*.info"):
        with suppress(FileNotFoundError, json.JSONDecodeError):
            info = json.loads(info_path.read_text())
            on_disk = info_path.with_suffix("").stat().st_size
            if info["offset"] != on_disk:
                info["offset"] = on_disk
                mended = info_path.with_suffix(".mended")
                mended.write_text(json.dumps(info))
                mended.replace(info_path)


class Turn:
    """One request's turn at an upload: `leave` is set by who wants the next, `left` when this one is over."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._deadline: float | None = None
        self.leave, self.left = asyncio.Event(), asyncio.Event()

    async def receive(self) -> Message:
        """The client's next message; ``http.disconnect`` when it comes too late after `leave`."""
        message, leaving = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self.leave.wait())
        try:
            await asyncio.wait({message, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self.leave.is_set():
                now = asyncio.get_running_loop().time()
                self._deadline = self._deadline or now + DRAIN_SECONDS
                await asyncio.wait({message}, timeout=self._deadline - now)
                if now > self._deadline or not message.done():
                    return {"type": "http.disconnect"}
            return await message
        finally:
            message.cancel()
            leaving.cancel()


class OneAtATime:
    """ASGI middleware: one PATCH, HEAD or DELETE at a time for each upload; a newcomer ends the one before.

    So does tusd v2. tuspyserver would answer a HEAD with an old offset while the PATCH before it has not noticed
    that its client is gone, and it waits for its lock by sleeping in the event loop: a PATCH that comes in that
    moment stops the whole server for 30 seconds. The request that has to go is told that its client left, which
    makes tuspyserver keep what came and record the offset.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._turns: dict[str, Turn] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"PATCH", "HEAD", "DELETE"}:
            await self._application(scope, receive, send)
            return
        upload = scope["path"]
        while turn := self._turns.get(upload):
            turn.leave.set()
            await turn.left.wait()
        turn = self._turns[upload] = Turn(receive)
        try:
            await self._application(scope, turn.receive, send)
        finally:
            del self._turns[upload]
            turn.left.set()


def application(folder: Path) -> Application:
    """The ASGI application that keeps its uploads in `folder`; ModuleNotFoundError without the extra."""
    from fastapi import FastAPI
    from tuspyserver import create_tus_router

    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    api.include_router(create_tus_router(prefix=PREFIX, files_dir=str(folder)))
    uploads = OneAtATime(api)

    async def with_slash(scope: Message, receive: Receive, send: Send) -> None:
        # OPTIONS is routed with the slash only, and a redirect is no answer for a tus client.
        if scope["type"] == "http" and scope["path"] == PREFIX:
            scope = {**scope, "path": PREFIX + "/"}
        await uploads(scope, receive, send)

    return with_slash


def serve(folder: Path, port: int, until_stdin_closes: bool = False) -> None:
    """Serve until SIGTERM, SIGINT or (when asked) the end of stdin; OSError when the port is taken."""
    import uvicorn

    folder.mkdir(parents=True, exist_ok=True)
    mend(folder)
    listener = socket.create_server((HOST, port))
    url = f"http://{HOST}:{listener.getsockname()[1]}{PREFIX}/"

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            sys.stdout.write(f"listening on {url}\n")
            sys.stdout.flush()

    server = Announcing(
        uvicorn.Config(
            application(folder),
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    if until_stdin_closes:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def _stop_at_end_of_stdin(server: Any) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tusd_agent.demo.server", description="A tus server on 127.0.0.1.")
    parser.add_argument("--folder", type=Path, required=True, help="where the uploads go (made if missing)")
    parser.add_argument("--port", type=int, default=0, help="0 (the default): a free one")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when stdin reaches its end")
    wanted = parser.parse_args()
    try:
        serve(wanted.folder, wanted.port, wanted.until_stdin_closes)
    except ModuleNotFoundError as missing:
        if missing.name in {"fastapi", "tuspyserver", "uvicorn"}:
            raise SystemExit(MISSING_EXTRA) from missing
        raise


if __name__ == "__main__":
    main()
