"""Settings of sources, augmentation, preprocessing and loading."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from codetr.core.bounds import Fraction, Pixels, Workers
from codetr.core.settings import Settings

Positive = Annotated[int, Field(gt=0, le=2**16)]
Strength = Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]
Intensity = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


def _require_range(levels: tuple[int, int]) -> tuple[int, int]:
    low, high = levels
    if not 0 <= low < high <= 65535:
        raise ValueError(f"{list(levels)} must be [black, white] with 0 <= black < white <= 65535")
    return levels


Range16Bit = Annotated[tuple[int, int], AfterValidator(_require_range)]
"""The values of 16-bit grey images that become black and white, for example (0, 4095) of a 12-bit camera."""

FULL_RANGE: Range16Bit = (0, 65535)

MAX_PIXELS = 178_956_970
"""Pixels of the largest image that is decoded by default: beyond it a small file can exhaust the memory."""

HIGHEST_MAX_PIXELS = (1 << 31) - 1
"""Upper bound of any such limit: native code counts pixels in 32 bits."""

BoxFormat = Literal["xywh", "xyxy", "cxcywh", "relative_xywh", "relative_xyxy", "relative_cxcywh"]
"""Order of the four numbers of a box: corner and size, two corners, or centre and size; in pixels, or relative to the
width and height of the image."""

BOX_FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)


class SourceConfig(Settings):
    """Annotations and images of one split, or of a part of it.

    Attributes:
        annotations: a COCO-format JSON file, plain or gzip-compressed, also on S3 (s3://BUCKET/KEY); a Pascal VOC
            folder, or one of the lists in its ImageSets/Main; or the data.yaml of a YOLO dataset.
        images: the folder that file names are relative to; for COCO also a .tar file or a folder of .tar files with
            these members, or a prefix on S3 (s3://BUCKET/PREFIX). None for the default of the format: COCO, the
            current folder, or the folder of the file, its parent, or `images` in one of these, if that has more of the
            images; VOC, JPEGImages next to Annotations; YOLO, the `path` of data.yaml.
        repo: a DVC repository (folder or Git URL) that has the two paths above; None for plain paths.
        rev: branch, tag or commit of that repository; None for its working tree (a folder) or default branch (a URL).
        link_targets: folders to which symbolic links in the folders above may lead, in addition to the folders
            themselves and the cache of the DVC repository that they are in. Images and labels behind other links are
            not read.
        boxes: how the boxes of a COCO file are written: xywh, as the format defines it; xyxy (two corners) or cxcywh
            (centre and size), all in pixels; or one of them relative to the sides of the image, as relative_xywh.
    """

    annotations: Annotated[str, Field(min_length=1)]
    images: Annotated[str, Field(min_length=1)] | None = None
    repo: str | None = None
    rev: str | None = None
    link_targets: tuple[str, ...] = ()
    boxes: BoxFormat = "xywh"

    @model_validator(mode="after")
    def _revision_needs_repository(self) -> Self:
        if self.rev is not None and self.repo is None:
            raise ValueError("rev is given without repo: only a DVC repository has revisions")
        if self.repo is not None and any((path or "").startswith("s3://") for path in (self.annotations, self.images)):
            raise ValueError("repo is given with a path on S3: with repo, paths are inside the repository")
        return self


def _as_sources(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _as_written(sources: tuple[SourceConfig, ...]) -> Any:
    dumped = [source.model_dump() for source in sources]
    return dumped[0] if len(dumped) == 1 else dumped


SourceConfigs = Annotated[
    tuple[SourceConfig, ...], BeforeValidator(_as_sources), PlainSerializer(_as_written), Field(min_length=1)
]
"""The sources of one split: a list or, usually, a single one, which is written without the list."""


class PreprocessConfig(Settings):
    """Test-time preprocessing of images; stored with the weights.

    Attributes:
        mean: per-channel mean of RGB values in 0..255.
        std: per-channel standard deviation of RGB values in 0..255.
        short_side: the shorter side after resizing, in pixels, unless the longer one would exceed `long_side`.
        long_side: upper bound of the longer side, in pixels.
        pad_divisor: both sides are padded at the right and bottom, with zeros after normalising, to multiples of this.
        canvas: for models trained with large-scale jitter: the image is resized to fit into a square of this side and
            padded to it with grey before normalising; the three settings above are then not used.
    """

    mean: tuple[Intensity, Intensity, Intensity] = (123.675, 116.28, 103.53)
    std: tuple[Deviation, Deviation, Deviation] = (58.395, 57.12, 57.375)
    short_side: Pixels = 800
    long_side: Pixels = 1333
    pad_divisor: Positive = 1
    canvas: Pixels | None = None


class CropConfig(Settings):
    """The branch of the training augmentation that crops: resize, random crop, resize again.

    Attributes:
        probability: share of images that are cropped.
        short_sides: candidates for the shorter side before the crop.
        long_side: upper bound of the longer side before the crop.
        size: (smallest, largest) side of the crop in pixels; height and width are drawn independently.
    """

    probability: Fraction = 0.5
    short_sides: tuple[Pixels, ...] = Field(default=(400, 500, 600), min_length=1)
    long_side: Pixels = 4200
    size: tuple[Pixels, Pixels] = (384, 600)

    @model_validator(mode="after")
    def _size_is_a_range(self) -> Self:
        if self.size[0] > self.size[1]:
            raise ValueError(f"size {self.size} must be (smallest, largest)")
        return self


class ColourConfig(Settings):
    """Colour jitter, an option of both training augmentations, as defined by torchvision's ColorJitter.

    Attributes:
        probability: share of images whose colours are changed.
        brightness: the factor is drawn from 1 - this (0 at least) to 1 + this.
        contrast: the same for contrast.
        saturation: the same for saturation.
        hue: maximum shift of the hue in either direction, as a share of the colour circle.
    """

    probability: Fraction = 0.5
    brightness: Strength = 0.2
    contrast: Strength = 0.2
    saturation: Strength = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02


class MosaicConfig(Settings):
    """Mosaic, an option of both training augmentations: four images in one (Bochkovskiy et al., "YOLOv4", 2020).

    Attributes:
        probability: share of images that are combined with three others of the epoch.
        side: of the square that each of the four is resized to fit into, in pixels; half the side of the mosaic.
    """

    probability: Fraction = 0.5
    side: Annotated[Pixels, Field(ge=32)] = 640


class AugmentConfig(Settings):
    """Training augmentation of DETR (Carion et al. 2020, appendix A.4) with configurable sizes.

    Attributes:
        kind: "detr".
        flip_probability: share of images mirrored left to right.
        short_sides: candidates for the shorter side of the final image.
        long_side: upper bound of its longer side.
        crop: the crop branch, or None to resize only.
        colour: colour jitter of the result, or None for none, as published.
        mosaic: combine four images before all other transforms, or None for no mosaics, as published.
    """

    kind: Literal["detr"] = "detr"
    flip_probability: Fraction = 0.5
    short_sides: tuple[Pixels, ...] = Field(default=tuple(range(480, 801, 32)), min_length=1)
    long_side: Pixels = 1333
    crop: CropConfig | None = CropConfig()
    colour: ColourConfig | None = None
    mosaic: MosaicConfig | None = None


class JitterConfig(Settings):
    """Training augmentation with large-scale jitter and copy-paste (Ghiasi et al., CVPR 2021).

    Every image is resized by a random factor, cropped at random to a square canvas, and objects of another image are
    pasted onto it. The whole canvas, padding included, is the image.

    Attributes:
        kind: "jitter".
        canvas: side of the square, in pixels.
        scale: (smallest, largest) side of the square that the image is resized to fit into, relative to `canvas`.
        flip_probability: share of images mirrored left to right.
        max_pasted: maximum number of objects of the other image that are pasted; 0 for none.
        colour: colour jitter of both images, or None for none, as published.
        mosaic: combine four images before all other transforms, or None for no mosaics, as published.
    """

    kind: Literal["jitter"] = "jitter"
    canvas: Pixels = 1024
    scale: tuple[Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)]] = (0.1, 2.0)
    flip_probability: Fraction = 0.5
    max_pasted: Annotated[int, Field(ge=0, le=10**6)] = 100
    colour: ColourConfig | None = None
    mosaic: MosaicConfig | None = None

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {self.scale} must be (smallest, largest)")
        return self


Augmentation = Annotated[AugmentConfig | JitterConfig, Field(discriminator="kind")]
"""One of the training augmentations, selected by `kind`."""


class ShuffleConfig(Settings):
    """Every image once per epoch.

    Attributes:
        kind: "shuffle".
    """

    kind: Literal["shuffle"] = "shuffle"


class RepeatFactorConfig(Settings):
    """Images with rare classes repeatedly, all others once (Gupta et al., "LVIS", CVPR 2019, appendix B.2).

    Attributes:
        kind: "repeat_factor".
        threshold: share of images below which a class counts as rare; the authors of LVIS use 0.001.
    """

    kind: Literal["repeat_factor"] = "repeat_factor"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.001


class ClassBalancedConfig(Settings):
    """Every class equally often (Shen et al., "Relay Backpropagation", ECCV 2016, section 4).

    Attributes:
        kind: "class_balanced".
    """

    kind: Literal["class_balanced"] = "class_balanced"


Sampling = Annotated[ShuffleConfig | RepeatFactorConfig | ClassBalancedConfig, Field(discriminator="kind")]
"""The images of an epoch, and how often each is used, selected by `kind`."""


class LoaderConfig(Settings):
    """Settings of the loader.

    Attributes:
        batch_size: images per process and forward pass. "auto" is the largest number that fits into memory, without
            exceeding the images per step that the learning rate is meant for, unless `training.optimizer.scale_lr`
            scales it. The number is chosen once for a run, and recorded with it.
        workers: loader processes per training process; 0 loads in the training process itself.
        prefetch: number of batches that every worker loads ahead.
        sampling: the images of an epoch, and how often each is used.
        bad_images: what training does with an image that cannot be read (missing, damaged, changed since the dataset
            was prepared): "fail" ends the run, "skip" replaces it by another image of the epoch and reports it.
            Evaluation always fails: without an image, its metrics would be those of another dataset.
    """

    batch_size: Positive | Literal["auto"] = 2
    workers: Workers = 2
    prefetch: Positive = 2
    sampling: Sampling = ShuffleConfig()
    bad_images: Literal["fail", "skip"] = "fail"
