"""The identity of what a model is measured on: two evaluations are comparable only if it is the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from codetr.core.files import sha256_json
from codetr.data.dataset.split import Split
from codetr.evaluation.tables.ground_truth import GroundTruth


def evaluation_set_digest(split: Split, truth: GroundTruth) -> str:
    """Return the digest of the images, objects and classes of a split, in any order, as `sha256:<hex>`.

    Annotation ids, file names and segmentations do not count; image ids do, because comparisons go image by image. In a
    federated dataset the verified classes of every image, the ignored objects and the use of LVIS's rules are part of
    it.

    Args:
        split: the images.
        truth: the ground truth of `split`.
    """
    image_ids, category_ids = truth.image_ids.tolist(), truth.category_ids.tolist()
    images = sorted([int(image_id), split.digest(k)] for k, image_id in enumerate(split.image_ids))
    objects = [
        [image_ids[image], category_ids[label], box, area, int(iscrowd)]
        for image, label, box, area, iscrowd in zip(
            truth.image.tolist(),
            truth.label.tolist(),
            truth.boxes_xywh.tolist(),
            truth.area.tolist(),
            truth.iscrowd.tolist(),
            strict=True,
        )
    ]
    content: dict[str, Any] = {
        "images": images,
        "categories": [list(entry) for entry in zip(category_ids, truth.names, strict=True)],
        "objects": sorted(objects),
    }
    if truth.federated:
        content["ignored"] = sorted(objects[k][:3] for k in np.flatnonzero(truth.ignore))
        verified: list[list[Any]] = [[image_id, [], []] for image_id in image_ids]
        for part, keys in ((1, truth.negative), (2, truth.not_exhaustive)):
            for key in keys.tolist():
                image, label = divmod(key, len(category_ids))
                verified[image][part].append(category_ids[label])
        content["verified"] = verified
    return sha256_json(content)
