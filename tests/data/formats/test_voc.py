"""Pascal VOC: what every field becomes, and what is refused, by file and object."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.steps.prepare import prepare

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"
CAT = f"<object><name>cat</name><truncated>1</truncated>{BOX}</object>"
BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE annotation [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>\n'
    f"<annotation><object><name>&b;</name>{BOX}</object></annotation>"
)


def add(folder: Path, name: str, objects: str, *, image: str = ".jpg", filename: str = "") -> None:
    """An image of 40x30 pixels with its XML."""
    for part in ("Annotations", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    text = f"<annotation><filename>{filename}</filename>{size}{objects}</annotation>"
    (folder / "Annotations" / f"{name}.xml").write_text(text)
    colour = sum(name.encode()) % 256
    Image.new("RGB", (40, 30), (colour, 9, 9)).save(folder / "JPEGImages" / f"{name}{image}")


def run(tmp_path: Path, source: Path, **settings: str) -> Split:
    config = SourceConfig(annotations=str(source), **settings)
    prepare(PrepareConfig(train=(config,), val=(config,)), tmp_path / "dataset")
    return Split.open(tmp_path / "dataset", "train")


def findings(tmp_path: Path) -> dict[str, list[str]]:
    return {found.name: found.examples for found in read_report(tmp_path / "dataset").splits["train"].findings}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    add(tmp_path / "voc", "b", CAT)
    add(tmp_path / "voc", "a", f"<object><name>dog</name><difficult>1</difficult>{BOX}</object>{CAT}", image=".PNG")
    return tmp_path / "voc"


def test_files_that_systems_leave_or_name_otherwise_do_no_harm(voc: Path, tmp_path: Path) -> None:
    """macOS leaves binary files beside others in archives, some tools write the suffix in capitals."""
    (voc / "Annotations" / "._a.xml").write_bytes(b"\x00\x05\x16\x07")
    (voc / "Annotations" / "b.xml").rename(voc / "Annotations" / "b.XML")
    assert len(run(tmp_path, voc)) == 2


def test_lists_of_one_class_are_neither_offered_nor_taken(voc: Path, tmp_path: Path) -> None:
    lists = voc / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "cat_train.txt").write_text("a  1\nb -1\n")
    (lists / "trainval.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"its lists: trainval\).*trainval\.txt"):
        run(tmp_path, voc)
    with pytest.raises(UserError, match="is the list of one class"):
        run(tmp_path, lists / "cat_train.txt")


def test_a_file_name_that_no_system_has_is_no_crash(voc: Path, tmp_path: Path) -> None:
    add(voc, "c", CAT, filename=f"c.{'x' * 300}")
    assert len(run(tmp_path, voc)) == 3


def test_every_field_becomes_what_coco_has(voc: Path, tmp_path: Path) -> None:
    """The first pixel is 1 and the last belongs to the box; ids follow the alphabet; difficult objects are crowds."""
    found = run(tmp_path, voc).to_coco()
    box = [0.0, 1.0, 10.0, 19.0]
    shared = {"bbox": box, "area": 190.0}
    assert found == {
        "images": [
            {"id": 1, "file_name": "a.PNG", "height": 30, "width": 40},
            {"id": 2, "file_name": "b.jpg", "height": 30, "width": 40},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "iscrowd": 1, **shared},
            {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 0, **shared},
            {"id": 3, "image_id": 2, "category_id": 1, "iscrowd": 0, **shared},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    assert findings(tmp_path) == {"annotation_difficult": ["Annotations/a.xml, object 1"]}


def test_lists_choose_the_images_of_each_split(voc: Path, tmp_path: Path) -> None:
    (voc / "ImageSets" / "Main").mkdir(parents=True)
    (voc / "ImageSets" / "Main" / "train.txt").write_text("b\n\nb\n")
    (voc / "ImageSets" / "Main" / "other.txt").write_text("a\n")
    train, val = (SourceConfig(annotations=str(voc / part)) for part in (".", "ImageSets/Main/other.txt"))
    prepare(PrepareConfig(train=(train,), val=(val,)), tmp_path / "dataset")
    files = [Split.open(tmp_path / "dataset", name).to_coco()["images"] for name in ("train", "val")]
    assert [[image["file_name"] for image in images] for images in files] == [["b.jpg"], ["a.PNG"]]
    assert findings(tmp_path) == {"image_repeated": ["Annotations/b.xml: 1"]}
    # The classes of both are the same by name, although val's XML files alone would number them otherwise.
    assert Split.open(tmp_path / "dataset", "train").names == ["cat", "dog"]
    with pytest.raises(UserError, match=r"has no ImageSets/Main/val.txt \(its lists: other, train\)"):
        run(tmp_path, voc)


def test_xml_files_next_to_or_apart_from_their_images(voc: Path, tmp_path: Path) -> None:
    """Annotation tools write XML files anywhere, and the image's name into them."""
    apart = voc / "Annotations"
    (voc / "JPEGImages" / "b.jpg").rename(voc / "JPEGImages" / "photo.jpg")
    (apart / "b.xml").write_text((apart / "b.xml").read_text().replace("<filename>", "<filename>photo.jpg"))
    split = run(tmp_path, apart, images=str(voc / "JPEGImages"))
    assert [image["file_name"] for image in split.to_coco()["images"]] == ["a.PNG", "photo.jpg"]


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ("<object><name>cat</name></object>", "box_missing"),
        (f"<object>{BOX}</object>", "annotation_category_unknown"),
        (f"<object><name>cat</name>{BOX.replace('>10<', '>x<')}</object>", "box_malformed"),
        (f"<object><name>cat</name>{BOX.replace('>10<', '>nan<')}</object>", "box_not_finite"),
        (f"<object><name>cat</name>{BOX.replace('>10<', '>1e999<')}</object>", "box_not_finite"),
        (f"<object><name>cat</name>{BOX.replace('>10<', '>-3<')}</object>", "box_negative"),
        (f"<object><name>cat</name>{BOX.replace('>10<', '>0<')}</object>", "box_empty"),
        (f"<object><name>cat</name>{BOX.replace('>10<', '>90<')}</object>", "box_exceeds_image"),
        (f"{CAT}", "annotation_repeated"),
    ],
    ids=["no box", "no name", "text", "nan", "infinite", "negative", "empty", "outside", "twice"],
)
def test_a_faulty_object_is_found_by_file_and_number(voc: Path, tmp_path: Path, node: str, found: str) -> None:
    add(voc, "b", CAT + node)
    run(tmp_path, voc)
    examples = findings(tmp_path)
    assert set(examples) == {"annotation_difficult", found}
    assert examples[found][0].startswith("Annotations/b.xml, object 2")


def test_a_default_namespace_changes_nothing(voc: Path, tmp_path: Path) -> None:
    """Some exports declare one; every tag would have another name."""
    path = voc / "Annotations" / "b.xml"
    path.write_text(path.read_text().replace("<annotation>", '<annotation xmlns="http://example.org/voc">'))
    assert len(run(tmp_path, voc).to_coco()["annotations"]) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>\n<object></annotation>", "not well-formed XML (line 2, column 11: mismatched tag)"),
        ("", "not well-formed XML (line 1, column 1: no element found)"),
        (BOMB, "has a document type (line 2), which could declare entities"),
        ('<!DOCTYPE annotation SYSTEM "file:///etc/passwd"><annotation/>', "has a document type (line 1)"),
        ("<html/>", "holds <html>, expected <annotation>"),
        ('<?xml version="1.0" encoding="ebcdic-9"?><annotation/>', "not well-formed XML"),
        ("<a>" * 100_000, "not well-formed XML (line 1, column 300001: no element found)"),
    ],
    ids=["broken", "empty", "bomb", "external", "other", "encoding", "deep"],
)
def test_broken_xml_is_refused_by_file_and_line(voc: Path, tmp_path: Path, text: str, message: str) -> None:
    (voc / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(UserError) as caught:
        run(tmp_path, voc)
    assert "1 annotation file(s) cannot be parsed: Annotations/b.xml " in str(caught.value)
    assert message in str(caught.value)
    assert not (tmp_path / "dataset").exists()


def test_nothing_outside_the_folder_is_read(voc: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("<annotation><object><name>secret</name></object></annotation>")
    (voc / "ImageSets" / "Main").mkdir(parents=True)
    chosen = voc / "ImageSets" / "Main" / "chosen.txt"
    (voc / "Annotations" / "link.xml").symlink_to(tmp_path / "secret.xml")
    for name in ("../../secret", f"{tmp_path}/secret", "link", "nowhere"):
        chosen.write_text(f"{name}\n")
        with pytest.raises(UserError, match=r"leads out of|is missing"):
            run(tmp_path, chosen)
    (tmp_path / "secret.jpg").write_bytes((voc / "JPEGImages" / "b.jpg").read_bytes())
    (voc / "JPEGImages" / "b.jpg").unlink()
    add(voc, "c", CAT, filename="../../secret.jpg")
    (voc / "JPEGImages" / "c.jpg").unlink()
    chosen.write_text("a\nb\nc\n")
    config = SourceConfig(annotations=str(chosen))
    prepare(PrepareConfig(train=(config,), val=(config,), max_lost_images=1), tmp_path / "dataset")
    assert {"image_missing", "image_unsafe_path"} <= findings(tmp_path).keys()


def test_an_absurdly_large_xml_is_refused(voc: Path, tmp_path: Path) -> None:
    with (voc / "Annotations" / "b.xml").open("wb") as stream:
        stream.truncate((16 << 20) + 1)
    with pytest.raises(UserError, match=r"Annotations/b.xml is larger than 16 MiB"):
        run(tmp_path, voc)


def test_a_folder_that_is_none_of_voc_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "list.txt").write_text("a\n")
    for name, message in (("coco", "has no XML files"), ("list.txt", "is a text file outside of a VOC folder")):
        with pytest.raises(UserError, match=message):
            run(tmp_path, tmp_path / name)
