"""The application: routes of the Open Inference Protocol v2, health, and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from codetr.core.errors import UserError
from codetr.core.version import __version__
from codetr.data.images import parse_image
from codetr.inference.predictor import Predictor
from codetr.inference.result import Result
from codetr.serving.batcher import Batcher, ClosedError, Pixels, QueueFullError
from codetr.serving.metrics import Metrics
from codetr.serving.protocol import HEADER_LENGTH, Request, metadata, parse_request, response, tensors

logger = logging.getLogger(__name__)

_CLIENT_CLOSED_REQUEST = 499
"""As nginx counts requests whose client has gone."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how many images may wait.

    Attributes:
        body: bytes of a request's body.
        pixels: of an image; it takes about 8 bytes a pixel.
        images: in a request.
        waiting: images that wait, and requests that are answered at the same time.
    """

    body: int = 32 << 20
    pixels: int = 25_000_000
    images: int = 16
    waiting: int = 32


DEFAULT_LIMITS = Limits()


def build_app(
    model: Predictor,
    *,
    name: str,
    version: str,
    threshold: float = 0.3,
    max_batch: int = 8,
    max_delay: float = 0.005,
    limits: Limits = DEFAULT_LIMITS,
) -> Starlette:
    """Return the application that serves a model.

    Args:
        model: the model.
        name: under which it is served.
        version: that responses name.
        threshold: lowest score, for requests that do not say.
        max_batch: images of one size that are run together.
        max_delay: seconds that an image waits for others of its size.
        limits: of requests.
    """
    serving = _Serving(model, name, version, threshold, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        serving.batcher = Batcher(
            serving.detect,
            max_batch=max_batch,
            max_delay=max_delay,
            max_waiting=limits.waiting,
            observe=serving.observe,
        )
        yield
        await run_in_threadpool(serving.batcher.close)

    of_model = f"/v2/models/{name}"
    routes = []
    for path in (of_model, f"{of_model}/versions/{version}"):
        routes += [
            Route(path, serving.describe_model),
            Route(f"{path}/ready", serving.ready),
            Route(f"{path}/infer", serving.infer, methods=["POST"]),
        ]
    routes += [
        Route("/v2", serving.describe_server),
        Route("/v2/health/live", serving.live),
        Route("/v2/health/ready", serving.ready),
        Route("/metrics", serving.show_metrics),
    ]
    handlers: dict[Any, Any] = {HTTPException: serving.http_error, Exception: serving.defect}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


class _Serving:
    """The endpoints of one model."""

    batcher: Batcher

    def __init__(self, model: Predictor, name: str, version: str, threshold: float, limits: Limits) -> None:
        self.model, self.name, self.version = model, name, version
        self.threshold, self.limits = threshold, limits
        self.has_masks = model.info.model.gives_masks
        self.metrics = Metrics(name)
        self._open = 0

    def detect(self, images: Sequence[Pixels]) -> list[Result]:
        """Return all detections in images of one size; requests drop those below their threshold."""
        return self.model.predict(list(images), threshold=0, batch_size=len(images))

    def observe(self, size: int, waiting: int) -> None:
        """Note the size of a batch."""
        self.metrics.batch_size.observe(size)
        self.metrics.waiting.set(waiting)

    async def live(self, _: HttpRequest) -> Response:
        """Answer that the process runs."""
        return JSONResponse({"live": True})

    async def ready(self, _: HttpRequest) -> Response:
        """Answer that the model is loaded: it is before the server listens."""
        return JSONResponse({"ready": True})

    async def describe_server(self, _: HttpRequest) -> Response:
        """Describe the server."""
        return JSONResponse({"name": "codetr", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def describe_model(self, _: HttpRequest) -> Response:
        """Describe inputs and outputs of the model."""
        return JSONResponse(metadata(self.name, self.version, has_masks=self.has_masks))

    async def show_metrics(self, _: HttpRequest) -> Response:
        """Return the metrics in the format of Prometheus."""
        return Response(generate_latest(self.metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def infer(self, http: HttpRequest) -> Response:
        """Detect objects in the images of a request."""
        start = time.monotonic()
        answer = await self._answer(http)
        self.metrics.count(answer.status_code)
        self.metrics.seconds.observe(time.monotonic() - start)
        return answer

    async def _answer(self, http: HttpRequest) -> Response:
        if self._open >= self.limits.waiting:
            # Before its body is read, which takes memory.
            return _failure(QueueFullError(), self.limits)
        self._open += 1
        try:
            body = await self._body(http)
            given = parse_request(
                body, http.headers.get(HEADER_LENGTH), threshold=self.threshold, max_images=self.limits.images
            )
            pixels = await run_in_threadpool(self._decode, given)
            futures = self.batcher.submit(pixels)
            results = await asyncio.gather(*map(asyncio.wrap_future, futures))
            content, headers = await run_in_threadpool(self._encode, given, results)
            return Response(content, headers=headers)
        except Exception as error:
            return _failure(error, self.limits)
        finally:
            self._open -= 1

    async def _body(self, http: HttpRequest) -> bytes:
        """Return the body, which is not read further than the limit.

        Raises:
            HTTPException: it is larger.
        """
        too_large = HTTPException(413, f"the body has more than {self.limits.body} bytes")
        length = http.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.limits.body:
            raise too_large
        chunks, size = [], 0
        async for chunk in http.stream():
            size += len(chunk)
            if size > self.limits.body:
                raise too_large
            chunks.append(chunk)
        return b"".join(chunks)

    def _decode(self, given: Request) -> list[Pixels]:
        """Return the pixels of the images.

        Raises:
            UserError: one cannot be read, or is too large. Hints are left out: they are for users of the command line.
        """
        options: dict[str, Any] = {
            "range_16bit": self.model.info.range_16bit,
            "max_pixels": self.limits.pixels,
        }
        try:
            return [parse_image(content, f"images[{number}]", **options) for number, content in enumerate(given.images)]
        except UserError as error:
            raise UserError(error.problem, where=error.where) from None

    def _encode(self, given: Request, results: list[Result]) -> tuple[bytes, dict[str, str]]:
        kept = [
            replace(result, detections=result.detections[result.detections.scores >= given.threshold])
            for result in results
        ]
        return response(given, tensors(kept, has_masks=self.has_masks), model=self.name, version=self.version)

    async def http_error(self, http: HttpRequest, error: Exception) -> Response:
        """Answer a request that no route takes."""
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return _error(404, f"there is no {http.url.path}; the model is /v2/models/{self.name}")
        return _error(error.status_code, error.detail)

    async def defect(self, _: HttpRequest, error: Exception) -> Response:
        """Answer when an endpoint fails."""
        return _error(500, "the server failed; its log says why")


def _failure(error: Exception, limits: Limits) -> Response:
    """Return the answer to a request that failed."""
    match error:
        case UserError():
            return _error(400, str(error))
        case HTTPException():
            return _error(error.status_code, error.detail)
        case QueueFullError():
            return _error(429, f"{limits.waiting} images or requests wait; ask again later", {"retry-after": "1"})
        case ClosedError():
            return _error(503, "the server is being stopped", {"retry-after": "1"})
        case ClientDisconnect():
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        case _:
            logger.error("a request failed", exc_info=error)
            return _error(500, "the server failed; its log says why")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)
