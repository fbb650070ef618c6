"""Choose the images of an epoch: all once, those with rare classes repeatedly, or all classes equally often.

* Repeat-factor sampling: Gupta, Dollár and Girshick, "LVIS", CVPR 2019, appendix B.2. Repetitions are rounded up, as in
  MMDetection (`ClassBalancedDataset`); detectron2 rounds at random.
* Class-balanced sampling: Shen, Lin and Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional
  Neural Networks", ECCV 2016, section 4, "class-aware sampling": a class is taken from a list of all classes, then an
  image from the list of that class; a list is shuffled again when it is exhausted (here within an epoch, see
  `ClassBalanced`). CenterNet2's `ClassAwareSampler` has the same probabilities, but draws every image independently,
  with replacement.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.config import ClassBalancedConfig, RepeatFactorConfig, Sampling
from codetr.data.dataset.split import Split


class ImageSampler(Protocol):
    """The images of every epoch of a run."""

    def __len__(self) -> int:
        """Return the number of positions of an epoch, the same for every epoch."""

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return (positions,) image indices of epoch `epoch` (from 0); the result depends on nothing else."""


def build_sampler(split: Split, config: Sampling, *, seed: int) -> ImageSampler:
    """Return the sampler of a run.

    Args:
        split: the training split.
        config: the kind of sampling.
        seed: of the run.

    Raises:
        UserError: `config` balances classes, and there is no object to train on.
    """
    if isinstance(config, ClassBalancedConfig):
        return ClassBalanced(split, seed=seed)
    if isinstance(config, RepeatFactorConfig):
        return FixedOrder(repeat_factor_images(split, config.threshold))
    return FixedOrder(np.arange(len(split)))


class FixedOrder:
    """The same images in every epoch; batches are drawn from them later.

    Args:
        images: (positions,) image indices.
    """

    def __init__(self, images: NDArray[np.int64]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return (positions,) image indices."""
        return self._images


class ClassBalanced:
    """Every class with objects is equally likely, then every image with objects of that class.

    An epoch has as many positions as there are images, divided among the classes as evenly as possible. A class uses
    its images in random order, and starts again if it has more positions than images. Images without objects are
    never used, and not every image with objects is used in every epoch.

    Args:
        split: the training split.
        seed: of the run.

    Raises:
        UserError: there is no object to train on.
    """

    def __init__(self, split: Split, *, seed: int) -> None:
        images, labels = images_with_classes(split)
        if not len(images):
            raise UserError(
                "has no objects to train on, so there are no classes to balance",
                where=f"split '{split.name}' of {split.dataset}",
                hint="Set 'loader.sampling={kind: shuffle}'.",
            )
        by_class = np.argsort(labels, kind="stable")
        self._images = np.split(images[by_class], np.flatnonzero(np.diff(labels[by_class])) + 1)
        self._length, self._seed = len(split), seed

    def __len__(self) -> int:
        return self._length

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return (positions,) image indices, class by class."""
        # A separate stream: the draws of batches and images have no spawn key.
        random = np.random.default_rng(np.random.SeedSequence([self._seed, epoch], spawn_key=(1,)))
        classes = len(self._images)
        counts = np.full(classes, self._length // classes)
        counts[random.permutation(classes)[: self._length % classes]] += 1
        parts = [
            np.resize(random.permutation(images), count) for images, count in zip(self._images, counts, strict=True)
        ]
        return np.concatenate(parts)


def repeat_factor_images(split: Split, threshold: float) -> NDArray[np.int64]:
    """Return the images of an epoch with repeat-factor sampling.

    Args:
        split: the training split.
        threshold: share of images below which a class is rare.

    Returns:
        (positions,) image indices in ascending order. A class in a share f < `threshold` of all images has the repeat
        factor sqrt(threshold / f); an image has the largest factor of its classes, rounded up.
    """
    images, labels = images_with_classes(split)
    shares = np.bincount(labels, minlength=len(split.names)) / len(split)
    factors = np.maximum(1, np.sqrt(threshold / np.maximum(shares, np.finfo(float).tiny)))
    repeats = np.ones(len(split))
    np.maximum.at(repeats, images, factors[labels])
    return np.repeat(np.arange(len(split)), np.ceil(repeats).astype(np.int64))


def images_per_class(split: Split) -> NDArray[np.int64]:
    """Return (classes,) the number of images with trainable objects of every class."""
    _, labels = images_with_classes(split)
    return np.bincount(labels, minlength=len(split.names))


def images_with_classes(split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every pair of an image and a class of its trainable objects: two arrays (pairs,), in order of images."""
    images, labels = split.trainable_objects
    classes = len(split.names)
    # Sorting is faster than np.unique, which hashes integers: they are nearly sorted already.
    pairs = np.sort(images * classes + labels)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return pairs // classes, pairs % classes
