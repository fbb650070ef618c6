"""Class names of official weights and of files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.weights.official.class_names import read_names, resolve_class_names
from tests.support.models.small_models import NAMES, write_dataset


def named(names: Any = None) -> dict[str, Any]:
    """Metadata of a checkpoint with these class names."""
    return {} if names is None else {"CLASSES": names}


def test_the_checkpoint_names_them() -> None:
    found = resolve_class_names(named(("cat", "dog")), 2)
    assert (found.names, found.origin, found.known) == (("cat", "dog"), "the checkpoint", True)
    assert resolve_class_names(named(["cat", "dog"]), 2).names == ("cat", "dog")


def test_given_names_take_precedence_and_must_be_as_many_as_the_classes() -> None:
    assert resolve_class_names(named(("cat", "dog")), 2, given=["a", "b"]).names == ("a", "b")
    with pytest.raises(UserError, match="--classes: has 3 names for the 2 classes"):
        resolve_class_names(named(), 2, given=["a", "b", "c"])


def test_eighty_classes_without_names_are_those_of_coco() -> None:
    found = resolve_class_names(named(), 80)
    assert (found.names[0], found.names[11], found.names[79]) == ("person", "stop sign", "toothbrush")
    assert len(set(found.names)) == 80
    assert resolve_class_names(named(tuple(f"mine {i}" for i in range(80))), 80).names[0] == "mine 0"


@pytest.mark.parametrize("names", [None, ("only one",), (1, 2, 3), "abc", ("a", "", "c"), 3])
def test_other_classes_are_numbered_and_not_known(names: Any) -> None:
    """The official code writes COCO's names into every checkpoint of a dataset without class names."""
    found = resolve_class_names(named(names), 3)
    assert found.names == ("class 0", "class 1", "class 2")
    assert not found.known
    assert ("has 1 names" in found.origin) == (names == ("only one",))


def test_names_are_read_from_files_and_datasets(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("traffic light\n\n  car  \n")
    assert read_names(tmp_path / "names.txt") == ("traffic light", "car")
    (tmp_path / "list.json").write_text(json.dumps(["a", "b"]))
    assert read_names(tmp_path / "list.json") == ("a", "b")
    coco = {"categories": [{"id": 7, "name": "late"}, {"id": 2, "name": "early"}], "images": []}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    assert read_names(tmp_path / "coco.json") == ("early", "late")
    coco["categories"] = [{"id": "7", "name": "late"}, {"id": 2.0, "name": "early"}]
    (tmp_path / "coco.json.gz").write_bytes(gzip.compress(json.dumps(coco).encode("utf-8-sig")))
    assert read_names(tmp_path / "coco.json.gz") == ("early", "late")
    dataset = write_dataset(tmp_path / "data", 1)
    assert read_names(dataset) == read_names(dataset / "classes.json") == NAMES


@pytest.mark.parametrize(
    "content", ["{}", "[]", "[1]", '{"categories": [{"name": "a"}]}', '{"categories": [{"id": 1}]}', "nonsense"]
)
def test_files_without_names_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=r"x\.json"):
        read_names(tmp_path / "x.json")
    with pytest.raises(UserError, match=r"y\.txt"):
        read_names(tmp_path / "y.txt")


@pytest.mark.parametrize(
    "text",
    [
        "metainfo = dict(classes=('early', 'late'), palette=[(220, 20, 60)])\ntrain_dataloader = dict(dataset=dict())",
        "train_dataloader = dict(batch_size=2, dataset=dict(metainfo=dict(classes=('early', 'late'))))",
        "train_dataloader = dict(dataset=dict(dataset=dict(metainfo={'classes': ['early', 'late']})))",
        "train_dataloader = dict(dataset=dict(datasets=[dict(), dict(metainfo=dict(CLASSES=('early', 'late')))]))",
        "data = dict(train=dict(classes=('early', 'late')))",
        "classes = ('early', 'late')",
    ],
)
def test_names_in_a_configuration_are_read(text: str) -> None:
    """Classes were numbered although the checkpoint has the configuration that names them."""
    for key in ("cfg", "config"):
        found = resolve_class_names({key: text, "dataset_meta": {"palette": None}}, 2)
        assert (found.names, found.origin) == (("early", "late"), "the checkpoint")
    other = {"dataset_meta": {"classes": ("a", "b")}, "cfg": text}
    assert resolve_class_names(other, 2).names == ("a", "b"), "what was trained precedes what was configured"


@pytest.mark.parametrize("text", ["classes = 'classes.txt'", "import os", "(", "", "metainfo = dict(classes=names)"])
def test_a_configuration_without_names_is_no_source(text: str) -> None:
    assert not resolve_class_names({"cfg": text}, 2).known
    assert not resolve_class_names({"cfg": {"classes": ("a", "b")}}, 2).known


def test_names_of_mmengine_are_read() -> None:
    """With 80 classes, COCO's names would be given to those of another dataset."""
    names = tuple(f"part {label}" for label in range(80))
    for meta in ({"dataset_meta": {"classes": names}}, {"dataset_meta": {"CLASSES": list(names)}}):
        assert resolve_class_names(meta, 80).names == names
    assert resolve_class_names({"dataset_meta": {"classes": 3}, "CLASSES": names}, 80).names == names
    assert not resolve_class_names({"dataset_meta": ["a", "b", "c"]}, 3).known
