"""One list of image suffixes: an image that one part of the project lists, every other part lists too."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codetr
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.images import FORMATS, IMAGE_SUFFIXES, read_image
from codetr.data.ingest.config import PrepareConfig
from codetr.data.storage.tar import is_sharded
from codetr.inference.sources import find_sources
from codetr.steps.prepare import prepare

PACKAGE = Path(codetr.__file__).parent
VOC_XML = (
    "<annotation><object><name>cat</name>"
    "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


def write_image(path: Path) -> Path:
    """Write a picture in the format that the suffix stands for; no two of them have the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(IMAGE_SUFFIXES.index(path.suffix.lower())).integers(0, 256, (30, 40, 3))
    mode = {".pgm": "L", ".pbm": "1"}.get(path.suffix.lower(), "RGB")
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)
    return path


def write_folder(folder: Path, *, capitals: bool = False) -> list[str]:
    """Write an image for every suffix; returns the file names in alphabetical order."""
    names = [f"{k:02d}{suffix.upper() if capitals else suffix}" for k, suffix in enumerate(IMAGE_SUFFIXES)]
    return [write_image(folder / name).name for name in names]


def prepared_names(annotations: Path, output: Path) -> list[str]:
    source = SourceConfig(annotations=str(annotations))
    prepare(PrepareConfig(train=(source,), val=(source,)), output)
    split = Split.open(output, "train")
    assert all(split.record(i).read().shape == (30, 40, 3) for i in range(len(split)))
    return sorted(Path(split.relative_path(i)).name for i in range(len(split)))


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_listed_suffix_can_be_read(tmp_path: Path, suffix: str) -> None:
    """An image would be listed, and then be lost as unreadable."""
    assert read_image(write_image(tmp_path / f"image{suffix}")).shape == (30, 40, 3)


def test_the_list_has_every_name_of_the_formats_that_are_read() -> None:
    """A COCO file may name an .mpo, so a folder of them must not be passed over in silence."""
    Image.init()
    formats = {*FORMATS, "MPO"}  # Pillow opens it as JPEG
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in formats}
    assert set(IMAGE_SUFFIXES) == known - {".pfm"}


@pytest.mark.parametrize("capitals", [False, True], ids=["lower", "upper"])
def test_every_part_lists_the_same_images(tmp_path: Path, capitals: bool) -> None:
    """Predictions would be missing for images that the detector was trained on."""
    names = write_folder(tmp_path / "yolo" / "images", capitals=capitals)
    (tmp_path / "yolo" / "data.yaml").write_text("path: .\ntrain: images\nval: images\nnames: [cat]\n")
    voc = tmp_path / "voc"
    write_folder(voc / "JPEGImages", capitals=capitals)
    for name in names:
        label = tmp_path / "yolo" / "labels" / f"{Path(name).stem}.txt"
        xml = voc / "Annotations" / f"{Path(name).stem}.xml"
        for path, text in ((label, "0 0.5 0.5 0.5 0.5\n"), (xml, VOC_XML)):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    assert prepared_names(tmp_path / "yolo" / "data.yaml", tmp_path / "from_yolo") == names
    assert prepared_names(voc, tmp_path / "from_voc") == names
    assert [str(image.name) for image in find_sources([voc / "JPEGImages"]).images] == names


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_folder_with_an_image_is_not_read_as_tar_files(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.tar").touch()
    assert is_sharded(tmp_path)
    (tmp_path / f"a{suffix}").touch()
    assert not is_sharded(tmp_path)


def test_there_is_no_second_list() -> None:
    """Two lists differ sooner or later: one of them had no .jp2."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                values = {entry.value for entry in node.elts if isinstance(entry, ast.Constant)}
                if len(values & set(IMAGE_SUFFIXES)) > 1:
                    found[path.relative_to(PACKAGE).as_posix()] = values
    assert [*found] == ["data/images.py"], found
