"""Interpolated precision, in cases that rounding decides."""

from __future__ import annotations

import numpy as np

from codetr.evaluation.metrics.precision_recall import RECALL_THRESHOLDS, tp_for_recall


def test_recalls_are_reached_where_a_search_finds_them() -> None:
    """0.07 · 100 is a little more than 7 in floating point, and other products are a little less than the integer."""
    counts = np.arange(1, 1200)
    needed = tp_for_recall(counts)
    for count in counts.tolist():
        reached = np.arange(1, count + 1) / count
        np.testing.assert_array_equal(needed[count - 1], np.searchsorted(reached, RECALL_THRESHOLDS) + 1)
