"""docs/reference/odd_files.md: every row about weights and models has its outcome."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.data.config import PreprocessConfig
from codetr.models.detector import build_detector
from codetr.weights.foreign_file import require_finite
from codetr.weights.model_folder import INFO, WEIGHTS, ModelInfo, load_model, save_model
from codetr.weights.official.checkpoint_file import read_checkpoint
from codetr.weights.official.detector_config import read_official_config
from tests.support.models.changed_values import changed
from tests.support.paths import ROOT
from tests.support.training.tiny_training import CLASSES, tiny_config

PAGE = ROOT / "docs" / "reference" / "odd_files.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("\n## Weights and models")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*", SECTION, re.M)][2:]
SOUND = {"a": torch.ones(3)}


class Executes:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def saved(content: Any, folder: Path, **options: Any) -> Path:
    torch.save(content, folder / "x.pth", **options)
    return folder / "x.pth"


def weights(content: Callable[[Path], Path]) -> Callable[[Path], None]:
    """Read a file of weights that `content` writes into a folder."""

    def read(folder: Path) -> None:
        path = content(folder)
        require_finite(read_checkpoint(path).weights, str(path))

    return read


def contains_itself(folder: Path) -> Path:
    content: dict[str, Any] = dict(SOUND)
    content["model"] = content
    return saved(content, folder)


def compressed(folder: Path) -> Path:
    path = folder / "y.pth"
    with zipfile.ZipFile(saved(SOUND, folder)) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    return path


def cut_short(folder: Path) -> Path:
    path = saved(SOUND, folder)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "x.pth")
    return folder / "x.pth"


def unknown_value(_: Path) -> None:
    model = json.loads((ROOT / "tests" / "golden" / "official_models.json").read_text())["co_dino_5scale_r50_1x_coco"]
    read_official_config(changed(model, "query_head.new_option", 1))


def model(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Load a model that `change` has changed."""

    def load(folder: Path) -> None:
        names = tuple(map(str, range(CLASSES)))
        info = ModelInfo(recipe="tiny", class_names=names, model=tiny_config(), preprocess=PreprocessConfig())
        save_model(folder, build_detector(tiny_config()).state_dict(), info)
        change(folder)
        load_model(folder)

    return load


def other_weights(folder: Path) -> None:
    Manifest.of(folder, "model").write(folder)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def described(path: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        description = changed(json.loads((folder / INFO).read_text()), path, value)
        (folder / INFO).write_text(json.dumps(description))

    return change


LAYERS = "model.query.transformer.encoder_layers"
# In the order of the page.
CASES: list[Callable[[Path], None]] = [
    weights(lambda folder: saved({"a": Executes(folder / "made")}, folder)),
    weights(lambda folder: saved(SOUND, folder, pickle_protocol=4)),
    weights(contains_itself),
    weights(compressed),
    weights(cut_short),
    weights(fifo),
    weights(lambda folder: saved({"a": torch.ones(1).expand(10**9, 10**9)}, folder)),
    weights(lambda folder: saved({"a": torch.tensor([1, torch.nan])}, folder)),
    weights(lambda folder: saved({"state_dict": SOUND, "meta": {"best": np.float64(1), "all": np.ones(2)}}, folder)),
    unknown_value,
    model(other_weights),
    model(described(LAYERS, 10**7)),
    model(described(LAYERS, 3)),
]


@pytest.mark.parametrize(("row", "case"), list(zip(ROWS, CASES, strict=True)), ids=[row[0] for row in ROWS])
def test_rows_of_weights_and_models_say_what_is_done(
    tmp_path: Path, row: list[str], case: Callable[[Path], None]
) -> None:
    _, outcome, said = row
    if outcome == "kept":
        case(tmp_path)
        return
    assert outcome == "refused"
    with pytest.raises(UserError) as caught:
        case(tmp_path)
    assert said.strip("`") in str(caught.value)
    assert not (tmp_path / "made").exists()
