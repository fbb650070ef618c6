"""A small drawn dataset that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import ANNOTATIONS, draw_sample_data
from codetr.steps.prepare import prepare


def source(folder: Path) -> SourceConfig:
    """A split as `draw_sample_data` writes it."""
    return SourceConfig(annotations=str(folder / ANNOTATIONS), images=str(folder / "images"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 training and 5 validation images, as COCO files."""
    folder = tmp_path_factory.mktemp("drawn") / "sample"
    draw_sample_data(folder, 25, seed=3, sides=(48, 80))
    return folder


@pytest.fixture(scope="session")
def dataset(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, prepared."""
    folder = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(PrepareConfig(train=source(drawn / "train"), val=source(drawn / "val")), folder)
    return folder


@pytest.fixture
def train_split(dataset: Path) -> Split:
    return Split.open(dataset, "train")
