"""``python -m tests.servers install``: get the real servers onto this machine."""

import subprocess
import sys

from .install import HOW, NotInstalled, install_node_server, install_tusd


def main() -> None:
    if sys.argv[1:] != ["install"]:
        raise SystemExit(f"usage: {HOW}")
    for install in (install_tusd, install_node_server):
        try:
            sys.stdout.write(f"{install()}\n")
        except (NotInstalled, subprocess.CalledProcessError) as failure:
            raise SystemExit(str(failure)) from failure


if __name__ == "__main__":
    main()
