"""What outlives a restart of what an operator has set: pauses and limits."""

from pathlib import Path

from tusd_agent.jobs.database import Database
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.standing import Scope, Standing

ODD = "/srv/a b*?[x] endpoint c"


def test_pauses_are_kept_each_by_itself_and_cover_what_they_name(tmp_path: Path) -> None:
    database = Database(tmp_path / "queue.db")
    database.open()
    standing = Standing(database)
    assert standing.pause(Scope(folder=ODD), 5.0)
    assert not standing.pause(Scope(folder=ODD), 6.0), "it is paused since the first time"
    assert standing.pause(Scope(endpoint="lab"), 3.0)
    standing.limit(7.5, "lab")
    database.close()

    database.open()
    pauses = standing.pauses()
    assert list(pauses.since.items()) == [(Scope(endpoint="lab"), 3.0), (Scope(folder=ODD), 5.0)]
    assert Reader(tmp_path / "queue.db").pauses() == pauses
    assert pauses.cover(ODD, "other")
    assert pauses.cover("/srv/other", "lab")
    assert not pauses.cover("/srv/other", "other")
    assert pauses.cover_endpoint("lab")
    assert not pauses.cover_endpoint("other")

    assert standing.pause(Scope(), 9.0)
    assert standing.pauses().of_all
    assert standing.pauses().cover("/srv/other", "other")
    assert standing.resume(Scope())
    assert not standing.resume(Scope())
    assert standing.resume(Scope(folder=ODD))
    assert list(standing.pauses().since) == [Scope(endpoint="lab")], "the others stay"
    database.close()


def test_limits_are_kept_and_taken_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "queue.db")
    database.open()
    standing = Standing(database)
    standing.limit(1000, None)
    standing.limit(0, "lab")
    standing.limit(5.5, "lab_2")
    assert standing.limits() == {None: 1000.0, "lab": 0.0, "lab_2": 5.5}
    standing.limit(None, "lab")
    standing.limit(2000, None)
    assert standing.limits() == {None: 2000.0, "lab_2": 5.5}
    assert not standing.pauses().since
    database.close()
