"""Read the small text files of annotation folders, within limits."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path

from codetr.core.errors import UserError, listed
from codetr.core.files import sha256_json
from codetr.core.system.os_errors import is_system_failure, unreadable
from codetr.data.storage.links import NO_TARGETS, LinkTargets
from codetr.data.storage.paths import NoFileError, UnsafePathError, resolve_file

MAX_BYTES = 16 << 20
"""Upper bound of the annotations of a single image."""

MAX_LIST_BYTES = 1 << 30
"""Upper bound of a list of images."""


def text_encoding(content: bytes) -> str:
    """Return the encoding of a text by its byte-order mark: UTF-8 without one."""
    return "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


class TextFiles:
    """Read many small files of one source, none of them outside its root, and compute their digest.

    Args:
        root: the folder of all files, resolved.
        links: where symbolic links may lead.

    Attributes:
        problems: one message for each file that cannot be used.
    """

    def __init__(self, root: Path, links: LinkTargets = NO_TARGETS) -> None:
        self._root, self._links = root, links
        self._digests: dict[str, str] = {}
        self.problems: list[str] = []

    @property
    def digest(self) -> str:
        """Digest of the names and contents of all files read, as `sha256:<hex>`."""
        return sha256_json(sorted(self._digests.items()))

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes | None:
        """Return the content of the file `name` relative to the root; None if it is missing or cannot be used.

        A file that cannot be used is added to `problems`.

        Raises:
            ReportedError: the disk or the server fails, or this process may open no more files.
        """
        try:
            path = self._root / resolve_file(self._root, name, self._links)
            with path.open("rb") as stream:
                content = stream.read(limit + 1)
        except NoFileError:
            return None
        except UnsafePathError as error:
            self.reject(name, str(error))
            return None
        except OSError as error:
            reported = unreadable(error, self._root / name)
            if is_system_failure(error):
                raise reported from None
            self.reject(name, reported.problem)
            return None
        if len(content) > limit:
            self.reject(name, f"is larger than {limit >> 20} MiB")
            return None
        self._digests[name] = hashlib.sha256(content).hexdigest()
        return content

    def read_lines(self, name: str, limit: int = MAX_BYTES) -> list[str] | None:
        """Return the lines of a file of UTF-8 text, or of UTF-16 with a byte-order mark; None as for `read`."""
        content = self.read(name, limit)
        if content is None:
            return None
        try:
            return content.decode(text_encoding(content)).splitlines()
        except UnicodeDecodeError as error:
            self.reject(name, f"is not UTF-8 text (byte {error.start})")
            return None

    def reject(self, name: str, problem: str) -> None:
        """Add a file that cannot be used to `problems`."""
        self.problems.append(f"{name} {problem}")

    def require_no_problems(self, where: Path) -> None:
        """Raise `UserError` if a file cannot be used; the message names the first ones."""
        if self.problems:
            hint = "Fix these files, or remove their images from the split."
            shown = listed(sorted(self.problems), 5, "; ")
            problem = f"{len(self.problems)} annotation file(s) cannot be parsed: {shown}"
            raise UserError(problem, where=str(where), hint=hint)
