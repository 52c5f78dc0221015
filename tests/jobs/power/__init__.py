"""The power goes: what was written and not synced is on the disk, or not, or in part.

`scenario` is the child whose system calls are recorded, `recording` reads them, `disk` is what they leave behind when
the power goes at some instant.
"""
