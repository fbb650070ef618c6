"""The connection to a Kubeflow Pipelines server, and its errors."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kfp
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, ServiceAccountTokenVolumeCredentials

from codetr.core.errors import UserError

if TYPE_CHECKING:
    pass


CONNECT_TIMEOUT = 10.0
"""Seconds a server may take to answer the first question."""


@dataclass(frozen=True)
class Server:
    """A Kubeflow Pipelines server.

    Attributes:
        endpoint: its address, e.g. http://localhost:8888.
        namespace: the run's namespace, where the server has several users.
        token: a bearer token; None uses the service account's token if its path is in the environment.
    """

    endpoint: str
    namespace: str | None = None
    token: str | None = None

    def bearer(self) -> str | None:
        """The token to send, if there is one.

        Raises:
            UserError: the service account's token cannot be read.
        """
        path = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV)
        if self.token is not None or path is None:
            return self.token
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=f"{KF_PIPELINES_SA_TOKEN_ENV}={path}") from None

    def connect(self) -> kfp.Client:
        """A client of the server, after one question that shows that it is there and lets us in.

        Raises:
            UserError: no server at the endpoint, no permission, or a missing namespace.
        """
        if not self.endpoint.startswith(("http://", "https://")):
            raise UserError("is not an http:// or https:// address", where=f"--endpoint {self.endpoint}")
        several_users = self._health().get("multi_user", False)
        if several_users and self.namespace is None:
            hint = "Name the one your runs belong in with --namespace."
            raise UserError("the server has several users and needs a namespace", where=self.endpoint, hint=hint)
        from_file = self.token is None and KF_PIPELINES_SA_TOKEN_ENV in os.environ
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            client = kfp.Client(
                host=self.endpoint,
                existing_token=self.token,
                # These are read again whenever the kubelet has renewed them.
                credentials=ServiceAccountTokenVolumeCredentials() if from_file else None,
            )
        if several_users:
            client._context_setting["namespace"] = self.namespace
        return client

    def _health(self) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.endpoint.rstrip('/')}/apis/v2beta1/healthz")
        bearer = self.bearer()
        if bearer is not None:
            request.add_header("Authorization", f"Bearer {bearer}")
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise refusal(error.code, error.reason, self.endpoint) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            hint = "Is the address right? From outside the cluster: kubectl port-forward service/ml-pipeline 8888."
            raise UserError(
                f"no Kubeflow Pipelines server answers ({reason})", where=self.endpoint, hint=hint
            ) from None
        return answer if isinstance(answer, dict) else {}


def refusal(status: int | None, reason: str | None, endpoint: str) -> UserError:
    """A server's HTTP error as a mistake that can be mended."""
    hints = {
        HTTPStatus.UNAUTHORIZED: "Give a valid token with --token or KFP_TOKEN.",
        HTTPStatus.FORBIDDEN: "The token's user may not do this in the namespace.",
        HTTPStatus.NOT_FOUND: "Is this the address of the Kubeflow Pipelines API (version 2)?",
    }
    hint = next((text for code, text in hints.items() if code == status), None)
    return UserError(f"the server answered {status} {reason or ''}".rstrip(), where=endpoint, hint=hint)
