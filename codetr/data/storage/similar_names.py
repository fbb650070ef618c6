"""Find the image that an annotation file may mean where no file has the name that it gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import PurePosixPath
from threading import Lock

from codetr.data.images import IMAGE_SUFFIXES
from codetr.data.storage.paths import spelling_variants

_SEPARATORS = "_-"
"""Between the prefix and the name of a file."""


class SimilarNames:
    """The images of a source, to be found by names that differ in folders, suffix, case or a prefix; thread-safe.

    Args:
        names: lists all files of the source, in alphabetical order; called when the first name is looked for.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names
        self._lock = Lock()

    def find(self, name: str) -> list[str]:
        """Return the files that a name may mean: those of the closest kind that has any.

        These kinds are, in their order: the name itself in other folders; with another case or suffix of an image; with
        a prefix that ends with `_` or `-` and that only one of the two names has. The folders of one of the two have to
        be the last ones of the other: `train/a.jpg` is never `val/a.jpg`.
        """
        with self._lock:
            exact, without_prefix = self._indexes
        spellings = [PurePosixPath(spelling.replace("\\", "/")) for spelling in spelling_variants(name)]
        for spelling in spellings:
            key = _key(spelling)
            closest = [exact.get(spelling.name), exact.get(key)]
            closest += [*map(exact.get, _without_prefixes(key)), without_prefix.get(key)]
            for files in filter(None, closest):
                found = [file for file in files if _folders_agree(PurePosixPath(file).parent, spelling.parent)]
                if found:
                    return found
        return []

    @cached_property
    def _indexes(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Files by name and by key, and by keys without a prefix."""
        exact: dict[str, list[str]] = defaultdict(list)
        without_prefix: dict[str, list[str]] = defaultdict(list)
        for name in self._names():
            path = PurePosixPath(name)
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                exact[path.name].append(name)
                exact[_key(path)].append(name)
                for key in _without_prefixes(_key(path)):
                    without_prefix[key].append(name)
        return exact, without_prefix


def _key(path: PurePosixPath) -> str:
    """Return what names of the same image have in common: the stem, without case; it cannot be a name of a file."""
    return f"/{(path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name).casefold()}"


def _without_prefixes(key: str) -> list[str]:
    """Return what remains of a key after each separator, longest first."""
    ends = [k + 1 for k, character in enumerate(key) if character in _SEPARATORS]
    return [f"/{key[end:]}" for end in ends if key[end:]]


def _folders_agree(first: PurePosixPath, second: PurePosixPath) -> bool:
    shorter, longer = sorted(([*first.parts], [*second.parts]), key=len)
    return not shorter or longer[-len(shorter) :] == shorter
