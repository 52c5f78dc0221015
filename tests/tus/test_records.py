"""Values with named fields: what callers get and compare, print, keep and send to other processes."""

import copy
import pickle
from typing import Any

import pytest

from tusd_agent.tus import ServerInfo, UploadResult

RESULT = UploadResult("http://h/files/1", 5, bytes_sent=5)


def test_fields_and_defaults() -> None:
    assert (RESULT.url, RESULT.size, RESULT.bytes_sent, RESULT.attempts, RESULT.expires) == (
        "http://h/files/1",
        5,
        5,
        1,
        None,
    )
    assert repr(RESULT) == (
        "UploadResult(url='http://h/files/1', size=5, offset_resumed_from=0, bytes_sent=5, attempts=1, expires=None)"
    )


def test_equality_is_that_of_class_and_values() -> None:
    same = UploadResult(size=5, url="http://h/files/1", bytes_sent=5)
    assert same == RESULT
    assert hash(same) == hash(RESULT)
    assert UploadResult("http://h/files/1", 6) != RESULT
    assert tuple(vars(RESULT).values()) != RESULT
    assert ServerInfo() == ServerInfo(known=False)
    assert not isinstance(RESULT, tuple)


def test_nothing_changes() -> None:
    with pytest.raises(AttributeError, match="can't be changed"):
        RESULT.size = 6  # type: ignore[misc]  # the same said by mypy
    with pytest.raises(AttributeError, match="can't be changed"):
        del RESULT.size
    assert RESULT.size == 5


def test_copies() -> None:
    assert copy.copy(RESULT) == copy.deepcopy(RESULT) == pickle.loads(pickle.dumps(RESULT)) == RESULT


@pytest.mark.parametrize(
    ("values", "named", "said"),
    [
        ((), {}, "url is missing"),
        (("u",), {}, "size is missing"),
        (("u", 1), {"url": "u"}, "given twice"),
        (("u", 1, 2, 3, 4, None, 6), {}, "too many values"),
        (("u", 1), {"colour": "red"}, "has no colour"),
    ],
)
def test_what_does_not_fit(values: tuple[Any, ...], named: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=f"UploadResult.*{said}"):
        UploadResult(*values, **named)
