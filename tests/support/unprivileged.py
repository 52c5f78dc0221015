"""``python -m tests.support.unprivileged COMMAND…``: runs it without root's right to read and write every file.

The user stays who it is; CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH leave the bounding set (capabilities(7)), so that the
command's own files obey their modes even where the tests run as root. Nothing changes for other users.
"""

import ctypes
import os
import sys

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

if __name__ == "__main__":
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")
    os.execvp(sys.argv[1], sys.argv[1:])
