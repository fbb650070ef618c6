"""How the images of a dataset are decoded: written only where it differs, and refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.data.dataset.image_settings import (
    IMAGE_SETTINGS,
    ImageSettings,
    read_image_settings,
    write_image_settings,
)


def test_settings_are_read_as_written(tmp_path: Path) -> None:
    """A file with the defaults would change the digest of every dataset."""
    write_image_settings(tmp_path, ImageSettings())
    assert list(tmp_path.iterdir()) == []
    assert read_image_settings(tmp_path) == ImageSettings()
    write_image_settings(tmp_path, ImageSettings(range_16bit=(10, 4095)))
    assert read_image_settings(tmp_path).range_16bit == (10, 4095)


@pytest.mark.parametrize("content", ["[]", "{", '{"range_16bit": [5, 1]}', '{"range_16bit": 5}', '{"other": 1}'])
def test_damaged_settings_are_refused(tmp_path: Path, content: str) -> None:
    """Read with other settings, the images would not be those that were prepared."""
    (tmp_path / IMAGE_SETTINGS).write_text(content)
    with pytest.raises(UserError, match=IMAGE_SETTINGS):
        read_image_settings(tmp_path)
