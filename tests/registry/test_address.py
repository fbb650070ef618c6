"""Models in registries by address; what `codetr.load` makes of them is tested in tests/inference."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.registry.address import model_folder
from codetr.registry.store import Registry
from tests.support.registry.registry_folders import MakeCandidate


def test_a_path_is_itself_even_with_an_at_sign(tmp_path: Path) -> None:
    (tmp_path / "me@home").mkdir()
    assert model_folder(str(tmp_path / "me@home")) == tmp_path / "me@home"
    assert model_folder("outputs/model") == Path("outputs/model")


def test_a_version_is_its_model_folder_and_is_checked(make_candidate: MakeCandidate, tmp_path: Path) -> None:
    """Weights that were changed in the registry are not those that were registered."""
    registry = Registry.open(tmp_path / "registry", create=True)
    candidate = make_candidate()
    version = registry.add(candidate.model, candidate.evaluation)
    folder = model_folder(f"{tmp_path}/registry@v1")
    assert folder == registry.folder(version, "model")
    assert model_folder(f"{tmp_path}/registry@{version.digest[:20]}") == folder
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    weights.write_text("changed")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        model_folder(f"{tmp_path}/registry@v1")


@pytest.mark.parametrize("end", ["", "/"])
def test_a_registry_without_a_version_is_not_taken_for_a_model(tmp_path: Path, end: str) -> None:
    """The error would be about a missing manifest, and not say that a version has to be named."""
    Registry.open(tmp_path / "registry", create=True)
    with pytest.raises(UserError, match=r"is a registry, not a model.*registry@champion"):
        model_folder(f"{tmp_path}/registry{end}")
