"""Soft-NMS (Bodla et al., ICCV 2017): an overlapped detection loses score in proportion to the overlap."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def soft_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, *, min_score: float = 1e-3, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Linear soft-NMS. Boxes that overlap a better one by `iou_threshold` or more have their score times 1 - IoU.

    The selection is sequential by nature, so it runs on the host (one copy each way) over NumPy rows. It selects,
    swaps and drops in the order of mmcv's C++ operator, which decides between equal scores. Selected scores never
    increase, so stopping at `limit` gives exactly the beginning of the full answer: at 900 boxes and a limit of 300
    that is a few milliseconds.

    Args:
        boxes: (n, 4) xyxy, any unit.
        scores: (n,).
        iou_threshold: overlap from which scores are lowered.
        min_score: boxes whose lowered score is below this are dropped.
        limit: return at most this many.

    Returns:
        (kept,) lowered scores, descending, and (kept,) int64 indices into `boxes`.
    """
    # One column per box: left, top, right, bottom, area, score. The first `done` columns are the answer so far,
    # those from `done` to `end` the candidates.
    table = torch.cat((boxes.float(), boxes.new_zeros(len(boxes), 1).float(), scores.float()[:, None]), dim=1)
    columns = table.T.contiguous().cpu().numpy()
    columns[4] = (columns[2] - columns[0]) * (columns[3] - columns[1])
    indices = np.arange(columns.shape[1])
    end = columns.shape[1]
    done = 0
    with np.errstate(invalid="ignore"):  # 0 / 0 of two empty boxes is no overlap
        while done < end and (limit is None or done < limit):
            best = done + int(columns[5, done:end].argmax())
            columns[:, [done, best]] = columns[:, [best, done]]
            indices[[done, best]] = indices[[best, done]]
            _decay_scores(columns[:, done], columns[:, done + 1 : end], iou_threshold)
            done += 1
            end = done + _drop_low_scores(columns[:, done:end], indices[done:end], min_score)
    kept_scores = torch.from_numpy(columns[5, :done].copy()).to(scores)
    return kept_scores, torch.from_numpy(indices[:done].copy()).to(boxes.device)


def _decay_scores(best: np.ndarray, others: np.ndarray, iou_threshold: float) -> None:
    """Lower the scores of `others` (6, m) that overlap `best` (6,), in place."""
    width = np.minimum(best[2], others[2]) - np.maximum(best[0], others[0])
    height = np.minimum(best[3], others[3]) - np.maximum(best[1], others[1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    iou = intersection / (best[4] + others[4] - intersection)
    others[5] *= np.where(iou >= np.float32(iou_threshold), 1 - iou, np.float32(1))


def _drop_low_scores(candidates: np.ndarray, indices: np.ndarray, min_score: float) -> int:
    """Move the candidates that stay to the front, in place, and count them.

    Each gap, from the front, takes the last candidate that stays: what repeatedly swapping with the end gives.
    """
    stays = candidates[5] >= np.float32(min_score)
    count = int(np.count_nonzero(stays))
    if count < len(stays):
        gaps = np.flatnonzero(~stays[:count])
        fillers = count + np.flatnonzero(stays[count:])[::-1]
        candidates[:, gaps] = candidates[:, fillers]
        indices[gaps] = indices[fillers]
    return count
