"""The files of VOC folders: XML files and images are read or reported wherever they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.formats.raw_source import RawSource
from codetr.data.formats.voc import read_voc
from codetr.data.storage.links import LinkTargets
from codetr.data.validation.findings import Findings

XML = (
    "<annotation><filename>{0}</filename><object><name>cat</name>"
    "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


def add(folder: Path, *, xml: str | None, image: str | None, filename: str = "") -> None:
    if xml is not None:
        path = folder / xml
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(XML.format(filename))
    if image is not None:
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (sum(image.encode()) % 256, 0, 0)).save(path, "PNG")


def read(path: Path, images: Path | None = None) -> tuple[RawSource, dict[str, list[str]]]:
    findings = Findings()
    source = read_voc(path, images, "train", findings, LinkTargets.of([path]))
    return source, {finding.name: finding.examples for finding in findings.all()}


def names(source: RawSource) -> list[str]:
    return [image["file_name"] for image in source.file.images]


@pytest.mark.parametrize(
    ("xml", "image", "filename"),
    [
        ("Annotations/more/b.xml", "JPEGImages/b.png", ""),
        ("Annotations/more/b.xml", "JPEGImages/more/b.png", ""),
        ("Annotations/more/b.XML", "JPEGImages/b.PNG", ""),
        ("Annotations/b.xml", "JPEGImages/deep/er/b.png", ""),
        ("Annotations/b.xml", "JPEGImages/other.png", "other.png"),
        ("Annotations/b.xml", "JPEGImages/b.unknown", ""),
        ("Annotations/b.png.xml", "JPEGImages/b.png", ""),
        ("Annotations/b.xml", "JPEGImages/o ther.png", "o%20ther.png"),
        ("Annotations/b.xml", "JPEGImages/other.png", "C:\\photos\\other.png"),
    ],
)
def test_folders_below_are_read(tmp_path: Path, xml: str, image: str, filename: str) -> None:
    """Half of the data was lost without a word."""
    add(tmp_path, xml="Annotations/a.xml", image="JPEGImages/a.png")
    add(tmp_path, xml=xml, image=image, filename=filename)
    source, found = read(tmp_path)
    assert sorted(names(source)) == sorted(["a.png", image.removeprefix("JPEGImages/")])
    assert len(source.file.annotations) == 2
    assert found == {}


def test_a_list_finds_its_xml_in_a_folder_below(tmp_path: Path) -> None:
    add(tmp_path, xml="Annotations/more/a.xml", image="JPEGImages/a.png")
    chosen = tmp_path / "ImageSets" / "Main" / "train.txt"
    chosen.parent.mkdir(parents=True)
    chosen.write_text("a\n")
    assert names(read(tmp_path)[0]) == ["a.png"]
    add(tmp_path, xml="Annotations/less/a.xml", image=None)
    with pytest.raises(UserError, match=r"Annotations/a\.xml is missing"):
        read(tmp_path)


def test_images_without_xml_are_listed(tmp_path: Path) -> None:
    """labelImg writes no file for an image without objects; such images are passed over."""
    add(tmp_path, xml="Annotations/a.xml", image="JPEGImages/a.png")
    add(tmp_path, xml=None, image="JPEGImages/b.png")
    add(tmp_path, xml=None, image="JPEGImages/c.unknown")
    (tmp_path / "JPEGImages" / "Thumbs.db").write_bytes(b"none")
    assert read(tmp_path)[1] == {"image_passed_over": ["b.png", "c.unknown"]}
    chosen = tmp_path / "ImageSets" / "Main" / "train.txt"
    chosen.parent.mkdir(parents=True)
    chosen.write_text("a\n")
    assert read(tmp_path)[1] == {}


def test_xml_files_outside_of_annotations_are_errors(tmp_path: Path) -> None:
    add(tmp_path, xml="Annotations/a.xml", image="JPEGImages/a.png")
    add(tmp_path, xml="JPEGImages/b.xml", image="JPEGImages/b.png")
    add(tmp_path, xml="copy/a.xml", image=None)
    (tmp_path / "pom.xml").write_text("<project/>")
    found = read(tmp_path)[1]
    assert found["label_file_unused"] == ["JPEGImages/b.xml: it is not in the folder Annotations"]


def test_splits_in_folders_of_their_names_are_not_merged(tmp_path: Path) -> None:
    """The validation images of an export would be trained on."""
    for split in ("train", "valid"):
        add(tmp_path, xml=f"{split}/{split}.xml", image=f"{split}/{split}.png")
    with pytest.raises(UserError, match="several splits") as caught:
        read(tmp_path)
    assert f"--train {tmp_path / 'train'}" in str(caught.value)
    assert names(read(tmp_path / "train")[0]) == ["train.png"]


def test_a_list_that_is_a_link_is_read_by_the_name_that_is_given(tmp_path: Path) -> None:
    add(tmp_path / "voc", xml="Annotations/a.xml", image="JPEGImages/a.png")
    (tmp_path / "content").write_text("a\n")
    chosen = tmp_path / "voc" / "ImageSets" / "Main" / "train.txt"
    chosen.parent.mkdir(parents=True)
    chosen.symlink_to(tmp_path / "content")
    assert names(read(chosen)[0]) == ["a.png"]
