"""The doctor on real and on broken annotation files: what it finds, and that its copy has none of what it repairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from codetr.data.config import PreprocessConfig
from codetr.data.ingest.build import fetch_sources, index_sources
from codetr.data.ingest.config import PrepareConfig
from codetr.doctor.changes import CHANGES, Changes
from codetr.doctor.examination import Examination, examine_dataset
from codetr.doctor.page import write_page
from codetr.doctor.repair import RepairableFile, repair
from tests.realdata.test_prepare_odd import PREPARED, files, odd  # noqa: F401
from tests.support.data.dataset_trees import write_voc, write_yolo
from tests.support.data.faulty_dataset import index_files


def examine(folder: Path, **files: tuple[Path, Path]) -> tuple[Examination, dict[str, RepairableFile]]:
    recorded = index_files(folder, **files)
    return examine_dataset(folder, PreprocessConfig()), recorded


def counts(examination: Examination) -> dict[str, dict[str, int]]:
    return {finding.name: finding.counts for finding in examination.findings}


def copied(
    examination: Examination, used: dict[str, RepairableFile], folder: Path
) -> tuple[Examination, list[Changes]]:
    """What the doctor says about the repaired copy, and what was changed."""
    changes = repair(used, examination.dataset, folder / "copy")
    copies = {name: (folder / "copy" / f"{name}.json", Path(str(file.source.images))) for name, file in used.items()}
    again, _ = examine(folder / "again", **copies)
    return again, changes


@pytest.mark.parametrize("name", PREPARED)
def test_a_repaired_copy_has_nothing_left_to_repair(odd: Path, tmp_path: Path, name: str) -> None:  # noqa: F811
    """Of every broken file: what `--fix` promises to repair is repaired, in one go."""
    examination, used = examine(tmp_path / "index", train=(files(odd)[name], odd / "images"))
    again, changes = copied(examination, used, tmp_path)
    assert [finding.name for finding in again.findings if finding.kind.fix] == []
    repaired = {finding.name for finding in examination.findings if finding.kind.fix}
    noted = {finding for change in changes for finding, _ in change.counts}
    assert repaired <= noted
    lines = [json.loads(line) for line in (tmp_path / "copy" / CHANGES).read_text().splitlines()]
    assert lines == [entry for change in changes for entry in change.entries]
    assert all(entry["findings"] for entry in lines)


def test_sound_files_are_copied_as_they_are(data: Path, tmp_path: Path) -> None:
    """A repair that touches what is sound would change what is evaluated, or lose fields that somebody needs."""
    folder = data / "coco128"
    sources = {name: (folder / "annotations" / f"{name}.json", folder / "images") for name in ("train", "val")}
    examination, used = examine(tmp_path / "index", **sources)
    assert counts(examination) == {
        "class_unused": {"": 6},
        "class_untrained": {"": 3},
        "image_empty": {"train": 2, "val": 2},
        "annotation_crowd": {"train": 10, "val": 5},
        "box_whole_image": {"train": 3, "val": 1},
        "box_small_at_input": {"train": 5, "val": 5},
        "class_unevaluated": {"": 26},
        "class_rare": {"": 48},
        "class_imbalance": {"": 12},
    }
    changes = repair(used, examination.dataset, tmp_path / "copy")
    assert [change.entries for change in changes] == [[], []]
    for name, (file, _) in sources.items():
        assert json.loads((tmp_path / "copy" / f"{name}.json").read_text()) == json.loads(file.read_text())


def test_two_pictures_of_one_slide_in_train_and_val_are_noticed(data: Path, tmp_path: Path) -> None:
    """Two overlapping photographs, one in each split: digests cannot tell, a picture of both does."""
    folder = data / "bccd"
    sources = {name: (folder / "annotations" / f"{name}.json", folder / "images") for name in ("train", "val")}
    examination, _ = examine(tmp_path / "index", **sources)
    assert counts(examination) == {"image_nearly_leaked": {"val": 1}}
    assert examination.findings[0].examples[0].text == "'BloodImage_00037.jpg' and 'BloodImage_00038.jpg' of train"


@pytest.mark.parametrize("write", [write_voc, write_yolo], ids=["voc", "yolo"])
def test_bccd_in_another_format_is_judged_the_same(data: Path, tmp_path: Path, write: Callable[..., None]) -> None:
    """What is wrong with a dataset does not depend on how somebody wrote it down."""
    folder, tree = data / "bccd", tmp_path / "tree"
    for split in ("train", "val", "test"):
        write(json.loads((folder / "annotations" / f"{split}.json").read_text()), folder / "images", tree, split)
    source = {"annotations": str(tree / "data.yaml" if write is write_yolo else tree)}
    config = PrepareConfig.parse({"train": source, "val": source, "test": source}, where="test")
    (tmp_path / "index").mkdir()
    index_sources(fetch_sources(config, tmp_path / "index"), tmp_path / "index")
    examination = examine_dataset(tmp_path / "index", PreprocessConfig())
    assert counts(examination) == {"image_nearly_leaked": {"val": 1}}
    write_page(examination, tmp_path / "doctor.html", title="bccd")
    assert "BloodImage_00037.jpg" in (tmp_path / "doctor.html").read_text()
