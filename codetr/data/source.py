"""Where annotations and images come from: a plain path, or a DVC repository at a revision."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from codetr.data.config import SourceConfig
from codetr.errors import UserError


@dataclass(frozen=True)
class Source:
    """A split's files on this machine.

    Attributes:
        annotations: the annotation file.
        images: the image folder.
    """

    annotations: Path
    images: Path


def fetch(config: SourceConfig, folder: Path) -> Source:
    """Make a source's files available.

    Args:
        config: where they are.
        folder: where files of a DVC repository are put; it must not exist. Plain paths stay where they are.

    Raises:
        UserError: a missing file or folder, no such repository or revision, or files that DVC cannot get.
    """
    if config.repo is not None:
        return _fetch_from_dvc(config.repo, config.rev, config.annotations, config.images, folder)
    annotations, images = Path(config.annotations).expanduser(), Path(config.images).expanduser()
    if not annotations.exists():
        raise UserError("no such annotation file", where=str(annotations))
    if not images.is_dir():
        raise UserError("no such image folder", where=str(images))
    return Source(annotations.resolve(), images.resolve())


def _fetch_from_dvc(repo: str, rev: str | None, annotations: str, images: str, folder: Path) -> Source:
    try:
        from dvc.repo import Repo
    except ImportError:
        hint = "Install it: pip install 'codetr[dvc]'."
        raise UserError("a DVC repository is given, but DVC is not installed", where=repo, hint=hint) from None
    where = f"{repo}@{rev}" if rev else repo
    if "://" not in repo and "@" not in repo and not Path(repo).expanduser().is_dir():
        raise UserError("no such repository", where=repo)
    source = Source(folder / "annotations" / PurePosixPath(annotations).name, folder / "images")
    for path, target in ((annotations, source.annotations), (images, source.images)):
        _refuse_outside(path, where)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            Repo.get(repo if "://" in repo else str(Path(repo).expanduser()), path, out=str(target), rev=rev)
        # DVC raises its own, Git's and the storage's exceptions, whose common base is Exception.
        except Exception as error:
            problem = f"'{path}' cannot be fetched: {_first_line(error)}"
            hint = "Check the path, the revision, and that `dvc pull` works there."
            raise UserError(problem, where=where, hint=hint) from None
    if not source.images.is_dir():
        raise UserError(f"'{images}' is not a folder", where=where)
    return source


def _refuse_outside(path: str, where: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise UserError(f"'{path}' must be relative to the repository and inside it", where=where)


def _first_line(error: Exception) -> str:
    text = ""
    with suppress(Exception):
        text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
