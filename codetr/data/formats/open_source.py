"""Fetch and read a source in COCO, VOC or YOLO format, from paths, S3 or a DVC repository at a revision."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from codetr.core.errors import UserError, first_line
from codetr.core.extras import install_hint
from codetr.core.files import sha256_file
from codetr.data.config import BoxFormat, SourceConfig
from codetr.data.formats import voc, yolo
from codetr.data.formats.coco import MAX_BYTES, CocoFile, read_coco
from codetr.data.formats.raw_source import RawSource
from codetr.data.storage.image_store import ImageRoot
from codetr.data.storage.links import LINK_HINT, NO_TARGETS, LinkTargets
from codetr.data.storage.paths import file_exists
from codetr.data.storage.tar import SUFFIX, is_sharded
from codetr.data.validation.findings import Findings
from codetr.storage.s3_client import SCHEME, S3Address
from codetr.storage.s3_objects import download

logger = logging.getLogger(__name__)

_SAMPLED_IMAGES = 20
"""Images that are looked for in the folders that may have them."""


@dataclass(frozen=True)
class Source:
    """The files of a source on this machine.

    Attributes:
        annotations: the annotation file or folder.
        images: the image folder, tar file or prefix on S3; None for the default of the format.
        origin: address of the annotations, if the file is a temporary copy; names it in errors.
        links: where symbolic links in these folders may lead.
        box_format: how the boxes of a COCO file are written.
    """

    annotations: Path
    images: ImageRoot | None
    links: LinkTargets = NO_TARGETS
    origin: str | None = None
    box_format: BoxFormat = "xywh"


def fetch(config: SourceConfig, folder: Path) -> Source:
    """Make the files of a source available.

    Args:
        config: their paths.
        folder: where files of a DVC repository and annotations on S3 are stored; it must not exist. Plain paths, and
            images on S3, are not copied.

    Raises:
        StorageError: S3 cannot be used.
        RunFailed: S3 does not answer.
        UserError: a missing file or folder, no such repository or revision, files that DVC cannot fetch, or a
            repository with links that lead out of it.
    """
    if config.repo is not None:
        return _fetch_from_dvc(config, config.repo, folder)
    origin = None
    if config.annotations.startswith(SCHEME):
        annotations = _fetch_annotations(S3Address.parse(config.annotations), folder / "annotations")
        origin = config.annotations
    else:
        annotations = Path(config.annotations).expanduser()
    if not annotations.exists():
        raise UserError("no such annotation file", where=str(annotations))
    if not (annotations.is_file() or annotations.is_dir()):  # reading a pipe might never end
        hint = "Write its content to a file: annotations are read more than once."
        raise UserError("is neither a file nor a folder", where=str(annotations), hint=hint)
    # The name decides about the format, so a link to a file keeps its name.
    annotations = annotations.resolve() if annotations.is_dir() else annotations.parent.resolve() / annotations.name
    images = None if config.images is None else _images(config.images)
    roots = [annotations if annotations.is_dir() else annotations.parent, Path.cwd()]
    roots += [images] if isinstance(images, Path) else []
    if config.boxes != "xywh" and format_of(annotations) != "coco":
        raise UserError(f"boxes: {config.boxes} is for COCO files only", where=str(annotations))
    return Source(annotations, images, LinkTargets.of(roots, config.link_targets), origin, config.boxes)


def _fetch_annotations(address: S3Address, folder: Path) -> Path:
    file = folder / address.name
    if not address.name or format_of(file) != "coco":
        hint = "Copy the files to this machine, for example with `aws s3 sync`."
        raise UserError("is not a COCO file; other formats are not read from S3", where=str(address), hint=hint)
    download(address, file, limit=MAX_BYTES)
    return file


def _images(text: str) -> ImageRoot:
    if text.startswith(SCHEME):
        if text.endswith(SUFFIX):
            raise UserError("is a tar file on S3, which is not supported", where=text, hint="Copy it to this machine.")
        return S3Address.parse(text)
    path = Path(text).expanduser()
    if not path.exists():
        raise UserError("no such image folder", where=text)
    _require_images(path, text, "the image folder")
    return path.resolve()


def format_of(annotations: Path) -> Literal["voc", "yolo", "coco"]:
    """Return the format of annotations by their name: a folder or .txt is VOC, .yaml is YOLO, anything else COCO."""
    suffix = annotations.suffix.lower()
    if annotations.is_dir() or suffix == ".txt":
        return "voc"
    return "yolo" if suffix in (".yaml", ".yml") else "coco"


def read(source: Source, split: str, findings: Findings, *, workers: int) -> RawSource:
    """Read the lists of a source.

    Args:
        source: files on this machine.
        split: train, val or test: which list of a VOC folder or YOLO dataset to read.
        findings: receives what is found.
        workers: number of threads for formats of many small files.

    Raises:
        UserError: files that are missing, unsafe, or not of their format.
    """
    path = source.annotations
    kind = format_of(path)
    images = source.images
    if kind == "coco":
        with _named(source):
            file = read_coco(path, findings)
            return RawSource(file, images or _default_images(file, path, source.links), sha256_file(path))
    if isinstance(images, S3Address) or (images is not None and is_sharded(images)):
        problem = f"images on S3 or in tar files need COCO-format annotations; {path} is {kind.upper()}"
        raise UserError(problem, where=str(images), hint="Give an image folder.")
    if kind == "voc":
        return voc.read_voc(path, images, split, findings, source.links)
    return yolo.read_yolo(path, images, split, findings, source.links, workers=workers)


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """Name an annotation file in errors as the user did, not the temporary copy of it."""
    try:
        yield
    except UserError as error:
        if source.origin is None or error.where is None:
            raise
        where = error.where.replace(str(source.annotations), source.origin)
        raise type(error)(error.problem, where=where, hint=error.hint) from None


def _default_images(file: CocoFile, path: Path, links: LinkTargets) -> Path:
    """Return the folder that has most images of a COCO file: the current one, that of the file, or one nearby."""
    folder = path.parent
    folders = [Path.cwd(), folder, folder / "images", folder.parent, folder.parent / "images"]
    step = max(1, len(file.images) // _SAMPLED_IMAGES)
    names = [value.get("file_name") for value in file.images[::step] if isinstance(value, dict)]

    def count(root: Path) -> int:
        return sum(isinstance(name, str) and file_exists(root, name, links) for name in names)

    best = max((root.resolve() for root in folders), key=count)  # the first of several
    if best != Path.cwd():
        logger.info("using the images in %s", best)
    return best


def has_labelled_split(source: Source, split: str) -> bool:
    """Return whether the annotations given for train list another split too, and have labels for it.

    Args:
        source: a VOC folder or YOLO's data.yaml; a COCO file, or a list of VOC, has one split only.
        split: val or test.
    """
    kind = format_of(source.annotations)
    if kind == "voc":
        return voc.has_labelled_split(source.annotations, split, source.links)
    if kind == "yolo" and (source.images is None or isinstance(source.images, Path)):
        return yolo.has_labelled_split(source.annotations, source.images, split, source.links)
    return False


def _fetch_from_dvc(config: SourceConfig, repo: str, folder: Path) -> Source:
    try:
        from dvc.repo import Repo
    except ImportError:
        hint = install_hint("dvc")
        raise UserError("a DVC repository is given, but DVC is not installed", where=repo, hint=hint) from None
    where = f"{repo}@{config.rev}" if config.rev else repo
    local = Path(repo).expanduser()
    if "://" not in repo and "@" not in repo and not local.is_dir():
        raise UserError("no such repository", where=repo)
    images = config.images
    file = PurePosixPath(config.annotations)
    # A list of VOC needs its root folder, ROOT/ImageSets/Main/NAME.txt, and a data.yaml needs its folder, which has
    # the images unless they are given.
    fetched_path = file
    if file.suffix.lower() == ".txt" and len(file.parents) > 2:
        fetched_path = file.parents[2]
    elif file.suffix.lower() in (".yaml", ".yml") and images is None:
        fetched_path = file.parent
    if fetched_path == file and file.suffix and images is None:
        images = "."
    fetched_annotations = folder / "annotations" / fetched_path.name
    # The suffix decides how images are read.
    fetched_images = None if images is None else folder / (f"images{SUFFIX}" if images.endswith(SUFFIX) else "images")
    for path, target in ((str(fetched_path), fetched_annotations), (images, fetched_images)):
        if path is None or target is None:
            continue
        _refuse_outside(path, where)
        # At a revision, DVC reads Git's objects instead of the files in the folder.
        if config.rev is None and local.exists():
            _require_links_inside(local, path, LinkTargets.of([local], config.link_targets))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            Repo.get(repo if "://" in repo else str(local), path, out=str(target), rev=config.rev)
        # DVC raises exceptions of Git and of the storage too, whose common base is Exception.
        except Exception as error:
            problem = f"'{path}' cannot be fetched: {first_line(error)}"
            hint = "Check the path, the revision, and that `dvc pull` works there."
            raise UserError(problem, where=where, hint=hint) from None
    if fetched_images is not None:
        _require_images(fetched_images, where, f"'{images}'")
    return Source(
        fetched_annotations / file.relative_to(fetched_path), fetched_images, NO_TARGETS, box_format=config.boxes
    )


def _require_links_inside(repository: Path, path: str, links: LinkTargets) -> None:
    """Raise `UserError` if DVC would copy a file that is outside of a repository, because a link in it leads there.

    Args:
        repository: a folder; its working tree is copied.
        path: of what is copied, relative to it.
        links: further places to which links may lead.
    """
    repository = repository.resolve()
    # DVC looks for its repository in the parents, too, and begins at the current folder if that is inside.
    root = next((folder for folder in (repository, *repository.parents) if (folder / ".dvc").is_dir()), repository)
    bases = {repository, root, *([Path.cwd()] if Path.cwd().is_relative_to(root) else [])}
    entries, visited = [base / path for base in sorted(bases)], set()
    while entries:
        entry = entries.pop()
        try:
            target = entry.resolve()
            if not links.allow(root, target):
                problem = f"'{os.path.relpath(entry, root)}' leads out of the repository"
                raise UserError(problem, where=str(repository), hint=LINK_HINT)
            if target.is_dir() and target not in visited:
                visited.add(target)
                entries += target.iterdir()
        except (OSError, RuntimeError) as error:  # no permission, or a loop of links
            problem = f"'{os.path.relpath(entry, root)}' cannot be read: {error}"
            raise UserError(problem, where=str(repository)) from None


def _require_images(images: Path, where: str, name: str) -> None:
    """Raise `UserError` unless `images` is a folder or a tar file."""
    if not images.is_dir() and not (images.is_file() and is_sharded(images)):
        hint = "Give a folder of images, or tar files without compression."
        raise UserError(f"{name} is neither a folder nor a .tar file", where=where, hint=hint)


def _refuse_outside(path: str, where: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise UserError(f"'{path}' must be relative to the repository and inside it", where=where)
