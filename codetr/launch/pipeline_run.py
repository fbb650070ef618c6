"""The run of Kubeflow Pipelines that started a job: whether it is being cancelled.

Kubeflow Pipelines passes no signals on to what a task runs, and gives no reason to a pod that it ends. So a task that
was cancelled and one that was evicted look alike, until the server is asked.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import urllib3

from codetr.core.errors import first_line

logger = logging.getLogger(__name__)

RUN_ID_VARIABLE = "CODETR_RUN_ID"
"""Environment variable of every task of a pipeline: the id of its run."""
ENDPOINT_VARIABLE = "KFP_ENDPOINT"
TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
"""Environment variable of Kubeflow: the file with the service account's token, which the kubelet renews."""
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"
"""Where Kubeflow's PodDefault mounts it."""

_CANCELLED = frozenset({"CANCELING", "CANCELED"})
_TIMEOUT = urllib3.Timeout(connect=3, read=5)


class PipelineRun:
    """A run on a server.

    Args:
        endpoint: address of the Kubeflow Pipelines API.
        run_id: of the run.
        token_file: with a bearer token; one that does not exist is not sent.
    """

    def __init__(self, endpoint: str, run_id: str, token_file: Path = Path(TOKEN_FILE)) -> None:
        self._address = f"{endpoint.rstrip('/')}/apis/v2beta1/runs/{quote(run_id, safe='')}"
        self._token_file = token_file
        self._pool = urllib3.PoolManager(retries=False)
        self._answers = True

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> PipelineRun | None:
        """Return the run that this process is a task of; None outside a pipeline, or without its server's address."""
        run_id, endpoint = environment.get(RUN_ID_VARIABLE), environment.get(ENDPOINT_VARIABLE)
        if not run_id or not endpoint:
            return None
        return cls(endpoint, run_id, Path(environment.get(TOKEN_FILE_VARIABLE, TOKEN_FILE)))

    def is_cancelled(self) -> bool:
        """Return whether the run is being cancelled, or was; False where the server does not say so.

        A server that is away is no reason to end training. It is reported once.
        """
        try:
            state = self._state()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._answers:
                logger.warning("%s does not say whether the run is cancelled: %s", self._address, first_line(error))
            self._answers = False
            return False
        self._answers = True
        return state in _CANCELLED

    def _state(self) -> object:
        headers = {"Accept": "application/json"}
        if self._token_file.is_file():
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        # A redirect would send the token to another server.
        answer = self._pool.request("GET", self._address, headers=headers, timeout=_TIMEOUT, redirect=False)
        if answer.status != 200:
            raise ValueError(f"it answers {answer.status}")
        value = json.loads(answer.data)
        return value.get("state") if isinstance(value, dict) else None
