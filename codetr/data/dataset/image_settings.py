"""Read and write how the images of a prepared dataset are decoded, `images.json`; it exists only if a setting differs.

Training copies the settings into the model, so that `predict` decodes images as training did.
"""

from __future__ import annotations

from pathlib import Path

from codetr.core.errors import UserError
from codetr.core.files import read_json, write_json
from codetr.core.settings import Settings
from codetr.data.config import FULL_RANGE, Range16Bit

IMAGE_SETTINGS = "images.json"


class ImageSettings(Settings):
    """How images are decoded.

    Attributes:
        range_16bit: values of 16-bit grey images that become black and white.
    """

    range_16bit: Range16Bit = FULL_RANGE


def write_image_settings(folder: Path, settings: ImageSettings) -> None:
    """Write the settings of a dataset, unless all are the defaults."""
    if settings != ImageSettings():
        write_json(folder / IMAGE_SETTINGS, settings.model_dump(mode="json"))


def read_image_settings(dataset: Path) -> ImageSettings:
    """Read the settings of a dataset; the defaults if it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = dataset / IMAGE_SETTINGS
    if not path.is_file():
        return ImageSettings()
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("is not a JSON object", where=str(path))
    return ImageSettings.parse(values, where=str(path))
