"""`codetr serve`: answer requests for detections over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from codetr.cli.device_option import DeviceOption
from codetr.cli.options import ModelOption
from codetr.data.config import HIGHEST_MAX_PIXELS


def serve(
    *,
    model: ModelOption,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the model in addresses.")] = "codetr",
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="0.0.0.0: all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8080,
    threshold: Annotated[
        float, typer.Option("--score", min=0, max=1, help="Lowest score, for requests that do not say.")
    ] = 0.3,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, max=256, help="Images of one size that are run together.")
    ] = 8,
    max_delay: Annotated[
        float, typer.Option("--max-delay", min=0, max=1000, metavar="MS", help="An image waits for others so long.")
    ] = 5,
    max_body: Annotated[
        float, typer.Option("--max-body", min=0.001, max=1024, metavar="MIB", help="Largest body of a request.")
    ] = 32,
    max_pixels: Annotated[
        int,
        typer.Option("--max-pixels", min=1, max=HIGHEST_MAX_PIXELS, help="Largest image: about 8 bytes a pixel."),
    ] = 25_000_000,
    max_images: Annotated[int, typer.Option("--max-images", min=1, max=1024, help="Images of a request.")] = 16,
    max_waiting: Annotated[
        int,
        typer.Option("--max-waiting", min=1, max=100_000, help="Images and requests that wait; more get status 429."),
    ] = 32,
    grace: Annotated[
        int, typer.Option("--grace", min=0, metavar="SECONDS", help="For open requests when the server is stopped.")
    ] = 60,
    device: DeviceOption = "auto",
) -> None:
    """Serve a model over HTTP by the Open Inference Protocol v2, as KServe and Triton speak it.

        [cyan]codetr serve -m outputs/registry@champion[/]

        [cyan]codetr serve -m outputs/model --host 0.0.0.0 --port 9000 --score 0.5[/]

    Images are files of any format that `codetr predict` reads. SIGTERM and Ctrl-C end the server when open requests are
    answered. It has no access control: put it behind a gateway.
    """
    from codetr.core.errors import UserError
    from codetr.core.extras import install_hint

    try:
        from codetr.serving.app import Limits
        from codetr.serving.serve import serve as run
    except ModuleNotFoundError as error:
        if error.name not in ("prometheus_client", "starlette", "uvicorn"):
            raise
        raise UserError(f"{error.name} is not installed", hint=install_hint("serve")) from None

    def started(address: str, version: str) -> None:
        print(f"{name} (version {version}) is served at {address}/v2/models/{name}", flush=True)

    run(
        model,
        name=name,
        host=host,
        port=port,
        threshold=threshold,
        max_batch=max_batch,
        max_delay=max_delay / 1000,
        limits=Limits(body=int(max_body * (1 << 20)), pixels=max_pixels, images=max_images, waiting=max_waiting),
        grace_seconds=grace,
        device=device,
        started=started,
    )
