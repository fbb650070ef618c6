"""One model computed by the official implementation: its weights and inputs, and everything that came out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codetr.models.detector import CoDETR
from codetr.models.random_draws import DenoisingNoise, RandomDraws
from codetr.models.structures import ImageBatch, Target
from codetr.weights.official.key_names import from_official


def load_arrays(path: Path) -> dict[str, Tensor]:
    """Arrays of an .npz file; half precision, which only stores weights compactly, becomes float32."""
    with np.load(path) as arrays:
        return {
            key: torch.from_numpy(arrays[key].astype("float32") if arrays[key].dtype == np.float16 else arrays[key])
            for key in arrays.files
        }


@dataclass
class GoldenCase:
    """A folder of models/."""

    folder: Path

    def arrays(self, name: str) -> dict[str, Tensor]:
        return load_arrays(self.folder / f"{name}.npz")

    def json(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text())

    def detector(self, config: str = "config") -> CoDETR:
        return from_official(self.json(config), self.arrays("state_dict"))

    def batch(self) -> ImageBatch:
        metas = self.json("img_metas")

        def sizes(key: str) -> list[tuple[int, int]]:
            return [(meta[key][0], meta[key][1]) for meta in metas]

        return ImageBatch(
            self.arrays("inputs")["img"],
            sizes("img_shape"),
            sizes("pad_shape"),
            sizes("ori_shape"),
            scale_factors=[(meta["scale_factor"][0], meta["scale_factor"][1]) for meta in metas],
        )

    def targets(self) -> list[Target]:
        inputs = self.arrays("inputs")
        count = len(self.json("img_metas"))
        return [
            Target(
                inputs[f"gt_boxes{image}"],
                inputs[f"gt_labels{image}"],
                inputs[f"gt_masks{image}"].bool() if f"gt_masks{image}" in inputs else None,
            )
            for image in range(count)
        ]


class RecordedDraws(RandomDraws):
    """The draws the reference numbers were made with: permutations in order, denoising noise as recorded.

    Args:
        arrays: with the noise, under names that start with `prefix`.
        label_noise: of the configuration; it decides for which labels a replacement was recorded.
        prefix: of the names.
    """

    def __init__(self, arrays: dict[str, Tensor], label_noise: float, prefix: str = "dn_draw_") -> None:
        self.draws = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        self.label_noise = label_noise

    def permutation(self, count: int, device: torch.device) -> Tensor:
        return torch.arange(count, device=device)

    def denoising(self, copies: int, objects: int, num_classes: int, device: torch.device) -> DenoisingNoise:
        count = copies * objects
        # Without noise nothing was drawn.
        chance = self.draws.get("label_p", torch.ones(count))
        labels = torch.zeros(count, dtype=torch.int64)
        labels[chance < self.label_noise / 2] = self.draws.get("new_label", labels[:0])
        signs = self.draws.get("rand_sign01", torch.ones(count, 4)) * 2 - 1
        shifts = self.draws.get("rand_part", torch.zeros(count, 4))
        shape = (copies, objects)
        return DenoisingNoise(chance.view(shape), labels.view(shape), signs.view(*shape, 4), shifts.view(*shape, 4))


def unpacked_masks(arrays: dict[str, Tensor], name: str) -> Tensor:
    """(detections, height, width) bool masks that are stored a bit a pixel as `<name>_packed`."""
    count, height, width = arrays[f"{name}_shape"].tolist()
    bits = np.unpackbits(arrays[f"{name}_packed"].numpy(), axis=1)[:, : height * width]
    return torch.from_numpy(bits.reshape(count, height, width).astype(bool))


def check_masks(actual: Tensor, expected: Tensor) -> None:
    """Equal but for pixels whose probability is one half within rounding: at most three in a hundred thousand."""
    assert actual.shape == expected.shape
    assert (actual != expected).sum() <= 3e-5 * expected.numel()


def close(actual: Tensor, expected: Tensor, *, rtol: float = 1e-3, atol: float = 1e-4) -> None:
    """Activations: `atol` is in units of the largest expected value."""
    largest = expected[expected.isfinite()].abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol * largest)
