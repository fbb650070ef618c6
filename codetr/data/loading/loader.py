"""Load batches for training and evaluation; their content does not depend on the number of worker processes.

Every random draw of an image comes from a generator seeded by (seed, epoch, position), every batch from
`codetr.data.loading.batching`. So a run gives the same batches with any number of workers, and an epoch can be resumed
in the middle without decoding earlier images.
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

from codetr.core.errors import ReportedError
from codetr.core.system.heap import release_free_memory
from codetr.core.system.os_errors import loading_error
from codetr.data.config import Augmentation, JitterConfig, LoaderConfig, PreprocessConfig
from codetr.data.dataset.split import ImageRecord, Split
from codetr.data.loading.batching import effective_batch_count, effective_batches, rank_batches
from codetr.data.loading.collate import collate, collate_views
from codetr.data.loading.preflight import require_resources
from codetr.data.loading.samplers import ImageSampler, build_sampler
from codetr.data.loading.samples import EpochImages
from codetr.data.loading.transport import Packed, pack
from codetr.data.loading.unreadable import BadImage
from codetr.data.loading.workers import WorkerFailure, kill_workers_at_exit, signals_held, start_worker
from codetr.data.transforms.colour_jitter import jitter_colour
from codetr.data.transforms.detr import augment
from codetr.data.transforms.large_scale_jitter import large_scale_jitter
from codetr.data.transforms.preprocess import ImageSizes, normalise, pad
from codetr.data.transforms.view import View
from codetr.models.structures import ImageBatch, Target

RELEASE_EVERY = 10
"""Batches after which a loader process gives freed memory back to the system."""

_TrainBatch = tuple[ImageBatch, list[Target], list[BadImage]]


class _TrainBatches(Dataset[_TrainBatch]):
    """Training batches by (epoch, positions in the order of the epoch)."""

    def __init__(
        self,
        split: Split,
        sampler: ImageSampler,
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

    def __getitem__(self, batch: tuple[int, Sequence[int]]) -> _TrainBatch:
        epoch, positions = batch
        self.images.set_epoch(epoch)
        images = [self._load(epoch, int(position)) for position in positions]
        pixels, sizes, targets, ids = zip(*images, strict=True)
        return collate(pixels, sizes, ids), list(targets), self.images.take_bad()

    def _load(self, epoch: int, position: int) -> tuple[torch.Tensor, ImageSizes, Target, int]:
        # By position: an image that is repeated within an epoch is augmented differently every time.
        random = np.random.default_rng([self.seed, epoch, position])
        # A separate stream: the draws above are the same with and without mosaic and colour jitter.
        extra = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, position], spawn_key=(2,)))
        record: ImageRecord | None = None
        config = self.augmentation
        change_colour = partial(self._jitter_colour, random=extra)
        if isinstance(config, JitterConfig):
            # Images are drawn from the epoch: repeated ones are more likely here, too.
            load = partial(self.images.load_lazily, random=extra)
            position, sample = large_scale_jitter(load, position, len(self.images), config, random, change_colour)
        else:
            mosaic = self.images.draw_mosaic(position, extra)
            if mosaic is None:
                record, sample = self.images.read(position, with_masks=self.with_masks)
            else:
                sample = mosaic.with_masks() if self.with_masks else mosaic.sample
            sample = augment(sample, config, random)
            sample = replace(sample, image=change_colour(sample.image))
        # A mosaic has the id of its first image.
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

    def _jitter_colour(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        colour = self.augmentation.colour
        return image if colour is None else jitter_colour(image, colour, random)


class _EvalBatches(Dataset[ImageBatch]):
    """Batches of views, preprocessed as at test time."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def __getitem__(self, views: Sequence[View]) -> ImageBatch:
        self._decode({view.image for view in views})
        ids = [int(self.split.image_ids[view.image]) for view in views]
        return collate_views(views, self._decoded.__getitem__, ids)

    def _decode(self, images: set[int]) -> None:
        """Keep the images of the latest batches: the views of an image follow each other."""
        if images <= self._decoded.keys():
            return
        kept = {image: pixels for image, pixels in self._decoded.items() if image in images}
        self._decoded = kept | {image: self.split.record(image).read() for image in sorted(images - kept.keys())}


class _InWorker(Dataset[Packed | WorkerFailure]):
    """Batches as a loader process sends them: packed, or the error as data."""

    def __init__(self, batches: Dataset[Any]) -> None:
        self.batches = batches
        self.count = 0

    def __getitem__(self, batch: Any) -> Packed | WorkerFailure:
        self.count += 1
        if self.count % RELEASE_EVERY == 0:
            release_free_memory()
        try:
            return pack(self.batches[batch])
        except ReportedError as error:
            return WorkerFailure.of(error)
        except OSError as error:
            return WorkerFailure.of(loading_error(error, "reading images"))


class _Schedule(torch.utils.data.Sampler[tuple[int, list[int]]]):
    """The batches to load; set before every epoch."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[int]]] = []

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class TrainLoader:
    """Training batches of one process.

    Args:
        split: the training split.
        augment: training augmentation; large-scale jitter works on masks, and uses the filled box of an object
            without a segmentation.
        preprocess: normalisation and padding; its sizes, which are for test time, are not used.
        loader: batch size per process, loader processes, sampling, handling of images that cannot be read.
        seed: of the run.
        rank: of this process.
        world_size: number of processes.
        accumulate: micro-batches per optimiser step; an epoch is a whole number of them.
        with_masks: also load masks into the targets.

    Raises:
        UserError: sampling balances classes, and there is no object to train on; too few files may be opened for the
            loader processes.
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
        if loader.batch_size == "auto":
            raise ValueError("loader.batch_size is 'auto': choose the number of images first")
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
        self._bad: list[tuple[int, BadImage]] = []
        self._loader = _data_loader(
            dataset, self._schedule, workers=loader.workers, prefetch=loader.prefetch, persistent=True
        )

    def __len__(self) -> int:
        """Return the number of micro-batches per epoch, the same on every rank, a multiple of `accumulate`."""
        return effective_batch_count(len(self._sampler), self.images_per_step) * self._accumulate

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[ImageBatch, list[Target]]]:
        """Yield the micro-batches of epoch `epoch` (from 0), from micro-batch `start` on; earlier ones are not loaded.

        Only one epoch can be iterated at a time.

        Raises:
            UserError: an image file is missing, damaged or changed since the dataset was prepared, unless such images
                are skipped; with skipping, if hardly any image can be read.
            RunFailed: object storage does not answer, or a loader process has ended.
        """
        wide = self._wide[self._sampler.epoch(epoch)]
        batches = effective_batches(wide, self.images_per_step, seed=self._seed, epoch=epoch)
        local = rank_batches(batches, accumulate=self._accumulate, rank=self._rank, world_size=self._world_size)
        self._schedule.batches = [(epoch, positions.tolist()) for positions in local[start:]]
        for batch, (images, targets, bad) in enumerate(_unpacked(self._loader), start):
            self._bad += [(batch, image) for image in bad]
            yield images, targets

    def take_bad_images(self, before: int) -> list[BadImage]:
        """Return the images that were replaced in the micro-batches before `before` of this epoch, each one once."""
        bad = [image for batch, image in self._bad if batch < before]
        self._bad = [(batch, image) for batch, image in self._bad if batch >= before]
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
        """Yield the batches; raise `UserError` if an image file is missing, damaged or changed since preparation."""
        return _unpacked(self._loader)


def whole_views(split: Split, batches: Iterable[Sequence[int]], preprocess: PreprocessConfig) -> list[list[View]]:
    """Return batches of views of whole images, from batches of image indices of a split."""
    sizes = split.sizes.tolist()
    return [[View.whole(index, tuple(sizes[index]), preprocess) for index in batch] for batch in batches]


def _data_loader(
    dataset: Dataset[Any], schedule: Iterable[Any], *, workers: int, prefetch: int, persistent: bool
) -> DataLoader[Any]:
    require_resources(workers)
    kill_workers_at_exit()
    return DataLoader(
        _InWorker(dataset) if workers else dataset,
        sampler=schedule,
        batch_size=None,
        collate_fn=_identity,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        persistent_workers=persistent and workers > 0,
        worker_init_fn=start_worker,
        # Workers must inherit the blocked signals of `signals_held`. A fork server, the default from Python 3.14 on,
        # would neither pass them on nor survive the signal that its workers are kept from.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        # Otherwise the loader draws from the global generator in every epoch, and a resumed run would differ.
        generator=torch.Generator(),
    )


def _identity(batch: Any) -> Any:
    return batch


def _unpacked(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a loader; raise what its processes report."""
    with signals_held():
        try:
            started = iter(batches)
        except OSError as error:
            raise loading_error(error, "starting the processes that read images") from None
    for batch in started:
        if isinstance(batch, WorkerFailure):
            raise batch.error()
        yield batch.unpack() if isinstance(batch, Packed) else batch
