"""``python -m tests.systemd install``: make the root trees that the tests boot."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.servers import NotInstalled

from .tree import HOW, RELEASES, install_tree


def main() -> None:
    if sys.argv[1:] != ["install"]:
        raise SystemExit(f"usage: {HOW}")
    with ThreadPoolExecutor() as pool:
        try:
            for tree in pool.map(install_tree, RELEASES):
                sys.stdout.write(f"{tree}\n")
        except (NotInstalled, subprocess.CalledProcessError) as failure:
            raise SystemExit(str(failure)) from failure


if __name__ == "__main__":
    main()
