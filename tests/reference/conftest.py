"""Which reference numbers there are decides which tests there are.

A test that takes `case_name` runs for every folder of models/, one that takes `published` for every list of
state_keys/. A test that takes `piece` (by indirect parametrisation) runs for the pieces that are there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of whole models for every model in the folder, whatever its kind, and for every list of keys."""
    if "case_name" in metafunc.fixturenames:
        models = metafunc.config.getoption("--golden") / "models"
        names = sorted(path.name for path in models.iterdir() if path.is_dir()) if models.is_dir() else []
        metafunc.parametrize("case_name", names, scope="session")

    if "published" in metafunc.fixturenames:
        lists = (metafunc.config.getoption("--golden") / "state_keys").glob("[!_]*.json")
        metafunc.parametrize("published", sorted(path.stem for path in lists))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of pieces that this folder of reference numbers does not have."""
    golden, absent = config.getoption("--golden"), []
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if "piece" in parameters and not (golden / "pieces" / f"{parameters['piece']}.npz").is_file():
            absent.append(item)
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


@pytest.fixture
def piece(request: pytest.FixtureRequest, golden: Path) -> dict[str, Tensor]:
    """The arrays of one piece."""
    with np.load(golden / "pieces" / f"{request.param}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
