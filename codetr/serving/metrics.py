"""What Prometheus reads from a server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one model.

    Args:
        model: its name, a label of all of them.
    """

    def __init__(self, model: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "codetr_serve_requests",
            "Requests for inference, by status code.",
            ("model", "code"),
            registry=self.registry,
        )
        seconds = Histogram(
            "codetr_serve_request_seconds",
            "Time of a request, waiting included.",
            ("model",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        sizes = Histogram(
            "codetr_serve_batch_size", "Images in a batch.", ("model",), buckets=_SIZES, registry=self.registry
        )
        waiting = Gauge("codetr_serve_waiting_images", "Images that wait.", ("model",), registry=self.registry)
        self._model = model
        self.seconds, self.batch_size, self.waiting = (
            seconds.labels(model),
            sizes.labels(model),
            waiting.labels(model),
        )

    def count(self, code: int) -> None:
        """Count a request that was answered with a status code."""
        self._requests.labels(self._model, str(code)).inc()
