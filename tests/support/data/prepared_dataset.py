"""Fixtures of all tests: a small drawn dataset, as files and prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import draw_sample_data
from codetr.steps.prepare import prepare
from tests.support.data.sources import source


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
    """The training images of it."""
    return Split.open(dataset, "train")
