"""Label files of YOLO are read or reported, wherever they are; never are their objects background in silence."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.formats.raw_source import RawSource
from codetr.data.formats.yolo import read_yolo
from codetr.data.storage.links import LinkTargets
from codetr.data.validation.findings import Findings

ROW = "0 0.5 0.5 0.2 0.4\n"


def write(path: Path, text: str = ROW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def add_image(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (sum(name.encode()) % 256, 0, 0)).save(path, "PNG")


def read(
    folder: Path, entry: str = "images/train", links: tuple[Path, ...] = ()
) -> tuple[RawSource, dict[str, list[str]]]:
    path = folder / "data.yaml"
    path.write_text(f"train: '{entry}'\nnames: [cat]\n")
    findings = Findings()
    source = read_yolo(path, None, "train", findings, LinkTargets.of([folder], links), workers=1)
    return source, {finding.name: finding.examples for finding in findings.all()}


def rows_read(source: RawSource) -> int:
    return len(source.file.annotations)


@pytest.mark.parametrize(
    "label",
    ["labels/train/a.txt", "labels/train/a.TXT", "labels/train/a.Txt", "images/train/a.txt", "images/train/a.TXT"],
)
def test_labels_are_found_beside_the_image_and_with_other_suffixes(tmp_path: Path, label: str) -> None:
    add_image(tmp_path, "images/train/a.png")
    write(tmp_path / label)
    source, found = read(tmp_path)
    assert rows_read(source) == 1
    assert set(found) == ({"label_file_elsewhere"} if label != "labels/train/a.txt" else set())


@pytest.mark.parametrize("name", ["images\\train\\a.png", "./images/train/a.png", ".\\images\\train\\a.png"])
def test_a_name_in_a_list_leads_to_the_label_of_the_image_that_is_found(tmp_path: Path, name: str) -> None:
    """Lists written on Windows: the image was found, and its label was not."""
    add_image(tmp_path, "images/train/a.png")
    write(tmp_path / "labels/train/a.txt")
    write(tmp_path / "train.txt", f"{name}\n")
    assert rows_read(read(tmp_path, "train.txt")[0]) == 1


@pytest.mark.parametrize("entry", ["images\\train", ".\\images\\train", "..\\images\\train"])
def test_folders_in_data_yaml_may_have_backslashes(tmp_path: Path, entry: str) -> None:
    add_image(tmp_path, "images/train/a.png")
    write(tmp_path / "labels/train/a.txt")
    assert rows_read(read(tmp_path, entry)[0]) == 1


@pytest.mark.parametrize(
    ("label", "image"),
    [
        ("labels/train/b.txt", "images/train/b.unknown"),
        ("labels/train/b.txt", None),
        ("labels/train/sub/b.txt", "images/train/b.png"),
        ("labels/train/b.png.txt", "images/train/b.png"),
        ("labels/train/B.txt", "images/train/b.png"),
        ("Labels/train/b.txt", "images/train/b.png"),
        ("images/train/b.txt", None),
    ],
)
def test_labels_that_belong_to_no_image_are_errors(tmp_path: Path, label: str, image: str | None) -> None:
    """Whatever the reason, their objects would be missing, or background."""
    add_image(tmp_path, "images/train/a.png")
    write(tmp_path / "labels/train/a.txt")
    write(tmp_path / label)
    if image is not None:
        add_image(tmp_path, image)
    source, found = read(tmp_path)
    assert rows_read(source) == 1
    assert [example.split(":")[0] for example in found["label_file_unused"]] == [label]
    assert ("image_passed_over" in found) == (image is not None and image.endswith(".unknown"))


def test_a_second_label_file_with_other_rows_is_an_error(tmp_path: Path) -> None:
    """One of the two is out of date, and it may be the one that is read."""
    add_image(tmp_path, "images/train/a.png")
    write(tmp_path / "labels/train/a.txt")
    write(tmp_path / "images/train/a.txt", "0 0.1 0.1 0.1 0.1\n")
    assert read(tmp_path)[1]["label_file_unused"] == [
        "images/train/a.txt: 'images/train/a.png' has the labels labels/train/a.txt"
    ]
    write(tmp_path / "images/train/a.txt")
    assert not read(tmp_path)[1]


def test_text_that_is_no_label_is_left_alone(tmp_path: Path) -> None:
    """Lists of classes, notes, and captions beside images are no labels; and those of val are val's."""
    for name in ("images/train/a.png", "images/train/b.png", "images/val/c.png"):
        add_image(tmp_path, name)
    write(tmp_path / "labels/train/a.txt")
    write(tmp_path / "labels/val/c.txt")
    write(tmp_path / "labels/train/classes.txt", "cat\ndog\n")
    write(tmp_path / "images/train/b.txt", "a photo of 2 cats, and a dog\n")
    source, found = read(tmp_path)
    assert rows_read(source) == 1
    assert set(found) == {"label_file_missing"}


@pytest.mark.parametrize(
    "content", [ROW.encode("utf-16"), b"0,0.5,0.5,0.2,0.4\n", b"cat 0.5 0.5 0.2 0.4\n"], ids=["utf16", "commas", "name"]
)
def test_labels_in_another_form_are_no_other_text(tmp_path: Path, content: bytes) -> None:
    """They were passed over like a caption, and their objects were background."""
    for name in ("images/train/a.png", "images/train/b.png"):
        add_image(tmp_path, name)
    write(tmp_path / "labels/train/a.txt")
    for label in ("images/train/b.txt", "labels/train/c.txt"):
        (tmp_path / label).write_bytes(content)
    source, found = read(tmp_path)
    assert rows_read(source) == 2
    assert len(found["label_file_unused"]) == 1


def test_labels_of_images_that_a_list_leaves_out_are_no_errors(tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_image(tmp_path, f"images/{name}.png")
        write(tmp_path / f"labels/{name}.txt")
    write(tmp_path / "train.txt", "images/a.png\n")
    assert read(tmp_path, "train.txt")[1] == {}


def test_labels_elsewhere_are_named_if_no_image_has_any(tmp_path: Path) -> None:
    add_image(tmp_path, "images/train/a.png")
    write(tmp_path / "annotations/a.txt")
    with pytest.raises(UserError, match=r"there are 1 elsewhere, e\.g\. 'annotations/a\.txt'"):
        read(tmp_path)


def test_a_linked_folder_of_images_is_read_or_reported(tmp_path: Path) -> None:
    """Its images were passed over without a word."""
    root = tmp_path / "dataset"
    add_image(root, "images/train/a.png")
    write(root / "labels/train/a.txt")
    add_image(tmp_path, "store/b.png")
    write(tmp_path / "store/b.txt")
    (root / "images/train/more").symlink_to(tmp_path / "store")
    assert "'images/train/more' is a link" in read(root)[1]["image_unsafe_path"][0]
    source, found = read(root, links=(tmp_path / "store",))
    assert rows_read(source) == 2
    assert set(found) == {"label_file_elsewhere"}


def test_links_out_of_the_root_are_not_opened(tmp_path: Path) -> None:
    """A dataset from outside could find out which files there are on this machine, and block at a pipe."""
    root = tmp_path / "dataset"
    add_image(root, "images/train/a.png")
    write(root / "labels/train/a.txt")
    add_image(tmp_path, "secret.png")
    write(tmp_path / "secret.txt")
    (root / "images/train/b.unknown").symlink_to(tmp_path / "secret.png")
    (root / "labels/train/c.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(root / "images/train/d.unknown")
    os.mkfifo(root / "labels/train/e.txt")
    assert read(root)[1] == {}


PLACES = [
    "labels/{0}.txt",
    "labels/{0}.TXT",
    "images/{0}.txt",
    "labels/{0}.png.txt",
    "labels/x/{0}.txt",
    "other/{0}.txt",
]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["images/{0}.png", "images/{0}.odd", None]), st.sets(st.sampled_from(PLACES), max_size=2)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_label_file_is_read_or_reported(images: list[tuple[str | None, set[str]]]) -> None:
    """Labels with different rows at any place: their number is that of the rows read and of the files reported."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        add_image(root, "images/first.png")
        write(root / "labels/first.txt")
        written = 1
        for number, (image, places) in enumerate(images):
            if image is not None:
                add_image(root, image.format(f"n{number}"))
            for position, place in enumerate(sorted(places)):
                # A file elsewhere counts only if an image without labels has its name.
                if place.startswith("other") and (image != "images/{0}.png" or len(places) > 1):
                    continue
                write(root / place.format(f"n{number}"), f"0 0.5 0.5 0.{position + 1} 0.{number + 1}\n")
                written += 1
        source, found = read(root, "images")
    assert rows_read(source) + len(found.get("label_file_unused", [])) == written
