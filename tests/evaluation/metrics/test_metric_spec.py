"""The table of metrics: what each name means."""

from __future__ import annotations

import pytest

from codetr.evaluation.metrics.matching import AREA_RANGES, IOU_THRESHOLDS
from codetr.evaluation.metrics.metric_spec import (
    AREAS,
    COCO_METRICS,
    LVIS_METRICS,
    MetricSpec,
    lvis_metrics,
    metric_name,
)


def test_names_and_order_are_those_of_the_reference_programs() -> None:
    """Files, the registry's gate and other programs read the metrics by these names."""
    assert " ".join(COCO_METRICS) == "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl"
    assert " ".join(LVIS_METRICS) == "AP AP50 AP75 APs APm APl APr APc APf AR@300 ARs@300 ARm@300 ARl@300"
    assert list(lvis_metrics(None))[-1] == "ARl@-1"


def test_positions_are_those_of_the_threshold_and_the_area_range() -> None:
    """A position that is off by one is another metric."""
    assert IOU_THRESHOLDS[COCO_METRICS["AP75"].thresholds].tolist() == pytest.approx([0.75])
    assert len(IOU_THRESHOLDS[COCO_METRICS["AP"].thresholds]) == 10
    assert AREA_RANGES[COCO_METRICS["ARm"].area_range].tolist() == [32**2, 96**2]
    assert len(AREAS) == len(AREA_RANGES)


@pytest.mark.parametrize(
    ("specs", "name", "label"),
    [
        (COCO_METRICS, "AP", "AP"),
        (COCO_METRICS, "AP50", "AP, IoU 0.50"),
        (COCO_METRICS, "APl", "AP, large"),
        (COCO_METRICS, "AR1", "AR, 1 detection per image"),
        (COCO_METRICS, "AR100", "AR, 100 detections per image"),
        (LVIS_METRICS, "APr", "AP, rare classes"),
        (LVIS_METRICS, "ARs@300", "AR, small"),
        (lvis_metrics(None), "AR@-1", "AR, all detections"),
    ],
)
def test_labels_say_what_a_metric_is(specs: dict[str, MetricSpec], name: str, label: str) -> None:
    assert specs[name].label == label


def test_a_metric_is_found_by_what_it_is() -> None:
    """Of COCO's recalls the one with all detections that take part is the one shown for classes."""
    assert metric_name(COCO_METRICS, "AR") == "AR100"
    assert metric_name(LVIS_METRICS, "AR", area="small") == "ARs@300"
    assert metric_name(LVIS_METRICS, "AP", group="c") == "APc"
