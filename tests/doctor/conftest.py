"""The spoilt dataset and what the doctor says about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from codetr.data.config import PreprocessConfig
from codetr.data.formats.open_source import Source
from codetr.data.synthetic import ANNOTATIONS
from codetr.doctor.examination import Examination, examine_dataset
from tests.support.faulty_dataset import index, spoil


@dataclass(frozen=True)
class Patient:
    folder: Path
    expected: dict[str, int]
    sources: dict[str, Source]
    examination: Examination


@pytest.fixture(scope="session")
def patient(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    folder = tmp_path_factory.mktemp("faulty")
    expected = spoil(drawn, folder / "raw")
    files = [folder / "raw" / name / ANNOTATIONS for name in ("train", "val")]
    sources = index(folder / "index", *files, folder / "raw")
    return Patient(folder, expected, sources, examine_dataset(folder / "index", PreprocessConfig()))
