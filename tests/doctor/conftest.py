"""The faulty dataset and its examination."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from codetr.data.config import PreprocessConfig
from codetr.data.synthetic import ANNOTATIONS
from codetr.doctor.examination import Examination, examine_dataset
from codetr.doctor.repair import RepairableFile
from tests.support.data.faulty_dataset import index_files, write_faulty_dataset


@dataclass(frozen=True)
class FaultyDataset:
    """A dataset with known faults.

    Attributes:
        raw: annotation files and images, a folder by split.
        index: the index of both splits.
        expected: number of findings by kind.
        files: the annotation files, as they were read.
        examination: of the index.
    """

    raw: Path
    index: Path
    expected: dict[str, int]
    files: dict[str, RepairableFile]
    examination: Examination


@pytest.fixture(scope="session")
def faulty(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> FaultyDataset:
    folder = tmp_path_factory.mktemp("faulty")
    raw, index = folder / "raw", folder / "index"
    expected = write_faulty_dataset(drawn, raw)
    files = index_files(
        index,
        train=(raw / "train" / ANNOTATIONS, raw / "train" / "images"),
        val=(raw / "val" / ANNOTATIONS, raw / "val" / "images"),
    )
    return FaultyDataset(raw, index, expected, files, examine_dataset(index, PreprocessConfig()))
