"""Data for the steps, drawn once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codetr.data.synthetic import draw_sample_data
from tests.support.training.runs import drawn_dataset


@pytest.fixture(scope="session")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "drawn"
    draw_sample_data(folder, 30, seed=5, sides=(48, 64))
    return folder


@pytest.fixture
def drawn(drawn_once: Path, tmp_path: Path) -> Path:
    """Images of shapes in train and val, which a test may change."""
    return shutil.copytree(drawn_once, tmp_path / "drawn")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset to train on, which no test changes."""
    return drawn_dataset(tmp_path_factory.mktemp("data"))
