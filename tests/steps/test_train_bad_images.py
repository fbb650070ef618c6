"""The train step with images that cannot be read: skipped on request, counted once, listed in the summary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.data.config import LoaderConfig
from codetr.data.dataset.split import Split
from codetr.steps.train import TrainConfig, train
from tests.support.training.runs import RECIPE, SHORT, finish, started, wait_for_step


@pytest.fixture
def with_bad_images(dataset: Path, tmp_path: Path) -> Path:
    """The dataset with copies of its images, of which one is gone and one is cut short."""
    copy = shutil.copytree(dataset, tmp_path / "dataset")
    locations = json.loads((dataset / "locations.json").read_text())
    shutil.copytree(locations["train"], tmp_path / "images")
    (copy / "locations.json").write_text(json.dumps(locations | {"train": str(tmp_path / "images")}))
    split = Split.open(copy, "train")
    missing, cut = split.path(3), split.path(7)
    assert isinstance(missing, Path)
    assert isinstance(cut, Path)
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-40])
    return copy


def test_bad_images_are_counted_once_over_ranks_and_restarts(with_bad_images: Path, tmp_path: Path) -> None:
    """Skipped images would be lost, or counted twice, in a run that is killed or distributed."""
    skip = LoaderConfig(batch_size=1, workers=1, bad_images="skip")
    short = {"training": RECIPE.training.model_copy(update={**SHORT, "epochs": 2, "log_every": 2})}
    train(
        TrainConfig(recipe=RECIPE.model_copy(update={"loader": skip, **short})),
        with_bad_images,
        tmp_path / "whole",
        tmp_path / "undisturbed",
    )
    found = json.loads((tmp_path / "whole" / "summary.json").read_text())["bad_images"]
    split = Split.open(with_bad_images, "train")
    names = [split.relative_path(i) for i in (3, 7)]
    assert found["images"] == 2
    assert found["replaced"] >= 2 * 2, "each of them in each epoch"
    assert [example.split()[0] for example in found["examples"]] == [f"'{name}'" for name in names]
    assert Manifest.read(tmp_path / "whole", "model").summary["bad_images"] == found
    counts = [
        json.loads(line)["replaced_images"] for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]
    assert counts[-1] == found["replaced"]

    divided: dict[str, Any] = {"training": short["training"].model_copy(update={"accumulate": 1}), "loader": skip}
    with started(tmp_path, with_bad_images, processes=2, **divided) as process:
        wait_for_step(tmp_path, 3, process)
        process.kill()
    code, log = finish(tmp_path, with_bad_images, processes=2, **divided)
    assert code == 0, log
    assert json.loads((tmp_path / "model" / "summary.json").read_text())["bad_images"] == found
    assert f"'{names[0]}' no such file" in log


def test_a_run_that_a_bad_image_ended_resumes_with_skipping(with_bad_images: Path, tmp_path: Path) -> None:
    """Hours of training would be lost with the image."""
    settings = {"training": RECIPE.training.model_copy(update={**SHORT, "epochs": 1})}
    recipe = RECIPE.model_copy(update=settings)
    with pytest.raises(UserError, match=r"loader\.bad_images=skip"):
        train(TrainConfig(recipe=recipe), with_bad_images, tmp_path / "model", tmp_path / "checkpoints")
    skip = recipe.model_copy(update={"loader": recipe.loader.model_copy(update={"bad_images": "skip"})})
    manifest = train(TrainConfig(recipe=skip), with_bad_images, tmp_path / "model", tmp_path / "checkpoints")
    assert manifest.summary["bad_images"]["images"] == 2
    # The images are whole again, say.
    again = train(TrainConfig(recipe=recipe), with_bad_images, tmp_path / "model", tmp_path / "checkpoints")
    assert again.summary["bad_images"]["images"] == 2, "the summary lists every image that was skipped"
