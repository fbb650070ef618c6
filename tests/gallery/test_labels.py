"""Which images are shown, and that their labels are drawn where they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetr.core.errors import UserError
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import ANNOTATIONS
from codetr.gallery.labels import count_objects, draw_sample, label_pictures, matching_images
from codetr.steps.prepare import prepare
from codetr.visual.drawing import GREY, class_colour
from tests.support.data.sources import source


def choose_images(split: Split, *, limit: int, seed: int, **given: Any) -> list[int]:
    return draw_sample(matching_images(split, **given), limit, seed)


def with_class(split: Split, name: str) -> list[int]:
    return choose_images(split, classes=[name], limit=99, seed=0)


def test_a_sample_is_drawn_once_and_depends_on_the_seed(train_split: Split) -> None:
    """The first images of a file are often alike; the same command has to show the same ones."""
    chosen = choose_images(train_split, limit=5, seed=0)
    assert len(set(chosen)) == 5
    assert chosen == sorted(chosen)
    assert chosen == choose_images(train_split, limit=5, seed=0)
    assert chosen != choose_images(train_split, limit=5, seed=1)
    assert choose_images(train_split, limit=99, seed=0) == list(range(len(train_split)))


def test_images_are_chosen_by_the_classes_of_their_objects(train_split: Split) -> None:
    for label, name in enumerate(train_split.names):
        holding = [i for i in range(len(train_split)) if label in train_split.record(i).labels]
        assert with_class(train_split, name) == holding


def test_images_are_chosen_by_path_name_stem_id_and_pattern(train_split: Split) -> None:
    path = train_split.relative_path(3)
    for name in (path, Path(path).stem, str(train_split.image_ids[3]), f"{Path(path).stem}.*"):
        assert choose_images(train_split, images=[name], limit=9, seed=0) == [3]
    assert len(choose_images(train_split, images=["*"], limit=99, seed=0)) == len(train_split)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"classes": ["circel"]}, "Did you mean 'circle'?"),
        ({"classes": ["nothing like it"]}, "Classes: circle,"),
        ({"images": ["0000O1.jpg"]}, "Did you mean '000"),
        ({"images": ["9" * 40]}, "has no image '999"),
        ({"images": ["a\nb"]}, r"has no image 'a\nb'"),
    ],
)
def test_unknown_names_are_answered_with_similar_ones(
    train_split: Split, given: dict[str, list[str]], expected: str
) -> None:
    with pytest.raises(UserError) as raised:
        choose_images(train_split, limit=9, seed=0, **given)
    assert expected in str(raised.value)


@pytest.fixture
def changed(drawn: Path, tmp_path: Path) -> Split:
    """A split with a crowd, an object that is not trained on, and an image without objects."""
    shutil.copytree(drawn / "train", tmp_path / "train")
    file = tmp_path / "train" / ANNOTATIONS
    values = json.loads(file.read_text())
    first = values["images"][0]
    values["annotations"] = [entry for entry in values["annotations"] if entry["image_id"] != values["images"][1]["id"]]
    entry = next(entry for entry in values["annotations"] if entry["image_id"] != first["id"])
    values["annotations"] = [one for one in values["annotations"] if one["image_id"] != first["id"]]
    base = {**entry, "image_id": first["id"], "segmentation": [], "area": 300.0}
    values["annotations"] += [
        {**base, "id": 90_001, "bbox": [2, 12, 20, 15], "iscrowd": 1},
        {**base, "id": 90_002, "bbox": [26, 12, 20, 15]},
    ]
    file.write_text(json.dumps(values))
    prepare(PrepareConfig(train=source(tmp_path / "train"), val=source(drawn / "val")), tmp_path / "dataset")
    return Split.open(tmp_path / "dataset", "train")


def test_crowds_are_grey_and_objects_have_the_colour_of_their_class(changed: Split) -> None:
    """A crowd is not trained on: drawn like an object it would look like a bad label."""
    record = changed.record(0)
    (picture,) = label_pictures(changed, [0], (), 4 * max(record.width, record.height))
    below = np.asarray(picture.image)[25 * 4 : 28 * 4]  # where the lower sides of both boxes are
    crowd, other, colour = below[:, 3 * 4 : 21 * 4], below[:, 27 * 4 : 45 * 4], class_colour(picture.labels[0])
    assert (crowd == GREY).all(axis=-1).any()
    assert not (crowd == colour).all(axis=-1).any()
    assert (other == colour).all(axis=-1).any(axis=0).all()
    assert "2 " in picture.caption


def test_an_image_without_objects_is_shown_and_has_none_of_any_class(changed: Split) -> None:
    (picture,) = label_pictures(changed, [1], (), 100)
    assert picture.caption.endswith(": no objects")
    shown = {i for label in set(changed.labels) for i in with_class(changed, changed.names[label])}
    assert 1 not in shown
    assert shown == {i for i in range(len(changed)) if len(changed.record(i).labels)}


def test_a_split_without_images_is_an_error(changed: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of annotations none of whose images can be read."""
    monkeypatch.setattr(Split, "__len__", lambda _: 0)
    with pytest.raises(UserError, match="'train' has no images"):
        choose_images(changed, limit=9, seed=0)


def test_an_image_that_cannot_be_read_is_left_out_and_named(changed: Split, caplog: pytest.LogCaptureFixture) -> None:
    """One damaged file must not hide all others; if there is nothing to show it is an error."""
    path = changed.path(2)
    assert isinstance(path, Path)
    path.write_bytes(b"no image")
    assert len(list(label_pictures(changed, [1, 2, 3], (), 100))) == 2
    assert path.name in caplog.text
    with pytest.raises(UserError, match=path.name):
        list(label_pictures(changed, [2], (), 100))


def test_objects_are_counted_by_class_most_frequent_first() -> None:
    assert count_objects(["a", "b", "b"]) == "2 b, 1 a"
    assert count_objects([]) == "no objects"
    assert count_objects([f"class {k}" for k in range(20)]).endswith("and 12 more")
