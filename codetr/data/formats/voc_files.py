"""Find the XML files of a VOC folder, the image of each, and files that belong to neither."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from codetr.core.errors import UserError
from codetr.data.formats.passed_over import report_passed_over
from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.storage.links import LinkTargets, list_files
from codetr.data.storage.paths import NoFileError, UnsafePathError, file_exists, is_file, resolve_file
from codetr.data.validation.findings import Findings

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"

_SPLITS = ("train", "val", "valid", "validation", "test")
_SNIFFED_BYTES = 1 << 12


class VocFiles:
    """The files of a VOC folder.

    Args:
        root: the folder with Annotations, or a folder of XML files; resolved.
        images: the image folder; None for JPEGImages, or for the root if there is no folder Annotations.
        links: where symbolic links may lead.

    Attributes:
        folder: of the XML files, relative to the root.
        images: the image folder.
    """

    def __init__(self, root: Path, images: Path | None, links: LinkTargets) -> None:
        self._root, self._links = root, links
        self.folder = ANNOTATIONS if (root / ANNOTATIONS).is_dir() else "."
        default = root / IMAGES if self.folder == ANNOTATIONS else root
        self.images = default if images is None else images

    @cached_property
    def xml(self) -> list[str]:
        """The XML files in the folder and all folders below it, relative to the root, in alphabetical order."""
        # macOS adds files ._NAME to archives.
        return [name for name in list_files(self._root, self.folder, self._links).names if _is_xml(name)]

    def require_one_split(self) -> None:
        """Raise `UserError` if a folder of XML files has them in one folder a split only."""
        folders = {PurePosixPath(name).parts[0] for name in self.xml if "/" in name}
        if self.folder == "." and folders.intersection(_SPLITS) and all("/" in name for name in self.xml):
            first = sorted(folders)[0]
            hint = f"Give each of them to its split, e.g. --train {self._root / first}."
            problem = f"has the XML files of several splits, in {', '.join(sorted(folders)[:5])}"
            raise UserError(problem, where=str(self._root), hint=hint)

    def identifier(self, xml: str) -> str:
        """Return the id of the image of an XML file: its path in the folder, without suffix."""
        return PurePosixPath(xml).relative_to(self.folder).with_suffix("").as_posix()

    def find_xml(self, identifier: str) -> str:
        """Return the XML file of an image in a list, relative to the root; its usual name if there is none.

        It is in the folder itself, or in a folder below it if only one file there has this name. Some lists have the
        names of images, with their suffix.
        """
        path = PurePosixPath(identifier)
        names = [identifier, *([str(path.with_suffix(""))] if path.suffix.lower() in IMAGE_SUFFIXES else [])]
        usual = [f"{name}.xml" if self.folder == "." else f"{self.folder}/{name}.xml" for name in names]
        for name in usual:
            try:
                return resolve_file(self._root, name, self._links)
            except UnsafePathError:
                return name  # reading it reports why
            except NoFileError:
                continue
        nested = next(filter(None, (self._xml_by_stem.get(name) for name in names)), [])
        return nested[0] if len(nested) == 1 else usual[0]

    def find_image(self, identifier: str, written: str) -> str:
        """Return the image of an XML file, relative to the image folder; a name that may not exist if there is none.

        It is named by the id, as `filename` is often wrong; else by `filename`; else it is the only file of its name
        in a folder below.

        Args:
            identifier: the id.
            written: the `filename` in the XML file; it may be empty.
        """
        suffixes = [*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES)]
        if (suffix := PurePosixPath(written).suffix).lower() in IMAGE_SUFFIXES:
            suffixes.insert(0, suffix)
        paths = dict.fromkeys((identifier, PurePosixPath(identifier).name))
        names = [f"{path}{suffix}" for path in paths for suffix in suffixes]
        names += [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]  # a.jpg.xml belongs to a.jpg
        for name in names:
            if is_file(self.images / name):
                return name
        for name in (written, PureWindowsPath(written).name):
            with suppress(NoFileError, UnsafePathError):
                return resolve_file(self.images.resolve(), name, self._links)
        nested = self._images_by_stem.get(PurePosixPath(identifier).name, [])
        return nested[0] if len(nested) == 1 else written or f"{identifier}.jpg"

    def report_unused(self, used_xml: Collection[str], used_images: Iterable[str] | None, findings: Findings) -> None:
        """Report what is not used: XML files outside of the folder, and images without one.

        Args:
            used_xml: XML files that were read.
            used_images: images of these; None if a list chose them, so that others are left out on purpose.
            findings: receives `label_file_unused`, `image_passed_over` and `image_unsafe_path`.
        """
        everything = list_files(self._root, links=self._links, skip_unreadable=True)
        closed = [self._root / name for name in everything.closed]
        inside = set(self.xml)
        known = {PurePosixPath(name).name: name for name in used_xml}
        for name in filter(_is_xml, everything.names):
            if name in inside or not self._is_annotation(name):
                continue
            same = known.get(PurePosixPath(name).name)
            if same is None or (self._root / same).read_bytes() != (self._root / name).read_bytes():
                findings.add("label_file_unused", f"{name}: it is not in the folder {self.folder}")
        if used_images is not None and self.images.is_dir():
            found = list_files(self.images, links=self._links)
            closed += [self.images / name for name in found.closed]
            used = set(used_images)
            report_passed_over(self.images, [name for name in found.names if name not in used], self._links, findings)
        for link in sorted(set(closed)):
            findings.add("image_unsafe_path", f"'{link.name}' is a link that leads out of the folder")

    def _is_annotation(self, name: str) -> bool:
        if not file_exists(self._root, name, self._links):
            return False
        with (self._root / name).open("rb") as stream:
            return b"<annotation" in stream.read(_SNIFFED_BYTES)

    @cached_property
    def _xml_by_stem(self) -> dict[str, list[str]]:
        return _by_stem(self.xml)

    @cached_property
    def _images_by_stem(self) -> dict[str, list[str]]:
        if not self.images.is_dir():
            return {}
        names = list_files(self.images, links=self._links).names
        return _by_stem(name for name in names if not name.lower().endswith((".xml", ".txt")))


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml") and not PurePosixPath(name).name.startswith(".")


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[PurePosixPath(name).stem].append(name)
    return found
