"""The sample files: what they are, and that each is complete at the moment it is seen under its own name."""

from pathlib import Path

import pytest

from tusd_agent.demo.samples import BIG, MIB, SAMPLES, Sample, Way, content, drop

SMALL = (
    Sample("plain.bin", 3 * MIB + 5),
    Sample("careful.bin", 3 * MIB, Way.RENAMED),
    Sample("new/deep/moved.bin", 2 * MIB, Way.MOVED_IN),
    Sample("new/moved too.bin", 0, Way.MOVED_IN),
)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    watched, staging = tmp_path / "watched", tmp_path / "staging"
    watched.mkdir()
    staging.mkdir()
    return watched, staging


def found(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_the_samples_are_of_many_kinds() -> None:
    sizes = [sample.size_bytes for sample in SAMPLES]
    assert 0 in sizes
    assert max(sizes) == BIG.size_bytes >= 200_000_000
    assert sum(sizes) - BIG.size_bytes < 10_000_000
    assert {sample.way for sample in SAMPLES} == set(Way)
    assert any("/" in sample.path for sample in SAMPLES)
    assert any(not sample.path.isascii() for sample in SAMPLES)
    assert len({sample.path for sample in SAMPLES}) == len(SAMPLES)


def test_they_lie_there_whole_and_nothing_else_does(folders: tuple[Path, Path]) -> None:
    watched, staging = folders
    drop(SMALL, watched, staging, lambda: None)
    assert found(watched) == {sample.path: sample.size_bytes for sample in SMALL}
    assert found(staging) == {}
    for sample in SMALL:
        assert (watched / sample.path).read_bytes() == b"".join(content(sample))


def test_what_is_renamed_or_moved_in_is_never_seen_in_part(folders: tuple[Path, Path]) -> None:
    watched, staging = folders
    careful = {sample.path: sample.size_bytes for sample in SMALL if sample.way is not Way.WRITTEN}
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        for path, size in found(watched).items():
            assert careful.get(path, size) == size

    drop(SMALL, watched, staging, look)
    assert looks > len(SMALL)


def test_dropping_can_be_ended(folders: tuple[Path, Path]) -> None:
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    with pytest.raises(Enough):
        drop(SMALL, *folders, enough)


def test_no_two_blocks_and_no_two_samples_are_equal() -> None:
    blocks = [block for sample in SMALL for block in content(sample)]
    assert len(set(blocks)) == len(blocks)
    assert b"".join(content(SMALL[0])) == b"".join(content(SMALL[0]))
