"""A service that does not answer as S3 does, and credentials that cannot be sent: errors that name s3://."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.core.errors import ReportedError, RunFailed, UserError
from codetr.data.config import SourceConfig
from codetr.data.formats.open_source import fetch, read
from codetr.data.validation.findings import Findings
from codetr.storage.s3_client import S3Address, StorageError
from codetr.storage.s3_objects import read_object
from tests.support.pipelines.broken_server import broken_server, response

SECRET = "s3cr3t-of-the-test"
CIRCLE = b"<Error><Code>TemporaryRedirect</Code><Message>m</Message></Error>"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


def get(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return read_object(S3Address.parse("s3://bucket/key"), limit=1 << 30)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nxx",
        response(b"xx", extra="Last-Modified: yesterday\r\n"),
        response(b"xx", extra="Last-Modified: Mon, 99 Xyz 2026 99:99:99 GMT\r\n"),
        response(b"xx", extra="x-amz-missing-meta: abc\r\n"),
    ],
)
def test_headers_that_are_not_those_of_s3_are_a_failure(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        broken_server(answer) as server,
        pytest.raises(RunFailed, match="s3://bucket/key: the service does not answer"),
    ):
        get(server.endpoint, monkeypatch)


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "302 Found"])
def test_redirects_in_a_circle_end(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore follows them until Python's stack is full."""
    with broken_server(None) as server:
        location = f"Location: {server.endpoint}/bucket/key\r\n"
        server.answer = response(CIRCLE, "application/xml", status, location)
        with pytest.raises(StorageError, match="s3://bucket/key: the service redirects in a circle"):
            get(server.endpoint, monkeypatch)


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_line_breaks_around_credentials_are_no_part_of_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from files that end in one; the HTTP client prints the header that it refuses."""
    monkeypatch.setenv(name, f"{SECRET}\n")
    with broken_server(response(b"xx")) as server:
        assert get(server.endpoint, monkeypatch) == b"xx"
    monkeypatch.setenv(name, f"{SECRET}\n{SECRET}")
    with pytest.raises(StorageError, match=f"{name}: holds characters that cannot be sent") as caught:
        get("http://127.0.0.1:9", monkeypatch)
    assert SECRET not in str(caught.value)


def test_a_password_in_the_endpoint_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReportedError) as caught:
        get(f"https://user:{SECRET}@host:port", monkeypatch)
    assert SECRET not in str(caught.value)


def test_a_damaged_annotation_file_is_named_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary copy has a name that the user never saw, and is gone."""
    with broken_server(response(b'{"images": 1}')) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        config = SourceConfig(annotations="s3://bucket/a/train.json", images=str(tmp_path))
        source = fetch(config, tmp_path / "fetched")
        with pytest.raises(UserError, match=r"^s3://bucket/a/train\.json: ") as caught:
            read(source, "train", Findings(), workers=1)
        assert str(tmp_path) not in str(caught.value)
