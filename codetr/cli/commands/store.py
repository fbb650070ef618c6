"""The commands `codetr store list | show | verify | gc`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from codetr.cli.output import console, plain, print_table
from codetr.core.errors import UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.sizes import format_size, parse_size
from codetr.core.text import counted
from codetr.steps.store import STORE_VARIABLE, ResultStore
from codetr.steps.stored_result import StoredResult

app = typer.Typer(
    no_args_is_help=True,
    help="""List, show, verify and remove stored results.

    The steps look for their results in a store, and store them: [bold]codetr train --store ADDRESS[/].
    """,
)

StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", envvar=STORE_VARIABLE, help="A folder, or s3://BUCKET/PREFIX.")
]
_KEY_DIGITS = 12


@app.command("list")
def list_results(store: StoreArgument) -> None:
    """List the results, newest first.

    [cyan]codetr store list s3://models/store[/]
    """
    from codetr.steps.store_cleanup import listed_results

    rows = []
    for one in listed_results(ResultStore.open(store)):
        stored = datetime.fromtimestamp(one.modified, UTC).isoformat(sep=" ", timespec="seconds")[:19]
        key = _key(one.name)[:_KEY_DIGITS]
        if one.result is None:
            rows.append((key, "damaged", "", stored, "", ""))
        else:
            result = one.result
            rows.append((key, result.kind, format_size(result.size), stored, result.by, result.run or ""))
    print_table(("key", "kind", "size", "stored (UTC)", "by", "run"), rows)


@app.command()
def show(
    store: StoreArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The first digits of its key, as `list` prints it.")],
) -> None:
    """Show a result: who computed it, from what, and its files.

    [cyan]codetr store show s3://models/store 0a1b2c3d4e5f[/]
    """
    import yaml

    opened = ResultStore.open(store)
    name = _find(opened, key)
    result = opened.read(name)
    out = console()
    out.print(f"[bold]{result.kind}[/] {plain(result.manifest)}, {plain(result.source)}")
    print_table(["", ""], [(file, format_size(entry.size)) for file, entry in sorted(result.files.items())])
    out.print(plain_block(yaml.safe_dump({"key": result.key}, sort_keys=False, allow_unicode=True, width=1000)))


def plain_block(text: str) -> str:
    """Return several lines as `plain` does one."""
    return "\n".join(plain(line) for line in text.rstrip().splitlines())


@app.command()
def verify(store: StoreArgument) -> None:
    """Read every result and compare it with its digests; exit with 1 if one is damaged.

    Damaged results are not used: the step that finds one computes it again.

        [cyan]codetr store verify s3://models/store[/]
    """
    opened = ResultStore.open(store)
    names = list(opened.names())
    damaged = 0
    for name in names:
        if problem := opened.problem(name):
            damaged += 1
            console().print(f"{plain(name)} {plain(problem)}")
    console().print(f"{counted(len(names), 'result')}, {damaged} damaged")
    if damaged:
        raise typer.Exit(ExitCode.FINDINGS)


@app.command("gc")
def collect_garbage(
    store: StoreArgument,
    older_than: Annotated[
        float | None, typer.Option("--older-than", min=0, metavar="DAYS", help="Remove results stored earlier.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="Remove the oldest results until the rest fits, e.g. 500G."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it. Without it, the plan is printed only.")] = False,
) -> None:
    """Print what is to be removed, and remove it with --yes.

    Damaged results are removed in any case, and contents without a result that are older than a day.

        [cyan]codetr store gc s3://models/store --older-than 90[/]

        [cyan]codetr store gc s3://models/store --max-size 500G --yes[/]
    """
    from codetr.steps.store_cleanup import DAY, clean_up, cleanup_plan

    opened = ResultStore.open(store)
    plan = cleanup_plan(
        opened,
        now=time.time(),
        older_than=None if older_than is None else older_than * DAY,
        keep_bytes=None if max_size is None else parse_size(max_size, where="--max-size"),
    )
    print_table(
        ("key", "kind", "size", "reason"),
        [(_key(one.name)[:_KEY_DIGITS], *_kind_and_size(one.result), reason) for one, reason in plan.results],
    )
    done = "removed" if yes else "to be removed with --yes"
    if yes:
        clean_up(opened, plan)
    results, contents = counted(len(plan.results), "result"), counted(len(plan.contents), "file")
    console().print(f"{results} and {contents} of {format_size(plan.freed)} {done}; {format_size(plan.kept)} stay")


def _kind_and_size(result: StoredResult | None) -> tuple[str, str]:
    return ("", "") if result is None else (result.kind, format_size(result.size))


def _find(store: ResultStore, key: str) -> str:
    """Return the record whose key begins with some digits.

    Raises:
        UserError: there is none, or several.
    """
    digits = key.removeprefix("sha256:")
    found = [name for name in store.names() if digits and _key(name).startswith(digits)]
    if len(found) != 1:
        problem = f"{len(found)} results have a key that begins with '{key}'" if found else f"has no result '{key}'"
        raise UserError(problem, where=str(store), hint="`codetr store list` lists the keys.")
    return found[0]


def _key(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".json")
