"""Servers behind a login proxy, and those whose certificate a private authority has signed."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from pipelines.kfp_server import PipelineApi
from pipelines.options import Server
from tests.support.pipelines.kfp_server import PipelineServer

COOKIE = "oauth2_proxy_kubeflow=s3cr3t-of-the-browser"


def test_a_proxy_lets_the_cookie_of_a_browser_through(server: PipelineServer) -> None:
    server.cookie = COOKIE
    with pytest.raises(UserError, match=r"302 and redirects to /dex/auth.*KFP_COOKIE"):
        PipelineApi.connect(Server(endpoint=server.endpoint))
    PipelineApi.connect(Server(endpoint=server.endpoint, cookie=f" {COOKIE}\n"))


@pytest.mark.parametrize("cookie", ["", "s3cr3t-value", "a=s3cr3t\nX: y", "a=s3cr3t é", "=s3cr3t-value", "a=s3cr3t 1"])
def test_a_cookie_that_no_header_can_hold_is_refused_and_not_shown(cookie: str) -> None:
    """A line break in it would add headers to the request."""
    with pytest.raises(UserError, match="not a cookie") as caught:
        PipelineApi.connect(Server(endpoint="http://127.0.0.1:9", cookie=cookie))
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_private_authority_is_trusted_if_its_file_is_given(server: PipelineServer, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=127.0.0.1"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *options, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    endpoint = server.endpoint.replace("http:", "https:")
    with pytest.raises(UserError, match="certificate verify failed"):
        PipelineApi.connect(Server(endpoint=endpoint))
    PipelineApi.connect(Server(endpoint=endpoint, ca_file=certificate))
    for file, problem in ((tmp_path / "missing.pem", "no such file"), (Path(__file__), "holds no certificates")):
        with pytest.raises(UserError, match=rf"--ca-file {file}.*{problem}"):
            PipelineApi.connect(Server(endpoint=endpoint, ca_file=file))
