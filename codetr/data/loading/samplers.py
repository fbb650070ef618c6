"""Which images an epoch takes, and how often: all once, those with rare classes repeatedly, or all classes equally.

* Repeat-factor sampling: Gupta, Dollár and Girshick, "LVIS", CVPR 2019, appendix B.2. Repetitions are rounded up, as
  MMDetection does, whose name for it is `ClassBalancedDataset`; detectron2 rounds at random.
* Class-balanced sampling: Shen, Lin and Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional
  Neural Networks", ECCV 2016, section 4, "class-aware sampling": a class is taken from a list of all, then an image
  from the list of that class, and every list is gone through before it is shuffled anew (here within an epoch, see
  `ClassBalanced`). CenterNet2's `ClassAwareSampler` has the same probabilities, but draws every image for itself, with
  replacement.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.config import ClassBalancedConfig, RepeatFactorConfig, Sampling
from codetr.data.dataset.split import Split


class Sampler(Protocol):
    """What is seen in each epoch of a run."""

    def __len__(self) -> int:
        """Places of an epoch, the same for every epoch."""

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """(places,) image indices of epoch `epoch` (from 0), a function of nothing but that."""


def build_sampler(split: Split, config: Sampling, *, seed: int) -> Sampler:
    """The sampler of a run.

    Args:
        split: what is trained on.
        config: which kind.
        seed: of the run.

    Raises:
        UserError: classes are to be balanced, and there is no object to train on.
    """
    if isinstance(config, ClassBalancedConfig):
        return ClassBalanced(split, seed=seed)
    if isinstance(config, RepeatFactorConfig):
        return FixedOrder(repeated(split, config.threshold))
    return FixedOrder(np.arange(len(split)))


class FixedOrder:
    """The same images in every epoch; which of them form a batch is drawn elsewhere.

    Args:
        images: (places,) image indices.
    """

    def __init__(self, images: NDArray[np.int64]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """(places,) image indices."""
        return self._images


class ClassBalanced:
    """Every class that has objects is equally likely, then every image that has objects of it.

    An epoch has as many places as there are images, shared out among the classes as evenly as whole numbers allow. A
    class goes through its images in random order, from the start again when it has fewer than its places. Images
    without objects are not seen at all, and not every image with objects is seen in every epoch.

    Args:
        split: what is trained on.
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
        self._places, self._seed = len(split), seed

    def __len__(self) -> int:
        return self._places

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """(places,) image indices, class by class."""
        # Apart from the draws of batches and images, which have no key.
        random = np.random.default_rng(np.random.SeedSequence([self._seed, epoch], spawn_key=(1,)))
        classes = len(self._images)
        places = np.full(classes, self._places // classes)
        places[random.permutation(classes)[: self._places % classes]] += 1
        parts = [np.resize(random.permutation(own), count) for own, count in zip(self._images, places, strict=True)]
        return np.concatenate(parts)


def repeated(split: Split, threshold: float) -> NDArray[np.int64]:
    """The images of an epoch with repeat-factor sampling.

    Args:
        split: what is trained on.
        threshold: share of images below which a class is rare.

    Returns:
        (places,) image indices in ascending order. A class in a share f < `threshold` of all images asks for
        sqrt(threshold / f) repetitions, an image gets what its rarest class asks for, rounded up.
    """
    images, labels = images_with_classes(split)
    shares = np.bincount(labels, minlength=len(split.names)) / len(split)
    factors = np.maximum(1, np.sqrt(threshold / np.maximum(shares, np.finfo(float).tiny)))
    repeats = np.ones(len(split))
    np.maximum.at(repeats, images, factors[labels])
    return np.repeat(np.arange(len(split)), np.ceil(repeats).astype(np.int64))


def images_per_class(split: Split) -> NDArray[np.int64]:
    """(classes,) on how many images of the split objects of every class are trained on."""
    _, labels = images_with_classes(split)
    return np.bincount(labels, minlength=len(split.names))


def images_with_classes(split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of an image and a class that it has objects of, once: two arrays (pairs,), in the order of images."""
    images, labels = split.trained_on
    classes = len(split.names)
    # Nearly sorted already, of which NumPy's unique, which hashes whole numbers, makes no use.
    pairs = np.sort(images * classes + labels)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return pairs // classes, pairs % classes
