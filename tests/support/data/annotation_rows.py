"""Convert an annotation table to Python values."""

from __future__ import annotations

import json
from itertools import pairwise

from codetr.data.annotation_table import AnnotationTable, CheckedAnnotation


def rows(table: AnnotationTable) -> list[CheckedAnnotation]:
    """Return the rows as Python values, which can be compared."""
    segmentations = []
    for joined, lengths in table.segmentation_texts():
        bounds = [0, *lengths.cumsum().tolist()]
        segmentations += [joined[start:stop] for start, stop in pairwise(bounds)]
    return [
        CheckedAnnotation(
            int(table.annotation_ids[k]),
            int(table.image_ids[k]),
            int(table.category_ids[k]),
            tuple(table.boxes_xywh[k].tolist()),
            float(table.areas[k]),
            bool(table.iscrowd[k]),
            bool(table.trainable[k]),
            json.loads(segmentations[k]) if segmentations[k] else None,
            bool(table.ignored[k]),
        )
        for k in range(len(table))
    ]
