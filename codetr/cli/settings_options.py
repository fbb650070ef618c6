"""Options for the settings of a step: defaults, a section of a params file, options, then `--set`, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SETTINGS = "Settings"

ParamsOption = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="FILE",
        rich_help_panel=SETTINGS,
        help="Read the step's settings from its section of a YAML file such as params.yaml.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=VALUE",
        rich_help_panel=SETTINGS,
        help="Change one setting, by its dotted path. Repeatable; an unknown path lists the known ones.",
    ),
]
