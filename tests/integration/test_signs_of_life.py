"""Whether the agent is alive: by values, and by threads that really stand still."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.intake.folder import WatchedFolder
from tusd_agent.intake.watcher import Watcher
from tusd_agent.pulse import Pulses, Sign
from tusd_agent.service.watchdog import Verdict, Vitals, hangs, judged

LIMIT = 60.0


def sign(name: str, silent_seconds: float, native_id: int = 0) -> Sign:
    return Sign(name, native_id, silent_seconds)


@pytest.mark.parametrize(
    ("intake", "workers", "alive"),
    [
        ([0.0], [0.0, 0.0], True),
        ([59.0], [59.0, 59.0], True),
        ([61.0], [0.0, 0.0], False),
        ([0.0], [61.0, 0.0], True),
        ([0.0], [61.0, 61.0], False),
        ([0.0], [], True),
        ([], [], True),
    ],
)
def test_dead_is_the_agent_when_finding_or_all_sending_stands_still(
    intake: list[float], workers: list[float], alive: bool
) -> None:
    verdict = judged(
        [sign("intake", s) for s in intake], [sign("worker", s) for s in workers], LIMIT, lambda sign: False
    )
    assert verdict.alive == alive
    assert (verdict.problem is None) == alive


def test_a_disk_that_does_not_answer_is_said_and_survived() -> None:
    """The thread that finds files hangs in the kernel, all workers wait for a lock it holds: a restart helps nobody."""
    silent = [sign("intake", 90.0, 7)], [sign("worker-0", 80.0, 8), sign("worker-1", 80.0, 9)]
    verdict = judged(*silent, LIMIT, lambda sign: sign.native_id == 7)
    assert verdict.alive
    assert verdict.problem is not None
    assert "intake for 90 s" in verdict.problem


def test_who_waits_only_for_a_lock_does_not_hang_in_a_disk() -> None:
    lock = threading.Lock()
    lock.acquire()
    waiting = threading.Thread(target=lock.acquire, daemon=True)
    waiting.start()
    try:
        assert waiting.native_id is not None
        assert not hangs(sign("waiting", 100.0, waiting.native_id))
        assert not hangs(sign("gone", 100.0, 2**22 + 1))
    finally:
        lock.release()
        waiting.join()


# glibc keeps who calls posix_spawn asleep until the new program runs (vfork(2)): here until somebody opens the FIFO.
SLEEPS = """
import os, sys
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])
"""


def test_the_kernel_says_who_hangs(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = subprocess.Popen([sys.executable, "-c", SLEEPS, fifo])
    try:
        threads = Path(f"/proc/{child.pid}/task")
        wait_for(lambda: hangs(sign("hanging", 100.0, child.pid), threads), 10, "the uninterruptible sleep")
    finally:
        os.close(os.open(fifo, os.O_WRONLY))
        child.wait()


def test_threads_show_themselves() -> None:
    """Looking at the flag is a sign, waiting is one as often as was asked for, and the kernel knows the name."""
    now = 100.0
    pulses = Pulses(lambda: now)
    pulses.longest_wait_seconds = 30.0
    flag = pulses.flag()
    assert pulses.rest(None) == 30.0
    assert pulses.rest(5.0) == 5.0
    pulses.beat()
    now = 150.0
    assert [each.silent_seconds for each in pulses.signs()] == [50.0]
    assert not flag.is_set()
    assert [each.silent_seconds for each in pulses.signs()] == [0.0]
    pulses.end()
    assert pulses.signs() == []
    names: list[str] = []

    def work() -> None:
        pulses.beat()
        names.append(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip())

    thread = threading.Thread(target=work, name="worker-with-a-long-name")
    thread.start()
    thread.join()
    assert names == ["worker-with-a-l"]


def test_who_is_none_of_these_is_none_by_looking() -> None:
    """Another thread may look at a flag that is shared; the thread that is meant shows by it that it moves on."""
    now = 0.0
    pulses = Pulses(lambda: now)
    shared = pulses.around(threading.Event())
    assert not shared.is_set()
    assert pulses.signs() == []
    pulses.beat()
    now = 10.0
    assert not shared.wait(0)
    assert [each.silent_seconds for each in pulses.signs()] == [10.0]
    assert not shared.is_set()
    assert [each.silent_seconds for each in pulses.signs()] == [0.0]


def test_a_large_folder_is_no_standing_still(tmp_path: Path) -> None:
    """Each directory that is added to the watches counts."""
    for number in range(20):
        (tmp_path / str(number)).mkdir()
    moved_on: list[None] = []
    watcher = Watcher(lambda path: None, moves_on=lambda: moved_on.append(None))
    watcher.start()
    try:
        watcher.watch(WatchedFolder(path=str(tmp_path), endpoint="default"))
        assert len(moved_on) == 21
    finally:
        watcher.stop()


def test_nobody_has_to_show_up_for_nobody() -> None:
    """Where no watchdog looks, a thread waits for as long as it likes, and counts as alive."""
    now = 0.0
    pulses = Pulses(lambda: now)
    pulses.beat()
    assert pulses.rest(None) is None
    now = 10_000.0
    assert Vitals(pulses, pulses).look() == Verdict(True)


def test_a_dead_thread_stands_still() -> None:
    pulses = Pulses()
    vitals = Vitals(pulses, Pulses())
    vitals.watched_by(0.05)
    thread = threading.Thread(target=pulses.beat)
    thread.start()
    thread.join()
    deadline = time.monotonic() + 10
    while vitals.look().alive:
        assert time.monotonic() < deadline
        time.sleep(0.01)
