"""Check the settings of a run against what its tasks see on a server: a mistake would show when a task starts there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from codetr.core.errors import UserError
from codetr.launch.spec import Quantity, SecretKey, Variable, names_fixed_version
from codetr.storage.s3_client import SCHEME
from pipelines.options import Resources, RunOptions, Storage

_PATHS = ("annotations", "images")
_QUANTITY = TypeAdapter(Quantity)
_VARIABLE = TypeAdapter(Variable)


def require_submittable(
    prepare: Mapping[str, Any], *, params: Path, run: RunOptions, resources: Resources, storage: Storage
) -> None:
    """Require that a run can begin on a server.

    Args:
        prepare: the section `prepare` of params.yaml.
        params: that file, for messages.
        run: the image of the tasks.
        resources: of training and evaluation.
        storage: folders, as the tasks see them.

    Raises:
        UserError: a path is relative to this machine's folder, the image has no fixed version, an amount is none that
            Kubernetes knows, or the numbers of processes and of accelerators differ.
    """
    folders = {"--registry": storage.registry, "--checkpoints": storage.checkpoints, "--runs": storage.runs}
    paths = {**{f"{params}: {name}": path for name, path in _paths(prepare, "prepare")}, **folders}
    for where, path in paths.items():
        if not PurePosixPath(path).is_absolute() and not path.startswith(SCHEME):
            hint = "Tasks see the volume at /data: give an absolute path, such as /data/coco, or one on S3."
            raise UserError(f"is '{path}', a path of this machine", where=where, hint=hint)
    if not names_fixed_version(run.image):
        hint = "Give a digest or a tag: with another image after a retry, tasks of one run would differ."
        raise UserError(f"'{run.image}' names no fixed version", where="--image", hint=hint)
    for option, amount in (("--cpu", resources.cpu), ("--memory", resources.memory)):
        try:
            _QUANTITY.validate_python(amount)
        except ValidationError:
            hint = "Write it as Kubernetes does: 500m, 8, 64Gi."
            raise UserError(f"is '{amount}', expected an amount", where=option, hint=hint) from None
    if resources.accelerators and resources.accelerators != resources.processes:
        problem = f"is {resources.processes} with {resources.accelerators} accelerators"
        raise UserError(problem, where="--nproc", hint="Training and evaluation need a process for each.")


def read_secrets(given: Sequence[str] | None) -> dict[str, SecretKey]:
    """Return environment variables with the Secrets that they come from.

    Args:
        given: each VARIABLE=SECRET/KEY.

    Raises:
        UserError: one is written otherwise, or a variable is given twice.
    """
    found: dict[str, SecretKey] = {}
    for text in given or ():
        variable, _, value = text.partition("=")
        secret, _, key = value.partition("/")
        try:
            name = _VARIABLE.validate_python(variable)
            source = SecretKey(secret=secret, key=key)
        except ValidationError:
            hint = "Write VARIABLE=SECRET/KEY, such as WANDB_API_KEY=wandb/api-key."
            raise UserError(f"is '{text}', which names no Secret", where="--secret", hint=hint) from None
        if name in found:
            raise UserError(f"{name} is given twice", where="--secret")
        found[name] = source
    return found


def _paths(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield the paths in settings of sources with their names; those in a DVC repository are not of this machine."""
    if isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _paths(one, f"{name}[{number}]")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key in _PATHS and isinstance(one, str):
                if not value.get("repo"):
                    yield f"{name}.{key}", one
            else:
                yield from _paths(one, f"{name}.{key}")
