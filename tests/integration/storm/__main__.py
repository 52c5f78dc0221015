"""``python -m tests.integration.storm``: a storm of any length, with an agent and a server of its own."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.servers import KINDS, EmbeddedServer
from tests.support.agent import Agent

from .check import Check
from .weather import Plan, agent_settings, blow, wait_for_rest, watched

SECONDS_BETWEEN_STALLS = 15


def main() -> int:
    """Exit status 0: all is well; 1: it is not, and what is on disk stays to be looked at."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.storm", description=__doc__.partition(":")[2])
    parser.add_argument("--seconds", type=float, default=60, help="how long the writers write (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="what the writers do depends on it (default: 1)")
    parser.add_argument("--writers", type=int, default=4, help="how many processes write (default: 4)")
    parser.add_argument("--pace", type=float, default=25, help="acts per second and writer (default: 25)")
    parser.add_argument("--stalls", type=int, help="how often the agent is stopped (default: every 15 s)")
    parser.add_argument("--rest-seconds", type=float, default=300, help="how long to wait at the end (default: 300)")
    parser.add_argument("--server", choices=list(KINDS), default=EmbeddedServer.name, help="(default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep what is on disk in any case")
    given = parser.parse_args()
    stalls = given.stalls if given.stalls is not None else max(1, int(given.seconds / SECONDS_BETWEEN_STALLS))
    plan = Plan(given.seconds, given.seed, given.writers, given.pace, stalls)
    base = Path(tempfile.mkdtemp(prefix="storm-"))
    server = KINDS[given.server](base / "server")
    settings = agent_settings(base)
    agent = Agent(base / "agent", server.url, **settings, log_level="debug")
    good = False
    try:
        server.start()
        agent.start()
        blown = blow(base, agent, plan)
        ended = time.monotonic()
        wait_for_rest(agent, given.rest_seconds)
        findings = Check(watched(base), blown, agent, server.stored()).findings(plan.seed)
        sys.stdout.write(f"{findings.report()}, at rest after {time.monotonic() - ended:.0f} s\n")
        good = not findings.violations
    finally:
        agent.close()
        server.close()
        if good and not given.keep:
            shutil.rmtree(base)
        else:
            sys.stdout.write(f"what is left of it: {base}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
