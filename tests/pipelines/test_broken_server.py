"""A server that hangs, breaks off or answers anything: an error with its exit code, in time, and no token in it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codetr.core.errors import ReportedError, RunFailed, UserError
from pipelines.http_json import check_address
from pipelines.kfp_server import PipelineApi
from pipelines.options import Server
from pipelines.submit import submit, wait
from tests.support.pipelines.broken_server import HEALTHY, broken_server, response

TOKEN = "s3cr3t-t0ken-of-the-test"
RUN = {"run_id": "run-0", "state": "RUNNING"}


def start(endpoint: str, token: str | None = TOKEN) -> str:
    return submit(Server(endpoint=endpoint, token=token), {}, experiment="codetr", run_name="night")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (response(b"<html>Sign in</html>", "text/html"), "not a JSON object"),
        (response(b"<html>Sign in</html>"), "not a JSON object"),
        (response(b"null"), "not a JSON object"),
        (response(b"[]"), "not a JSON object"),
        (response(b'"text"'), "not a JSON object"),
        (response(b""), "not a JSON object"),
        (response(b'{"experiments": '), "not a JSON object"),
        (response(b'{"experiments": "\xff\xfe"}'), "not a JSON object"),
        (response(b"[" * 100_000), "not a JSON object"),
        (response(b"{}"), "experiment_id: Field required"),
        (response(b'{"experiments": [null]}'), "experiments.0"),
        (response(b'{"experiments": [{"experiment_id": ""}]}'), "experiment_id"),
        (response(b'{"experiments": 5}'), "experiments"),
        (b"", "no Kubeflow Pipelines server answers"),
        (b"garbage\r\n\r\n", "no Kubeflow Pipelines server answers"),
        (b"HTTP/1.1 abc\r\n\r\n", "no Kubeflow Pipelines server answers"),
        (b"HTTP/1.1 200 OK\r\n", "not a JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}", "no Kubeflow Pipelines server answers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", "Kubeflow Pipelines server"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", "no Kubeflow Pipelines server answers"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n{}", "no Kubeflow Pipelines server answers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n{}", "no Kubeflow Pipelines server answers"),
        (response(b"oops", status="500 Internal"), "500"),
        (response(b'{"message": null}', status="503 Unavailable"), "503 Unavailable"),
    ],
)
def test_a_broken_answer_is_a_failure_that_a_retry_may_avoid(answer: bytes, problem: str) -> None:
    """A run id of None with exit code 0 makes a scheduler believe that training has begun."""
    with broken_server(answer) as server, pytest.raises(RunFailed, match=problem):
        start(server.endpoint)


@pytest.mark.parametrize("health", [b"<html>Sign in</html>", b"null", b"[]", b"ok"])
def test_a_page_instead_of_the_health_check_is_a_wrong_address(health: bytes) -> None:
    with broken_server(b"", health=response(health)) as server, pytest.raises(UserError, match="does not answer as"):
        start(server.endpoint)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    answer=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(response),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["experiments", "experiment_id", "runs", "run_id", "state"]), inner)
            ),
            max_leaves=6,
        ).map(lambda value: response(json.dumps(value).encode())),
    )
)
def test_any_answer_is_a_run_or_an_error(answer: bytes) -> None:
    with broken_server(answer) as server:
        try:
            run_id = start(server.endpoint)
        except ReportedError:
            return
        assert run_id


def test_a_server_that_hangs_or_drips_does_not_hold_a_request_for_longer_than_its_limit() -> None:
    for answer, pause in ((None, 0.0), (response(b'{"run_id": "run-0"}'), 0.05)):
        with broken_server(answer, seconds_per_byte=pause) as server:
            api = PipelineApi.connect(Server(endpoint=server.endpoint))
            began = time.monotonic()
            with pytest.raises(RunFailed, match="timed out"):
                api.run("run-0", timeout=0.3)
            assert time.monotonic() - began < 2


def test_waiting_ends_at_its_limit_although_the_server_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler's slot would be held for ever."""
    monkeypatch.setattr("pipelines.submit.CONNECT_TIMEOUT", 0.1)
    with broken_server(None) as server, pytest.raises(RunFailed, match="has not ended after 0 s"):
        wait(Server(endpoint=server.endpoint), "run-0", timeout=0.3, every=0.01)


@pytest.mark.parametrize("answer", [response(b"<html>"), b"HTTP/1.1 2", response(b"{}"), response(b"null")])
def test_waiting_outlives_broken_answers_until_there_are_many(answer: bytes) -> None:
    with broken_server(answer) as server:
        with pytest.raises(RunFailed, match=r"Pipelines server|JSON object"):
            wait(Server(endpoint=server.endpoint), "run-0", timeout=60, every=0.001)
        assert len(server.requests) > 10


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """The token would be sent to a server that nobody named."""
    with broken_server(response(b"{}")) as other:
        moved = response(b"", status=f"{status} Moved", extra=f"Location: {other.endpoint}/apis\r\n")
        for health, answer in ((moved, moved), (HEALTHY, moved)):
            with (
                broken_server(answer, health=health) as server,
                pytest.raises(UserError, match=f"{status} and redirects"),
            ):
                start(server.endpoint)
        assert other.requests == []


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f" {TOKEN}\r\n", TOKEN])
def test_a_token_is_stripped_and_masked_when_the_server_repeats_it(token: str) -> None:
    echo = json.dumps({"message": f"unknown token {TOKEN}"}).encode()
    with broken_server(response(echo, status="401 Unauthorized")) as server, pytest.raises(UserError) as caught:
        start(server.endpoint, token)
    assert "unknown token ***" in str(caught.value)
    assert f"Authorization: Bearer {TOKEN}\r\n" in server.requests[-1]


@pytest.mark.parametrize("token", ["", "\n", "two words-s3cr3t", "s3cr3t\nt0ken", "s3cr3t-\x00", "s3cr3t-é"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(UserError, match="cannot be sent") as caught:
        start("http://127.0.0.1:9", token)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://",
        "http://:80",
        "http://host:port",
        "http://host:99999",
        "http://host:-1",
        "http://[::1",
        "http://host name",
        "http://host\x00",
        "http://host\n",
        "http://host/?a=b",
        "https://user:s3cr3t99@host",
        "https://s3cr3t99@host",
        "ftp://host",
        "",
    ],
)
def test_an_address_that_cannot_be_used_is_a_mistake(endpoint: str) -> None:
    with pytest.raises(UserError) as caught:
        check_address(endpoint)
    assert "s3cr3t99" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://" + "a" * 70 + ".example", "http://a..b", "http://\u2100.example"])
def test_a_host_that_cannot_exist_is_no_traceback(endpoint: str) -> None:
    with pytest.raises(ReportedError):
        start(endpoint)
