"""Loaders: the same batches whatever loads them, every image where it belongs, errors that stay errors."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codetr.core.errors import UserError
from codetr.data.config import (
    Augmentation,
    AugmentConfig,
    ClassBalancedConfig,
    ColourConfig,
    JitterConfig,
    LoaderConfig,
    MosaicConfig,
    PreprocessConfig,
    RepeatFactorConfig,
    Sampling,
    ShuffleConfig,
)
from codetr.data.dataset.split import ImageRecord, Split
from codetr.data.loading import loader as loader_module
from codetr.data.loading.loader import EvalLoader, TrainLoader, whole_views
from codetr.data.loading.samplers import build_sampler
from codetr.data.loading.samples import training_sample
from codetr.data.transforms.large_scale_jitter import LazySample
from codetr.data.transforms.sample import Sample
from tests.support.training.batches import AUGMENT, PREPROCESS, Batch, assert_equal

SAMPLINGS = (ShuffleConfig(), RepeatFactorConfig(threshold=1.0), ClassBalancedConfig())
every_sampling = pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda config: config.kind)


def loader(
    split: Split,
    batch_size: int = 2,
    workers: int = 0,
    sampling: Sampling = SAMPLINGS[0],
    **options: Any,
) -> TrainLoader:
    config = LoaderConfig(batch_size=batch_size, workers=workers, sampling=sampling)
    return TrainLoader(split, AUGMENT, PREPROCESS, config, seed=7, **options)


@every_sampling
def test_workers_do_not_change_batches(train_split: Split, sampling: Sampling) -> None:
    reference = loader(train_split, sampling=sampling)
    with_workers = loader(train_split, workers=2, sampling=sampling)
    for epoch in (0, 1):  # the second epoch meets the workers of the first again
        assert_equal(list(reference.epoch(epoch)), list(with_workers.epoch(epoch)))


def test_epochs_differ(train_split: Split) -> None:
    first, second = (next(loader(train_split, 20).epoch(epoch)) for epoch in (0, 1))
    assert sorted(first[0].image_ids) == sorted(second[0].image_ids)
    assert first[0].image_ids != second[0].image_ids
    assert first[0].pixels.shape != second[0].pixels.shape or not torch.equal(first[0].pixels, second[0].pixels)


def test_jitter_gives_canvases_that_no_worker_changes(train_split: Split) -> None:
    """The second image and its draws must depend on the seed of the run and the position in the epoch alone."""
    options = (JitterConfig(canvas=64), PreprocessConfig(canvas=64, pad_divisor=48))
    first, second = (
        TrainLoader(train_split, *options, LoaderConfig(batch_size=2, workers=workers), seed=7, with_masks=True)
        for workers in (0, 2)
    )
    batches = list(first.epoch(0))
    assert_equal(batches, list(second.epoch(0)))
    for images, targets in batches:
        assert images.canvas_size == (64, 64)
        assert images.image_sizes == images.padded_sizes == [(64, 64)] * 2
        assert all(target.masks is not None and target.masks.shape == (len(target), 64, 64) for target in targets)


def test_a_canvas_is_named_after_the_image_that_is_on_it(train_split: Split) -> None:
    """An image without objects is replaced: whoever looks for the cause of a bad step needs the id of the other one."""
    counts = np.bincount(train_split.trainable_objects[0], minlength=len(train_split))
    empty = train_split.image_ids[counts == 0]
    config = JitterConfig(canvas=64, max_pasted=0)
    loader = TrainLoader(train_split, config, PreprocessConfig(canvas=64), LoaderConfig(workers=0), seed=7)
    named = [
        image
        for images, targets in loader.epoch(0)
        for image, target in zip(images.image_ids, targets, strict=True)
        if len(target)
    ]
    assert len(empty) > 0
    assert not set(named) & set(empty.tolist())


KINDS = (AUGMENT, JitterConfig(canvas=64))
every_kind = pytest.mark.parametrize("augmentation", KINDS, ids=lambda config: config.kind)
COLOUR = ColourConfig(probability=0.5, brightness=0.5, hue=0.1)
MOSAIC = MosaicConfig(probability=0.5, side=48)


def augmented(split: Split, augmentation: Augmentation, *, start: int = 0, **options: Any) -> list[Batch]:
    workers = options.pop("workers", 0)
    canvas = 64 if isinstance(augmentation, JitterConfig) else None
    config = LoaderConfig(batch_size=2, workers=workers)
    batches = TrainLoader(split, augmentation, PreprocessConfig(canvas=canvas), config, seed=7, **options)
    return list(batches.epoch(1, start))


@every_kind
def test_options_that_are_never_drawn_change_nothing(train_split: Split, augmentation: Augmentation) -> None:
    """Whoever leaves them off must train on the pixels that the published recipes train on."""
    never = {"colour": ColourConfig(probability=0), "mosaic": MosaicConfig(probability=0)}
    assert_equal(augmented(train_split, augmentation), augmented(train_split, augmentation.model_copy(update=never)))


@every_kind
def test_colours_change_and_nothing_else_does(train_split: Split, augmentation: Augmentation) -> None:
    """Two runs that differ in this option should differ in nothing but colours."""
    plain = augmented(train_split, augmentation)
    recoloured = augmented(train_split, augmentation.model_copy(update={"colour": COLOUR}))
    changed = []
    for (images, targets), (others, other_targets) in zip(plain, recoloured, strict=True):
        assert images.image_sizes == others.image_sizes
        changed += [not torch.equal(a, b) for a, b in zip(images.pixels, others.pixels, strict=True)]
        for target, other in zip(targets, other_targets, strict=True):
            assert torch.equal(target.boxes, other.boxes)
    assert 0 < sum(changed) < len(changed)


@every_kind
def test_options_are_drawn_for_the_position_in_the_epoch_alone(train_split: Split, augmentation: Augmentation) -> None:
    """A run with other workers, or one that goes on after an interruption, would see other images."""
    both = augmentation.model_copy(update={"colour": COLOUR, "mosaic": MOSAIC})
    reference = augmented(train_split, both, with_masks=True)
    assert_equal(reference, augmented(train_split, both, workers=2, with_masks=True))
    assert_equal(reference[6:], augmented(train_split, both, start=6, with_masks=True))


def test_a_mosaic_has_the_objects_of_four_images(train_split: Split) -> None:
    """Labels must come along, crowds and other objects that are not trained on must not."""
    plain = AugmentConfig(flip_probability=0, short_sides=(400,), long_side=400, crop=None)
    counts = np.bincount(train_split.trainable_objects[0], minlength=len(train_split))
    every = plain.model_copy(update={"mosaic": MosaicConfig(probability=1, side=200)})
    several = 0
    for with_masks in (False, True):
        for images, targets in augmented(train_split, every, with_masks=with_masks):
            assert images.image_sizes == [(400, 400)] * 2
            for image_id, target in zip(images.image_ids, targets, strict=True):
                annotated = counts[train_split.image_ids.tolist().index(image_id)]
                several += len(target) > annotated
                assert len(target) <= annotated + 3 * counts.max()
                assert (target.boxes[:, 2:] > target.boxes[:, :2]).all()
                assert (target.masks is not None) == with_masks
    assert several > 20


def test_repeated_images_are_pasted_more_often_too(train_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rare objects would be pasted as seldom as they occur in the dataset, not in the epoch."""
    counts: list[int] = []

    def counting(load: Callable[[int], LazySample], position: int, count: int, *_: object) -> tuple[int, Sample]:
        counts.append(count)
        return position, load(position).sample

    monkeypatch.setattr(loader_module, "large_scale_jitter", counting)
    config = LoaderConfig(batch_size=1, workers=0, sampling=RepeatFactorConfig(threshold=1.0))
    batches = TrainLoader(train_split, JitterConfig(canvas=64), PreprocessConfig(canvas=64), config, seed=7)
    list(batches.epoch(0))
    assert set(counts) == {len(batches)}
    assert len(batches) > len(train_split)


def test_images_with_rare_classes_are_repeated_and_vary(train_split: Split) -> None:
    """Rare classes would be seen as seldom as before, or a repeated image would teach the same pixels twice."""
    config = LoaderConfig(batch_size=1, workers=0, sampling=RepeatFactorConfig(threshold=1.0))
    batches = list(TrainLoader(train_split, AUGMENT, PREPROCESS, config, seed=7).epoch(0))
    seen = [images.image_ids[0] for images, _ in batches]
    assert set(seen) == set(train_split.image_ids.tolist())
    assert len(seen) > len(train_split)
    repeated = max(set(seen), key=seen.count)
    pixels = [images.pixels for images, _ in batches if images.image_ids[0] == repeated]
    assert any(a.shape != pixels[0].shape or not torch.equal(a, pixels[0]) for a in pixels[1:])


@every_sampling
def test_an_epoch_can_be_entered_in_the_middle_however_it_is_sampled(train_split: Split, sampling: Sampling) -> None:
    """A run that is resumed would go on with other images, or with other pixels of them."""
    uninterrupted = loader(train_split, workers=1, sampling=sampling)
    list(uninterrupted.epoch(1))
    whole = list(uninterrupted.epoch(2))
    assert_equal(list(loader(train_split, sampling=sampling).epoch(2, start=3)), whole[3:])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_in_the_middle(
    train_split: Split, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming must give what would have come, without the time it takes to load what was already used."""
    whole = list(loader(train_split).epoch(3))
    assert len(whole) == len(loader(train_split)) == 10
    opened: list[int] = []
    record = Split.record

    def counted(self: Split, i: int) -> ImageRecord:
        opened.append(i)
        return record(self, i)

    monkeypatch.setattr(Split, "record", counted)
    assert_equal(list(loader(train_split, workers=workers).epoch(3, start=6)), whole[6:])
    if workers == 0:
        assert len(opened) == 8


def test_an_abandoned_epoch_leaves_nothing_behind(train_split: Split) -> None:
    reference = loader(train_split)
    interrupted = loader(train_split, workers=2)
    assert_equal(list(islice(interrupted.epoch(0), 3)), list(islice(reference.epoch(0), 3)))
    assert_equal(list(interrupted.epoch(1)), list(reference.epoch(1)))


def test_loading_does_not_touch_the_global_random_state(train_split: Split) -> None:
    """Exact resume saves that state; entering an epoch once more must not advance it."""
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    list(loader(train_split, workers=2).epoch(0))
    list(loader(train_split).epoch(0))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state(legacy=False)["state"]["key"]).all()


@every_sampling
def test_ranks_and_accumulation_share_the_large_batch(train_split: Split, sampling: Sampling) -> None:
    """The same images with the same draws, so that gradients of the divided and the large batch can be equal."""
    large = loader(train_split, 4, sampling=sampling)
    ranks = [loader(train_split, 2, sampling=sampling, rank=rank, world_size=2) for rank in range(2)]
    accumulated = loader(train_split, 2, sampling=sampling, accumulate=2)
    assert len(large) == len(ranks[0]) == len(ranks[1])
    assert len(accumulated) == 2 * len(large)
    assert len(large) == 5 or sampling.kind == "repeat_factor"
    parts = list(accumulated.epoch(0))
    divided = [list(rank.epoch(0)) for rank in ranks]
    for step, (images, targets) in enumerate(large.epoch(0)):
        for halves in ((parts[2 * step], parts[2 * step + 1]), (divided[0][step], divided[1][step])):
            assert halves[0][0].image_ids + halves[1][0].image_ids == images.image_ids
            found = [target.boxes for half in halves for target in half[1]]
            assert all(torch.equal(a, b.boxes) for a, b in zip(found, targets, strict=True))


@every_sampling
@pytest.mark.parametrize("world_size", [1, 3])
def test_no_image_is_lost_on_the_way_to_the_ranks(train_split: Split, sampling: Sampling, world_size: int) -> None:
    """What remains of an orientation, or of the last batch, is where a sampler loses images."""
    ranks = [loader(train_split, sampling=sampling, rank=rank, world_size=world_size) for rank in range(world_size)]
    expected = train_split.image_ids[build_sampler(train_split, sampling, seed=7).epoch(0)].tolist()
    found = [image for rank in ranks for images, _ in rank.epoch(0) for image in images.image_ids]
    assert all(found.count(image) >= expected.count(image) for image in expected)
    assert 0 <= len(found) - len(expected) < 2 * world_size, "only the last batch is filled up"
    assert set(expected) == set(train_split.image_ids.tolist()) or sampling.kind == "class_balanced"


def test_targets_belong_to_their_image(train_split: Split) -> None:
    """Each box, moved back to the file, is one of the annotated boxes of that image (clipped by the crop)."""
    by_id = {train_split.record(i).image_id: train_split.record(i) for i in range(len(train_split))}
    plain = AugmentConfig(flip_probability=0.0, short_sides=(64,), long_side=96, crop=None)
    batches = TrainLoader(train_split, plain, PREPROCESS, LoaderConfig(workers=0), seed=0).epoch(0)
    for images, targets in batches:
        for image_id, scale, target in zip(images.image_ids, images.scale_factors, targets, strict=True):
            record = by_id[image_id]
            boxes = target.boxes.numpy() / np.array([*scale, *scale])
            boxes[:, 2:] -= boxes[:, :2]
            np.testing.assert_allclose(boxes, record.boxes_xywh, atol=1e-3)
            assert target.labels.tolist() == record.labels.tolist()


def test_masks_come_when_requested(train_split: Split) -> None:
    for images, targets in loader(train_split, with_masks=True).epoch(0):
        for target, size in zip(targets, images.padded_sizes, strict=True):
            assert target.masks is not None
            assert target.masks.shape == (len(target), *size)
            assert target.masks.dtype == torch.bool
    assert all(target.masks is None for _, targets in loader(train_split).epoch(0) for target in targets)


def test_training_sample_leaves_out_crowds_and_clips(train_split: Split) -> None:
    record = train_split.record(0)
    changed = type(record)(
        **{
            **{name: getattr(record, name) for name in record.__dataclass_fields__},
            "boxes_xywh": np.array([[-5.0, 2.0, 20.0, 1000.0], [1.0, 1.0, 9.0, 9.0]]),
            "labels": np.array([2, 1], np.int32),
            "trainable": np.array([True, False]),
        }
    )
    sample = training_sample(changed)
    assert sample.boxes.tolist() == [[0, 2, 15, record.height]]
    assert sample.labels.tolist() == [2]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_the_batches_it_requests(dataset: Path, workers: int) -> None:
    """Images in another order would be scored by the ground truth of their neighbours."""
    split = Split.open(dataset, "train")
    batches = [[4, 1], [0], [2, 3]]
    views = whole_views(split, batches, PREPROCESS)
    found = [batch.image_ids for batch in EvalLoader(split, views, workers=workers)]
    assert found == [split.image_ids[batch].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_lost_image_is_a_user_error_from_any_process(dataset: Path, tmp_path: Path, workers: int) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    images = tmp_path / "images"
    images.mkdir()
    (copy / "locations.json").write_text(f'{{"train": "{images}", "val": "{images}"}}')
    split = Split.open(copy, "train")
    for batches in (
        loader(split, workers=workers).epoch(0),
        EvalLoader(split, whole_views(split, [range(len(split))], PREPROCESS), workers=workers),
    ):
        with pytest.raises(UserError, match=r"no such file") as caught:
            list(batches)
        assert caught.value.where is not None
        assert "Traceback" not in str(caught.value)


_SIGNALLED = """
import multiprocessing, os, signal, sys, threading, time
from contextlib import suppress
from pathlib import Path
from codetr.data.config import AugmentConfig, LoaderConfig, PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.loading.loader import TrainLoader

def signal_all(stop):
    while not stop.is_set():
        os.killpg(0, signal.SIGTERM)
        for process in multiprocessing.active_children():
            with suppress(ProcessLookupError, TypeError):
                os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.001)

def main():
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    loader = TrainLoader(Split.open(Path(sys.argv[1]), "train"), AugmentConfig(short_sides=(48,), crop=None),
                         PreprocessConfig(), LoaderConfig(workers=2), seed=0)
    stop = threading.Event()
    sender = threading.Thread(target=signal_all, args=[stop])
    sender.start()
    try:
        print(sum(1 for _ in loader.epoch(0)), "of", len(loader))
    finally:
        stop.set()
        sender.join()
    print("received" if received else "lost")

main()
"""


def test_signals_to_all_processes_leave_the_workers_alive(dataset: Path) -> None:
    """torchrun signals the process group, Slurm and systemd each process. A run that is saving itself must not lose its
    workers to that, not even those that are just starting, nor miss the signal itself."""
    run = subprocess.run(
        [sys.executable, "-c", _SIGNALLED, str(dataset)],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
        check=False,
    )
    assert run.stdout == "10 of 10\nreceived\n", run.stderr
    assert run.returncode == 0
