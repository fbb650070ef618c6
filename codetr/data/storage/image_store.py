"""Read the images of a source: files in a folder, members of tar files, or objects on S3."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from codetr.core.errors import UserError
from codetr.core.files import sha256_bytes
from codetr.data.storage.cache import ImageCache
from codetr.data.storage.image_error import PREPARE_AGAIN, BadImageError
from codetr.data.storage.links import NO_TARGETS, LinkTargets, list_files
from codetr.data.storage.paths import NoFileError, UnsafePathError, require_safe_name, resolve_file, spelling_variants
from codetr.data.storage.similar_names import SimilarNames
from codetr.data.storage.tar import Member, Shards, is_sharded
from codetr.storage.s3_client import S3Address
from codetr.storage.s3_objects import read_object
from codetr.storage.storage import NoObjectError

MAX_BYTES = 1 << 30
"""Upper bound of one image file: the largest image that is decoded has fewer bytes uncompressed."""

ImageRoot = Path | S3Address
"""An image folder, a folder of tar files or a tar file; or a prefix on S3."""


@dataclass(frozen=True)
class ImageFile:
    """The file of an image that an annotation file names.

    Attributes:
        path: relative to the image folder, with `/`; or its name in the tar file.
        content: its bytes.
        member: its location in a tar file; None for a plain file or an object on S3.
    """

    path: str
    content: bytes
    member: Member | None = None


class ImageStorage(Protocol):
    """The images of one source, while they are checked; thread-safe."""

    def read(self, name: str) -> ImageFile:
        """Read the image that an annotation file calls `name`.

        Raises:
            UnsafePathError: the name must not be followed.
            AmbiguousNameError: it is in several tar files.
            NoFileError: there is no such image.
            StorageError: the storage as a whole cannot be used.
            RunFailed: the storage does not answer.
            UserError: it has more than `MAX_BYTES`.
            OSError: it cannot be read.
        """

    def find_similar(self, name: str) -> list[str]:
        """Return the images that `name` may mean although there is none of that name, see `SimilarNames`."""


def open_storage(root: ImageRoot, links: LinkTargets = NO_TARGETS, *, search: bool = False) -> ImageStorage:
    """Open the images in `root`.

    Args:
        root: an image folder, a folder of tar files or a tar file; or a prefix on S3.
        links: where symbolic links in a folder may lead.
        search: look for similar names in the whole folder, if it is one of plain files; in tar files always.

    Raises:
        UserError: there is no such folder or tar file, or a tar file cannot be read.
    """
    if isinstance(root, S3Address):
        return _BucketStorage(root)
    if not (root.is_dir() or (root.is_file() and is_sharded(root))):
        raise UserError("no such image folder" if not root.exists() else "is not a folder", where=str(root))
    root = root.resolve()
    return _TarStorage(root, links) if is_sharded(root) else _FolderStorage(root, links, search=search)


class _FolderStorage:
    def __init__(self, root: Path, links: LinkTargets, *, search: bool) -> None:
        self._root, self._links = root, links
        self._similar = SimilarNames(lambda: list_files(root, links=links, skip_unreadable=True).names)
        self._search = search

    def read(self, name: str) -> ImageFile:
        path = resolve_file(self._root, name, self._links)
        with (self._root / path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            _require_file_size(size, path)
            return ImageFile(path, stream.read(size))

    def find_similar(self, name: str) -> list[str]:
        return self._similar.find(name) if self._search else []


class _TarStorage:
    def __init__(self, root: Path, links: LinkTargets) -> None:
        self._shards = Shards(root, links)
        self._similar = SimilarNames(lambda: self._shards.names)

    def read(self, name: str) -> ImageFile:
        member = self._shards.find(name)
        _require_file_size(member.file_size, member.name)
        return ImageFile(member.name, self._shards.read(member), member)

    def find_similar(self, name: str) -> list[str]:
        return self._similar.find(name)


class _BucketStorage:
    def __init__(self, root: S3Address) -> None:
        self._root, self._cache = root, ImageCache.from_environment()

    def read(self, name: str) -> ImageFile:
        require_safe_name(name)
        for spelling in dict.fromkeys(posixpath.normpath(spelling) for spelling in spelling_variants(name)):
            if spelling.split("/", maxsplit=1)[0] == "..":
                raise UnsafePathError("leads out of the image folder")
            try:
                content = read_object(self._root / spelling, limit=MAX_BYTES)
            except NoObjectError:
                continue
            # Training reads the same images.
            self._cache.put(sha256_bytes(content), content)
            return ImageFile(spelling, content)
        raise NoFileError("no such file")

    def find_similar(self, name: str) -> list[str]:
        return []


def read_cached(address: S3Address, digest: str) -> bytes:
    """Return the content of an object with a known digest (`sha256:<hex>`), from the cache if it is there.

    Raises:
        BadImageError: there is no such object, or its content has changed.
        StorageError: the storage as a whole cannot be used.
        RunFailed: the storage does not answer.
    """
    cache, where = ImageCache.from_environment(), str(address)
    content = cache.get(digest)
    if content is None:
        try:
            content = read_object(address, limit=MAX_BYTES)
        except NoObjectError as error:
            raise BadImageError(error.problem, where=where) from None
        require_digest(content, digest, where)
        cache.put(digest, content)
    return content


def require_digest(content: bytes, digest: str, where: str) -> None:
    """Raise `BadImageError` unless an image's content is the one that was prepared."""
    if sha256_bytes(content) != digest:
        problem = "has other content than when the dataset was prepared"
        raise BadImageError(problem, where=where, hint=PREPARE_AGAIN)


def _require_file_size(file_size: int, path: str) -> None:
    if file_size > MAX_BYTES:
        raise UserError(f"is larger than {MAX_BYTES >> 30} GiB", where=path)
