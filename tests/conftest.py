"""What all tests share: where the reference numbers and the real datasets are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.support.data.prepared_dataset",
    "tests.support.registry.registry_folders",
    "tests.support.storage.moto_bucket",
]

_ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this suite."""
    parser.addoption(
        "--golden", type=Path, default=_ROOT / "tests" / "golden", help="folder of reference numbers to compare with"
    )
    parser.addoption(
        "--data",
        type=Path,
        default=os.environ.get("CODETR_TEST_DATA") or None,
        help="folder of real and of broken datasets; without it tests/realdata is not collected",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Real datasets are not part of the repository."""
    if collection_path.name == "realdata" and config.getoption("--data") is None:
        return True
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Steps that are tested for something else leave no W&B runs behind. A wrong folder must not test nothing."""
    os.environ.setdefault("WANDB_MODE", "disabled")
    os.environ.pop("CODETR_STORE", None)
    golden = config.getoption("--golden")
    if not any((golden / part).is_dir() for part in ("models", "pieces", "state_keys")):
        raise pytest.UsageError(f"--golden {golden}: holds no reference numbers (models/, pieces/ or state_keys/)")


# Folders whose tests neither start processes nor train, but for those marked so: together less than a minute.
_FAST = ("cli", "components", "core", "data/validation", "ops", "registry", "repository", "visual", "zoo")

# Folders with files that take a minute: they begin first, so that at the end no worker waits for another one.
_LONG = ("dags", "distributed", "export", "pipelines", "steps", "training")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and begin with those that take longest."""
    items.sort(key=lambda item: _folder(item) not in _LONG)
    for item in items:
        folder = _folder(item)
        if folder == "realdata":
            item.add_marker("realdata")
        slow = any(item.get_closest_marker(name) for name in ("process", "slow", "browser", "gpu"))
        if not slow and any(folder == name or folder.startswith(f"{name}/") for name in _FAST):
            item.add_marker("fast")


def _folder(item: pytest.Item) -> str:
    return item.path.parent.relative_to(_ROOT / "tests").as_posix()


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """The folder of reference numbers: pieces/, models/."""
    return request.config.getoption("--golden")


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> Path:
    """The folder of real and of broken datasets: bccd/, coco128/, odd/, eval_pairs/."""
    return request.config.getoption("--data")
