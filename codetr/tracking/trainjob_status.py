"""Report the progress of training to Kubeflow Trainer, which shows it as `status.trainerStatus` of the TrainJob.

Trainer 2.2 and later, with the feature gate TrainJobStatus, tell the pods of a job the address of its status server by
environment variables (Kubeflow Trainer, "TrainJob progress").
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from codetr.core.errors import first_line

logger = logging.getLogger(__name__)

_URL, _CA, _TOKEN = (f"KUBEFLOW_TRAINER_SERVER_{name}" for name in ("URL", "CA_CERT", "TOKEN"))
"""Environment variables: the address, and the files with the server's certificate and the bearer token."""

EVERY = 10.0
"""Seconds between two reports; the server asks for at least five."""
TIMEOUT = 5.0
"""Seconds for a report, and at the end of training for the last one."""

_MAX_INT32 = 2**31 - 1
_SHOWN = ("AP", "AP50", "mask_AP")


class TrainJobStatus:
    """Reports from a thread, so that a slow server does not delay training. A context manager.

    Args:
        url: of the status of this job.
        certificate: file with the certificate of the server.
        token: file with the bearer token, which the kubelet renews.
        every: seconds between two reports.
    """

    def __init__(self, url: str, certificate: Path, token: Path, *, every: float = EVERY) -> None:
        self._url, self._certificate, self._token, self._every = urlsplit(url), certificate, token, every
        self._latest: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._works = True
        self._thread = threading.Thread(target=self._run, name="trainjob-status", daemon=True)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> TrainJobStatus | None:
        """Return the status of the job that this process belongs to; None where no server is named."""
        url, certificate, token = (environment.get(name) for name in (_URL, _CA, _TOKEN))
        if not url or not certificate or not token:
            return None
        return cls(url, Path(certificate), Path(token))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(2 * TIMEOUT)

    def report(self, done: float, seconds_left: float | None, metrics: Mapping[str, float | int | None]) -> None:
        """Report how far training is, with the next report of the thread.

        Args:
            done: fraction of all steps.
            seconds_left: of training; None where it is unknown.
            metrics: of the last validation.
        """
        shown = [{"name": name, "value": f"{value:.4f}"} for name in _SHOWN if (value := metrics.get(name)) is not None]
        status: dict[str, Any] = {"progressPercentage": int(100 * done), "metrics": shown}
        if seconds_left is not None:
            status["estimatedRemainingSeconds"] = min(int(seconds_left), _MAX_INT32)
        status["lastUpdatedTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._latest = status

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            self._post()
        self._post()

    def _post(self) -> None:
        latest, self._latest = self._latest, None
        if latest is None:
            return
        try:
            self._send(json.dumps({"trainerStatus": latest}).encode())
            self._works = True
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Once, and again when it has worked meanwhile: training does not depend on it.
            if self._works:
                logger.warning("the progress is not reported to %s: %s", self._url.geturl(), first_line(error))
            self._works = False

    def _send(self, body: bytes) -> None:
        if self._url.scheme != "https" or not self._url.hostname:
            raise ValueError("its address is not https://")
        context = ssl.create_default_context(cafile=str(self._certificate))
        token = self._token.read_text(encoding="utf-8").strip()
        connection = http.client.HTTPSConnection(self._url.hostname, self._url.port, timeout=TIMEOUT, context=context)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", self._url.path, body, headers)
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise ValueError(f"it answers {answer.status} {answer.reason}")
        finally:
            with suppress(OSError):
                connection.close()
