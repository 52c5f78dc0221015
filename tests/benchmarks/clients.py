"""Each Python contender as a program: ``python -m tests.benchmarks.clients NAME ENDPOINT STREAMS PATH``.

PATH is a file, or a folder whose files are uploaded one after the other (STREAMS at once where the library has threads
for it). Each library is used as its own documentation shows, with one piece of metadata, the name. Imports are part of
what is measured, so each stands in its function.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterable
from functools import partial
from urllib.parse import urlsplit

MEBIBYTE = 1 << 20


def files_of(path: str) -> list[str]:
    return [path] if os.path.isfile(path) else sorted(entry.path for entry in os.scandir(path))


def ours(endpoint: str, streams: int, paths: Iterable[str], chunk_size: int | None = None) -> None:
    from tusd_agent import TUSClient

    with TUSClient(endpoint, chunk_size=chunk_size, verify=os.environ["SSL_CERT_FILE"]) as client:
        left = iter(paths)

        def upload() -> None:
            for path in left:
                client.upload(path)

        if streams == 1:
            upload()
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(streams) as pool:
            for running in [pool.submit(upload) for _ in range(streams)]:
                running.result()


def tuspy(endpoint: str, streams: int, paths: Iterable[str], chunk_size: int | None = None) -> None:
    from tusclient import client as tusclient

    client = tusclient.TusClient(endpoint)
    options = {} if chunk_size is None else {"chunk_size": chunk_size}
    for path in paths:
        client.uploader(path, metadata={"filename": os.path.basename(path)}, **options).upload()


def aiotus(endpoint: str, streams: int, paths: Iterable[str]) -> None:
    import asyncio

    import aiohttp
    import aiotus as library

    async def upload() -> None:
        async with aiohttp.ClientSession() as session:
            for path in paths:
                with open(path, "rb") as file:
                    metadata = {"filename": os.path.basename(path).encode()}
                    if await library.upload(endpoint, file, metadata, client_session=session) is None:
                        raise SystemExit(f"aiotus did not upload {path}")

    asyncio.run(upload())


def resumable_upload(endpoint: str, streams: int, paths: Iterable[str]) -> None:
    from resumable_upload import TusClient

    client = TusClient(endpoint)
    for path in paths:
        client.upload_file(path, metadata={"filename": os.path.basename(path)})


def bare_socket(endpoint: str, streams: int, paths: Iterable[str]) -> None:
    """Read and send, and nothing of what makes a client: the floor that Python itself sets."""
    where = urlsplit(endpoint)
    sock = socket.create_connection((where.hostname, where.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if where.scheme == "https":
        import ssl

        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=where.hostname)
    buffer = memoryview(bytearray(256 * 1024))
    with sock:
        for path in paths:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                common = f"HTTP/1.1\r\nHost: {where.netloc}\r\nTus-Resumable: 1.0.0\r\n"
                post = f"POST {where.path} {common}Content-Length: 0\r\nUpload-Length: {size}\r\n\r\n"
                sock.sendall(post.encode())
                answer = sock.recv(65536).decode()
                target = urlsplit(answer.partition("Location: ")[2].partition("\r\n")[0]).path
                kind = "Content-Type: application/offset+octet-stream"
                patch = f"PATCH {target} {common}Content-Length: {size}\r\nUpload-Offset: 0\r\n{kind}\r\n\r\n"
                sock.sendall(patch.encode())
                while count := file.readinto(buffer):
                    sock.sendall(buffer[:count])
                if b" 204 " not in sock.recv(65536):
                    raise SystemExit(f"{path} was not taken")


CLIENTS: dict[str, Callable[[str, int, Iterable[str]], None]] = {
    "ours": ours,
    "ours-64MiB": partial(ours, chunk_size=64 * MEBIBYTE),
    "tuspy": tuspy,
    "tuspy-8MiB": partial(tuspy, chunk_size=8 * MEBIBYTE),
    "aiotus": aiotus,
    "resumable-upload": resumable_upload,
    "bare socket": bare_socket,
}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), files_of(sys.argv[4]))
