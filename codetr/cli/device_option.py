"""`--device`: what a command computes on."""

from __future__ import annotations

from typing import Annotated

import typer

from codetr.distributed.devices import DEVICE_NAMES, device_name

DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        parser=device_name,
        help=f"What to compute on: {DEVICE_NAMES}. auto is a GPU with CUDA if there is one, else the CPU.",
    ),
]
"""The name is checked here; `codetr.distributed.devices.select_device` then looks whether this machine has it."""
