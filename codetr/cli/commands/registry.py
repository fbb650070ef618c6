"""The commands `codetr registry list | show | rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetr.cli.output import console, figure, plain, print_table

app = typer.Typer(
    no_args_is_help=True,
    help="""List and show registered versions, and roll back the champion.

    Versions are immutable. [bold]champion[/] and [bold]previous[/] are aliases; every change of an alias is recorded
    in the registry's journal with its time, author and reason.
    """,
)

DEFAULT = Path("outputs/registry")
"""The registry of the examples, of dvc.yaml and of the DAG."""

RegistryArgument = Annotated[Path, typer.Argument(metavar="REGISTRY", help="The registry's folder.")]


@app.command("list")
def list_versions(
    registry: RegistryArgument = DEFAULT,
    metric: Annotated[str, typer.Option("--metric", help="Metric to show.")] = "AP",
) -> None:
    """List the versions with metric and alias, newest first.

    [cyan]codetr registry list outputs/registry[/]
    """
    from codetr.core.manifest import Manifest
    from codetr.registry.store import Registry

    store = Registry.open(registry)
    named = {version: alias for alias, version in store.aliases().model_dump().items() if version}
    rows = []
    for version in reversed(store.versions()):
        summary = Manifest.read(store.folder(version, "evaluation", verify=False), "evaluation").summary
        digest = version.digest.removeprefix("sha256:")[:12]
        rows.append((version.name, named.get(version.name, ""), summary.get(metric), version.at, version.by, digest))
    print_table(("version", "alias", metric, "registered (UTC)", "by", "digest"), rows)


@app.command()
def show(
    registry: RegistryArgument = DEFAULT,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="v3, champion, previous, or six or more digits of a digest."),
    ] = "champion",
) -> None:
    """Show a version: its lineage, its metrics, and the decisions of the gate and of people.

    The files are verified against their digests. [bold]model[/] is the folder for [bold]codetr predict[/].

        [cyan]codetr registry show outputs/registry[/]

        [cyan]codetr registry show outputs/registry v3[/]
    """
    from codetr.core.manifest import Manifest
    from codetr.registry.store import Registry

    store = Registry.open(registry)
    found = store.version(version)
    model, evaluation = store.folder(found, "model"), store.folder(found, "evaluation")
    trained, measured = Manifest.read(model, "model"), Manifest.read(evaluation, "evaluation")
    aliases = [alias for alias, name in store.aliases().model_dump().items() if name == found.name]
    print_table(
        ("", ""),
        [
            ("version", found.name),
            ("alias", ", ".join(aliases) or None),
            ("registered", f"{found.at} by {found.by}"),
            ("model", str(model)),
            ("evaluation", str(evaluation)),
            ("digest", found.digest),
            ("model digest", found.model),
            ("trained on", trained.inputs.get("dataset")),
            ("evaluated on", measured.inputs.get("dataset")),
            ("evaluation set", measured.summary.get("evaluation_set")),
        ],
    )
    console().print()
    numbers = {name: value for name, value in measured.summary.items() if isinstance(value, int | float)}
    print_table(("metric", "value"), [(name, figure(value)) for name, value in numbers.items()])
    console().print()
    entries = [
        entry
        for entry in store.journal()
        if found.name in (entry.version, entry.before.champion)
        and (entry.action != "refuse" or entry.version == found.name)
    ]
    rows = [(entry.serial, entry.action, entry.version, entry.at, entry.by, entry.why) for entry in entries]
    print_table(("entry", "action", "version", "at (UTC)", "by", "why"), rows)


@app.command()
def rollback(
    registry: RegistryArgument,
    why: Annotated[str, typer.Option("--why", help="The reason, for the journal.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="A version. Default: the previous champion.")
    ] = None,
) -> None:
    """Make the previous champion, or another version, the champion.

    The gate does not promote a version again that was rolled back from; only a rollback to it does.

        [cyan]codetr registry rollback outputs/registry --why "misses small objects at night"[/]

        [cyan]codetr registry rollback outputs/registry --to v2 --why "last one that was checked by hand"[/]
    """
    from codetr.registry.store import Registry

    entry = Registry.open(registry).rollback(to, why=why)
    console().print(
        f"champion: {entry.before.champion or 'none'} → [bold]{plain(entry.after.champion)}[/], "
        f"previous: {entry.after.previous or 'none'}"
    )
