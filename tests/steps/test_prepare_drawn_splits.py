"""prepare: a val or a test that is drawn from train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.synthetic import ANNOTATIONS
from codetr.steps.prepare import prepare
from tests.support.data.sources import edit, source


def test_a_drawn_split_is_announced(drawn: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A user who forgot --val would not know what the metrics are measured on."""
    with caplog.at_level("INFO"):
        prepare(PrepareConfig(train=(source(drawn / "train"),)), tmp_path / "dataset")
    assert any(message.startswith("drew val from train: ") for message in caplog.messages)


def test_val_is_drawn_by_content_and_seed(drawn: Path, tmp_path: Path) -> None:
    """Images that are added later must not move others between train and val, or val would have been trained on."""

    def divide(output: str, seed: int = 0) -> tuple[set[str], set[str]]:
        config = PrepareConfig(train=(source(drawn / "train"),), val_fraction=0.3, seed=seed, stratify=False)
        prepare(config, tmp_path / output)
        splits = [Split.open(tmp_path / output, name) for name in ("train", "val")]
        train, val = ({split.digest(i) for i in range(len(split))} for split in splits)
        assert train
        assert val
        assert not train & val
        return train, val

    whole = json.loads((drawn / "train" / ANNOTATIONS).read_text())
    train, val = divide("whole")
    assert len(train) + len(val) == len(whole["images"])
    assert divide("again") == (train, val)
    assert divide("other", seed=1) != (train, val)
    kept = [image["id"] for image in whole["images"][:-5]]

    def shrink(content: dict[str, Any]) -> None:
        content["images"] = [image for image in content["images"] if image["id"] in kept]
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]

    edit(drawn / "train", shrink)
    fewer_train, fewer_val = divide("fewer")
    assert fewer_train <= train
    assert fewer_val <= val


def test_val_and_test_are_drawn_by_class(drawn: Path, tmp_path: Path) -> None:
    """A class that by chance is only in one part would not be learnt, or not be measured."""
    config = PrepareConfig(train=(source(drawn / "train"),), val_fraction=0.25, test_fraction=0.25)
    manifest = prepare(config, tmp_path / "dataset")
    report = read_report(tmp_path / "dataset")
    assert list(report.splits) == ["train", "val", "test"]
    assert [split.images for split in report.splits.values()] == pytest.approx([12, 6, 6], abs=1)
    assert all(all(entry.images.values()) for entry in report.classes)
    assert "image_leaked" not in {found.name for found in report.findings}
    assert set(manifest.inputs) == {"train.annotations", "train.images"}

    def shuffle(content: dict[str, Any]) -> None:
        content["images"].reverse()

    before = [Split.open(tmp_path / "dataset", name).image_ids.tolist() for name in report.splits]
    edit(drawn / "train", shuffle)
    prepare(config, tmp_path / "dataset")
    after = [Split.open(tmp_path / "dataset", name).image_ids.tolist() for name in report.splits]
    assert [sorted(ids) for ids in after] == [sorted(ids) for ids in before]


def test_test_can_be_drawn_where_val_is_given(drawn: Path, tmp_path: Path) -> None:
    config = PrepareConfig(train=(source(drawn / "train"),), val=(source(drawn / "val"),), test_fraction=0.25)
    prepare(config, tmp_path / "dataset")
    counts = {name: split.images for name, split in read_report(tmp_path / "dataset").splits.items()}
    assert counts == {"train": 18, "val": 6, "test": 6}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "val_fraction and test_fraction are 1: nothing is left"),
        ({"test": {"annotations": "x"}, "test_fraction": 0.4}, "set one of them"),
    ],
)
def test_draws_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PrepareConfig.parse({"train": {"annotations": "x"}, **settings})
