"""Run the pipeline `retrain` on this machine, every task a process of this environment."""

from __future__ import annotations

import copy
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import local

from codetr.core.errors import RunFailed, UserError
from codetr.core.exit_codes import ExitCode
from codetr.core.failure_file import FAILURE_FILE_VARIABLE, Failure, read_failure
from codetr.core.files import read_json, require_writable_folder, write_json
from codetr.core.manifest import FolderKind, Manifest
from codetr.core.system.parent_watch import tied_children
from codetr.launch.job import RUN_VARIABLE
from codetr.launch.spec import LaunchSpec
from pipelines.retrain import retrain

IMAGE = "python"
"""Stands for this environment: the runner uses no image, but warns of a name without "python"."""


@dataclass(frozen=True)
class LocalRun:
    """The folders that a finished run wrote."""

    dataset: Path
    model: Path
    evaluation: Path
    registration: Path

    def write(self, path: Path) -> None:
        """Write the folders, the digest of each, the weights' digest and the metrics as JSON."""
        folders: dict[FolderKind, Path] = {
            "dataset": self.dataset,
            "model": self.model,
            "evaluation": self.evaluation,
            "registration": self.registration,
        }
        manifests = {kind: Manifest.read(folder, kind) for kind, folder in folders.items()}
        write_json(
            path,
            {
                "folders": {kind: str(folder) for kind, folder in folders.items()},
                "digests": {kind: manifest.digest for kind, manifest in manifests.items()},
                "weights": manifests["model"].files["model.safetensors"],
                "metrics": read_json(self.evaluation / "metrics.json"),
                "registration": manifests["registration"].summary,
            },
        )


def run_local(
    settings: Mapping[str, Mapping[str, Any]],
    *,
    output: Path,
    registry: Path,
    checkpoints: Path,
    processes: int,
    cluster: LaunchSpec | None = None,
    store: str = "",
) -> LocalRun:
    """Run the four steps, and return when the last one is done.

    Args:
        settings: of every step, see `pipelines.arguments.step_arguments`.
        output: every run creates a folder in it.
        registry: the registry's folder.
        checkpoints: folder from which training resumes.
        processes: processes of training and evaluation.
        cluster: where both run; None for the tasks themselves.
        store: address of the store of results; empty for none.

    Raises:
        UserError: a step ended with a mistake in its input.
        RunFailed: a step failed otherwise.
        SystemExit: a step was preempted or interrupted; with its exit code.
    """
    for path in (output, registry, checkpoints):
        # The runner would fail in making its folders, and say only that a task failed.
        require_writable_folder(path)
    # The local runner ignores accelerators and volumes, and warns of each.
    warnings.filterwarnings("ignore", module=r"kfp\..*")
    # Nothing is preempted here: a step that fails would fail again.
    pipeline = copy.deepcopy(retrain)
    for task in pipeline.pipeline_spec.root.dag.tasks.values():
        task.ClearField("retry_policy")
    with tempfile.TemporaryDirectory() as folder:
        # The runner and the shell command of each task make temporary folders that they do not remove.
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(output),
            workspace_root=f"{folder}/workspace",
        )
        failure = Path(folder) / "failure.json"
        try:
            variables = {FAILURE_FILE_VARIABLE: str(failure), "TMPDIR": folder}
            variables[RUN_VARIABLE] = os.environ.get(RUN_VARIABLE, output.absolute().name)
            with _environment(variables), tied_children():
                done = pipeline(
                    **settings,
                    registry=str(registry.absolute()),
                    checkpoints=str(checkpoints.absolute()),
                    image=IMAGE,
                    processes=processes,
                    cluster={} if cluster is None else cluster.model_dump(mode="json", exclude_defaults=True),
                    store=store,
                )
        except RuntimeError as error:
            raise step_error(re.sub(r"\x1b\[\d+m", "", str(error)).rstrip("."), read_failure(failure)) from None
    return LocalRun(**{name: Path(done.outputs[name].path) for name in LocalRun.__dataclass_fields__})


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of the processes that are started in the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def step_error(problem: str, failure: Failure | None) -> BaseException:
    """Return the exception that ends this process as the failed step ended.

    Args:
        problem: the runner's message, which names the step.
        failure: the step's failure; None if it was killed before it could report one.
    """
    if failure is None:
        return RunFailed(problem, hint="The log of the step is above.")
    if failure.exit_code in (ExitCode.PREEMPTED, ExitCode.INTERRUPTED):
        return SystemExit(failure.exit_code)
    kind = UserError if failure.exit_code == ExitCode.MISTAKE else RunFailed
    return kind(failure.message, where=problem)
