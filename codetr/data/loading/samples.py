"""The images of an epoch as training augments them: as annotated, four of them in one, another for one that is bad.

What is drawn depends on (seed, epoch, position in the epoch) only, so that it is the same in any process.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.config import MosaicConfig
from codetr.data.dataset.split import ImageRecord, Split
from codetr.data.loading.samplers import Sampler
from codetr.data.loading.unreadable import BadImage
from codetr.data.storage.image_error import BadImageError
from codetr.data.transforms.large_scale_jitter import Unreduced
from codetr.data.transforms.mosaic import mosaic
from codetr.data.transforms.sample import Sample

_MAX_READS = 100
"""So many images in a row that cannot be read are no matter of single images any more."""


class EpochImages:
    """Images by their position in what the sampler gives for an epoch.

    Args:
        split: what they are of.
        sampler: gives the order of every epoch.
        mosaic: how images are put together, None for never.
        seed: of the run.
        with_segmentations: load segmentations; without them boxes are transformed alone, in a mosaic too.
        skip: take another image for one that cannot be read, instead of failing.
    """

    def __init__(
        self,
        split: Split,
        sampler: Sampler,
        mosaic: MosaicConfig | None,
        *,
        seed: int,
        with_segmentations: bool,
        skip: bool,
    ) -> None:
        self.split, self.sampler, self.mosaic = split, sampler, mosaic
        self.seed, self.with_segmentations, self.skip = seed, with_segmentations, skip
        self._bad: list[BadImage] = []
        self._taken: dict[int, int] = {}
        self._epoch: int | None = None
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Images of the epoch; one that comes repeatedly counts each time."""
        return len(self._order)

    def enter(self, epoch: int) -> None:
        """Give the images of this epoch from now on."""
        if epoch != self._epoch:
            self._epoch, self._order, self._taken = epoch, self.sampler.epoch(epoch), {}

    def record(self, position: int) -> ImageRecord:
        """What the index says of the image at `position`, or of the one that was taken for it."""
        return self.split.record(int(self._order[self._taken.get(position, position)]))

    def take_bad(self) -> list[BadImage]:
        """The images that others were taken for since the last call."""
        bad, self._bad = self._bad, []
        return bad

    def draw_mosaic(self, position: int, random: np.random.Generator) -> Unreduced | None:
        """The image at `position` with three others of the epoch, if it is drawn to be.

        Raises:
            UserError: see `read`.
        """
        if self.mosaic is None or random.random() >= self.mosaic.probability:
            return None
        others = random.integers(len(self._order), size=3)
        return mosaic([self._as_annotated(int(k)) for k in (position, *others)], self.mosaic.side, random)

    def unreduced(self, position: int, random: np.random.Generator) -> Unreduced:
        """The image at `position`, or a mosaic with it.

        Raises:
            UserError: see `read`.
        """
        return self.draw_mosaic(position, random) or self._as_annotated(position)

    def _as_annotated(self, position: int) -> Unreduced:
        record, sample = self.read(position)
        if not self.with_segmentations:
            return Unreduced(sample, None)
        objects = [int(k) for k in np.flatnonzero(record.trainable)]
        masks = (record.mask(k) if record.segmentations[k] else None for k in objects)
        return Unreduced(sample, masks)

    def read(self, position: int, *, with_masks: bool = False) -> tuple[ImageRecord, Sample]:
        """The image at `position` as annotated or, if it is bad and may be skipped, another one of the epoch.

        Which one depends on (seed, epoch, position) only, and on which images are bad.

        Raises:
            UserError: the image file is gone, damaged or changed, and may not be skipped; or next to no other can be
                read either.
        """
        assert self._epoch is not None
        random = np.random.default_rng(np.random.SeedSequence([self.seed, self._epoch, position], spawn_key=(3,)))
        place = position
        for _ in range(_MAX_READS):
            index = int(self._order[place])
            record = self.split.record(index)
            try:
                sample = training_sample(record, with_masks=with_masks)
                self._taken[position] = place
                return record, sample
            except BadImageError as error:
                if not self.skip:
                    hint = "Bring it back, prepare again, or set loader.bad_images=skip to train without it."
                    raise UserError(error.problem, where=error.where, hint=hint) from None
                last = error
            self._bad.append(BadImage(index, self.split.relative_path(index), last.problem))
            place = int(random.integers(len(self._order)))
        problem = f"{last.problem}, and {_MAX_READS - 1} images that were tried in its place cannot be read either"
        hint = "These are more than a few bad images: is the image folder still what it was?"
        raise UserError(problem, where=last.where, hint=hint)


def training_sample(record: ImageRecord, *, with_masks: bool = False) -> Sample:
    """An image with the objects that are trained on, as annotated, clipped to the image.

    Raises:
        BadImageError: the image file is gone, damaged or changed.
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
