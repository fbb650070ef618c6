"""The `PreprocessConfig` of the test pipeline of an official (mmdetection-style) configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig
from codetr.weights.official.config_reader import ConfigReader


def read_official_preprocess(config: Mapping[str, Any]) -> PreprocessConfig | None:
    """Read the test pipeline of a complete official configuration; return None without one.

    Raises:
        UserError: the pipeline has steps that this package does not support.
    """
    reader = ConfigReader(config)
    pipeline = reader.get("data.test.pipeline") or reader.get("test_pipeline")
    if not pipeline:
        return None
    steps = {step.get("type"): ConfigReader(step) for step in pipeline if isinstance(step, Mapping)}
    augment = steps.get("MultiScaleFlipAug", ConfigReader({}))
    transforms = {
        step.get("type"): ConfigReader(step) for step in augment.get("transforms", []) if isinstance(step, Mapping)
    }
    resize, normalize, pad = (transforms.get(name, ConfigReader({})) for name in ("Resize", "Normalize", "Pad"))
    sides = augment.get("img_scale")
    faults = [
        f"{name} is {value!r}, supported: {allowed!r}"
        for name, value, allowed in (
            ("Resize.keep_ratio", resize.get("keep_ratio"), True),
            ("Normalize.to_rgb", normalize.get("to_rgb", True), True),
            ("MultiScaleFlipAug.flip", augment.get("flip", False), False),
        )
        if value != allowed
    ]
    if not _is_size(sides):
        faults.append(f"MultiScaleFlipAug.img_scale is {sides!r}, supported: one pair of sides")
    canvas = pad.get("size")
    if canvas is not None and (not _is_size(canvas) or list(canvas) != list(sides or ()) or canvas[0] != canvas[1]):
        faults.append(f"Pad.size is {canvas!r}, supported: the square that images are resized to fit into")
    if canvas is not None and pad.get("pad_val.img") not in ([114] * 3, 114):
        faults.append(f"Pad.pad_val.img is {pad.get('pad_val.img')!r}, supported with a canvas: 114")
    if faults:
        raise UserError("; ".join(faults), where="official configuration: test pipeline")
    values = {"short_side": min(sides), "long_side": max(sides), "pad_divisor": pad.get("size_divisor", 1)}
    if canvas is not None:
        values = {"canvas": canvas[0]}
    values |= {name: value for name in ("mean", "std") if (value := normalize.get(name)) is not None}
    return PreprocessConfig.parse(values, where="official configuration: test pipeline")


def _is_size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(type(side) is int for side in value)
