"""Check every image file of a split: found, safe, decodable, of the declared size; compute its digest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codetr.core.errors import UserError
from codetr.core.files import sha256_bytes
from codetr.core.progress import track
from codetr.core.system.os_errors import is_system_failure, loading_error, unreadable
from codetr.data.config import FULL_RANGE, MAX_PIXELS, Range16Bit
from codetr.data.formats.coco_columns import RawAnnotations
from codetr.data.images import ImageHeader, decode_image, header_of, open_image
from codetr.data.ingest.image_list import ImageEntry
from codetr.data.ingest.orientation import box_reach, common_decision, upright_by_boxes
from codetr.data.lvis import Verified
from codetr.data.perceptual_hash import NO_HASH, perceptual_hash
from codetr.data.pixel_limit import PixelBudget
from codetr.data.sixteen_bit import grey_levels
from codetr.data.storage.image_store import ImageFile, ImageStorage
from codetr.data.storage.paths import NoFileError, UnsafePathError
from codetr.data.storage.tar import AmbiguousNameError, Member
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import ListedIds
from codetr.storage.s3_client import StorageError

_PIXELS_AT_A_TIME = 1 << 28
"""Pixels that all threads together have in memory: about 2 GiB, unless an image alone takes more."""

_DARK = 64
"""Of 256: 16-bit values below a quarter of their range leave two bits or more unused."""

_BRIGHT_SHARE = 0.001
"""Share of pixels that may be brighter: defects of a sensor."""

_CLIPPED = 0.01
"""Share of pixels above the range of 16-bit images that is reported."""


@dataclass(frozen=True)
class CheckedImage:
    """A usable image.

    Attributes:
        image_id: its id.
        path: relative to the image folder, with `/`; its name in the tar file if it is in one.
        height: rows of the decoded image.
        width: columns of the decoded image.
        upright: the EXIF orientation is to be applied when decoding.
        digest: SHA-256 of the file, as `sha256:<hex>`.
        file_size: in bytes.
        verified: its verified classes in a federated dataset, or None.
        perceptual_hash: 64 bits that similar images share, see `codetr.data.perceptual_hash`.
        member: its location in a tar file; None for a plain file or an object on S3.
    """

    image_id: int
    path: str
    height: int
    width: int
    upright: bool
    digest: str
    file_size: int
    verified: Verified | None = None
    perceptual_hash: int = NO_HASH
    member: Member | None = None


@dataclass
class ImageCheck:
    """The result of checking one image in a thread; findings are added in the order of the file afterwards.

    Attributes:
        image: None if it cannot be used.
        findings: kinds of finding, each with an example.
        corrected: fields of the annotation file that the image file contradicts, with the values they should have.
        header: of the image file, None if it has none.
    """

    image: CheckedImage | None = None
    header: ImageHeader | None = None
    findings: list[tuple[str, str]] = field(default_factory=list)
    corrected: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageChecker:
    """Check image files of one source.

    Attributes:
        storage: its files.
        range_16bit: values of 16-bit grey that become black and white.
        max_pixels: pixels of the largest image that is decoded.
        budget: bounds the pixels that threads have in memory.
    """

    storage: ImageStorage
    range_16bit: Range16Bit = FULL_RANGE
    max_pixels: int = MAX_PIXELS
    budget: PixelBudget = field(default_factory=lambda: PixelBudget(_PIXELS_AT_A_TIME))

    def check(self, entry: ImageEntry, upright: bool | None = None) -> ImageCheck:
        """Check one image file.

        Args:
            entry: the image as listed.
            upright: whether its boxes fit the image turned by its EXIF orientation, or as stored; None decides by the
                declared size.

        Raises:
            StorageError: the storage as a whole cannot be used.
            RunFailed: the storage does not answer, or the machine lacks memory.
            UserError: this process may open no more files.
        """
        check = ImageCheck()
        example = f"image {entry.image_id}"
        found = read_listed_image(entry, self.storage, check, example)
        if found is None:
            return check
        example = f"{example} '{found.path}'"
        try:
            self._decode(entry, found, check, upright, example)
        except UserError as error:
            check.findings.append(("image_unreadable", f"{example}: {error.problem}"))
        return check

    def _decode(
        self, entry: ImageEntry, found: ImageFile, check: ImageCheck, upright: bool | None, example: str
    ) -> None:
        content = found.content
        with open_image(content, found.path, max_pixels=self.max_pixels) as image:
            check.header = header = header_of(image)
            declared_as_stored = header.orientation >= 5 and entry.size == header.size(upright=False) != header.size(
                upright=True
            )
            by_boxes = upright is not None
            if upright is None:
                upright = not declared_as_stored
            with self.budget.take(header.height * header.width):
                pixels = decode_image(image, found.path, upright=upright, range_16bit=self.range_16bit)
                check.findings += self._range_findings(image, header, pixels, example)
                image.close()  # the hash takes as much memory
                hashed = perceptual_hash(pixels)
                height, width = pixels.shape[:2]
                del pixels
        if not upright:
            reason = "the boxes fit only the image as stored" if by_boxes else "declared with the size as stored"
            note = f"{example}: EXIF orientation {header.orientation}, {reason}"
            check.findings.append(("image_orientation_ignored", note))
        if entry.size is None:
            check.findings.append(("image_size_missing", f"{example}: {width}x{height}"))
        elif entry.size != (height, width):
            turned = f" turned by EXIF orientation {header.orientation}, which the boxes fit"
            sizes = f"declared {entry.size[1]}x{entry.size[0]}, is {width}x{height}"
            check.findings.append(("image_size_wrong", f"{example}: {sizes}{turned if declared_as_stored else ''}"))
        if entry.size != (height, width):
            check.corrected |= {"height": height, "width": width}
        if header.frames > 1:
            check.findings.append(("image_frames_ignored", f"{example}: {header.frames} frames"))
        check.image = CheckedImage(
            entry.image_id,
            found.path,
            height,
            width,
            upright,
            sha256_bytes(content),
            len(content),
            entry.verified,
            perceptual_hash=hashed,
            member=found.member,
        )

    def _range_findings(
        self, image: Image.Image, header: ImageHeader, pixels: NDArray[np.uint8], example: str
    ) -> list[tuple[str, str]]:
        """Return what a 16-bit image has in common with one of another range than `range_16bit`."""
        if header.bits != 16:
            return []
        grey = grey_levels(image)
        if np.count_nonzero(pixels >= _DARK) <= _BRIGHT_SHARE * pixels.size:
            shown = f": values up to {grey.max()}" if grey is not None else ""
            return [("image_bits_unused", f"{example}{shown}")]
        if grey is not None and np.count_nonzero(grey > self.range_16bit[1]) > _CLIPPED * grey.size:
            return [("image_values_clipped", f"{example}: values up to {grey.max()}")]
        return []


def check_images(
    entries: list[ImageEntry],
    checker: ImageChecker,
    annotations: RawAnnotations,
    ids: ListedIds,
    findings: Findings,
    *,
    workers: int,
    label: str,
) -> list[CheckedImage]:
    """Check the image files of one source, in threads, with progress.

    Args:
        entries: the images as listed.
        checker: checks one of them.
        annotations: of the source, unchecked; their boxes show how images with an EXIF orientation were annotated.
        ids: resolves the image ids of `annotations`.
        findings: receives what is found.
        workers: number of threads.
        label: shown in the progress display.

    Returns:
        The usable images, in order.

    Raises:
        StorageError: the storage as a whole cannot be used.
        RunFailed: the storage does not answer, or the machine lacks memory.
        UserError: this process may open no more files.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        checks = list(track(pool.map(checker.check, entries), len(entries), label))
        decisions = _orientations(checks, annotations, ids)
        checks = list(pool.map(_rechecked(checker, decisions), entries, checks))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the whole dataset
    _drop_doubtful(entries, checks)
    for listed, check in zip(entries, checks, strict=True):
        with findings.of_entry("image files", listed.image_id) as entry:
            for name, example in check.findings:
                findings.add(name, example)
            entry.value = check.corrected if check.image is not None else None
    images = [check.image for check in checks if check.image is not None]
    _note_repetitions(images, findings)
    return images


def _orientations(checks: Iterable[ImageCheck], annotations: RawAnnotations, ids: ListedIds) -> dict[int, bool]:
    """Return whether an image is annotated upright, by image id, where its boxes or those of other images show it."""
    turned = {
        check.image.image_id: (check.image, check.header)
        for check in checks
        if check.image and check.header and check.header.orientation >= 5 and check.header.height != check.header.width
    }
    if not turned:
        return {}
    reach = box_reach(annotations, ids, turned.keys())
    decisions = {
        image_id: upright_by_boxes(header.size(upright=False), reach.get(image_id))
        for image_id, (_, header) in turned.items()
    }
    # An image whose boxes fit both ways, with the size as stored, was annotated in the same tool as the others.
    common = common_decision({k: decisions[k] for k, (image, _) in turned.items() if not image.upright})
    for image_id, (image, _) in turned.items():
        if decisions[image_id] is None and not image.upright:
            decisions[image_id] = common
    return {image_id: upright for image_id, upright in decisions.items() if upright is not None}


def _drop_doubtful(entries: list[ImageEntry], checks: list[ImageCheck]) -> None:
    """Drop images that were found by a similar name only, if another image has the same file."""
    used = Counter(check.image.path for check in checks if check.image is not None)
    for entry, check in zip(entries, checks, strict=True):
        similar = any(name == "image_name_similar" for name, _ in check.findings)
        if similar and check.image is not None and used[check.image.path] > 1:
            example = f"image {entry.image_id} '{entry.names[0]}'; '{check.image.path}' belongs to another image"
            check.image, check.findings = None, [("image_missing", example)]


def _rechecked(checker: ImageChecker, decisions: Mapping[int, bool]) -> Callable[[ImageEntry, ImageCheck], ImageCheck]:
    """Return a function that checks an image again if it was checked in the other orientation."""

    def recheck(entry: ImageEntry, check: ImageCheck) -> ImageCheck:
        upright = decisions.get(entry.image_id)
        if upright is None or check.image is None or check.image.upright == upright:
            return check
        return checker.check(entry, upright)

    return recheck


def read_listed_image(entry: ImageEntry, storage: ImageStorage, check: ImageCheck, example: str) -> ImageFile | None:
    """Return the file of an image, or None with the reason added to the findings of `check`.

    Args:
        entry: the image as listed.
        storage: the images of the source.
        check: receives findings and corrections.
        example: names the image in findings.

    Raises:
        StorageError: the storage as a whole cannot be used.
        RunFailed: the storage does not answer, or the machine lacks memory.
        UserError: this process may open no more files.
    """
    if not entry.names:
        check.findings.append(("image_unnamed", example))
        return None
    for name in entry.names:
        try:
            found = storage.read(name)
        except UnsafePathError as error:
            check.findings.append(("image_unsafe_path", f"{example} '{name}': {error}"))
            return None
        except AmbiguousNameError as error:
            check.findings.append(("image_ambiguous", f"{example} '{name}' {error}"))
            return None
        except NoFileError:
            continue
        except StorageError:
            raise
        except (UserError, OSError) as error:
            check.findings.append(("image_unreadable", f"{example} '{name}': {_reason(error, name)}"))
            return None
        if entry.named_by_url:
            check.findings.append(("image_name_from_url", f"{example}: '{found.path}'"))
        elif found.path != name:
            check.findings.append(("image_name_adapted", f"{example}: '{name}' is '{found.path}'"))
        if entry.named_by_url or found.path != name:
            check.corrected["file_name"] = found.path
        return found
    return _read_similar(entry, storage, check, example)


def _read_similar(entry: ImageEntry, storage: ImageStorage, check: ImageCheck, example: str) -> ImageFile | None:
    """Return the only file with a similar name, or None with the reason added to the findings of `check`."""
    similar = next(filter(None, map(storage.find_similar, entry.names)), [])
    if len(similar) == 1:
        try:
            found = storage.read(similar[0])
        except (UnsafePathError, NoFileError):
            similar = []
        except (UserError, OSError) as error:
            problem = f"'{entry.names[0]}' may be '{similar[0]}': {_reason(error, similar[0])}"
            check.findings.append(("image_unreadable", f"{example} {problem}"))
            return None
        else:
            check.findings.append(("image_name_similar", f"{example}: '{entry.names[0]}' may be '{found.path}'"))
            check.corrected["file_name"] = found.path
            return found
    several = f"; it may be any of {len(similar)} files, e.g. '{similar[0]}'" if similar else ""
    check.findings.append(("image_missing", f"{example} '{entry.names[0]}'{several}"))
    return None


def _reason(error: UserError | OSError, name: str) -> str:
    """Return why an image cannot be read.

    Raises:
        ReportedError: the reason says nothing about the image.
    """
    if isinstance(error, UserError):
        return error.problem
    if is_system_failure(error):
        raise loading_error(error, "reading images", where=None if error.filename else name) from None
    return unreadable(error, name).problem


def _note_repetitions(images: Iterable[CheckedImage], findings: Findings) -> None:
    by_digest: dict[str, list[CheckedImage]] = defaultdict(list)
    for image in images:
        by_digest[image.digest].append(image)
    for group in by_digest.values():
        first = group[0]
        for image in group[1:]:
            name = "image_file_shared" if image.path == first.path else "image_content_repeated"
            findings.add(name, f"image {image.image_id} '{image.path}' and image {first.image_id} '{first.path}'")
