"""The options `--store` and `--fresh` of the steps that ask the store of results."""

from __future__ import annotations

from typing import Annotated

import typer

from codetr.steps.store import STORE_VARIABLE

PANEL = "Store of results"

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FOLDER|S3",
        envvar=STORE_VARIABLE,
        rich_help_panel=PANEL,
        help="Look for the result in this store before, and store it after: a folder, or s3://BUCKET/PREFIX. The same "
        "inputs, settings, code and libraries give the stored result, whoever computed it.",
    ),
]
FreshOption = Annotated[
    bool,
    typer.Option("--fresh", rich_help_panel=PANEL, help="Compute the result even if the store has it."),
]


def store_words(store: str | None, *, fresh: bool) -> list[str]:
    """Return the two options as words of a command line, for the job that runs the command on a cluster."""
    return [*(["--store", store] if store else []), *(["--fresh"] if fresh else [])]
