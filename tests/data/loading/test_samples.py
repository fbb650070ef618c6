"""The images of an epoch: another one for each that is bad, the same whatever loads them."""

from __future__ import annotations

import re
import shutil
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import Augmentation, JitterConfig, LoaderConfig, MosaicConfig
from codetr.data.dataset.split import Split
from codetr.data.loading.loader import EvalLoader, TrainLoader, whole_views
from tests.support.training.batches import AUGMENT, PREPROCESS, assert_equal


@pytest.fixture
def damaged(drawn: Path, dataset: Path, tmp_path: Path) -> tuple[Split, list[int]]:
    """The training split with its first four images gone, cut short, of another size, and no image; and their ids."""
    copy, images = tmp_path / "dataset", tmp_path / "images"
    shutil.copytree(dataset, copy)
    shutil.copytree(drawn / "train" / "images", images)
    (copy / "locations.json").write_text(f'{{"train": "{images}", "val": "{images}"}}')
    split = Split.open(copy, "train")
    gone, short, large, text = (Path(str(split.path(i))) for i in range(4))
    gone.unlink()
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    Image.new("RGB", (200, 100)).save(large)
    text.write_bytes(b"<html>not found</html>".ljust(text.stat().st_size))
    return split, split.image_ids[:4].tolist()


SKIP = LoaderConfig(batch_size=2, workers=0, bad_images="skip")


def test_bad_images_are_replaced_by_the_same_ones_whatever_loads_them(damaged: tuple[Split, list[int]]) -> None:
    """A run on two processes, with workers, or resumed would see other images than the one that was not."""
    split, bad = damaged
    plain = TrainLoader(split, AUGMENT, PREPROCESS, SKIP, seed=7)
    whole = list(plain.epoch(1))
    found = plain.take_bad_images(len(plain))
    assert {int(split.image_ids[image.index]) for image in found} == set(bad)
    reasons = {image.index: image.reason for image in found}
    assert reasons[0] == "no such file"
    assert re.fullmatch(r"has \d+ bytes, had \d+ when prepared", reasons[1])
    assert "when prepared" in reasons[2]
    assert reasons[3] == "has other content than when the dataset was prepared"
    assert not plain.take_bad_images(len(plain))
    seen = [image for images, _ in whole for image in images.image_ids]
    assert len(seen) == len(split)
    assert set(seen) == set(split.image_ids.tolist()) - set(bad)

    workers = TrainLoader(split, AUGMENT, PREPROCESS, SKIP.model_copy(update={"workers": 2}), seed=7)
    assert_equal(list(workers.epoch(1)), whole)
    assert workers.take_bad_images(len(workers)) == found

    resumed = TrainLoader(split, AUGMENT, PREPROCESS, SKIP, seed=7)
    assert_equal(list(resumed.epoch(1, start=4)), whole[4:])
    part = TrainLoader(split, AUGMENT, PREPROCESS, SKIP, seed=7)
    assert_equal(list(islice(part.epoch(1), 4)), whole[:4])
    assert part.take_bad_images(len(part)) + resumed.take_bad_images(len(resumed)) == found

    single = SKIP.model_copy(update={"batch_size": 1})
    ranks = [TrainLoader(split, AUGMENT, PREPROCESS, single, seed=7, rank=rank, world_size=2) for rank in range(2)]
    divided = [[batch[0].image_ids[0] for batch in rank.epoch(1)] for rank in ranks]
    assert [list(pair) for pair in zip(*divided, strict=True)] == [images.image_ids for images, _ in whole]
    by_rank = [image for rank in ranks for image in rank.take_bad_images(len(rank))]
    assert sorted(by_rank, key=str) == sorted(found, key=str)


def test_other_epochs_replace_bad_images_by_others(damaged: tuple[Split, list[int]]) -> None:
    """One image would stand in for another through the whole run, as if the dataset listed it twice."""
    split, _ = damaged
    loader = TrainLoader(split, AUGMENT, PREPROCESS, SKIP, seed=7)
    twice = []
    for epoch in range(3):
        seen = [image for images, _ in loader.epoch(epoch) for image in images.image_ids]
        twice.append(tuple(sorted(image for image in seen if seen.count(image) > 1)))
    assert len(set(twice)) > 1


@pytest.mark.parametrize(
    "augment",
    [JitterConfig(canvas=64), AUGMENT.model_copy(update={"mosaic": MosaicConfig(side=48, probability=1)})],
    ids=["jitter", "mosaic"],
)
def test_bad_images_are_replaced_where_several_become_one(
    damaged: tuple[Split, list[int]], augment: Augmentation
) -> None:
    """Whoever looks at a batch must find the images that are in it, not the bad ones that they replaced."""
    split, bad = damaged
    loader = TrainLoader(split, augment, PREPROCESS, SKIP, seed=7)
    seen = [image for images, _ in loader.epoch(0) for image in images.image_ids]
    assert len(seen) == len(split)
    assert not set(seen) & set(bad)
    assert {int(split.image_ids[image.index]) for image in loader.take_bad_images(len(loader))} == set(bad)


def test_a_bad_image_ends_a_run_without_skipping(damaged: tuple[Split, list[int]]) -> None:
    split, _ = damaged
    training = TrainLoader(split, AUGMENT, PREPROCESS, LoaderConfig(batch_size=2, workers=0), seed=7)
    with pytest.raises(UserError, match=r"loader\.bad_images=skip"):
        list(training.epoch(0))
    with pytest.raises(UserError, match=r"(?i)no such file|when prepared|when the dataset was prepared"):
        list(EvalLoader(split, whole_views(split, [range(len(split))], PREPROCESS), workers=0))


def test_a_folder_of_bad_images_ends_any_run(damaged: tuple[Split, list[int]]) -> None:
    """An unmounted folder would otherwise be trained on for ever, with nothing in it."""
    split, _ = damaged
    for i in range(1, len(split)):
        Path(str(split.path(i))).unlink()
    with pytest.raises(UserError, match="99 replacements cannot be read either"):
        list(TrainLoader(split, AUGMENT, PREPROCESS, SKIP, seed=7).epoch(0))
