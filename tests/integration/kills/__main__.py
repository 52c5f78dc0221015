"""``python -m tests.integration.kills``: any number of kills, with an agent and a server of its own."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.servers import KINDS, EmbeddedServer

from .course import Plan
from .run import other_file_system, run


def main() -> int:
    """Exit status 0: all is well; 1: it is not, and what is on disk stays to be looked at."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.kills", description=__doc__.partition(":")[2])
    parser.add_argument("--kills", type=int, default=100, help="how often the agent is killed (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="what chance does depends on it (default: 1)")
    parser.add_argument("--server", choices=[EmbeddedServer.name, "tusd"], default="tusd", help="(default: tusd)")
    parser.add_argument(
        "--fast-path", type=int, default=0, metavar="BYTES", help="small_file_fast_path_bytes of the agent (default: 0)"
    )
    parser.add_argument("--keep", action="store_true", help="keep what is on disk in any case")
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="kills-"))
    elsewhere = other_file_system(base)
    server = KINDS[given.server](base / "server")
    begun = time.monotonic()
    good = False
    try:
        server.start()
        findings = run(base, elsewhere, server, Plan(given.kills, given.seed, given.fast_path))
        sys.stdout.write(f"{findings.report()}, seed {given.seed}, {time.monotonic() - begun:.0f} s\n")
        for (moment, point), count in sorted(findings.lived.killed.items(), key=lambda each: each[0][::-1]):
            sys.stdout.write(f"{count:5} {moment} the {point}\n")
        good = not findings.violations
    finally:
        server.close()
        if good and not given.keep:
            shutil.rmtree(base)
            shutil.rmtree(elsewhere, ignore_errors=True)
        else:
            sys.stdout.write(f"what is left of it: {base}, {elsewhere}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
