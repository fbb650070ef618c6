"""Segmentations of millions of objects and detections, stored as bytes and decoded to Python objects one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from codetr.data.dataset.split import Split


class RunLengths(Sequence[dict[str, Any]]):
    """Compressed run-length codes, each `{size [height, width], counts str}`.

    Args:
        text: uint8, the counts of all codes, in any order.
        starts: (codes,) where the counts of each code begin.
        stops: (codes,) where they end.
        sizes: (codes, 2) height and width of their images.
    """

    def __init__(
        self, text: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> None:
        self.text, self.starts, self.stops, self.sizes = text, starts, stops, sizes

    @classmethod
    def of(cls, codes: Sequence[dict[str, Any]]) -> Self:
        """Pack a list of codes."""
        counts = [code["counts"].encode() for code in codes]
        stops = np.cumsum([len(part) for part in counts], dtype=np.int64)
        starts = np.concatenate([[0], stops[:-1]]).astype(np.int64)[: len(counts)]
        sizes = np.array([code["size"] for code in codes], np.int64).reshape(-1, 2)
        return cls(np.frombuffer(b"".join(counts), np.uint8), starts, stops, sizes)

    @classmethod
    def concatenated(cls, parts: Iterable[RunLengths]) -> Self:
        """Concatenate several sequences of codes."""
        several = list(parts)
        begins = np.cumsum([0, *(len(part.text) for part in several)])
        return cls(
            np.concatenate([np.zeros(0, np.uint8), *(part.text for part in several)]),
            np.concatenate([np.zeros(0, np.int64), *(p.starts + b for p, b in zip(several, begins, strict=False))]),
            np.concatenate([np.zeros(0, np.int64), *(p.stops + b for p, b in zip(several, begins, strict=False))]),
            np.concatenate([np.zeros((0, 2), np.int64), *(part.sizes for part in several)]),
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, k: Any) -> Any:
        """Return the code at an index; for an array of indices, these codes in this order."""
        if isinstance(k, np.ndarray):
            return RunLengths(self.text, self.starts[k], self.stops[k], self.sizes[k])
        counts = self.text[self.starts[k] : self.stops[k]].tobytes().decode()
        return {"size": self.sizes[k].tolist(), "counts": counts}


class SplitSegmentations(Sequence[Any]):
    """The segmentations of all objects of a split, in its order: polygons, a run-length code, or None each."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split.labels)

    def __getitem__(self, k: Any) -> Any:
        if not 0 <= k < len(self):  # ends a loop over the sequence
            raise IndexError(k)
        return self._split.segmentation(int(k))
