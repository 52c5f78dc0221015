"""A job that is taken from its worker and claimed anew before that worker has let go."""

import threading
from pathlib import Path

from tests.delivery.living import delivering
from tests.tus.fault_server import Fault, FaultServer
from tusd_agent.jobs.states import State

DATA = bytes(range(256)) * 4


def test_each_worker_lets_go_of_its_own_claim(tmp_path: Path) -> None:
    """As when an operator holds a job and releases it within the second that its worker takes to stop."""
    with FaultServer() as server, delivering(tmp_path, server.endpoint) as d:
        d.pool.use([d.endpoint], [d.rules], workers=4)
        server.fail("PATCH", Fault(stall=True))
        d.put(b"a", DATA)
        outcome: list[object] = []

        def first() -> None:
            try:
                outcome.append(d.pool.run_once())
            except Exception as error:
                outcome.append(error)

        worker = threading.Thread(target=first)
        worker.start()
        server.wait_for("PATCH")
        d.orders.hold(1, d.clock())
        d.orders.release(1, d.clock())
        assert d.pool.run_once(), "it is claimed anew, and put off: that upload is still in use"
        assert len(d.pool.in_flight()) == 1, "the first has yet to notice"
        server.release.set()
        worker.join(10)
        assert outcome == [True]
        assert d.pool.in_flight() == []
        assert d.pool.endpoint_states()[0].in_flight == 0
        d.run(2)
        assert d.only().state is State.DONE
