"""Where a step's settings come from: defaults, a section of a params file, options, then `--set`, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


SETTINGS = "Settings"

ParamsOption = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="FILE",
        rich_help_panel=SETTINGS,
        help="Take the step's settings from its section of a YAML file, as params.yaml has them.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=VALUE",
        rich_help_panel=SETTINGS,
        help="Change one setting, by its dotted path. Repeatable; a wrong path lists the right ones.",
    ),
]
