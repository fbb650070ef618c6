"""Running the pipeline `retrain` on this machine, every task a process of this environment."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import local

from codetr.core.errors import UserError
from codetr.core.files import read_json, write_json
from codetr.core.manifest import Kind, Manifest
from codetr.core.parent_watch import tied_children
from pipelines.retrain import retrain

IMAGE = "python"
"""Stands for this environment: the runner takes no image, and warns of one that does not look like Python."""


@dataclass(frozen=True)
class LocalRun:
    """Where a finished run's folders are."""

    dataset: Path
    model: Path
    evaluation: Path
    registration: Path

    def write(self, path: Path) -> None:
        """Write the folders, the digest of each, the weights' digest and the metrics as JSON."""
        folders: dict[Kind, Path] = {
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
    settings: Mapping[str, Mapping[str, Any]], *, output: Path, registry: Path, checkpoints: Path, processes: int
) -> LocalRun:
    """Run all four steps; returns when the last is done.

    Args:
        settings: of every step, see `pipelines.arguments.step_settings`.
        output: a folder for every run is made in it.
        registry: the registry's folder.
        checkpoints: where training leaves what it resumes from.
        processes: training processes.

    Raises:
        UserError: a step failed; what it said is in the output before.
    """
    # KFP ignores some of a task's settings on one machine (accelerators, volumes), and says so at length.
    warnings.filterwarnings("ignore", module=r"kfp\..*")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(output))
    # Nothing is preempted here: what fails would fail again, and waiting between the tries would hide it.
    pipeline = copy.deepcopy(retrain)
    for task in pipeline.pipeline_spec.root.dag.tasks.values():
        task.ClearField("retry_policy")
    try:
        with tied_children():
            done = pipeline(
                **settings,
                registry=str(registry.absolute()),
                checkpoints=str(checkpoints.absolute()),
                image=IMAGE,
                processes=processes,
            )
    except RuntimeError as error:
        problem = re.sub(r"\x1b\[\d+m", "", str(error)).rstrip(".")
        raise UserError(problem, hint="The step's own message stands above.") from None
    return LocalRun(**{name: Path(done.outputs[name].path) for name in LocalRun.__dataclass_fields__})
