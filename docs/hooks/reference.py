"""Hook of the documentation build: fill in the reference of commands and settings from the code.

A page asks for it with a marker on a separate line: `<!-- commands -->`, `<!-- pipelines commands -->` or
`<!-- settings -->`. So the pages agree with what `codetr --help` prints and what `--set` accepts.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import griffe
import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

RICH_TAG = re.compile(r"(?<!\\)\[(/?[a-z ]*)\]")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every marker of the page by what it stands for; MkDocs calls this for each page."""
    for marker, generate in GENERATED.items():
        if marker in markdown:
            markdown = markdown.replace(marker, generate())
    return markdown


def command_reference() -> str:
    """Return every command of `codetr` with its help and its options, as Markdown."""
    from codetr.cli.app import app

    return "\n".join(_commands(typer.main.get_command(app), "codetr"))


def pipelines_reference() -> str:
    """Return every command of `python -m pipelines`, as Markdown."""
    from pipelines.__main__ import app

    return "\n".join(_commands(typer.main.get_command(app), "python -m pipelines"))


def settings_reference() -> str:
    """Return a table for each settings class that `params.yaml`, `--set` or a cluster's file reach, as Markdown."""
    from codetr.data.ingest.config import PrepareConfig
    from codetr.evaluation.config import EvaluateConfig
    from codetr.launch.spec import LaunchSpec
    from codetr.steps.register import RegisterConfig
    from codetr.zoo.recipe import Recipe

    lines: list[str] = []
    for title, settings in (
        ("prepare", PrepareConfig),
        ("train: a recipe", Recipe),
        ("evaluate", EvaluateConfig),
        ("register", RegisterConfig),
        ("cluster: a file in pipelines/clusters", LaunchSpec),
    ):
        lines += [f"## {title}", "", *_settings(settings, "")]
    return "\n".join(lines)


GENERATED = {
    "<!-- commands -->": command_reference,
    "<!-- pipelines commands -->": pipelines_reference,
    "<!-- settings -->": settings_reference,
}


def _commands(command: Any, name: str, depth: int = 2) -> Iterator[str]:
    """Yield the sections of a command and of the commands below it."""
    yield from ("#" * depth + f" {name}", "", _plain(inspect.cleandoc(command.help or "")), "")
    rows = [row for parameter in command.params if (row := _parameter(parameter)) is not None]
    if rows:
        yield from ("| option | default | |", "| --- | --- | --- |", *rows, "")
    for below in getattr(command, "commands", {}).values():
        yield from _commands(below, f"{name} {below.name}", depth + 1)


def _parameter(parameter: Any) -> str | None:
    """Return the table row of an option or argument; None for one that is hidden."""
    if getattr(parameter, "hidden", False):
        return None
    flag = getattr(parameter, "is_flag", False)
    metavar = "" if flag else parameter.metavar or parameter.name.upper()
    names = ", ".join(parameter.opts) if parameter.param_type_name == "option" else ""
    shown = f"`{f'{names} {metavar}'.strip()}`".replace("|", "\\|")
    default = parameter.default() if callable(parameter.default) else parameter.default
    if parameter.required:
        value = "required"
    elif default in (None, False, (), []) or getattr(parameter, "is_eager", False):
        value = ""
    else:
        value = f"`{default}`"
    text = _plain(" ".join((getattr(parameter, "help", None) or "").split()))
    variable = f" Environment variable: `{parameter.envvar}`." if getattr(parameter, "envvar", None) else ""
    return f"| {shown} | {value} | {(text + variable).replace('|', chr(92) + '|')} |"


def _plain(text: str) -> str:
    """Turn Rich's markup into Markdown: bold outside of code blocks, nothing within them."""
    lines = []
    for line in text.splitlines():
        code = line.startswith("    ")
        converted = re.sub(r"(?<!\\)\[bold\](.*?)\[/(?:bold)?\]", r"\1" if code else r"**\1**", line)
        lines.append(RICH_TAG.sub("", converted).replace("\\[", "["))
    return "\n".join(lines)


def _settings(
    settings: type[BaseModel], path: str, shown: set[tuple[str, type[BaseModel]]] | None = None
) -> Iterator[str]:
    """Yield the table of one settings class, then those of the classes its fields hold.

    Args:
        settings: the class.
        path: the dotted path of its fields; empty at the top.
        shown: paths and classes that the page has already; two kinds of a setting may share a class below them.
    """
    shown = set() if shown is None else shown
    docstring = griffe.Docstring(inspect.cleandoc(settings.__doc__ or ""), parser="google").parse()
    described = {
        entry.name: " ".join(entry.description.split())
        for section in docstring
        if section.kind is griffe.DocstringSectionKind.attributes
        for entry in section.value
    }
    schema = settings.model_json_schema()["properties"]
    if docstring and docstring[0].kind is griffe.DocstringSectionKind.text:
        yield from (docstring[0].value, "")
    yield from ("| setting | type | default | |", "| --- | --- | --- | --- |")
    below: list[tuple[str, type[BaseModel]]] = []
    for name, field in settings.model_fields.items():
        full = f"{path}.{name}" if path else name
        below += [(full, nested) for nested in _nested(field)]
        kind = _type(schema[name]).replace("|", "\\|")
        text = described.get(name, "").replace("|", "\\|")
        yield f"| `{full}` | {kind} | {_default(field)} | {text} |"
    yield ""
    for full, nested in below:
        if (full, nested) in shown:
            continue
        shown.add((full, nested))
        discriminator = nested.model_fields.get("kind")
        suffix = f" with kind {discriminator.default}" if discriminator is not None else ""
        yield from (f"### {full}{suffix}", "", *_settings(nested, full, shown))


def _nested(field: FieldInfo) -> list[type[BaseModel]]:
    """Return the settings classes that a field may hold, alone, in a union or in a list."""
    found: list[type[BaseModel]] = []

    def walk(annotation: Any) -> None:
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel) and annotation not in found:
            found.append(annotation)
        for argument in get_args(annotation):
            walk(argument)

    walk(field.annotation)
    return found


def _type(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema in words: 'integer > 0 or null'."""
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(dict.fromkeys(_type(part) for part in schema.get("anyOf", schema.get("oneOf", ()))))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema or "allOf" in schema:
        return "mapping (see below)"
    kind = str(schema.get("type", "any value"))
    if kind == "array":
        items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {_type(items)}".replace("list of mapping", "list of mappings")
    if kind == "object":
        values = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None)
        return f"mapping to {_type(values)}" if values else "mapping"
    limits = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = " ".join(f"{sign} {schema[name]:g}" for name, sign in limits.items() if name in schema)
    return f"{kind} {bounds}".strip()


def _default(field: FieldInfo) -> str:
    """Return a default as YAML, or where it is described."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    plain = json.loads(json.dumps(value, default=str))
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
    return f"`{text}`"
