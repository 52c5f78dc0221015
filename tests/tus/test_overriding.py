"""PATCH and DELETE through POST: asked for, or learnt."""

import os

import pytest

from tusd_agent.tus import BytesSource, TUSClient, UploadRefused

from .conftest import quick
from .fault_server import Fault, FaultServer

SOURCE = BytesSource(os.urandom(100_000))


def overridden(server: FaultServer) -> list[str]:
    return [request.headers.get("x-http-method-override", request.method) for request in server.requests]


def test_asked_for(server: FaultServer) -> None:
    server.overrides = True
    server.fail("POST", Fault(), Fault(read=1000, keep=1000, drop=True))
    with quick(server.endpoint, method_override=True) as client:
        result = client.send(SOURCE)
        assert len(server.only().data) == SOURCE.size
        client.delete_upload(result.url)
    assert server.methods() == "POST POST HEAD POST POST"
    assert overridden(server) == ["POST", "PATCH", "HEAD", "PATCH", "DELETE"]
    assert server.uploads == {}


def test_learnt_from_a_proxys_405(server: FaultServer, client: TUSClient) -> None:
    server.overrides = True
    server.refuses = {"PATCH", "DELETE"}
    result = client.send(SOURCE, chunk_size=50_000)
    assert server.methods() == "POST PATCH POST POST"
    client.delete_upload(result.url)
    client.delete_upload(result.url)
    assert server.methods() == "POST PATCH POST POST DELETE POST POST"


def test_where_it_does_not_help_it_is_tried_once(server: FaultServer, client: TUSClient) -> None:
    server.refuses = {"PATCH"}
    for _ in range(2):
        with pytest.raises(UploadRefused, match=r"PATCH .* 405"):
            client.send(SOURCE)
    assert server.methods() == "POST PATCH POST POST PATCH"
