"""Signs of life of threads: each says now and then that it moves on, others look how long ago that was."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """How long a thread has been silent, and its number for the kernel (gettid(2))."""

    name: str
    native_id: int
    silent_seconds: float


class Pulses:
    """The signs of life of threads that do the same work. Safe for use by several threads.

    `longest_wait_seconds`: whoever waits for something to do is to wake up as often, to show that it would; `None`: as
    nobody looks, waiting needs no sign.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._beats: dict[int, tuple[str, float]] = {}
        self.longest_wait_seconds: float | None = None

    def beat(self) -> None:
        """The calling thread moves on."""
        native_id = threading.get_native_id()
        if native_id not in self._beats:
            _tell_kernel(native_id, threading.current_thread().name)
        self._beats[native_id] = (threading.current_thread().name, self._monotonic())

    def move_on(self) -> None:
        """In the middle of something long: the calling thread moves on, if it is one of these."""
        if threading.get_native_id() in self._beats:
            self.beat()

    def end(self) -> None:
        """The calling thread ends as it should; one that ends without this is taken for one that stands still."""
        self._beats.pop(threading.get_native_id(), None)

    def rest(self, wait_seconds: float | None) -> float | None:
        """The calling thread has nothing to do for so long (`None`: until it is woken); returns how long to wait."""
        if self.longest_wait_seconds is None:
            self._beats[threading.get_native_id()] = (threading.current_thread().name, math.inf)
            return wait_seconds
        return min(self.longest_wait_seconds, math.inf if wait_seconds is None else wait_seconds)

    def signs(self) -> list[Sign]:
        """Of each thread that has begun and not ended."""
        now = self._monotonic()
        return [Sign(name, native_id, max(0.0, now - at)) for native_id, (name, at) in self._beats.copy().items()]

    def around(self, flag: threading.Event) -> "Asked":
        """That flag, and looking at it is a sign as well; of those threads alone that are among these."""
        return Asked(self, flag)

    def flag(self) -> threading.Event:
        """A flag to stop by; whoever looks whether it is set thereby shows that it moves on.

        All long work looks at it at least once a second: sending, waiting for an answer, copying, a command.
        """
        return _WatchedFlag(self)


def _tell_kernel(native_id: int, name: str) -> None:
    """Has `top -H` and the like show the thread by its name (proc_pid_comm(5)); of no use where that can't be."""
    with suppress(OSError), open(f"/proc/self/task/{native_id}/comm", "w") as file:
        file.write(name[:15])


class Asked:
    """A flag of others, as `Pulses.around` gives it."""

    def __init__(self, pulses: Pulses, flag: threading.Event) -> None:
        self._pulses = pulses
        self._flag = flag

    def is_set(self) -> bool:
        self._pulses.move_on()
        return self._flag.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        return self._flag.wait(timeout)


class _WatchedFlag(threading.Event):
    def __init__(self, pulses: Pulses) -> None:
        super().__init__()
        self._pulses = pulses

    def is_set(self) -> bool:
        self._pulses.beat()
        return super().is_set()
