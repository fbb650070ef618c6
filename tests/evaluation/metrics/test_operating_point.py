"""Metrics per image and at the operating point, compared with direct counting."""

from __future__ import annotations

import numpy as np
import pytest

from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.metrics.precision_recall import average_precisions
from tests.support.evaluation.evaluation_sets import detection, random_set, truth


def test_operating_point_has_the_best_f1_of_all_thresholds() -> None:
    """Every count in the report refers to it: it must be the best, and its numbers those of that threshold."""
    ground_truth, predictions = random_set(1)
    metrics = evaluate_coco(ground_truth, predictions)
    objects = sum(not entry["iscrowd"] for entry in ground_truth["annotations"])
    matches = metrics.matches

    def at(threshold: float) -> tuple[float, float, float]:
        taken = matches.score >= threshold
        tp, fp = (int((taken & kind[0]).sum()) for kind in (matches.tp, matches.fp))
        return tp / (tp + fp), tp / objects, 2 * tp / (tp + fp + objects)

    point = metrics.operating_point
    assert point.f1 == max(at(score)[2] for score in np.unique(matches.score))
    assert (point.precision, point.recall, point.f1) == at(point.score)


def test_leaving_out_low_scores_does_not_change_other_matches() -> None:
    """Counting at a threshold relies on it: the same counts must come from predictions cut at the threshold."""
    ground_truth, predictions = random_set(2)
    metrics = evaluate_coco(ground_truth, predictions)
    cut = [entry for entry in predictions if entry["score"] >= metrics.operating_point.score]
    again = evaluate_coco(ground_truth, cut).matches
    tp = np.bincount(again.image[again.tp[0]], minlength=len(metrics.images))
    fp = np.bincount(again.image[again.fp[0]], minlength=len(metrics.images))
    assert [entry.tp for entry in metrics.images] == tp.tolist()
    assert [entry.fp for entry in metrics.images] == fp.tolist()


def test_counts_add_up_to_the_whole_set() -> None:
    """An image counted twice or left out would show as a sum that is off."""
    ground_truth, predictions = random_set(3)
    metrics = evaluate_coco(ground_truth, predictions)
    tp, fp, fn = (sum(getattr(entry, name) for entry in metrics.images) for name in ("tp", "fp", "fn"))
    assert tp / (tp + fp) == metrics.operating_point.precision
    assert tp / (tp + fn) == metrics.operating_point.recall
    assert tp + fn == sum(entry.ground_truths for entry in metrics.images) == metrics.flat["ground_truths"]


def test_ap_of_an_image_is_that_of_a_set_with_this_image_alone() -> None:
    """The metrics of an image must not depend on other images: models are compared image by image."""
    ground_truth, predictions = random_set(4, images=5)
    metrics = evaluate_coco(ground_truth, predictions)
    for entry in metrics.images:
        alone = {
            **ground_truth,
            "images": [image for image in ground_truth["images"] if image["id"] == entry.image_id],
            "annotations": [a for a in ground_truth["annotations"] if a["image_id"] == entry.image_id],
        }
        single = evaluate_coco(alone, [p for p in predictions if p["image_id"] == entry.image_id])
        assert pytest.approx(single.summary["AP"], abs=1e-12) == entry.AP


def test_images_come_in_the_order_of_their_ids() -> None:
    """`per_image.json` of two models is compared row by row, whatever order their datasets list images in."""
    ground_truth = truth([(1, 1, [0, 0, 50, 50])], images=3)
    ground_truth["images"].reverse()
    metrics = evaluate_coco(ground_truth, [detection(1, 1, [0, 0, 50, 50], 0.5)])
    assert [(entry.image_id, entry.tp) for entry in metrics.images] == [(1, 1), (2, 0), (3, 0)]


def test_average_precision_of_a_known_ranking() -> None:
    """TP, FP, TP with two objects: precision 1 up to recall 1/2, then 2/3; 51 and 50 of 101 recalls."""
    ranking, none_found, second = 0, 1, 2
    total, group = np.array([1, 3, 1, 2]), np.array([ranking, ranking, second, second])
    found = average_precisions(total, group, np.array([2, 1, 2]))
    assert found[ranking] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert found[none_found] == 0
    assert found[second] == 1
