"""Ending a run: once, and until nothing of it runs any more."""

from __future__ import annotations

import pytest

from codetr.core.errors import RunFailed, UserError
from pipelines.cancel import cancel
from pipelines.kfp_server import PipelineApi
from pipelines.options import Server
from tests.support.pipelines.kfp_server import PipelineServer


@pytest.fixture
def api(server: PipelineServer) -> PipelineApi:
    api = PipelineApi.connect(Server(endpoint=server.endpoint))
    api.start(api.experiment("codetr"), "night", {}, {})
    return api


def test_a_run_is_ended_and_its_end_waited_for(server: PipelineServer, api: PipelineApi) -> None:
    """GPUs are free only when it has ended."""
    assert cancel(api, api.run("run-0"), timeout=60, every=0.01).state == "CANCELED"


def test_a_run_that_has_ended_stays_as_it_is(server: PipelineServer, api: PipelineApi) -> None:
    server.runs[0]["state"] = "SUCCEEDED"
    assert cancel(api, api.run("run-0"), timeout=60).state == "SUCCEEDED"


def test_a_run_that_ends_by_itself_at_that_moment_is_no_error(server: PipelineServer, api: PipelineApi) -> None:
    """The server refuses to end what has ended."""
    seen = api.run("run-0")
    server.runs[0]["state"] = "FAILED"
    assert cancel(api, seen, timeout=60).state == "FAILED"


def test_a_run_that_does_not_end_is_an_error(server: PipelineServer, api: PipelineApi) -> None:
    server.ends_slowly = True
    with pytest.raises(RunFailed, match="has not ended after 0 s"):
        cancel(api, api.run("run-0"), timeout=0, every=0.01)


def test_a_refusal_is_an_error(server: PipelineServer, api: PipelineApi) -> None:
    seen = api.run("run-0")
    server.refusal = (403, "not yours")
    with pytest.raises(UserError, match="not yours"):
        cancel(api, seen, timeout=60)
