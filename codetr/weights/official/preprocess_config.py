"""The `PreprocessConfig` of the test pipeline of an official (mmdetection-style) configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from codetr.data.config import PreprocessConfig
from codetr.data.transforms.preprocess import GREY
from codetr.weights.official.config_reader import REQUIRED, ConfigReader, Only, always, only

WHERE = "official configuration: test pipeline"

_TRAINING = "of training: a recipe has these settings"
_RUNNING = "of the official programs: this package has others"
_IRRELEVANT = {
    **dict.fromkeys(("optimizer", "optimizer_config", "lr_config", "runner", "auto_scale_lr", "fp16"), _TRAINING),
    **dict.fromkeys(("train_pipeline", "load_pipeline", "load_from", "resume_from", "workflow"), _TRAINING),
    **dict.fromkeys(("data.train", "data.train_dataloader", "data.samples_per_gpu"), _TRAINING),
    **dict.fromkeys(("custom_hooks", "checkpoint_config", "log_config", "log_level", "dist_params"), _RUNNING),
    **dict.fromkeys(("opencv_num_threads", "mp_start_method", "work_dir", "gpu_ids", "seed", "device"), _RUNNING),
    **dict.fromkeys(("cudnn_benchmark", "find_unused_parameters", "auto_resume", "evaluation"), _RUNNING),
    **dict.fromkeys(("data.workers_per_gpu", "data.persistent_workers", "data.val", "data.val_dataloader"), _RUNNING),
    "data.test_dataloader": _RUNNING,
}
_DATASET = "a dataset: its files, and names of classes, which the checkpoint or --classes give"
_VARIABLE = "a variable of the file, which has its effect where it is used"
_SAVED = "written with the results only"

# Steps of the pipeline, with their settings that are constants in this package.
_LOAD: dict[str, Only] = {
    "type": only("LoadImageFromFile"),
    "to_float32": always(False),
    "color_type": always("color"),
    "channel_order": always("bgr"),
}
_AUGMENT: dict[str, Only] = {
    "type": only("MultiScaleFlipAug"),
    "flip": always(False),
    "scale_factor": always(None),
}
_STEPS: dict[str, dict[str, Only]] = {
    "Resize": {
        "img_scale": always(None),
        "ratio_range": always(None),
        "keep_ratio": always(True),
        "backend": always("cv2"),
        "interpolation": always("bilinear"),
    },
    "RandomFlip": {},
    "Normalize": {"to_rgb": always(True)},
    "Pad": {"pad_to_square": always(False)},
    "ImageToTensor": {"keys": only(["img"])},
    "DefaultFormatBundle": {},
    "Collect": {"keys": only(["img"])},
}
_ORDERS = [
    ["Resize", "Normalize", "Pad"],
    ["Resize", "Normalize"],
    ["Resize", "Pad", "Normalize"],
]
_WITHOUT_EFFECT = ("RandomFlip", "ImageToTensor", "DefaultFormatBundle", "Collect")


def read_official_preprocess(config: Mapping[str, Any]) -> PreprocessConfig | None:
    """Read the test pipeline of a complete official configuration; return None without one.

    Every value outside `model` is understood, known to change nothing at test time, or refused.

    Raises:
        UserError: there are steps or values that this package does not support or know; they are listed by path.
    """
    return read_preprocess(ConfigReader({name: value for name, value in config.items() if name != "model"}))


def read_preprocess(config: ConfigReader) -> PreprocessConfig | None:
    """Read the test pipeline, see `read_official_preprocess`; the reader accounts for the values.

    Raises:
        UserError: see `read_official_preprocess`.
    """
    config.pass_over(_IRRELEVANT)
    config.pass_over({f"data.test.{name}": _DATASET for name in _names(config, "data.test") if name != "pipeline"})
    path = "data.test.pipeline" if config.has("data.test.pipeline") else "test_pipeline"
    used = {*_IRRELEVANT, "data", path}
    config.pass_over({name: _VARIABLE for name in config.values if name not in used})
    values = _read_pipeline(config.at(path)) if config.has(path) else None
    config.finish(WHERE)
    if values is None:
        return None
    try:
        return PreprocessConfig.model_validate(values)
    except ValidationError as error:
        raise config.refuse(error, WHERE) from None


def _read_pipeline(steps: ConfigReader) -> dict[str, Any]:
    """Return the values of a `PreprocessConfig`; the reader notes what is not supported."""
    if not isinstance(steps.values, list) or len(steps.values) != 2:
        steps.faults.append(f"{steps.path} is no list of LoadImageFromFile and MultiScaleFlipAug")
        return {}
    steps.at("0").require(_LOAD)
    steps.at("0").pass_over({"file_client_args": "where files are", "imdecode_backend": "the same pixels"})
    augment = steps.at("1")
    augment.require(_AUGMENT)
    augment.pass_over({"flip_direction": "there is no flip"})
    by_name = _transforms(augment)
    for name, step in by_name.items():
        step.require(_STEPS[name])
    nothing = ConfigReader({})
    resize, flip, normalize, pad, collect = (
        by_name.get(name, nothing) for name in ("Resize", "RandomFlip", "Normalize", "Pad", "Collect")
    )
    resize.pass_over({"multiscale_mode": "there is one size", "bbox_clip_border": "there are no boxes"})
    flip.pass_over(dict.fromkeys(("flip_ratio", "direction"), "there is no flip"))
    collect.pass_over({"meta_keys": _SAVED})
    values = normalize.read("", {"mean": ("mean", REQUIRED), "std": ("std", REQUIRED)})
    sides = augment.get("img_scale", [])
    if not (len(sides) == 2 and all(isinstance(side, int) for side in sides)):
        augment.faults.append(f"{augment.path}.img_scale is {sides!r}, supported: one pair of sides")
        return values
    for name in ("short_side", "long_side"):
        augment.names(name, "img_scale")
    before = [name for name in by_name if name in ("Pad", "Normalize")] == ["Pad", "Normalize"]
    pad.pass_over({"pad_val.masks": "images have no masks at test time", "pad_val.seg": "not read by detectors"})
    if pad.has("size"):
        like = f"{augment.path}.img_scale"
        pad.require({"size": only([max(sides)] * 2, like=like), "size_divisor": always(None)})
        pad.require({"pad_val.img": only([GREY] * 3, GREY)})
        augment.require({"img_scale": only([max(sides)] * 2)})
        if not before:
            pad.faults.append(f"{pad.path} follows Normalize, supported with a size: before it")
        augment.names("canvas", "img_scale")
        return values | {"canvas": max(sides)}
    if before:
        pad.faults.append(f"{pad.path} precedes Normalize, supported without a size: after it")
    values |= {"short_side": min(sides), "long_side": max(sides)}
    if "Pad" in by_name:
        pad.require({"pad_val.img": always(0)})
        values |= pad.read("", {"pad_divisor": ("size_divisor", REQUIRED)})
    return values


def _transforms(augment: ConfigReader) -> dict[str, ConfigReader]:
    """Return the transforms by name, in their order; the reader notes those that are not supported."""
    steps: dict[str, ConfigReader] = {}
    transforms = augment.at("transforms")
    for index in range(len(transforms.values) if isinstance(transforms.values, list) else 0):
        step = transforms.at(str(index))
        name = step.get("type", "")
        if name not in _STEPS or name in steps:
            supported = ", ".join(_STEPS)
            augment.faults.append(f"{step.path}.type is {name!r}, supported, once each: {supported}")
            continue
        steps[name] = step
    order = [name for name in steps if name not in _WITHOUT_EFFECT]
    if order not in _ORDERS:
        augment.faults.append(f"{transforms.path} has {order}, supported: {', '.join(map(str, _ORDERS))}")
    return steps


def _names(config: ConfigReader, path: str) -> list[str]:
    values = config.at(path).values
    return list(values) if isinstance(values, Mapping) else []
