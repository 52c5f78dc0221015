"""How fast bodies may be sent: buckets on a clock of their own, the timetable by the clock on the wall."""

import os
import threading
import time
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from tests.support.files import wait_for
from tusd_agent.delivery.bandwidth import Bandwidth, Throttle, ThrottledSource
from tusd_agent.delivery.ratelimit import TokenBucket
from tusd_agent.delivery.timetable import TimedLimit, rate_at
from tusd_agent.tus.errors import UploadCancelled

BERLIN = ZoneInfo("Europe/Berlin")
GO_ON = threading.Event()


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0
        return False


def berlin(now: float) -> time.struct_time:
    return datetime.fromtimestamp(now, BERLIN).timetuple()


def instant(text: str) -> float:
    """The instant of a local time in Berlin; of one that comes twice, the first."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def take_all(bucket: TokenBucket | Throttle, size: int, clock: Clock) -> None:
    while size:
        taken = bucket.take(size, clock)
        assert 0 < taken <= size
        size -= taken


@pytest.mark.parametrize("rate", [1, 40, 1024, 10**5, 10**8])
def test_a_bucket_gives_its_rate_and_no_more(rate: int) -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: rate, monotonic=clock)
    take_all(bucket, rate * 20, clock)
    assert clock.now == pytest.approx(20, abs=0.2)


@pytest.mark.parametrize("idle_seconds", [0.05, 3600])
def test_no_burst_is_longer_than_a_tenth_of_a_second(idle_seconds: float) -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: 10_000, monotonic=clock)
    take_all(bucket, 100, clock)
    clock.now += idle_seconds
    begun, taken = clock.now, 0
    while clock.now == begun:
        taken += bucket.take(10_000, clock)
    assert taken <= 1000 + 10_000 * (clock.now - begun)


def test_pieces_are_so_small_that_a_slow_upload_moves_all_the_time() -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: 1024, monotonic=clock)
    moments = []
    for _ in range(100):
        bucket.take(256 * 1024, clock)
        moments.append(clock.now)
    assert max(later - earlier for earlier, later in pairwise(moments)) < 0.1


def test_a_bucket_without_rate_never_waits() -> None:
    clock = Clock()
    assert TokenBucket(lambda: 0, monotonic=clock).take(10**12, clock) == 10**12
    assert clock.now == 0


def test_a_stop_ends_the_wait_and_is_told_apart() -> None:
    stop = threading.Event()
    bucket = TokenBucket(lambda: 0.001)
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(bucket.take(100, stop)))
    thread.start()
    stop.set()
    thread.join(5)
    assert taken == [0]


def test_what_waits_when_the_rate_falls_waits_for_a_piece_of_the_new_size() -> None:
    """A quarter of a megabyte reserved at 100 MB/s would take minutes at 1 kB/s, and no byte would move meanwhile."""
    clock = Clock()
    rate = 10**8
    bucket = TokenBucket(lambda: rate, monotonic=clock)
    for _ in range(8):
        bucket.take(256 * 1024, clock)

    class Falling(Clock):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal rate
            if rate != 1000:
                rate = 1000
                return False
            return clock.wait(timeout)

    begun = clock.now
    assert bucket.take(256 * 1024, Falling()) <= 25
    assert clock.now - begun < 0.2


def test_a_rate_that_rises_is_felt_within_a_moment() -> None:
    bandwidth = Bandwidth(10.0)
    bucket = bandwidth._buckets[None]
    sizes: list[int] = []

    def take() -> None:
        while sum(sizes) < 10**6:
            sizes.append(bucket.take(10**6, GO_ON))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    wait_for(lambda: sizes, 10, "the first bytes")
    bandwidth.set_limit(10**7)
    thread.join(10)
    assert not thread.is_alive()


def test_a_large_taker_gets_no_more_at_a_time_than_a_small_one() -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: 4000, monotonic=clock)
    assert [bucket.take(wanted, clock) for wanted in (10**6, 100, 10**6, 100, 30)] == [100, 100, 100, 100, 30]


@pytest.mark.parametrize("rates", [(4000, 1000), (1000, 4000), (1100, 1000), (1000, 0), (1000, 1000)])
def test_the_smaller_of_two_buckets_counts(rates: tuple[int, int]) -> None:
    clock = Clock()
    endpoint, agent = (TokenBucket(lambda rate=rate: rate, monotonic=clock) for rate in rates)  # type: ignore[misc]
    throttle = Throttle(endpoint, agent)
    take_all(throttle, 10_000, clock)
    assert clock.now == pytest.approx(10, abs=0.2)
    assert throttle.rate_bytes_per_second == 1000


def test_two_endpoints_share_the_rate_of_the_agent() -> None:
    bandwidth = Bandwidth(20_000, {"one": 5000, "other": 0})
    over = threading.Event()
    given = {"one": 0, "other": 0}

    def take(name: str) -> None:
        while size := bandwidth.throttle(name).take(10**6, over):
            given[name] += size

    threads = [threading.Thread(target=take, args=(name,)) for name in given]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    wait_for(lambda: sum(given.values()) > 30_000, 60, "a second and a half's worth")
    over.set()
    for thread in threads:
        thread.join(10)
    seconds = time.monotonic() - begun
    assert given["one"] <= 5000 * (seconds + 0.1)
    assert sum(given.values()) <= 20_000 * (seconds + 0.3)
    assert all(given.values())


def test_limits_set_by_hand_replace_those_of_the_settings() -> None:
    night = TimedLimit(0, 24 * 60, 500)
    bandwidth = Bandwidth(1000, {"default": 300, "other": 0}, [night, TimedLimit(0, 24 * 60, 200, endpoint="other")])
    assert [bandwidth.rate(name) for name in (None, "default", "other")] == [500, 300, 200]
    bandwidth.set_limit(0)
    bandwidth.set_limit(7000, "other")
    assert [bandwidth.rate(name) for name in (None, "default", "other")] == [0, 300, 7000]
    bandwidth.set_limit(None)
    bandwidth.set_limit(None, "other")
    assert [bandwidth.rate(name) for name in (None, "default", "other")] == [500, 300, 200]
    with pytest.raises(KeyError):
        bandwidth.set_limit(1, "nowhere")
    with pytest.raises(ValueError, match="negative"):
        bandwidth.set_limit(-1)


def test_a_limit_begins_in_the_middle_of_a_body() -> None:
    clock = Clock()
    noon = instant("2026-07-01 12:00")
    bandwidth = Bandwidth(
        10_000, {"default": 0}, [TimedLimit(720, 780, 1000)],
        clock=lambda: noon - 10 + clock.now, monotonic=clock, local=berlin,
    )  # fmt: skip
    take_all(bandwidth.throttle("default"), 110_000, clock)
    assert clock.now == pytest.approx(20, abs=0.5)


class Letters:
    size = 26

    def readinto(self, offset: int, buffer: memoryview) -> int:
        data = b"abcdefghijklmnopqrstuvwxyz"[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)


def test_a_source_gives_what_is_allowed_and_a_stop_comes_through() -> None:
    stop = threading.Event()
    buffer = memoryview(bytearray(26))
    source = ThrottledSource(Letters(), Throttle(TokenBucket(lambda: 400)), stop)
    assert source.size == 26
    assert source.readinto(3, buffer) == 10
    assert bytes(buffer[:10]) == b"defghijklm"
    stop.set()
    with pytest.raises(UploadCancelled):
        source.readinto(13, buffer)
    free = ThrottledSource(Letters(), Throttle(), GO_ON)
    assert free.readinto(0, buffer) == 26
    assert free.readinto(26, buffer) == 0


# The timetable.


DAY = TimedLimit(8 * 60, 18 * 60, 100)
NIGHT = TimedLimit(22 * 60, 6 * 60, 10, frozenset({4}))


@pytest.mark.parametrize(
    ("at", "rate"),
    [("07:59:59", 0), ("08:00:00", 100), ("17:59:59", 100), ("18:00:00", 0)],
)
def test_a_limit_holds_from_its_first_minute_to_before_its_last(at: str, rate: float) -> None:
    assert rate_at([DAY], instant(f"2026-03-02 {at}"), berlin) == rate


@pytest.mark.parametrize(
    ("at", "rate"),
    [
        ("2026-03-05 23:00", 0),  # Thursday
        ("2026-03-06 05:00", 0),  # early on Friday: it would have begun on Thursday
        ("2026-03-06 21:59", 0),
        ("2026-03-06 22:00", 10),
        ("2026-03-07 05:59", 10),  # Saturday: it began on Friday
        ("2026-03-07 06:00", 0),
        ("2026-03-07 22:00", 0),
    ],
)
def test_a_limit_over_midnight_belongs_to_the_day_it_begins_on(at: str, rate: float) -> None:
    assert rate_at([NIGHT], instant(at), berlin) == rate


def test_the_week_is_round() -> None:
    sunday = TimedLimit(22 * 60, 6 * 60, 10, frozenset({6}))
    assert rate_at([sunday], instant("2026-03-08 23:00"), berlin) == 10
    assert rate_at([sunday], instant("2026-03-09 05:00"), berlin) == 10


def test_of_limits_that_overlap_the_smallest_counts() -> None:
    limits = [DAY, TimedLimit(0, 24 * 60, 300), TimedLimit(9 * 60, 10 * 60, 20)]
    assert [rate_at(limits, instant(f"2026-03-02 {at}"), berlin) for at in ("07:00", "08:30", "09:30")] == [
        300,
        100,
        20,
    ]


def test_the_clock_on_the_wall_decides_when_it_is_changed() -> None:
    early = TimedLimit(2 * 60 + 30, 3 * 60 + 30, 5)
    # Spring: 02:00 to 03:00 does not exist, so the limit lasts for half an hour.
    begun = instant("2026-03-29 01:00")
    held = [minute for minute in range(240) if rate_at([early], begun + minute * 60, berlin)]
    assert held == list(range(60, 90))
    # Autumn: 02:00 to 03:00 comes twice.
    begun = instant("2026-10-25 01:00")
    held = [minute for minute in range(300) if rate_at([early], begun + minute * 60, berlin)]
    assert held == [*range(90, 120), *range(150, 210)]


def test_local_time_is_that_of_the_host() -> None:
    before = os.environ.get("TZ")
    try:
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        assert rate_at([DAY], datetime.fromisoformat("2026-03-02T00:30:00+00:00").timestamp()) == 100
        os.environ["TZ"] = "UTC"
        time.tzset()
        assert rate_at([DAY], datetime.fromisoformat("2026-03-02T00:30:00+00:00").timestamp()) == 0
    finally:
        os.environ.pop("TZ", None)
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def test_what_the_settings_say_can_change_while_bytes_flow() -> None:
    bandwidth = Bandwidth(100.0, {"a": 10.0, "b": 20.0})
    kept, gone = bandwidth.throttle("a"), bandwidth.throttle("b")
    bandwidth.set_limit(5.0, "b")
    bandwidth.set_limit(50.0)
    bandwidth.use(7.0, {"a": 30.0, "c": 40.0}, [TimedLimit(0, 24 * 60, 25.0, endpoint="a")])
    assert kept.rate_bytes_per_second == 25.0, "a throttle that uploads hold follows"
    assert gone.rate_bytes_per_second == 50.0, "that of an endpoint that went has the agent's limit"
    assert bandwidth.by_hand == {None: 50.0}
    assert bandwidth.throttle("c").rate_bytes_per_second == 40.0
    with pytest.raises(KeyError):
        bandwidth.set_limit(1.0, "b")
    bandwidth.set_limit(None)
    assert (bandwidth.rate(), bandwidth.configured("a")) == (7.0, 30.0)
