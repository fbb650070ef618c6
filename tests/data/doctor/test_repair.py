"""The repaired copy: without the faults, otherwise the same, and every change on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.data.config import PreprocessConfig
from codetr.data.doctor.examination import examine_dataset
from codetr.data.doctor.repair import CHANGES, repair
from codetr.errors import UserError
from tests.data.doctor.conftest import Patient
from tests.data.doctor.faulty import index


@pytest.fixture(scope="module")
def copy(patient: Patient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repaired") / "copy"
    repair(patient.sources, patient.folder / "index", folder)
    return folder


def changes(copy: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (copy / CHANGES).read_text().splitlines()]


def test_the_copy_has_none_of_the_repaired_faults(patient: Patient, copy: Path, tmp_path: Path) -> None:
    index(tmp_path / "index", copy / "train.json", copy / "val.json", patient.folder / "raw")
    again = examine_dataset(tmp_path / "index", PreprocessConfig())
    assert [finding.name for finding in again.findings if finding.kind.fix] == []
    # What needs a decision is not decided.
    assert {"box_of_two_classes", "outline_missing", "image_nearly_leaked"} <= {f.name for f in again.findings}


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_original_and_the_changes_give_the_copy(patient: Patient, copy: Path, split: str) -> None:
    """So the list is complete, and whoever disagrees with a change can take it back."""
    content = json.loads(patient.sources[split].annotations.read_text())
    removed: set[tuple[str, int]] = set()
    for change in changes(copy):
        if change["split"] != split:
            continue
        entry = content[change["list"]][change["position"]]
        assert entry["id"] == change["id"]
        assert change["findings"]
        if change["action"] == "removed":
            assert change["before"] == entry
            removed.add((change["list"], change["position"]))
        else:
            assert entry.get(change["field"]) == change["before"]
            entry[change["field"]] = change["after"]
    for name in ("images", "annotations", "categories"):
        content[name] = [entry for k, entry in enumerate(content[name]) if (name, k) not in removed]
    assert json.loads((copy / f"{split}.json").read_text()) == content


def test_every_fault_is_answered_by_a_change(patient: Patient, copy: Path) -> None:
    made = {(finding, change["action"]) for change in changes(copy) for finding in change["findings"]}
    findings = [finding for finding in patient.examination.findings if finding.kind.fix]
    assert {(finding.name, finding.kind.fix) for finding in findings} <= made


def test_train_loses_what_val_has_too(copy: Path) -> None:
    """The other way round, results on val would no longer be comparable with earlier ones."""
    leaked = [change for change in changes(copy) if change["findings"] == ["image_leaked"]]
    assert {change["split"] for change in leaked} == {"train"}
    assert {change["list"] for change in leaked} == {"images", "annotations"}
    assert "leak.png" in {image["file_name"] for image in json.loads((copy / "val.json").read_text())["images"]}


def test_a_folder_of_something_else_is_left_alone(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match="no earlier repaired copy"):
        repair(patient.sources, patient.folder / "index", tmp_path)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"


def test_a_split_of_which_nothing_is_left_is_an_error(patient: Patient, tmp_path: Path) -> None:
    """One file as train and as val: every image leaks."""
    file = patient.sources["val"].annotations
    (tmp_path / "raw").mkdir()
    for name in ("train", "val"):
        (tmp_path / "raw" / name).symlink_to(patient.folder / "raw" / "val")
    sources = index(tmp_path / "index", file, file, tmp_path / "raw")
    with pytest.raises(UserError, match="no image is left"):
        repair(sources, tmp_path / "index", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
