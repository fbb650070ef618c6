"""Model folders: their content is validated when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig
from codetr.models.detector import build_detector
from codetr.weights.model_folder import INFO, ModelInfo, load_model, save_model
from tests.support.training.tiny_training import CLASSES, tiny_config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "format"),  # of a later version: its fields may mean something else
        (
            "class_names",
            ["one"],
            "class_names has 1 names, but the model has 3 classes",
        ),  # labels would have no name, or another's
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, field: str, value: Any, message: str) -> None:
    names = tuple(f"class {index}" for index in range(CLASSES))
    config = tiny_config()
    info = ModelInfo(recipe="tiny", class_names=names, model=config, preprocess=PreprocessConfig())
    save_model(tmp_path, build_detector(config).state_dict(), info)
    assert load_model(tmp_path)[1] == info
    description = json.loads((tmp_path / INFO).read_text())
    (tmp_path / INFO).write_text(json.dumps({**description, field: value}))
    with pytest.raises(UserError, match=message):
        load_model(tmp_path)
