"""Files that were renamed aside to be deleted or moved, and that nobody will come back for.

A disposal renames its file to `.tusd-agent-<job uuid>` first; a crash there, followed by a lost or restored database
or by an operator's word, may leave the file under that name, where no person would look for it.
"""

import logging
import os
import stat

from .. import beneath
from ..jobs.ledger import Ledger
from ..jobs.model import NAME_MAX_BYTES, aside_uuid, shown
from ..jobs.states import State
from ..jobs.story import about

log = logging.getLogger("tusd_agent.intake")

RECOVERED_PREFIX = b"recovered-"
"""How the name begins that a file gets when no job knows the one it had."""

_STILL_DISPOSED_OF = frozenset({State.DELIVERED, State.DISPOSING})


def put_back(descriptor: int, folder: str, directory: bytes, name: bytes, ledger: Ledger) -> bytes | None:
    """Gives a file put aside its name again, unless a job is about to dispose of it; returns that name.

    `descriptor` is the open directory. `None`: it stays as it is. Nothing is ever overwritten: a name that is taken
    meanwhile gets `~1`, `~2` and so on. Raises `OSError`.
    """
    uuid = aside_uuid(name)
    if uuid is None:
        return None
    job = ledger.has_job(uuid.bytes)
    if job is not None and job.state in _STILL_DISPOSED_OF:
        return None
    if not stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
        return None
    wanted = job.place.name if job is not None else RECOVERED_PREFIX + str(uuid).encode("ascii")
    back = _rename_to_free_name(descriptor, name, wanted)
    said = log if job is None else about(log, job)
    said.warning(
        "%s in %s was put aside by the agent and no job is about to dispose of it: it is %s again",
        shown(name),
        shown(os.path.join(os.fsencode(folder), directory)),
        shown(back),
    )
    return back


def _rename_to_free_name(descriptor: int, name: bytes, wanted: bytes) -> bytes:
    number = 0
    while True:
        suffix = b"~%d" % number if number else b""
        free = wanted[: NAME_MAX_BYTES - len(suffix)] + suffix
        try:
            beneath.rename_noreplace(descriptor, name, descriptor, free)
        except FileExistsError:
            number += 1
        else:
            return free
