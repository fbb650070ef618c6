"""Calibration, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from codetr.evaluation.analysis.calibration import BINS, calibrate
from codetr.evaluation.metrics.coco import evaluate_coco
from tests.support.evaluation.evaluation_sets import detection, truth

BOX = [0.0, 0.0, 100.0, 100.0]
FAR = [150.0, 100.0, 50.0, 50.0]


def test_calibration_by_hand() -> None:
    """Class 1: 0.91 and 0.93, of which one is a true positive, 0.11 a false one. Class 2: 0.41 a true positive."""
    results = [
        detection(1, 1, BOX, 0.91),
        detection(2, 1, FAR, 0.93),
        detection(1, 1, FAR, 0.11),
        detection(1, 2, BOX, 0.41),
    ]
    matches = evaluate_coco(truth([(1, 1, BOX), (1, 2, BOX)]), results).matches
    found = calibrate(matches)
    assert {k: int(count) for k, count in enumerate(found.count) if count} == {2: 1, 8: 1, 18: 2}
    assert found.confidence[18] == pytest.approx(0.92)
    assert found.precision[[2, 8, 18]].tolist() == [0, 1, 0.5]
    assert found.ece == pytest.approx((2 * 0.42 + 0.11 + 0.59) / 4)
    assert found.class_ece.tolist() == pytest.approx([(2 * 0.42 + 0.11) / 3, 0.59])
    assert found.overconfidence.tolist() == pytest.approx([0.65 - 1 / 3, -0.59])
    used = calibrate(matches, 0.5)
    assert used.ece == pytest.approx(0.42)
    assert used.class_count.tolist() == [2, 0]


def test_scores_equal_to_the_precision_have_no_calibration_error() -> None:
    """Ten detections with 0.3, three of them true positives."""
    objects = truth([(i, 1, BOX) for i in (1, 2, 3)], images=10)
    results = [detection(i, 1, BOX if i < 4 else FAR, 0.3) for i in range(1, 11)]
    assert calibrate(evaluate_coco(objects, results).matches).ece == pytest.approx(0)


def test_ignored_detections_are_excluded_and_the_ends_of_the_scale_included() -> None:
    """A detection in a crowd region is ignored; a score of 1 belongs to the last bin, not to one after it."""
    matches = evaluate_coco(truth([(1, 1, BOX)], iscrowd=1), [detection(1, 1, BOX, 0.9)]).matches
    assert calibrate(matches).ece is None
    matches = evaluate_coco(truth([(1, 1, BOX)]), [detection(1, 1, BOX, 1.0), detection(1, 1, FAR, 0.0)]).matches
    assert np.flatnonzero(calibrate(matches).count).tolist() == [0, BINS - 1]
