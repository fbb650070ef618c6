"""Find the images and videos to detect in: files, addresses, and images in folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetr.core.errors import UserError
from codetr.core.files import refuse_unreadable
from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.storage.paths import exists
from codetr.inference.inputs import image_address_error

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv"}
)


@dataclass(frozen=True)
class Sources:
    """Files and addresses, each once.

    Attributes:
        images: image files.
        videos: video files and addresses of streams.
    """

    images: list[Path]
    videos: list[str]


def find_sources(sources: Sequence[str | Path]) -> Sources:
    """Sort files, folders and addresses into images and videos.

    Args:
        sources: image and video files; folders, which are searched for images in alphabetical order; addresses of
            streams, such as "rtsp://camera/stream"; "-" for a video on standard input.

    Raises:
        UserError: a source does not exist, is the address of an image, or is neither a folder nor a regular file; a
            folder cannot be read; or no image and no video is found.
    """
    images: dict[str, Path] = {}
    videos: dict[str, None] = {}
    for source in map(str, sources):
        path = Path(source)
        if source == "-" or re.match(r"(?i)[a-z0-9+]+:(//|\d+$)", source):
            if Path(re.split("[?#]", source)[0]).suffix.lower() in IMAGE_SUFFIXES:
                raise image_address_error(source)
            videos["pipe:0" if source == "-" else source] = None
        elif not exists(path):  # also False for what cannot be a name
            raise UserError("no such file or folder", where=source)
        elif path.is_dir():
            for file in _walk(path):
                images.setdefault(os.path.realpath(file), file)
        elif not path.is_file():  # reading a pipe or a device might never end
            raise UserError("is neither a folder nor a regular file", where=source, hint="Give - for standard input.")
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos[source] = None
        else:
            images.setdefault(os.path.realpath(path), path)
    if not images and not videos:
        hint = f"Folders are searched for files ending in {', '.join(sorted(IMAGE_SUFFIXES))}."
        raise UserError("no images", where=", ".join(map(str, sources)), hint=hint)
    return Sources(list(images.values()), list(videos))


def _walk(folder: Path) -> Iterator[Path]:
    # Links to folders are not followed: a link to a parent folder would never end.
    for root, folders, names in os.walk(folder, onerror=refuse_unreadable):
        folders.sort()
        yield from (Path(root) / name for name in sorted(names) if Path(name).suffix.lower() in IMAGE_SUFFIXES)
