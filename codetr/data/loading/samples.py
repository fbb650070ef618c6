"""Read the images of an epoch before augmentation: single or in a mosaic; unreadable ones are replaced if allowed.

Draws depend on (seed, epoch, position in the epoch) only, so they are the same in any process.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.config import MosaicConfig
from codetr.data.dataset.split import ImageRecord, Split
from codetr.data.loading.samplers import ImageSampler
from codetr.data.loading.unreadable import BadImage
from codetr.data.storage.image_error import BadImageError
from codetr.data.transforms.large_scale_jitter import LazySample
from codetr.data.transforms.mosaic import mosaic
from codetr.data.transforms.sample import Sample

_MAX_READS = 100
"""If so many images in a row cannot be read, the problem is not a single image."""


class EpochImages:
    """Images by their position in the order of an epoch.

    Args:
        split: the training split.
        sampler: determines the order of every epoch.
        mosaic: settings of the mosaic, None for no mosaics.
        seed: of the run.
        with_segmentations: load segmentations; without them only boxes are transformed, in a mosaic too.
        skip: replace an image that cannot be read, instead of failing.
    """

    def __init__(
        self,
        split: Split,
        sampler: ImageSampler,
        mosaic: MosaicConfig | None,
        *,
        seed: int,
        with_segmentations: bool,
        skip: bool,
    ) -> None:
        self.split, self.sampler, self.mosaic = split, sampler, mosaic
        self.seed, self.with_segmentations, self.skip = seed, with_segmentations, skip
        self._bad: list[BadImage] = []
        self._read_at: dict[int, int] = {}
        self._epoch: int | None = None
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return the number of positions of the epoch."""
        return len(self._order)

    def set_epoch(self, epoch: int) -> None:
        """Use the order of this epoch from now on."""
        if epoch != self._epoch:
            self._epoch, self._order, self._read_at = epoch, self.sampler.epoch(epoch), {}

    def record(self, position: int) -> ImageRecord:
        """Return the record of the image at `position`, or of its replacement."""
        return self.split.record(int(self._order[self._read_at.get(position, position)]))

    def take_bad(self) -> list[BadImage]:
        """Return the images that were replaced since the last call."""
        bad, self._bad = self._bad, []
        return bad

    def draw_mosaic(self, position: int, random: np.random.Generator) -> LazySample | None:
        """Return a mosaic of the image at `position` and three others of the epoch, with its probability; else None.

        Raises:
            UserError: see `read`.
        """
        if self.mosaic is None or random.random() >= self.mosaic.probability:
            return None
        others = random.integers(len(self._order), size=3)
        return mosaic([self._as_annotated(int(k)) for k in (position, *others)], self.mosaic.side, random)

    def load_lazily(self, position: int, random: np.random.Generator) -> LazySample:
        """Return the image at `position`, or a mosaic with it.

        Raises:
            UserError: see `read`.
        """
        return self.draw_mosaic(position, random) or self._as_annotated(position)

    def _as_annotated(self, position: int) -> LazySample:
        record, sample = self.read(position)
        if not self.with_segmentations:
            return LazySample(sample, None)
        objects = [int(k) for k in np.flatnonzero(record.trainable)]
        masks = (record.mask(k) if record.segmentations[k] else None for k in objects)
        return LazySample(sample, masks)

    def read(self, position: int, *, with_masks: bool = False) -> tuple[ImageRecord, Sample]:
        """Read the image at `position` as annotated; if it is unreadable and `skip` is set, another one of the epoch.

        The replacement depends on (seed, epoch, position) only, and on which images are unreadable.

        Raises:
            UserError: the image file is missing, damaged or changed, and `skip` is not set; or hardly any other can
                be read either.
        """
        assert self._epoch is not None
        random = np.random.default_rng(np.random.SeedSequence([self.seed, self._epoch, position], spawn_key=(3,)))
        read_position = position
        for _ in range(_MAX_READS):
            index = int(self._order[read_position])
            record = self.split.record(index)
            try:
                sample = training_sample(record, with_masks=with_masks)
                self._read_at[position] = read_position
                return record, sample
            except BadImageError as error:
                if not self.skip:
                    hint = "Restore it, prepare again, or set loader.bad_images=skip to train without it."
                    raise UserError(error.problem, where=error.where, hint=hint) from None
                last = error
            self._bad.append(BadImage(index, self.split.relative_path(index), last.problem))
            read_position = int(random.integers(len(self._order)))
        problem = f"{last.problem}, and {_MAX_READS - 1} replacements cannot be read either"
        hint = "Check the image folder: it may have been moved or changed."
        raise UserError(problem, where=last.where, hint=hint)


def training_sample(record: ImageRecord, *, with_masks: bool = False) -> Sample:
    """Return an image with its trainable objects, boxes clipped to the image.

    Raises:
        BadImageError: the image file is missing, damaged or changed.
    """
    chosen = np.flatnonzero(record.trainable)
    boxes = record.boxes_xywh[chosen].copy()
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, record.width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, record.height)
    masks = None
    if with_masks:
        masks = np.zeros((len(chosen), record.height, record.width), bool)
        for mask, k in zip(masks, chosen, strict=True):
            mask[:] = record.mask(int(k))
    return Sample(record.read(), boxes.astype(np.float32), record.labels[chosen].astype(np.int64), masks)
