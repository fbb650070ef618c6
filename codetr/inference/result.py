"""The detections in one image: as arrays, as objects, drawn, and as COCO results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from codetr.core.errors import UserError
from codetr.core.files import atomic_file
from codetr.data.config import FULL_RANGE, MAX_PIXELS, Range16Bit
from codetr.data.images import read_image
from codetr.inference.coco_results import coco_results
from codetr.models.structures import Detections


@dataclass(frozen=True)
class FoundObject:
    """One detected object.

    Attributes:
        box: (left, top, right, bottom) in pixels of the image.
        score: in [0, 1].
        label: index of the class among the model's classes.
        name: of the class.
        mask: (height, width) bool over the image, or None from a model without masks.
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The objects detected in one image, best first. It supports `len`, iteration and indexing like a list.

    Everything is NumPy, in main memory, on whichever device the model is.

    Attributes:
        detections: boxes, scores, labels and masks as tensors; masks as grids over their boxes.
        class_names: all classes of the model, by label.
        size: (height, width) of the image in pixels.
        path: the image's file, None if it was not a file.
        frame: index of the frame in a video, from 0.
        time: time of the frame in seconds from the start of the video.
        range_16bit: values that are black and white if the file is a 16-bit grey image.
    """

    detections: Detections
    class_names: tuple[str, ...]
    size: tuple[int, int]
    path: Path | None = None
    frame: int | None = None
    time: float | None = None
    pixels: NDArray[np.uint8] | None = None
    """The image, None if it is a file."""
    range_16bit: Range16Bit = FULL_RANGE

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """(n, 4) float32 xyxy in pixels of the image."""
        return self.detections.boxes.float().numpy()

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """(n,) float32 in [0, 1]."""
        return self.detections.scores.float().numpy()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, indices into `class_names`."""
        return self.detections.labels.numpy()

    @property
    def names(self) -> list[str]:
        """The class name of every object."""
        return [self.class_names[label] for label in self.labels]

    @cached_property
    def masks(self) -> NDArray[np.bool_] | None:
        """(n, height, width) bool over the image, or None from a model without masks.

        They are computed on first access and cached; iterating over the result has only one in memory at a time.
        """
        masks = self.detections.masks
        return None if masks is None else masks.pasted().numpy()

    @property
    def image(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB: the upright image. A file is read again."""
        if self.pixels is None:
            assert self.path is not None
            max_pixels = max(MAX_PIXELS, self.size[0] * self.size[1])  # it was read before
            return read_image(self.path, range_16bit=self.range_16bit, max_pixels=max_pixels)
        return self.pixels

    def __len__(self) -> int:
        return len(self.detections)

    def __iter__(self) -> Iterator[FoundObject]:
        masks = self.detections.masks
        pasted = iter(masks) if masks is not None else None
        for box, score, label in zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True):
            mask = None if pasted is None else next(pasted).numpy()
            yield FoundObject(tuple(box), score, label, self.class_names[label], mask)

    @overload
    def __getitem__(self, index: int) -> FoundObject: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | Sequence[bool] | NDArray[Any]) -> Result: ...
    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool] | NDArray[Any]) -> FoundObject | Result:
        """Return one object by its index, or a result with some of them by a slice, indices or a boolean mask."""
        if isinstance(index, int | np.integer):
            position = range(len(self))[int(index)]
            return next(iter(self[position : position + 1]))
        if isinstance(index, slice):
            return replace(self, detections=self.detections[index])
        positions = np.arange(len(self))[index if isinstance(index, np.ndarray) else list(index)]
        return replace(self, detections=self.detections[torch.from_numpy(positions)])

    def __repr__(self) -> str:
        height, width = self.size
        counts = {name: self.names.count(name) for name in dict.fromkeys(self.names)}
        listed = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
        source = f" in {self.path}" if self.path is not None else ""
        return f"<Result: {listed}{source} ({width}x{height})>"

    def filter(self, threshold: float) -> Result:
        """Return a result with the objects that have at least this score."""
        return replace(self, detections=self.detections[self.detections.scores >= threshold])

    def draw(self, *, long_side: int | None = None) -> Image.Image:
        """Draw boxes, names, scores and masks on the image, in one colour per class.

        Args:
            long_side: longer side of the picture in pixels; by default that of the image.
        """
        # matplotlib, whose fonts it uses, takes long to import.
        from codetr.visual.drawing import Box, draw_boxes, elide

        boxes = [
            Box(found.box, found.label, f"{elide(found.name)} {found.score:.2f}", mask=found.mask) for found in self
        ]
        return draw_boxes(self.image, boxes[::-1], long_side=long_side or max(self.size))

    def save(self, path: str | Path, *, long_side: int | None = None) -> None:
        """Write the drawn picture atomically, in the format of the file's suffix.

        Raises:
            UserError: no image format has this suffix.
        """
        path = Path(path)
        format_name = Image.registered_extensions().get(path.suffix.lower())
        if format_name not in Image.SAVE:
            raise UserError(f"'{path.suffix}' is not an image format", where=str(path), hint="Use .jpg or .png.")
        picture = self.draw(long_side=long_side)
        with atomic_file(path) as temporary:
            picture.save(temporary, format=format_name, quality=90)

    def to_coco(self, image_id: int = 0, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Convert the objects to entries of a COCO result file, ready for JSON.

        Boxes are [x, y, width, height]; a mask is a run-length code `segmentation` with a `mask_score`.

        Args:
            image_id: id of the image in the annotation file.
            category_ids: id in the annotation file of every label; by default the label itself.
        """
        ids = np.arange(len(self.class_names)) if category_ids is None else np.asarray(category_ids, dtype=np.int64)
        if len(ids) != len(self.class_names):
            raise UserError(f"has {len(ids)} ids for {len(self.class_names)} classes", where="category_ids")
        return coco_results(self.detections, image_id, ids)
