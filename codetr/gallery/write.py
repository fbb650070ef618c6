"""Write pictures as a page, as one contact sheet, or as a folder of files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw

from codetr.core.errors import UserError
from codetr.core.files import (
    atomic_directory,
    atomic_file,
    read_json,
    require_replaceable,
    require_writable_file,
    safe_name,
    write_json,
    write_text,
)
from codetr.core.progress import track
from codetr.gallery.picture import GalleryPicture
from codetr.visual.drawing import class_colour, fitted_text
from codetr.visual.fonts import REGULAR, drawable
from codetr.visual.html import data_uri, page_environment

LIST = "pictures.json"
"""File of a folder of pictures that lists them."""

_MOST = {"page": 200, "sheet": 100}
"""Limits on the pictures of one file."""

_PAGE_SIDE, _SHEET_WIDTH, _MAX_CELL, _MIN_CELL = 960, 2000, 640, 160
_GAP, _LETTERS = 8, 13
_SUFFIXES = {".html": "page", ".htm": "page", ".jpg": "sheet", ".jpeg": "sheet", ".png": "sheet", ".webp": "sheet"}

Pictures = Callable[[int | None], Iterator[GalleryPicture]]
"""Draws the pictures with a longer side of so many pixels; None for a size at which labels can be read."""


def output_kind(output: Path) -> Literal["page", "sheet", "folder"]:
    """Return what an output is by its suffix: .html a page, .jpg or .png a contact sheet, none a folder.

    Args:
        output: the path to write.

    Raises:
        UserError: another suffix, or the output cannot be written or replaced.
    """
    kind = _SUFFIXES.get(output.suffix.lower(), "folder")
    if kind == "folder":
        if output.suffix and not output.is_dir() and not output.suffix[1:].isdecimal():
            hint = "Give a file that ends in .html for a page, in .jpg or .png for a contact sheet, or a folder."
            raise UserError(f"'{output.suffix}' is no kind of output", where=str(output), hint=hint)
        require_replaceable(output, "output of show", _written_names)
        return "folder"
    require_writable_file(output)
    return "page" if kind == "page" else "sheet"


def write_pictures(pictures: Pictures, count: int, output: Path, *, title: str, names: Sequence[str], note: str) -> int:
    """Write pictures atomically, in the form that the suffix of the output names (see `output_kind`).

    Args:
        pictures: draws them.
        count: number of pictures; fewer may follow if images cannot be read.
        output: the file or folder.
        title: of a page.
        names: of all classes, by label.
        note: explains the pictures on a page.

    Returns:
        The number of pictures written.

    Raises:
        UserError: too many pictures for a file; see also `output_kind`.
    """
    kind = output_kind(output)
    if count > _MOST.get(kind, count):
        hint = f"Give a folder as --output, or --limit {_MOST[kind]}."
        raise UserError(f"{count} pictures are too many for one {kind}", where=str(output), hint=hint)
    if kind == "page":
        drawn = list(track(pictures(_PAGE_SIDE), count, "draw pictures"))
        _write_page(drawn, output, title, names, note)
    elif kind == "sheet":
        columns = math.ceil(math.sqrt(count))
        cell = min(max(_SHEET_WIDTH // columns, _MIN_CELL), _MAX_CELL)
        drawn = list(track(pictures(cell), count, "draw pictures"))
        sheet = contact_sheet(drawn, cell)
        with atomic_file(output) as temporary:
            sheet.save(temporary, format=Image.registered_extensions()[output.suffix.lower()], quality=90)
    else:
        return _write_folder(track(pictures(None), count, "draw pictures"), output.resolve())
    return len(drawn)


def contact_sheet(pictures: Sequence[GalleryPicture], cell: int) -> Image.Image:
    """Return one picture of several, in a grid of cells with their captions.

    Args:
        pictures: no larger than a cell.
        cell: side of a cell in pixels.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    heights = [
        max(picture.image.height for picture in pictures[start : start + columns])
        for start in range(0, len(pictures), columns)
    ]
    line = round(_LETTERS * 1.5)
    size = columns * (cell + _GAP) - _GAP, sum(heights) + len(heights) * (line + _GAP) - _GAP
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, height in enumerate(heights):
        for column, picture in enumerate(pictures[row * columns : (row + 1) * columns]):
            left = column * (cell + _GAP)
            sheet.paste(picture.image, (left + (cell - picture.image.width) // 2, top))
            text, font = fitted_text(drawable(picture.caption, default=REGULAR), REGULAR, _LETTERS, cell)
            draw.text((left + cell / 2, top + height + line / 2), text, fill=(31, 41, 51), font=font, anchor="mm")
        top += height + line + _GAP
    return sheet


def _write_page(pictures: Sequence[GalleryPicture], output: Path, title: str, names: Sequence[str], note: str) -> None:
    shown = sorted({label for picture in pictures for label in picture.labels})
    counts = {label: sum(picture.labels.count(label) for picture in pictures) for label in shown}
    html = (
        page_environment("codetr.gallery")
        .get_template("gallery.html")
        .render(
            title=title,
            note=note,
            pictures=[(picture.caption, data_uri("jpeg", _jpeg(picture.image))) for picture in pictures],
            classes=[(names[k], counts[k], "#{:02x}{:02x}{:02x}".format(*class_colour(k))) for k in shown],
        )
    )
    write_text(output, html)


def _write_folder(pictures: Iterator[GalleryPicture], output: Path) -> int:
    with atomic_directory(output) as folder:
        entries = []
        for number, picture in enumerate(pictures, start=1):
            file = f"{safe_name(number, Path(picture.name).stem)}.jpg"
            (folder / file).write_bytes(_jpeg(picture.image))
            entries.append({"file": file, "image": picture.name, "caption": picture.caption})
        write_json(folder / LIST, entries)
    return len(entries)


def _written_names(folder: Path) -> set[str] | None:
    if not (folder / LIST).is_file():
        return None
    entries = read_json(folder / LIST)
    listed = entries if isinstance(entries, list) else []
    return {LIST, *(str(entry.get("file")) for entry in listed if isinstance(entry, dict))}


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=87, optimize=True)
    return stream.getvalue()
