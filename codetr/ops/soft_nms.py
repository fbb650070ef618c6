"""Soft-NMS (Bodla et al., ICCV 2017): the score of a box is lowered in proportion to its overlap with a better one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float32]


def soft_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, *, min_score: float = 1e-3, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Multiply scores by 1 - IoU for boxes that overlap a better one by `iou_threshold` or more (linear soft-NMS).

    The selection is sequential, so it runs on the host (one copy each way) over NumPy rows. It selects, swaps and drops
    in the order of mmcv's C++ operator, which decides between equal scores. Selected scores never increase, so the
    result with `limit` is the beginning of the full result; for 900 boxes and a limit of 300 it takes milliseconds.

    Args:
        boxes: (n, 4) xyxy, any unit.
        scores: (n,).
        iou_threshold: IoU from which scores are lowered.
        min_score: boxes whose lowered score is below this are dropped.
        limit: most boxes to return.

    Returns:
        Lowered scores (kept,), descending, and indices (kept,) int64 into `boxes`.
    """
    # One column per box: left, top, right, bottom, area, score. The first `done` columns are selected, those from
    # `done` to `end` are candidates.
    table = torch.cat((boxes.float(), boxes.new_zeros(len(boxes), 1).float(), scores.float()[:, None]), dim=1)
    columns = table.T.contiguous().cpu().numpy()
    columns[4] = (columns[2] - columns[0]) * (columns[3] - columns[1])
    indices = np.arange(columns.shape[1])
    end = columns.shape[1]
    done = 0
    with np.errstate(invalid="ignore"):  # 0 / 0 for two empty boxes
        while done < end and (limit is None or done < limit):
            best = done + int(columns[5, done:end].argmax())
            columns[:, [done, best]] = columns[:, [best, done]]
            indices[[done, best]] = indices[[best, done]]
            _decay_scores(columns[:, done], columns[:, done + 1 : end], iou_threshold)
            done += 1
            end = done + _drop_low_scores(columns[:, done:end], indices[done:end], min_score)
    kept_scores = torch.from_numpy(columns[5, :done].copy()).to(scores)
    return kept_scores, torch.from_numpy(indices[:done].copy()).to(boxes.device)


def _decay_scores(best: FloatArray, others: FloatArray, iou_threshold: float) -> None:
    """Lower the scores of `others` (6, m) that overlap `best` (6,), in place."""
    width = np.minimum(best[2], others[2]) - np.maximum(best[0], others[0])
    height = np.minimum(best[3], others[3]) - np.maximum(best[1], others[1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    iou = intersection / (best[4] + others[4] - intersection)
    others[5] *= np.where(iou >= np.float32(iou_threshold), 1 - iou, np.float32(1))


def _drop_low_scores(candidates: FloatArray, indices: npt.NDArray[np.int64], min_score: float) -> int:
    """Move candidates with a high enough score to the front, in place, and return their number.

    Each gap, from the front, is filled with the last remaining candidate, as repeated swapping with the end does.
    """
    remains = candidates[5] >= np.float32(min_score)
    count = int(np.count_nonzero(remains))
    if count < len(remains):
        gaps = np.flatnonzero(~remains[:count])
        fillers = count + np.flatnonzero(remains[count:])[::-1]
        candidates[:, gaps] = candidates[:, fillers]
        indices[gaps] = indices[fillers]
    return count
