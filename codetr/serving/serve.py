"""Serve a model over HTTP until a signal stops the server."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from codetr import zoo
from codetr.core.errors import RunFailed, UserError
from codetr.core.files import sha256_file
from codetr.core.manifest import NAME as MANIFEST
from codetr.core.manifest import Manifest
from codetr.inference.load import load
from codetr.registry.address import model_folder
from codetr.serving.app import DEFAULT_LIMITS, Limits, build_app
from codetr.weights.model_folder import WEIGHTS, folder_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def serve(
    model: str | os.PathLike[str],
    *,
    name: str = "codetr",
    host: str = "127.0.0.1",
    port: int = 8080,
    threshold: float = 0.3,
    max_batch: int = 8,
    max_delay: float = 0.005,
    limits: Limits = DEFAULT_LIMITS,
    grace_seconds: int = 60,
    device: str = "auto",
    started: Callable[[str, str], None] = lambda address, version: None,
) -> None:
    """Serve a model until SIGTERM or SIGINT; requests that were accepted are answered first.

    Args:
        model: a model folder, or REGISTRY@VERSION. Its files are compared with their digests. An alias is looked up
            once: the server keeps the version until it ends.
        name: under which the model is served.
        host: address to listen at; 0.0.0.0 for all of the machine.
        port: 0 for a free one.
        threshold: lowest score, for requests that do not say.
        max_batch: images of one size that are run together.
        max_delay: seconds that an image waits for others of its size.
        limits: of requests.
        grace_seconds: for requests that are not answered when the server is stopped.
        device: see `codetr.load`.
        started: called with the address and the version when requests are answered.

    Raises:
        UserError: there is no such model, or an argument is wrong.
        RunFailed: the port is taken.
    """
    if not _NAME.fullmatch(name):
        hint = "It becomes part of an address: use letters, digits, '.', '_' and '-'."
        raise UserError(f"is '{name}'", where="name", hint=hint)
    if limits.images > limits.waiting:
        problem = f"a request may have {limits.images} images, but only {limits.waiting} may wait"
        raise UserError(problem, where="limits", hint="Such a request would never be answered: let more images wait.")
    address = os.fspath(model)
    if address in zoo.ENTRIES and not os.path.exists(address):
        raise UserError("is a recipe, whose weights are random", where=address, hint="Give a model that was trained.")
    folder = folder_of(model_folder(address))
    loaded = load(folder, device=device)
    version = _version(folder)
    app = build_app(
        loaded,
        name=name,
        version=version,
        threshold=threshold,
        max_batch=max_batch,
        max_delay=max_delay,
        limits=limits,
    )
    with _listen(host, port) as listening:
        shown = f"http://{host}:{listening.getsockname()[1]}"
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=grace_seconds,
            # Uvicorn and the command line would both print tracebacks of requests.
            log_config=None,
        )
        server = _Server(settings, lambda: started(shown, version))
        with _terminated_quietly():
            server.run(sockets=[listening])


def _version(folder: Path) -> str:
    """Return the first digits of the digest of a model, or of its weights if it has no manifest."""
    has_manifest = (folder / MANIFEST).is_file()
    digest = Manifest.read(folder, "model").digest if has_manifest else sha256_file(folder / WEIGHTS)
    return digest.removeprefix("sha256:")[:12]


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_start()


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        problem = f"cannot listen at {host} ({error.strerror})"
        raise RunFailed(problem, where=f"port {port}", hint="Stop what listens there, or give another port.") from None
    with listening:
        yield listening


@contextmanager
def _terminated_quietly() -> Iterator[None]:
    """Let SIGTERM end the server with exit code 0.

    Uvicorn raises the signal again when it has answered everything, which would kill the process.
    """

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    before = signal.signal(signal.SIGTERM, ignore)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
