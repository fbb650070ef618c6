"""A server in a thread of the test, and requests to it over HTTP."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from starlette.applications import Starlette


@contextmanager
def running(app: Starlette) -> Iterator[httpx.Client]:
    """Serve an application, and return a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def encoded(pixels: NDArray[np.uint8], format_name: str = "PNG") -> bytes:
    """Return an image file with these pixels."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_name)
    return stream.getvalue()


def json_request(*images: bytes, **others: Any) -> dict[str, Any]:
    """Return a request with images as base64."""
    data = [base64.b64encode(image).decode() for image in images]
    return {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [len(images)], "data": data}], **others}


def binary_request(images: Sequence[bytes], **others: Any) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request with binary images."""
    data = b"".join(struct.pack("<I", len(image)) + image for image in images)
    given = {
        "name": "images",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"inputs": [given], **others}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}
