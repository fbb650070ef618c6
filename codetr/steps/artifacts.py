"""Artifacts of a pipeline that stay on the shared volume.

An engine uploads the folder of every output and downloads that of every input. A dataset with its images must not
travel so, nor a model that the pods of a job need too. Such an artifact holds the manifest alone, and its metadata
name the folder. The address of the artifact cannot do so: the launcher of Kubeflow Pipelines ends a task that has an
input at another address than one of a bucket.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

from codetr.core.manifest import NAME

_FOLDER = "folder"


class Artifact(Protocol):
    """An artifact as Kubeflow Pipelines gives it to a component.

    Attributes:
        metadata: of it, for people and for the next task.
    """

    metadata: dict[str, Any]

    @property
    def path(self) -> str:
        """The folder that is uploaded, or was downloaded."""


def folder_of(artifact: Artifact) -> str:
    """Return the folder that an input refers to: on the shared volume, or the one that was downloaded."""
    return str(artifact.metadata.get(_FOLDER) or artifact.path)


def refer_to(artifact: Artifact, folder: str) -> None:
    """Let an output refer to a folder that a step has written; its manifest alone is uploaded.

    Args:
        artifact: the output.
        folder: its path; the one that is uploaded as a whole stays as it is.
    """
    if folder != artifact.path:
        Path(artifact.path).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(folder) / NAME, Path(artifact.path) / NAME)
        artifact.metadata[_FOLDER] = folder
