"""Where annotations and images come from: a plain path, or a DVC repository at a revision; COCO, VOC or YOLO."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from codetr.core.errors import UserError
from codetr.core.files import sha256_file
from codetr.data.config import SourceConfig
from codetr.data.formats import voc, yolo
from codetr.data.formats.coco import MAX_BYTES, read_coco
from codetr.data.formats.raw_source import Records
from codetr.data.storage.image_store import ImageRoot
from codetr.data.storage.s3 import SCHEME, S3Address, download
from codetr.data.storage.tar import SUFFIX, is_sharded
from codetr.data.validation.findings import Findings


@dataclass(frozen=True)
class Source:
    """A source's files on this machine.

    Attributes:
        annotations: the annotation file or folder.
        images: the image folder, tar file or prefix on S3; None for where the format has it.
    """

    annotations: Path
    images: ImageRoot | None


def fetch(config: SourceConfig, folder: Path) -> Source:
    """Make a source's files available.

    Args:
        config: where they are.
        folder: where files of a DVC repository and annotations on S3 are put; it must not exist. Plain paths, and
            images on S3, stay where they are.

    Raises:
        StorageError: S3 cannot be used.
        UserError: a missing file or folder, no such repository or revision, or files that DVC cannot get.
    """
    if config.repo is not None:
        return _fetch_from_dvc(config.repo, config.rev, config.annotations, config.images, folder)
    if config.annotations.startswith(SCHEME):
        annotations = _fetch_annotations(S3Address.parse(config.annotations), folder / "annotations")
    else:
        annotations = Path(config.annotations).expanduser()
    if not annotations.exists():
        raise UserError("no such annotation file", where=str(annotations))
    return Source(annotations.resolve(), None if config.images is None else _images(config.images))


def _fetch_annotations(address: S3Address, folder: Path) -> Path:
    file = folder / address.name
    if not address.name or format_of(file) != "coco":
        hint = "Copy the others here, for example with `aws s3 sync`."
        raise UserError("is no COCO file; only these are read from S3", where=str(address), hint=hint)
    download(address, file, limit=MAX_BYTES)
    return file


def _images(text: str) -> ImageRoot:
    if text.startswith(SCHEME):
        if text.endswith(SUFFIX):
            raise UserError("is a tar file on S3; these are read from disks only", where=text, hint="Copy it here.")
        return S3Address.parse(text)
    path = Path(text).expanduser()
    if not path.exists():
        raise UserError("no such image folder", where=text)
    _require_images(path, text, "what images are read from")
    return path.resolve()


def format_of(annotations: Path) -> Literal["voc", "yolo", "coco"]:
    """The format of annotations, which shows in their name: a folder or .txt is VOC, .yaml YOLO, anything else COCO."""
    suffix = annotations.suffix.lower()
    if annotations.is_dir() or suffix == ".txt":
        return "voc"
    return "yolo" if suffix in (".yaml", ".yml") else "coco"


def read(source: Source, split: str, findings: Findings, *, workers: int) -> Records:
    """What a source lists.

    Args:
        source: files on this machine.
        split: train, val or test: which part of a VOC folder or YOLO dataset is meant.
        findings: what is noticed is added here.
        workers: number of threads where there are many small files.

    Raises:
        UserError: files that are missing, unsafe, or not of their format.
    """
    path = source.annotations
    kind = format_of(path)
    images = source.images
    if kind == "coco":
        return Records(read_coco(path, findings), images or Path.cwd(), sha256_file(path))
    if isinstance(images, S3Address) or (images is not None and is_sharded(images)):
        problem = f"images on S3 or in tar files go with COCO-format annotations only; {path} is {kind.upper()}"
        raise UserError(problem, where=str(images), hint="Name a folder that they are in.")
    if kind == "voc":
        return voc.read_voc(path, images, split, findings)
    return yolo.read_yolo(path, images, split, findings, workers=workers)


def lists_labelled(source: Source, split: str) -> bool:
    """Whether annotations that were named for train list another split as well, and have labels for it.

    Args:
        source: a VOC folder or YOLO's data.yaml; files of other formats, and lists of VOC, are of one split.
        split: val or test.
    """
    kind = format_of(source.annotations)
    if kind == "voc":
        return voc.lists_labelled(source.annotations, split)
    if kind == "yolo" and (source.images is None or isinstance(source.images, Path)):
        return yolo.lists_labelled(source.annotations, source.images, split)
    return False


def _fetch_from_dvc(repo: str, rev: str | None, annotations: str, images: str | None, folder: Path) -> Source:
    try:
        from dvc.repo import Repo
    except ImportError:
        hint = "Install it: pip install 'codetr[dvc]'."
        raise UserError("a DVC repository is given, but DVC is not installed", where=repo, hint=hint) from None
    where = f"{repo}@{rev}" if rev else repo
    if "://" not in repo and "@" not in repo and not Path(repo).expanduser().is_dir():
        raise UserError("no such repository", where=repo)
    file = PurePosixPath(annotations)
    # A list of VOC is of no use without the folder that it lies in, ROOT/ImageSets/Main/NAME.txt, nor a data.yaml
    # without its own, which its images are in unless they are named.
    whole = file
    if file.suffix.lower() == ".txt" and len(file.parents) > 2:
        whole = file.parents[2]
    elif file.suffix.lower() in (".yaml", ".yml") and images is None:
        whole = file.parent
    if whole == file and file.suffix and images is None:
        images = "."
    place = folder / "annotations" / whole.name
    # What it is shows in the name's end.
    fetched = None if images is None else folder / (f"images{SUFFIX}" if images.endswith(SUFFIX) else "images")
    source = Source(place / file.relative_to(whole), fetched)
    for path, target in ((str(whole), place), (images, fetched)):
        if path is None or target is None:
            continue
        _refuse_outside(path, where)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            Repo.get(repo if "://" in repo else str(Path(repo).expanduser()), path, out=str(target), rev=rev)
        # DVC raises its own, Git's and the storage's exceptions, whose common base is Exception.
        except Exception as error:
            problem = f"'{path}' cannot be fetched: {_first_line(error)}"
            hint = "Check the path, the revision, and that `dvc pull` works there."
            raise UserError(problem, where=where, hint=hint) from None
    if fetched is not None:
        _require_images(fetched, where, f"'{images}'")
    return source


def _require_images(images: Path, where: str, name: str) -> None:
    """Raise `UserError` unless `images` is a folder or a tar file."""
    if not images.is_dir() and not (images.is_file() and is_sharded(images)):
        hint = "Images come from a folder, or from tar files that are not compressed."
        raise UserError(f"{name} is neither a folder nor a .tar file", where=where, hint=hint)


def _refuse_outside(path: str, where: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise UserError(f"'{path}' must be relative to the repository and inside it", where=where)


def _first_line(error: Exception) -> str:
    text = ""
    with suppress(Exception):
        text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
