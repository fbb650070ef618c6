"""Pages, contact sheets and folders of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.gallery.picture import GalleryPicture
from codetr.gallery.write import contact_sheet, output_kind, write_pictures
from tests.support.unprivileged import unprivileged_folder

NAMES = ["dog", "<script>"]


def drawn(side: int | None) -> Iterator[GalleryPicture]:
    side = side or 50
    for k, shape in enumerate([(side, side // 2), (side // 2, side), (side, 1)]):
        yield GalleryPicture(f"{k}/a<b>.jpg", f"{k}/a<b>.jpg: 1 dog" * 9, Image.new("RGB", shape, (9, 9, 9)), [k % 2])


def write(output: Path, count: int = 3) -> int:
    return write_pictures(drawn, count, output, title="<b>", names=NAMES, note="Note.")


def test_a_page_holds_everything_and_escapes_names(tmp_path: Path) -> None:
    """Names of files and classes are not trusted."""
    assert write(tmp_path / "a.html") == 3
    text = (tmp_path / "a.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 3
    assert "a<b>" not in text
    assert "<script>" not in text.split("<main>")[1].split("</main>")[0]
    assert "&lt;script&gt; <span>1</span>" in text


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet.PNG", "sheet.webp"])
def test_a_contact_sheet_is_one_picture(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    with Image.open(tmp_path / name) as sheet:
        assert sheet.width == 2 * 640 + 8


def test_pictures_of_a_sheet_cover_neither_each_other_nor_captions() -> None:
    """They have different shapes, and captions may be longer than a cell."""
    pictures = list(drawn(100))
    sheet = contact_sheet(pictures, 100)
    assert sheet.width == 208
    dark = sum(count for count, colour in sheet.getcolors(1 << 16) or () if colour == (9, 9, 9))
    assert dark == sum(picture.image.width * picture.image.height for picture in pictures)
    assert all(sheet.getpixel((x, y)) == (255, 255, 255) for x in range(101, 107) for y in range(sheet.height))


def test_a_folder_has_a_picture_of_each_and_a_list_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Names of images repeat between folders, and hold what file systems do not allow."""
    write(tmp_path / "out")
    write(tmp_path / "out")
    listed = json.loads((tmp_path / "out/pictures.json").read_text())
    assert [entry["image"] for entry in listed] == [f"{k}/a<b>.jpg" for k in range(3)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pictures.json", *(e["file"] for e in listed)}
    (tmp_path / "out/mine.txt").write_text("x")
    with pytest.raises(UserError, match=r"mine\.txt"):
        write(tmp_path / "out")
    assert (tmp_path / "out/mine.txt").exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a.pdf", "no kind of output"),
        ("folder.html", "is a folder"),
        ("photos", "is not empty"),
        ("photos/a.jpg/b.html", "a.jpg is not a writable folder"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_drawing(tmp_path: Path, name: str, problem: str) -> None:
    """A folder of photographs that is given by mistake must not be replaced."""
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_text("x")
    with pytest.raises(UserError, match=problem):
        output_kind(tmp_path / name)


@pytest.mark.parametrize(("name", "count"), [("a.html", 300), ("a.png", 101)])
def test_too_many_pictures_for_a_file_are_refused_before_drawing(tmp_path: Path, name: str, count: int) -> None:
    """A page of gigabytes opens in no browser."""
    with pytest.raises(UserError, match=r"too many for one (page|sheet)"):
        write_pictures(lambda _: pytest.fail("drawn"), count, tmp_path / name, title="", names=NAMES, note="")


def test_a_file_in_a_folder_that_may_not_be_written_is_refused_before_drawing() -> None:
    """The annotations were read and all pictures drawn before the error."""
    with unprivileged_folder() as folder:
        (folder / "mine").mkdir()
        (folder / "mine/a.html").touch()
        (folder / "mine").chmod(0o500)
        for name in ("a.html", "b.html"):
            with pytest.raises(UserError, match="mine is not a writable folder"):
                output_kind(folder / "mine" / name)
        (folder / "mine").chmod(0o700)


def test_a_folder_may_have_a_version_in_its_name(tmp_path: Path) -> None:
    assert output_kind(tmp_path / "labels.v1.2") == "folder"
