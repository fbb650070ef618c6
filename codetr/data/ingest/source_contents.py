"""What `prepare` reads, by content: equal contents give the same dataset, wherever the files are.

Paths, sizes and times say nothing about content, so the bytes of every listed image count, and for an image that is
missing or cannot be read, that it is. The files of a folder that no annotation names do not count.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import sha256_bytes, sha256_json
from codetr.core.progress import track
from codetr.data.formats.open_source import Source, format_of, read
from codetr.data.formats.raw_source import RawSource
from codetr.data.ingest.image_check import ImageCheck, read_listed_image
from codetr.data.ingest.image_list import read_image_entries
from codetr.data.storage.image_store import ImageFile, ImageRoot, ImageStorage, open_storage
from codetr.data.storage.paths import NoFileError, UnsafePathError
from codetr.data.storage.tar import AmbiguousNameError
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds
from codetr.storage.s3_client import StorageError


def reader_threads() -> int:
    """Return the number of threads that read files: reading waits for disks and servers."""
    return min(32, 2 * (os.cpu_count() or 1))


class RecordedStorage:
    """Images of one source that remembers what was read, see `ImageStorage`."""

    def __init__(self, storage: ImageStorage) -> None:
        self._storage = storage
        self._answers: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> ImageFile:
        """Read an image, and remember its location and digest, or why it cannot be read."""
        try:
            found = self._storage.read(name)
        except StorageError:
            raise
        except (UnsafePathError, AmbiguousNameError, NoFileError, UserError, OSError) as error:
            self._remember(f"read {name}", [type(error).__name__, str(error)])
            raise
        member = None if found.member is None else [found.member.shard, found.member.offset]
        self._remember(f"read {name}", [found.path, sha256_bytes(found.content), member])
        return found

    def find_similar(self, name: str) -> list[str]:
        """Return the images that a name may mean, and remember them."""
        similar = self._storage.find_similar(name)
        self._remember(f"similar {name}", similar)
        return similar

    @property
    def digest(self) -> str:
        """Digest of all answers."""
        return sha256_json(self._answers)

    def _remember(self, question: str, answer: Any) -> None:
        with self._lock:
            self._answers[question] = answer


@dataclass
class SourceContents:
    """The contents of all sources of a dataset, filled while they are read.

    Attributes:
        annotations: what identifies the lists of each source.
        images: what was read of the images of each source.
    """

    annotations: dict[str, Any] = field(default_factory=dict)
    images: dict[str, RecordedStorage] = field(default_factory=dict)

    def record(self, name: str, source: Source, raw: RawSource, findings: Findings) -> ImageStorage:
        """Record the lists of a source, and return the storage that records its images.

        Args:
            name: of the source.
            source: its files.
            raw: its lists, as read.
            findings: of reading the lists.
        """
        kind = format_of(source.annotations)
        self.annotations[name] = {
            "format": kind,
            "boxes": source.box_format,
            "digest": raw.digest,
            # The lists of other formats also depend on which files there are.
            "images": None if kind == "coco" else sha256_json(raw.file.images),
            "findings": [finding.to_json() for finding in findings.all()],
        }
        storage = open_storage(raw.images, source.links, search=source.images is not None)
        self.images[name] = RecordedStorage(storage)
        return self.images[name]

    def image_digests(self) -> dict[str, str]:
        """Return the digest of what was read of the images of each source."""
        return {name: storage.digest for name, storage in self.images.items()}


@dataclass
class ListedSource:
    """A source whose lists are read and whose images are not.

    Attributes:
        name: of the source, unique in the dataset.
        where: its annotations, for messages.
        raw: its lists.
        storage: records its images.
        root: where the images are.
    """

    name: str
    where: str
    raw: RawSource
    storage: ImageStorage

    @property
    def root(self) -> ImageRoot:
        """Where the images are."""
        return self.raw.images


def source_name(split: str, position: int, sources: int) -> str:
    """Return the name of a source, unique among all sources.

    Args:
        split: that it belongs to.
        position: among the sources of the split.
        sources: number of these.
    """
    return split if sources == 1 else f"{split}.{position}"


def list_sources(sources: Mapping[str, Sequence[Source]], contents: SourceContents) -> dict[str, list[ListedSource]]:
    """Read the lists of all sources; `contents` has their annotations afterwards.

    Raises:
        UserError: see `codetr.data.formats.open_source.read`.
    """
    listed: dict[str, list[ListedSource]] = {}
    for split, several in sources.items():
        for position, source in enumerate(several):
            name, findings = source_name(split, position, len(several)), Findings()
            raw = read(source, split, findings, workers=reader_threads())
            storage = contents.record(name, source, raw, findings)
            listed.setdefault(split, []).append(ListedSource(name, str(source.annotations), raw, storage))
    return listed


def read_listed_images(listed: ListedSource) -> None:
    """Read every image of a source as `prepare` does, without decoding it; its storage records them.

    Raises:
        UserError: two different images have one id.
        StorageError, RunFailed: the storage cannot be used, or does not answer.
    """
    file, findings = listed.raw.file, Findings()
    ids, category_ids = (
        ListedIds([value.get("id") for value in values if isinstance(value, dict)])
        for values in (file.images, file.categories)
    )
    entries = read_image_entries(file, ids, category_ids, findings, listed.where)
    pool = ThreadPoolExecutor(reader_threads())
    try:
        reads = pool.map(lambda entry: read_listed_image(entry, listed.storage, ImageCheck(), "") is None, entries)
        for _ in track(reads, len(entries), f"comparing {listed.name} images"):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
