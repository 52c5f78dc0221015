"""On which disk a folder lies, and whether the one it used to lie on is still there."""

import os


def disk_root(folder: str) -> bytes | None:
    """The top directory of the disk that `folder` lies on; `None` for the disk that also holds the root.

    Found by device, not by mount point: a bind mount of the same disk, as systemd's sandbox makes them, is no disk of
    its own. Raises `OSError` when the folder is not there.
    """
    path = os.path.realpath(os.fsencode(folder))
    device = os.stat(path).st_dev
    while True:
        parent = os.path.dirname(path)
        if parent == path:
            return None
        above = os.stat(parent).st_dev
        if above != device:
            return path
        path = parent


def is_unmounted(remembered: bytes | None, found: bytes | None) -> bool:
    """Whether the disk of `remembered` is no longer there: the folder lies on the disk that was beneath it."""
    if remembered is None or remembered == found:
        return False
    return found is None or remembered.startswith(found + b"/")
