"""Settings of the evaluate step; in a file without PyTorch, so that they can be checked where it is not installed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from codetr.core.bounds import Count, SmallCount, Workers
from codetr.core.settings import Settings
from codetr.inference.config import TilesConfig, TTAConfig


class EvaluateConfig(Settings):
    """Settings of the evaluate step.

    Attributes:
        split: the split of the dataset to evaluate on.
        batch_size: images per batch. Padding to a common size changes the last digits of detections, so the batch
            size changes the result; the number of processes does not.
        workers: processes that read images, for each process that computes; 0 reads them in the process itself.
        threads: CPU threads of each process. The last bits of sums depend on it, as on the batch size.
        pictures: how many of the best and how many of the worst images to draw.
        tta: test-time augmentation; None for none.
        tiles: detect in tiles of large images too; None for whole images only.
    """

    split: str = "val"
    batch_size: Count = 1
    workers: Workers = 2
    threads: SmallCount = 1
    pictures: Annotated[int, Field(ge=0, le=10**6)] = 8
    tta: TTAConfig | None = None
    tiles: TilesConfig | None = None
