"""What a caller can tell apart, and what a person reads."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tusd_agent.tus import (
    AuthRequired,
    CreationFailed,
    DeadlineExceeded,
    NotATusServer,
    ServerBusy,
    SourceUnavailable,
    TUSClient,
    TUSUploadError,
    UntrustedServer,
    UploadCancelled,
    UploadInterrupted,
    UploadRefused,
    UploadTooLarge,
)
from tusd_agent.tus.errors import creation_failed

from .conftest import quick
from .fault_server import Fault, FaultServer


class Already:
    def is_set(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=403), AuthRequired),
        (Fault(status=404), NotATusServer),
        (Fault(status=400), UploadRefused),
        (Fault(status=413), UploadTooLarge),
        (Fault(status=503), UploadInterrupted),
        (Fault(status=503, headers={"Retry-After": "5"}), ServerBusy),
        (Fault(drop=True), UploadInterrupted),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_could_not_be_created(server: FaultServer, fault: Fault, kind: type[TUSUploadError]) -> None:
    with quick(server.endpoint, max_retries=0) as client:
        calls: list[Callable[[], object]] = [lambda: client.upload_bytes(b"x", "x"), lambda: client.create(1)]
        for call in calls:
            server.fail("POST", fault)
            with pytest.raises(CreationFailed) as caught:
                call()
            assert isinstance(caught.value, kind)
            assert type(caught.value).__name__ == kind.__name__
            assert caught.value.offset is None
    assert server.methods().count("POST") == 2


def test_the_kinds_of_the_guide_are_told_apart(server: FaultServer, client: TUSClient, tmp_path: Path) -> None:
    """Could not open, could not create, interrupted, cancelled, deadline: each its own, none another."""

    def kind_of(**options: object) -> set[type[TUSUploadError]]:
        kinds = (SourceUnavailable, CreationFailed, UploadInterrupted, UploadCancelled, DeadlineExceeded)
        try:
            client.upload(tmp_path / "file", max_restarts=0, **options)  # type: ignore[arg-type]  # of several types
        except TUSUploadError as error:
            return {kind for kind in kinds if isinstance(error, kind)}
        return set()

    client.max_retries = 0
    assert kind_of() == {SourceUnavailable}
    (tmp_path / "file").write_bytes(b"x")
    assert kind_of() == set()
    server.fail("POST", Fault(status=400))
    assert kind_of() == {CreationFailed}
    server.fail("PATCH", Fault(read=0, drop=True))
    assert kind_of() == {UploadInterrupted}
    assert kind_of(cancel=Already()) == {UploadCancelled}
    assert kind_of(deadline=0.0) == {DeadlineExceeded}


def test_errors_travel_between_processes() -> None:
    plain = AuthRequired("no", status=401, url="http://h/1", offset=5)
    for error in (plain, creation_failed(ServerBusy("later", status=503, retry_after_seconds=7.0))):
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert (str(back), vars(back)) == (str(error), vars(error))


def test_marking_twice_and_marking_stops() -> None:
    error = creation_failed(UploadRefused("x"))
    assert type(creation_failed(error)) is type(error)
    assert type(creation_failed(TUSUploadError("x"))) is CreationFailed
    assert type(creation_failed(UploadCancelled("x"))) is UploadCancelled
    assert creation_failed(UntrustedServer("x")).retryable


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(status=412, headers={"Tus-Version": "2.0.0"}), "another version of tus (2.0.0)"),
        (Fault(status=507), "storage is full"),
        (Fault(status=423), "locked by another request"),
        (Fault(status=451, text="not\x1b[2J here"), "not\\x1b[2J here"),
        (Fault(status=431), "send less metadata"),
        (Fault(status=405), "does a proxy filter methods?"),
        (Fault(status=501), "is this a tus server's address?"),
        (Fault(status=414), "give a shorter one"),
        (Fault(status=415), "does a proxy change Content-Type?"),
        (Fault(status=409, text="at 5"), "does something else send it? It says: at 5"),
        (Fault(status=413), "send a smaller file"),
        (Fault(status=413, headers={"Tus-Resumable": None}), "send smaller chunks"),
        (Fault(status=418, text="no tea"), "what it says is the reason: no tea"),
        (Fault(status=418), "it does not say why, its log may"),
        (Fault(status=401), "check the credentials; the upload is kept"),
        (Fault(status=502), "can be tried again"),
        (Fault(keep=0), "its storage may be full"),
        (Fault(headers={"Upload-Offset": "many"}), "or a proxy before it, is at fault"),
        (Fault(read=1000, drop=True), "what the server has is kept"),
        (Fault(status=302, headers={"Location": "/x"}), "give that address instead"),
        (Fault(status=307, headers={"Location": "http://["}), "give the final address instead"),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
def test_messages_say_what_to_do(server: FaultServer, fault: Fault, text: str) -> None:
    server.fail("PATCH", fault)
    with quick(server.endpoint, max_retries=0) as client, pytest.raises(TUSUploadError) as caught:
        client.upload_bytes(bytes(100_000), "x")
    assert text in str(caught.value)
    assert "http://127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(status=403), "check the credentials, then try again"),
        (Fault(drop=True), "whether anything was created is not known, trying again makes a new upload"),
        (Fault(raw=b"SSH-2.0-x\r\n"), "Check the address and port"),
        (Fault(status=404), "Is this the full address of the tus endpoint?"),
        (Fault(headers={"Location": None}), "that no proxy removes the header"),
        (Fault(headers={"Location": "http://["}), "Mend the server's idea of its own address"),
        (Fault(headers={"Location": "http://files.invalid/"}), "allow other origins"),
    ],
)
def test_messages_of_a_creation_say_what_to_do(server: FaultServer, fault: Fault, text: str) -> None:
    server.fail("POST", fault)
    with quick(server.endpoint, max_retries=0) as client, pytest.raises(TUSUploadError) as caught:
        client.upload_bytes(b"x", "x")
    assert text in str(caught.value)
    assert server.endpoint in str(caught.value)
    assert "resumed" not in str(caught.value)
