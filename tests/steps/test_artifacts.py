"""Outputs of a task that stay on the shared volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetr.core.manifest import Manifest
from codetr.steps.artifacts import folder_of, refer_to


@dataclass
class Artifact:
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


def test_the_manifest_alone_is_uploaded_and_the_next_task_finds_the_folder(tmp_path: Path) -> None:
    """A dataset with copied images has a hundred thousand files."""
    folder = tmp_path / "volume/dataset"
    folder.mkdir(parents=True)
    (folder / "index").touch()
    Manifest.of(folder, "dataset").write(folder)
    output = Artifact(str(tmp_path / "minio/dataset"))
    refer_to(output, str(folder))
    assert [path.name for path in Path(output.path).iterdir()] == ["manifest.json"]
    # What is downloaded for the next task is at another path; the metadata are the same.
    assert folder_of(Artifact("/minio/elsewhere", output.metadata)) == str(folder)


def test_without_a_volume_the_folder_itself_is_uploaded(tmp_path: Path) -> None:
    output = Artifact(str(tmp_path))
    refer_to(output, output.path)
    assert output.metadata == {}
    assert folder_of(Artifact("/downloaded")) == "/downloaded"
