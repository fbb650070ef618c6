"""Pictures of training batches: what the detector is fed, from the loader that training uses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codetr.data.config import Augmentation, LoaderConfig, PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.loading.loader import TrainLoader
from codetr.gallery.labels import count_objects
from codetr.gallery.picture import GalleryPicture, reduced_mask
from codetr.models.structures import ImageBatch, Target
from codetr.visual.drawing import Box, draw_boxes, elide
from codetr.visual.picture_length import picture_length


def batch_loader(
    split: Split,
    augment: Augmentation,
    preprocess: PreprocessConfig,
    loader: LoaderConfig,
    *,
    seed: int,
    accumulate: int,
    with_masks: bool,
) -> TrainLoader:
    """Return the training batches as one training process gets them.

    Args:
        split: the training split.
        augment: see `TrainLoader`.
        preprocess: see `TrainLoader`.
        loader: see `TrainLoader`; images are read in this process, which changes nothing.
        seed: of the run.
        accumulate: micro-batches per optimiser step.
        with_masks: whether training uses masks.
    """
    loader = loader.model_copy(update={"workers": 0})
    return TrainLoader(split, augment, preprocess, loader, seed=seed, accumulate=accumulate, with_masks=with_masks)


def batch_pictures(
    split: Split, batches: TrainLoader, preprocess: PreprocessConfig, limit: int, long_side: int | None
) -> Iterator[GalleryPicture]:
    """Draw the images of the first batches of the first epoch with their targets.

    A dashed line is around the valid area of an image, beside which the batch is padded.

    Args:
        split: the training split.
        batches: of the split, see `batch_loader`.
        preprocess: of the batches.
        limit: number of images.
        long_side: longer side of the pictures in pixels; None for a size at which labels can be read.

    Raises:
        UserError: an image cannot be read, unless training skips it.
    """
    pictures = (
        _picture(split, images, target, position, number, preprocess, long_side)
        for number, (images, targets) in enumerate(batches.epoch(0), start=1)
        for position, target in enumerate(targets)
    )
    return islice(pictures, limit)


def denormalise(pixels: Tensor, preprocess: PreprocessConfig) -> NDArray[np.uint8]:
    """Return normalised pixels (3, height, width) as (height, width, 3) uint8 RGB: the reverse of `normalise`."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    values: NDArray[np.uint8] = (pixels * std + mean).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(values)


def _picture(
    split: Split,
    batch: ImageBatch,
    target: Target,
    position: int,
    number: int,
    preprocess: PreprocessConfig,
    long_side: int | None,
) -> GalleryPicture:
    pixels = denormalise(batch.pixels[position], preprocess)
    canvas_height, canvas_width = batch.canvas_size
    side = picture_length(canvas_height, canvas_width) if long_side is None else long_side
    labels = target.labels.tolist()
    boxes = []
    for k, (corners, label) in enumerate(zip(target.boxes.tolist(), labels, strict=True)):
        mask = None
        if target.masks is not None:
            mask = np.zeros((canvas_height, canvas_width), bool)
            rows, columns = target.masks[k].shape
            mask[:rows, :columns] = target.masks[k].numpy()
            mask = reduced_mask(mask, side)
        boxes.append(Box(tuple(corners), label, elide(split.names[label]), mask=mask))
    height, width = batch.image_sizes[position]
    padded = ""
    if (height, width) != batch.canvas_size:
        boxes.insert(0, Box((0, 0, width, height), None, dashed=True))
        padded = f" padded to {canvas_width}x{canvas_height}"
    index = int(np.flatnonzero(split.image_ids == batch.image_ids[position])[0])
    name = split.relative_path(index)
    counted = count_objects([split.names[label] for label in labels])
    caption = f"batch {number}, {position + 1}/{len(batch)}: {name}, {width}x{height}{padded}: {counted}"
    return GalleryPicture(name, caption, draw_boxes(pixels, boxes, long_side=side), labels)
