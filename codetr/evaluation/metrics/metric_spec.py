"""The metrics of COCO and LVIS as a table: what each number is a mean over.

Names and order are those of pycocotools (Lin et al., ECCV 2014) and of the package `lvis` (Gupta, Dollár and Girshick,
CVPR 2019). Whatever needs to know what a number means looks it up here instead of parsing its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from codetr.core.text import counted
from codetr.data.lvis import FREQUENCIES

MetricKind = Literal["AP", "AR"]

AREAS = ("all", "small", "medium", "large")
"""Names of `matching.AREA_RANGES`, in their order."""

ALL_AREAS = 0
IOU50, IOU75 = 0, 5
"""Positions among `matching.IOU_THRESHOLDS`."""

LVIS_MAX_DETS = 300


@dataclass(frozen=True)
class MetricSpec:
    """What a metric is a mean over, in addition to classes.

    Attributes:
        kind: average precision ("AP") or highest recall ("AR").
        max_dets: detections per image that take part: of each class in COCO, of all classes together in LVIS. None for
            all.
        iou: IoU threshold; None for the mean over 0.50, 0.55, …, 0.95.
        area: one of `AREAS`, by the size of objects.
        group: one of `FREQUENCIES`: only classes of this frequency; None for all.
    """

    kind: MetricKind
    max_dets: int | None
    iou: float | None = None
    area: str = "all"
    group: str | None = None

    @property
    def thresholds(self) -> slice:
        """Positions among `matching.IOU_THRESHOLDS`."""
        if self.iou is None:
            return slice(None)
        position = round((self.iou - 0.5) / 0.05)
        return slice(position, position + 1)

    @property
    def area_range(self) -> int:
        """Position among `matching.AREA_RANGES`."""
        return AREAS.index(self.area)

    @property
    def label(self) -> str:
        """Text for readers, such as "AP, IoU 0.50" or "AR, 300 detections per image"."""
        if self.group is not None:
            return f"{self.kind}, {FREQUENCIES[self.group]} classes"
        if self.area != "all":
            return f"{self.kind}, {self.area}"
        if self.kind == "AP":
            return "AP" if self.iou is None else f"AP, IoU {self.iou:.2f}"
        if self.max_dets is None:
            return "AR, all detections"
        return f"AR, {counted(self.max_dets, 'detection')} per image"


MetricTable = Mapping[str, MetricSpec]
"""Specifications by name, in the order of the reference program; the highest limit of detections comes last."""

COCO_METRICS: MetricTable = {
    "AP": MetricSpec("AP", 100),
    "AP50": MetricSpec("AP", 100, iou=0.5),
    "AP75": MetricSpec("AP", 100, iou=0.75),
    "APs": MetricSpec("AP", 100, area="small"),
    "APm": MetricSpec("AP", 100, area="medium"),
    "APl": MetricSpec("AP", 100, area="large"),
    "AR1": MetricSpec("AR", 1),
    "AR10": MetricSpec("AR", 10),
    "AR100": MetricSpec("AR", 100),
    "ARs": MetricSpec("AR", 100, area="small"),
    "ARm": MetricSpec("AR", 100, area="medium"),
    "ARl": MetricSpec("AR", 100, area="large"),
}


def lvis_metrics(max_dets: int | None = LVIS_MAX_DETS) -> MetricTable:
    """Return LVIS's metrics for a limit of detections per image; None for no limit, which `lvis` calls -1."""
    limit = -1 if max_dets is None else max_dets
    return {
        "AP": MetricSpec("AP", max_dets),
        "AP50": MetricSpec("AP", max_dets, iou=0.5),
        "AP75": MetricSpec("AP", max_dets, iou=0.75),
        "APs": MetricSpec("AP", max_dets, area="small"),
        "APm": MetricSpec("AP", max_dets, area="medium"),
        "APl": MetricSpec("AP", max_dets, area="large"),
        "APr": MetricSpec("AP", max_dets, group="r"),
        "APc": MetricSpec("AP", max_dets, group="c"),
        "APf": MetricSpec("AP", max_dets, group="f"),
        f"AR@{limit}": MetricSpec("AR", max_dets),
        f"ARs@{limit}": MetricSpec("AR", max_dets, area="small"),
        f"ARm@{limit}": MetricSpec("AR", max_dets, area="medium"),
        f"ARl@{limit}": MetricSpec("AR", max_dets, area="large"),
    }


LVIS_METRICS = lvis_metrics()


def metric_name(specs: MetricTable, kind: MetricKind, *, area: str = "all", group: str | None = None) -> str:
    """Return the name of a metric over all IoU thresholds, with the highest limit of detections."""
    key = (kind, None, area, group)
    return [name for name, spec in specs.items() if (spec.kind, spec.iou, spec.area, spec.group) == key][-1]
