"""Where training and evaluation run: in the tasks of the pipeline, or as jobs on a cluster that the tasks follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from codetr.cli.cluster_option import require_absolute
from codetr.core.errors import UserError
from codetr.launch.spec import LaunchSpec, read_spec
from codetr.steps.settings import TrainSection, chosen_recipe, recipe_files
from pipelines.options import Resources

LAUNCHER = Resources(cpu="1", memory="2Gi")
"""What a task gets that only starts and follows a job."""


def read_cluster(name: str, train_settings: Mapping[str, Any], paths: Mapping[str, str]) -> LaunchSpec:
    """Return the spec of a cluster, checked with the paths that its jobs get.

    A job would otherwise fail after the dataset was prepared, or hours later in the queue.

    Args:
        name: of its file in pipelines/clusters, or the path of one.
        train_settings: the section `train` of params.yaml.
        paths: folders of the run, by the option that names them.

    Raises:
        UserError: there is no such cluster, or a setting is wrong; a path is relative, or on no volume of the jobs.
    """
    spec = read_spec(name)
    if spec.launcher == "local":
        return spec
    train = TrainSection.parse(train_settings, where="train")
    recipe = chosen_recipe(train.recipe, None, None).changed(train.changes.items(), where="train.set")
    read = recipe_files(recipe)
    require_absolute({**{option: Path(path) for option, path in paths.items()}, **read})
    if spec.launcher == "slurm":
        return spec  # Its nodes share a file system with the machine that submits.
    mounts = [PurePosixPath(volume.path) for volume in spec.volumes]
    for option, path in {**paths, **{setting: str(file) for setting, file in read.items()}}.items():
        if not any(PurePosixPath(path).is_relative_to(mount) for mount in mounts):
            mounted = ", ".join(map(str, mounts)) or "none"
            hint = f"Add the volume to the cluster's file, or give a folder on one of its volumes ({mounted})."
            raise UserError(f"'{path}' is on no volume of the jobs of the cluster {name}", where=option, hint=hint)
    return spec


def require_volume(spec: LaunchSpec, name: str, *, claim: str, path: str) -> None:
    """Require that jobs see the volume of the pipeline's tasks, at the same path, and may write to it.

    Raises:
        UserError: they do not.
    """
    if spec.launcher != "trainjob":
        hint = "Give a cluster with Kubeflow Trainer, or leave --cluster out: the tasks then compute themselves."
        raise UserError(f"the launcher of '{name}' is '{spec.launcher}', not 'trainjob'", where="--cluster", hint=hint)
    if not any(volume.claim == claim and volume.path == path and not volume.read_only for volume in spec.volumes):
        hint = f"Add to its volumes: {{claim: {claim}, path: {path}}}."
        problem = f"the jobs of '{name}' cannot write to the volume {claim} of the pipeline at {path}"
        raise UserError(problem, where="--cluster", hint=hint)


def launcher_resources(given: Resources) -> Resources:
    """Return what a task gets that only starts and follows a job.

    Raises:
        UserError: the options ask for something, which the task would not use.
    """
    if given != replace(Resources(), accelerator=given.accelerator):
        hint = "The file of the cluster says what its jobs get."
        raise UserError(
            "cannot be combined with --nproc, --accelerators, --cpu or --memory", where="--cluster", hint=hint
        )
    return LAUNCHER
