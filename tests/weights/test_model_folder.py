"""Model folders: their content is validated when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.data.config import PreprocessConfig
from codetr.models.detector import build_detector
from codetr.weights.model_folder import INFO, WEIGHTS, ModelInfo, load_model, save_model
from tests.support.models.changed_values import changed
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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    names = tuple(f"class {index}" for index in range(CLASSES))
    info = ModelInfo(recipe="tiny", class_names=names, model=tiny_config(), preprocess=PreprocessConfig())
    save_model(tmp_path / "model", build_detector(tiny_config()).state_dict(), info)
    Manifest.of(tmp_path / "model", "model").write(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", [WEIGHTS, INFO])
def test_a_flipped_bit_is_noticed(model: Path, name: str) -> None:
    """The detections would be others, without an error."""
    load_model(model)
    content = bytearray((model / name).read_bytes())
    content[-100] ^= 1
    (model / name).write_bytes(content)
    with pytest.raises(UserError, match="model.json" if name == INFO else "differs from the digest in the manifest"):
        load_model(model)


def test_weights_that_the_manifest_does_not_list_are_refused(model: Path) -> None:
    manifest = Manifest.read(model, "model")
    Manifest(kind="model", files={INFO: manifest.files[INFO]}).write(model)
    with pytest.raises(UserError, match=r"manifest\.json: does not list model\.safetensors"):
        load_model(model)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    """A detector with them finds nothing, and its evaluation is 0 without an error."""
    names = tuple(f"class {index}" for index in range(CLASSES))
    info = ModelInfo(recipe="tiny", class_names=names, model=tiny_config(), preprocess=PreprocessConfig())
    state = dict(build_detector(tiny_config()).state_dict())
    state |= {name: value * float("nan") for name, value in state.items() if value.is_floating_point()}
    save_model(tmp_path, state, info)
    with pytest.raises(UserError, match=r"model\.safetensors: \d+ of \d+ tensors contain NaN or infinity: atss_head\."):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.query.transformer.encoder_layers", 10**7),
        ("model.query.transformer.feedforward_channels", 10**9),
        ("model.channels", 2**40),
        ("model.backbone.base_width", 10**12),
        ("model.query.queries", 10**12),
        ("model.query.max_detections", 10**12),
        ("model.roi.pool_size", 10**6),
        ("model.roi.delta_stds", [0.1, 0.1, 0.2, float("inf")]),
        ("model.rpn.ratios", [float("nan")]),
        ("model.atss.giou_weight", float("nan")),
        ("preprocess.short_side", 10**9),
        ("preprocess.canvas", 10**9),
        ("preprocess.mean", [float("nan")] * 3),
        ("preprocess.std", [float("nan")] * 3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sizes_beyond_any_detector_are_refused_by_name(model: Path, path: str, value: Any) -> None:
    """They would ask for all memory before weights are compared."""
    description = changed(json.loads((model / INFO).read_text()), path, value)
    (model / INFO).write_text(json.dumps(description))
    with pytest.raises(UserError, match=path.rpartition(".")[2]):
        load_model(model)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["query.transformer.encoder_layers", "query.transformer.decoder_layers"]),
    st.integers(3, 40),
    st.sampled_from([16, 2**15]),
)
def test_another_structure_is_refused_before_it_is_built(model: Path, path: str, layers: int, hidden: int) -> None:
    """Of these sizes a detector has up to tens of gigabytes."""
    description = changed(json.loads((model / INFO).read_text()), f"model.{path}", layers)
    description = changed(description, "model.query.transformer.feedforward_channels", hidden)
    (model / "manifest.json").unlink(missing_ok=True)
    (model / INFO).write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"model\.safetensors: \d+ keys do not fit"):
        load_model(model)
