"""Check every image file of a split: found, safe, decodable, of the declared size; compute its digest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import sha256_bytes
from codetr.core.progress import track
from codetr.data.images import parse_header, parse_image
from codetr.data.ingest.image_list import ImageEntry
from codetr.data.lvis import Verified
from codetr.data.perceptual_hash import NO_HASH, perceptual_hash
from codetr.data.storage.image_store import ImageFile, ImageStorage
from codetr.data.storage.paths import NoFileError, UnsafePathError
from codetr.data.storage.s3 import StorageError
from codetr.data.storage.tar import AmbiguousNameError, Member
from codetr.data.validation.findings import Findings


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
    """

    image: CheckedImage | None = None
    findings: list[tuple[str, str]] = field(default_factory=list)
    corrected: dict[str, Any] = field(default_factory=dict)


def check_images(
    entries: list[ImageEntry], storage: ImageStorage, findings: Findings, *, workers: int, label: str
) -> list[CheckedImage]:
    """Check the image files of one split, in threads, with progress.

    Args:
        entries: the images as listed.
        storage: their files.
        findings: receives what is found.
        workers: number of threads.
        label: shown in the progress display.

    Returns:
        The usable images, in order.

    Raises:
        StorageError: the storage as a whole cannot be used.
        RunFailed: the storage does not answer.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        checks = list(track(pool.map(lambda entry: check_image(entry, storage), entries), len(entries), label))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the whole dataset
    for listed, check in zip(entries, checks, strict=True):
        with findings.of_entry("image files", listed.image_id) as entry:
            for name, example in check.findings:
                findings.add(name, example)
            entry.value = check.corrected if check.image is not None else None
    images = [check.image for check in checks if check.image is not None]
    _note_repetitions(images, findings)
    return images


def check_image(entry: ImageEntry, storage: ImageStorage) -> ImageCheck:
    """Check one image file.

    Args:
        entry: the image as listed.
        storage: the files of its source.

    Raises:
        StorageError: the storage as a whole cannot be used.
        RunFailed: the storage does not answer.
    """
    check = ImageCheck()
    example = f"image {entry.image_id}"
    found = _read_file(entry, storage, check, example)
    if found is None:
        return check
    example = f"{example} '{found.path}'"
    try:
        content = found.content
        header = parse_header(content, found.path)
        upright = True
        if header.orientation >= 5 and entry.size == header.size(upright=False) != header.size(upright=True):
            upright = False
            check.findings.append(("image_orientation_ignored", f"{example}: EXIF orientation {header.orientation}"))
        pixels = parse_image(content, found.path, upright=upright)
        height, width = pixels.shape[:2]
    except UserError as error:
        check.findings.append(("image_unreadable", f"{example}: {error.problem}"))
        return check
    if entry.size is None:
        check.findings.append(("image_size_missing", f"{example}: {width}x{height}"))
    elif entry.size != (height, width):
        declared = f"{entry.size[1]}x{entry.size[0]}"
        check.findings.append(("image_size_wrong", f"{example}: declared {declared}, is {width}x{height}"))
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
        perceptual_hash=perceptual_hash(pixels),
        member=found.member,
    )
    return check


def _read_file(entry: ImageEntry, storage: ImageStorage, check: ImageCheck, example: str) -> ImageFile | None:
    """Return the file of an image, or None with the reason added to the findings of `check`."""
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
            reason = error.problem if isinstance(error, UserError) else error.strerror
            check.findings.append(("image_unreadable", f"{example} '{name}': {reason}"))
            return None
        if entry.named_by_url:
            check.findings.append(("image_name_from_url", f"{example}: '{found.path}'"))
        elif found.path != name:
            check.findings.append(("image_name_adapted", f"{example}: '{name}' is '{found.path}'"))
        if entry.named_by_url or found.path != name:
            check.corrected["file_name"] = found.path
        return found
    check.findings.append(("image_missing", f"{example} '{entry.names[0]}'"))
    return None


def _note_repetitions(images: Iterable[CheckedImage], findings: Findings) -> None:
    by_digest: dict[str, list[CheckedImage]] = defaultdict(list)
    for image in images:
        by_digest[image.digest].append(image)
    for group in by_digest.values():
        first = group[0]
        for image in group[1:]:
            name = "image_file_shared" if image.path == first.path else "image_content_repeated"
            findings.add(name, f"image {image.image_id} '{image.path}' and image {first.image_id} '{first.path}'")
