"""Find the images and videos to detect in: files, patterns, addresses, cameras, and images in folders."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from codetr.core.errors import UserError
from codetr.core.files import refuse_unreadable
from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.storage.paths import exists
from codetr.inference.inputs import image_address_error

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv"}
)

_CAMERA = re.compile(r"\d{1,4}")
_ADDRESS = re.compile(r"(?i)[a-z0-9+]+:(//|\d+$)")


@dataclass(frozen=True)
class ImageFile:
    """An image to detect in.

    Attributes:
        path: the file.
        name: the file within the folder that was given; of a file that was given, its name.
    """

    path: Path
    name: PurePath


@dataclass(frozen=True)
class Sources:
    """Files and addresses, each once.

    Attributes:
        images: image files.
        videos: video files, and addresses of streams and cameras.
    """

    images: list[ImageFile]
    videos: list[str]


def find_sources(sources: Sequence[str | Path]) -> Sources:
    """Sort files, folders, patterns and addresses into images and videos.

    Args:
        sources: image and video files; folders, which are searched for images in alphabetical order; patterns such as
            "images/**/*.jpg", whose matches are taken in alphabetical order; addresses of streams, such as
            "rtsp://camera/stream"; the index of a camera, as "0" or "camera:0"; "-" for a video on standard input.

    Raises:
        UserError: a source does not exist, is the address of an image, or is neither a folder nor a regular file; a
            folder cannot be read; a pattern matches nothing; or no image and no video is found.
    """
    images: dict[str, ImageFile] = {}
    videos: dict[str, None] = {}
    for source in map(str, sources):
        path = Path(source)
        if source == "-" or _ADDRESS.match(source):
            if Path(re.split("[?#]", source)[0]).suffix.lower() in IMAGE_SUFFIXES:
                raise image_address_error(source)
            videos["pipe:0" if source == "-" else source] = None
        elif exists(path):  # also False for what cannot be a name
            found = _in_folder(path) if path.is_dir() else [_named_file(path, source)]
            _add(found, images, videos)
        elif _CAMERA.fullmatch(source):
            videos[f"camera:{int(source)}"] = None
        elif glob.has_magic(source):
            _add(_matching(source), images, videos)
        else:
            raise UserError("no such file or folder", where=source)
    if not images and not videos:
        hint = f"Folders are searched for files ending in {', '.join(sorted(IMAGE_SUFFIXES))}."
        raise UserError("no images", where=", ".join(map(str, sources)), hint=hint)
    return Sources(list(images.values()), list(videos))


def is_stream(source: str) -> bool:
    """Return whether a video of `find_sources` is a camera, standard input or an address, and no file."""
    return _ADDRESS.match(source) is not None and not source.lower().startswith("file:")


def _add(files: Iterable[ImageFile], images: dict[str, ImageFile], videos: dict[str, None]) -> None:
    for file in files:
        if file.path.suffix.lower() in VIDEO_SUFFIXES:
            videos[str(file.path)] = None
        else:
            images.setdefault(os.path.realpath(file.path), file)


def _named_file(path: Path, source: str) -> ImageFile:
    if not path.is_file():  # reading a pipe or a device might never end
        raise UserError("is neither a folder nor a regular file", where=source, hint="Give - for standard input.")
    return ImageFile(path, PurePath(path.name))


def _in_folder(folder: Path) -> Iterator[ImageFile]:
    # Links to folders are not followed: a link to a parent folder would never end.
    for root, folders, names in os.walk(folder, onerror=refuse_unreadable):
        folders.sort()
        for path in (Path(root) / name for name in sorted(names)):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield ImageFile(path, path.relative_to(folder))


def _matching(pattern: str) -> list[ImageFile]:
    """Return the images and videos that match a pattern, and the images in folders that do."""
    parts = Path(pattern).parts
    base = Path(*parts[: next(k for k, part in enumerate(parts) if glob.has_magic(part))])
    found: list[ImageFile] = []
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):
        if match.is_dir():
            found += (ImageFile(file.path, file.path.relative_to(base)) for file in _in_folder(match))
        elif match.suffix.lower() in IMAGE_SUFFIXES or (match.suffix.lower() in VIDEO_SUFFIXES and match.is_file()):
            found.append(ImageFile(match, match.relative_to(base)))
    if not found:
        hint = "`*` stands for any name and `**` for any number of folders, as in 'images/**/*.jpg'."
        raise UserError("matches no image and no video", where=pattern, hint=hint)
    return found
