"""Batches for training and evaluation, loaded by processes that do not influence what is in them.

Every random draw of an image comes from a generator seeded by (seed, epoch, image), every batch from
`codetr.data.loading.batching`; so the same run gives the same batches with any number of workers, and an epoch can be
entered in the middle without decoding what came before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from codetr.core.errors import UserError
from codetr.data.config import Augmentation, JitterConfig, LoaderConfig, PreprocessConfig
from codetr.data.dataset.split import ImageRecord, Split
from codetr.data.loading.batching import effective_batch_count, effective_batches, share
from codetr.data.loading.collate import collate, collate_views
from codetr.data.loading.samplers import Sampler, build_sampler
from codetr.data.loading.samples import EpochImages
from codetr.data.loading.unreadable import BadImage
from codetr.data.loading.workers import WorkerFailure, signals_held, start_worker
from codetr.data.transforms.colour_jitter import jitter_colour
from codetr.data.transforms.detr import augment
from codetr.data.transforms.large_scale_jitter import jittered
from codetr.data.transforms.preprocess import ImageSizes, normalise, pad
from codetr.data.transforms.view import View
from codetr.models.structures import ImageBatch, Target

_TrainBatch = tuple[ImageBatch, list[Target], list[BadImage]]


class _TrainBatches(Dataset[_TrainBatch | WorkerFailure]):
    """Batches by (epoch, places in what the sampler gives for it)."""

    def __init__(
        self,
        split: Split,
        sampler: Sampler,
        augmentation: Augmentation,
        preprocess: PreprocessConfig,
        *,
        seed: int,
        with_masks: bool,
        skip: bool,
    ) -> None:
        self.augmentation, self.preprocess = augmentation, preprocess
        self.seed, self.with_masks = seed, with_masks
        with_segmentations = with_masks or isinstance(augmentation, JitterConfig)
        self.images = EpochImages(
            split, sampler, augmentation.mosaic, seed=seed, with_segmentations=with_segmentations, skip=skip
        )

    def __getitem__(self, batch: tuple[int, Sequence[int]]) -> _TrainBatch | WorkerFailure:
        epoch, positions = batch
        self.images.enter(epoch)
        try:
            images = [self._load(epoch, int(position)) for position in positions]
        except UserError as error:
            return WorkerFailure.of(error)
        finally:
            bad = self.images.take_bad()
        pixels, sizes, targets, ids = zip(*images, strict=True)
        return collate(pixels, sizes, ids), list(targets), bad

    def _load(self, epoch: int, position: int) -> tuple[torch.Tensor, ImageSizes, Target, int]:
        # By position: an image that is repeated within an epoch looks different every time.
        random = np.random.default_rng([self.seed, epoch, position])
        # Apart from those draws, which are the same whether mosaic or colour jitter is used or not.
        extra = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, position], spawn_key=(2,)))
        record: ImageRecord | None = None
        config = self.augmentation
        recolour = partial(self._recoloured, random=extra)
        if isinstance(config, JitterConfig):
            # Images to draw from are those of the epoch: repeated ones come more often here, too.
            load = partial(self.images.unreduced, random=extra)
            position, sample = jittered(load, position, len(self.images), config, random, recolour)
        else:
            made = self.images.draw_mosaic(position, extra)
            if made is None:
                record, sample = self.images.read(position, with_masks=self.with_masks)
            else:
                sample = made.with_masks() if self.with_masks else made.sample
            sample = augment(sample, config, random)
            sample = replace(sample, image=recolour(sample.image))
        # Of several images in one, that which was asked for gives its name.
        record = record or self.images.record(position)
        divisor = self.preprocess.pad_divisor if self.preprocess.canvas is None else 1
        pixels = pad(normalise(sample.image, self.preprocess), divisor)
        height, width = sample.image.shape[:2]
        padded = (pixels.shape[1], pixels.shape[2])
        masks = None
        if self.with_masks and sample.masks is not None:
            masks = pad(torch.from_numpy(np.ascontiguousarray(sample.masks)), divisor)
        target = Target(torch.from_numpy(sample.boxes), torch.from_numpy(sample.labels), masks)
        sizes = ImageSizes((height, width), padded, (record.height, record.width))
        return pixels, sizes, target, record.image_id

    def _recoloured(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        colour = self.augmentation.colour
        return image if colour is None else jitter_colour(image, colour, random)


class _EvalBatches(Dataset[ImageBatch | WorkerFailure]):
    """Batches of views, preprocessed as at test time."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def __getitem__(self, views: Sequence[View]) -> ImageBatch | WorkerFailure:
        try:
            self._decode({view.image for view in views})
            ids = [int(self.split.image_ids[view.image]) for view in views]
            return collate_views(views, self._decoded.__getitem__, ids)
        except UserError as error:
            return WorkerFailure.of(error)

    def _decode(self, images: set[int]) -> None:
        """Keep the images of the latest batches: the views of an image follow each other."""
        if images <= self._decoded.keys():
            return
        kept = {image: pixels for image, pixels in self._decoded.items() if image in images}
        self._decoded = kept | {image: self.split.record(image).read() for image in sorted(images - kept.keys())}


class _Schedule(torch.utils.data.Sampler[tuple[int, list[int]]]):
    """What the loader processes are asked for; set before every epoch."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[int]]] = []

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class TrainLoader:
    """Training batches of one process.

    Args:
        split: what to train on.
        augment: training augmentation; large-scale jitter works on masks, and takes the box of an object without
            a segmentation for its mask.
        preprocess: normalisation and padding (its sizes are those of test time and not used).
        loader: batch size per process, loader processes, sampling, what happens to images that cannot be read.
        seed: of the run.
        rank: of this process.
        world_size: number of processes.
        accumulate: micro-batches per optimiser step; an epoch is a whole number of them.
        with_masks: also load masks into the targets.

    Raises:
        UserError: classes are to be balanced, and there is no object to train on.
    """

    def __init__(
        self,
        split: Split,
        augment: Augmentation,
        preprocess: PreprocessConfig,
        loader: LoaderConfig,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        with_masks: bool = False,
    ) -> None:
        self._sampler = build_sampler(split, loader.sampling, seed=seed)
        self._wide = np.asarray(split.sizes[:, 1] > split.sizes[:, 0])
        self.images_per_step = loader.batch_size * world_size * accumulate
        """Images of an optimiser step, over all processes."""
        self._seed, self._rank, self._world_size, self._accumulate = seed, rank, world_size, accumulate
        self._schedule = _Schedule()
        self.skips_bad_images = loader.bad_images == "skip"
        """Whether images that cannot be read are skipped."""
        dataset = _TrainBatches(
            split,
            self._sampler,
            augment,
            preprocess,
            seed=seed,
            with_masks=with_masks,
            skip=self.skips_bad_images,
        )
        self._bad: list[BadImage] = []
        self._loader = _data_loader(
            dataset, self._schedule, workers=loader.workers, prefetch=loader.prefetch, persistent=True
        )

    def __len__(self) -> int:
        """Micro-batches per epoch, the same on every rank, a multiple of `accumulate`."""
        return effective_batch_count(len(self._sampler), self.images_per_step) * self._accumulate

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[ImageBatch, list[Target]]]:
        """The micro-batches of epoch `epoch` (from 0), from micro-batch `start` on; earlier ones are not loaded.

        One epoch at a time: starting another one while this is being read is not supported.

        Raises:
            UserError: an image file is gone, damaged or changed since the dataset was prepared, unless such images are
                to be skipped; with that, if there are next to no others.
        """
        wide = self._wide[self._sampler.epoch(epoch)]
        batches = effective_batches(wide, self.images_per_step, seed=self._seed, epoch=epoch)
        own = share(batches, accumulate=self._accumulate, rank=self._rank, world_size=self._world_size)
        self._schedule.batches = [(epoch, indices.tolist()) for indices in own[start:]]
        for images, targets, bad in _unwrap(self._loader):
            self._bad += bad
            yield images, targets

    def take_bad_images(self) -> list[BadImage]:
        """The images that others were taken for in the batches that were given out since the last call."""
        bad, self._bad = self._bad, []
        return bad


class EvalLoader:
    """Batches of views of a split's images, preprocessed as at test time.

    Args:
        split: the images; `View.image` is the index within the split.
        batches: views of each batch, read while the loader is iterated over, which is possible once.
        workers: loader processes; 0 loads in this process.
    """

    def __init__(self, split: Split, batches: Iterable[Sequence[View]], *, workers: int) -> None:
        self._loader = _data_loader(_EvalBatches(split), batches, workers=workers, prefetch=2, persistent=False)

    def __iter__(self) -> Iterator[ImageBatch]:
        """Raises `UserError` if an image file is gone, damaged or changed since the dataset was prepared."""
        return _unwrap(self._loader)


def whole_views(split: Split, batches: Iterable[Sequence[int]], preprocess: PreprocessConfig) -> list[list[View]]:
    """Return batches of views of whole images, from batches of image indices of a split."""
    sizes = split.sizes.tolist()
    return [[View.whole(index, tuple(sizes[index]), preprocess) for index in batch] for batch in batches]


def _data_loader(
    dataset: Dataset[Any], schedule: Iterable[Any], *, workers: int, prefetch: int, persistent: bool
) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        sampler=schedule,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        persistent_workers=persistent and workers > 0,
        worker_init_fn=start_worker,
        # Workers must inherit the blocked signals of `signals_held`. A fork server, the default from Python 3.14 on,
        # would neither pass them on nor survive the signal that its workers are kept from.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        # Without a generator of its own the loader draws from the global one, which would make the state that
        # training's random draws depend on depend on how often an epoch was entered.
        generator=torch.Generator(),
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _unwrap(batches: Iterable[Any]) -> Iterator[Any]:
    with signals_held():
        started = iter(batches)
    for batch in started:
        if isinstance(batch, WorkerFailure):
            raise batch.error()
        yield batch
