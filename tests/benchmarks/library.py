"""``python -m tests.benchmarks.library``: our client library beside others, in turn, against a sink.

Within a round each contender runs once, one after the other, so that what else the machine does meets all alike;
ratios are taken within a round and their median is shown. Needs ``pip install '.[bench]'``, openssl, and for the others
node with npm, and curl; what is missing is left out and said. Ends with 1 when a bar is not held.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tests.servers.install import NotInstalled

from .contenders import BARS, CASES, CONTENDERS, OURS, RSS_LIMIT_MIB, Case
from .measure import Run, RunFailed, bare_environment, make_certificate, measure
from .sink import Sink

SMALL_BYTES = 4096
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

Rounds = dict[str, list[Run]]


def size(text: str) -> int:
    number = text.rstrip("KMGiB")
    return int(number) * _UNITS[text.removeprefix(number)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.library", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=size, default=1 << 30, help="size of the big file, as 256MiB")
    parser.add_argument("--files", type=int, default=10_000, help=f"number of small files of {SMALL_BYTES} bytes")
    parser.add_argument("--only", default="", help="names of contenders, with commas between them (without: all)")
    parser.add_argument("--cases", default="", help=f"of {', '.join(case.name for case in CASES)} (without: all)")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        certificate, context = make_certificate(folder)
        sinks = {tls: stack.enter_context(Sink(context if tls else None)) for tls in (False, True)}
        environment = bare_environment(certificate)
        big, many = _files(folder, given.bytes, given.files)
        commands = _commands([name for name in given.only.split(",") if name])
        results: dict[str, Rounds] = {}
        for case in CASES:
            if given.cases and case.name not in given.cases.split(","):
                continue
            path, count, total = (many, given.files, given.files * SMALL_BYTES) if case.many else (big, 1, given.bytes)
            chosen = {name: command for (name, command) in commands.items() if _runs_in(name, case)}
            results[case.name] = _rounds(case, chosen, sinks[case.tls], path, (count, total), given.rounds, environment)
            _say(_table(_title(case, given.bytes, given.files), results[case.name]))
    bars = list(_bars(results))
    _say([line for line, _ in bars])
    return 0 if all(held for _, held in bars) else 1


def _files(folder: Path, big_bytes: int, count: int) -> tuple[Path, Path]:
    big, many = folder / "big", folder / "many"
    block = bytes(range(256)) * 4096
    with big.open("wb") as file:
        for begin in range(0, big_bytes, len(block)):
            file.write(block[: big_bytes - begin])
    many.mkdir()
    for number in range(count):
        (many / f"run-{number:06}.dat").write_bytes(block[:SMALL_BYTES])
    return big, many


def _commands(only: list[str]) -> dict[str, list[str]]:
    commands = {}
    for contender in CONTENDERS:
        if only and contender.name not in only:
            continue
        try:
            commands[contender.name] = contender.command()
        except NotInstalled as missing:
            _say([f"left out: {missing}"])
    return commands


def _runs_in(name: str, case: Case) -> bool:
    return any(contender.name == name and case.name in contender.cases for contender in CONTENDERS)


def _rounds(
    case: Case,
    commands: dict[str, list[str]],
    sink: Sink,
    path: Path,
    expected: tuple[int, int],
    rounds: int,
    environment: dict[str, str],
) -> Rounds:
    results: Rounds = defaultdict(list)
    for number in range(rounds):
        for name, command in commands.items():
            sink.forget()
            found = measure([*command, sink.endpoint, str(case.streams), str(path)], environment)
            if (sink.finished, sink.received_bytes) != expected:
                got = f"{sink.finished} uploads, {sink.received_bytes} bytes"
                raise RunFailed(f"{name}: {got} arrived instead of {expected[0]}, {expected[1]}")
            results[name].append(found)
        sys.stderr.write(f"{case.name}: round {number + 1} of {rounds}\n")
    return results


def _title(case: Case, big_bytes: int, files: int) -> str:
    what = f"{files} files of {SMALL_BYTES} bytes" if case.many else f"one file of {big_bytes / (1 << 20):g} MiB"
    streams = "one after the other" if case.streams == 1 else f"{case.streams} at a time"
    return f"{case.name}: {what} over {'TLS' if case.tls else 'HTTP'}" + (f", {streams}" if case.many else "")


def _ratios(ours: list[Run], theirs: list[Run], what: str) -> list[float]:
    return [getattr(a, what) / getattr(b, what) for a, b in zip(ours, theirs, strict=True)]


def _table(title: str, results: Rounds) -> Iterable[str]:
    yield f"\n{title}; medians of {len(next(iter(results.values()), []))} rounds"
    yield f"{'':22}{'CPU s':>8}{'from to':>15}{'wall s':>8}{'RSS MiB':>9}   ours/its CPU (from to)    wall"
    for name, runs in results.items():
        cpu = [run.cpu_seconds for run in runs]
        wall = statistics.median(run.wall_seconds for run in runs)
        rss = max(run.peak_rss_mib for run in runs)
        line = f"{name:22}{statistics.median(cpu):8.2f}{f'{min(cpu):.2f} to {max(cpu):.2f}':>15}{wall:8.2f}{rss:9.1f}"
        if name != OURS and OURS in results:
            ratios = _ratios(results[OURS], runs, "cpu_seconds")
            walls = statistics.median(_ratios(results[OURS], runs, "wall_seconds"))
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            line += f"{statistics.median(ratios):11.2f} {spread:19}{walls:8.2f}"
        yield line


def _bars(results: dict[str, Rounds]) -> Iterable[tuple[str, bool]]:
    for bar in BARS:
        rounds = results.get(bar.case, {})
        if OURS in rounds and bar.other in rounds:
            ratio = statistics.median(_ratios(rounds[OURS], rounds[bar.other], "cpu_seconds"))
            held = ratio <= bar.limit
            said = f"{bar.case}: CPU {ratio:.2f} of {bar.other}, at most {bar.limit:g}"
            yield f"{'held' if held else 'NOT HELD':9}{said}", held
    sizes = [
        run.peak_rss_mib
        for rounds in results.values()
        for name in rounds
        if name.startswith(OURS)
        for run in rounds[name]
    ]
    if sizes:
        held = max(sizes) < RSS_LIMIT_MIB
        yield f"{'held' if held else 'NOT HELD':9}peak RSS {max(sizes):.1f} MiB, below {RSS_LIMIT_MIB:g}", held


def _say(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
