"""Settings of evaluating a model; apart from the step, so that they can be checked where there is no PyTorch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from codetr.core.settings import Settings
from codetr.inference.config import TilesConfig, TTAConfig


class EvaluateConfig(Settings):
    """Settings of the step evaluate.

    Attributes:
        split: the split of the dataset to measure on.
        batch_size: images per batch. Padding to a common size changes detections in their last digits, so the
            batch size is a part of the result; the number of processes is not.
        workers: processes that read images, for each process that computes; 0 reads them in the process itself.
        threads: CPU threads of each process. Sums depend on it in their last bits, as on the batch size.
        pictures: how many of the best and how many of the worst images to draw.
        tta: look at every image several times; None for once.
        tiles: look at large images in tiles as well; None to look at the whole only.
    """

    split: str = "val"
    batch_size: Annotated[int, Field(gt=0)] = 1
    workers: Annotated[int, Field(ge=0)] = 2
    threads: Annotated[int, Field(gt=0)] = 1
    pictures: Annotated[int, Field(ge=0)] = 8
    tta: TTAConfig | None = None
    tiles: TilesConfig | None = None
