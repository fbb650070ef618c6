"""Repeat-factor sampling (Gupta, Dollár and Girshick, "LVIS", CVPR 2019, appendix B.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codetr.data.dataset import Split


def oversampled(split: Split, below: float | None) -> NDArray[np.int64]:
    """The images of an epoch, those with rare classes repeatedly.

    Args:
        split: what is trained on.
        below: share of images below which a class is rare; None repeats none.

    Returns:
        (positions,) image indices in ascending order. A class in a share f < `below` of all images asks for
        sqrt(below / f) repetitions, an image gets what its rarest class asks for, rounded up.
    """
    if below is None:
        return np.arange(len(split))
    images, labels = split.trained_on
    pairs = np.unique(np.stack([images, labels]), axis=1)
    shares = np.bincount(pairs[1], minlength=len(split.names)) / len(split)
    factors = np.maximum(1, np.sqrt(below / np.maximum(shares, np.finfo(float).tiny)))
    repeats = np.ones(len(split))
    np.maximum.at(repeats, pairs[0], factors[pairs[1]])
    return np.repeat(np.arange(len(split)), np.ceil(repeats).astype(np.int64))
