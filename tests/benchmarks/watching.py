"""What one would write without the agent: ``python -m tests.benchmarks.watching ENDPOINT FOLDER``, watchdog and tuspy.

Each file that was written and closed is uploaded, four at a time. Says "ready" once it watches. It forgets everything
when it ends, tries nothing twice, and takes a file that is closed for one that is complete.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from tusclient import client as tusclient
from watchdog.events import FileClosedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

STREAMS = 4


class Uploads(FileSystemEventHandler):
    """Uploads what is closed."""

    def __init__(self, endpoint: str) -> None:
        self._client = tusclient.TusClient(endpoint)
        self._pool = ThreadPoolExecutor(STREAMS)

    def on_closed(self, event: FileSystemEvent) -> None:
        self._pool.submit(self._upload, os.fsdecode(event.src_path))

    def _upload(self, path: str) -> None:
        self._client.uploader(path, metadata={"filename": os.path.basename(path)}).upload()


def main() -> None:
    endpoint, folder = sys.argv[1:]
    observer = Observer()
    observer.schedule(Uploads(endpoint), folder, recursive=True, event_filter=[FileClosedEvent])
    observer.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
