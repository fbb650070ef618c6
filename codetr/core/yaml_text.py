"""Read YAML that may come from an untrusted source, within limits.

YAML of a few lines can name the same part again and again (aliases) and expand to more values than memory holds, nest
deeper than Python can follow, or ask for types whose constructors fail on bad values. Settings and lists of classes
need none of this: mappings, lists, text, numbers, booleans and null. This is the only module that parses YAML.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

from codetr.core.errors import UserError
from codetr.core.system.os_errors import unreadable
from codetr.core.text import shorten

MAX_BYTES = 1 << 20
"""A list of the 1,203 classes of LVIS has 30 kB."""
MAX_DEPTH = 50
MAX_ALIASED_VALUES = 10_000
"""How many values aliases may add."""

_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset(f"{_CORE}{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp"))
"""Types that a value can have; `timestamp` is what YAML makes of 2024-01-31 without a tag."""
_MERGE = f"{_CORE}merge"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Loader(yaml.SafeLoader):
    """The safe loader with limits. It stops while it reads, before anything of that size exists."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._aliased = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            anchor = self.anchors.get(event.anchor)
            # The size of a part is known when it ends: an alias within it refers to itself.
            if anchor is not None and id(anchor) not in self._sizes:
                raise _refused("an alias refers to the part that it is in", event)
            self._aliased += 0 if anchor is None else self._sizes[id(anchor)]
            if self._aliased > MAX_ALIASED_VALUES:
                raise _refused(f"aliases repeat more than {MAX_ALIASED_VALUES:,} values", event)
            return super().compose_node(parent, index)
        event = self.peek_event()  # type: ignore[no-untyped-call]
        before, aliased = len(self._sizes), self._aliased
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"it is nested more than {MAX_DEPTH} levels deep", event)
        node = super().compose_node(parent, index)
        assert node is not None  # only an undefined alias has none, which is an error
        self._depth -= 1
        explicit = getattr(event, "tag", None)
        if node.tag not in _TAGS and not (node.tag == _MERGE and explicit is None):
            raise _refused(f"the tag {explicit or node.tag} is not one of JSON's types", event)
        self._sizes[id(node)] = len(self._sizes) - before + 1 + self._aliased - aliased
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = key.tag, str(key.value)
            if name in seen and key.tag != _MERGE:
                raise _refused(f"the key {shorten(name[1], 40)!r} is given twice", key)
            seen.add(name)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError):
            kind = node.tag.removeprefix(_CORE)
            raise _refused(f"{shorten(str(node.value), 40)!r} is not a {kind}", node) from None


class _Refused(yaml.MarkedYAMLError):
    """What the loader refuses although it is YAML."""


def _refused(problem: str, node: Any) -> _Refused:
    return _Refused(problem=problem, problem_mark=node.start_mark)


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse one YAML document.

    Args:
        text: the document.
        where: the file or option that it comes from, for the message.

    Returns:
        Mappings, lists, text, numbers, booleans, dates and None.

    Raises:
        UserError: invalid YAML (with line and column), or beyond the limits of this module.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"is larger than {MAX_BYTES >> 20} MiB", where=where)
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        parts = [part for part in (error.context, error.problem) if part]
        mark = error.problem_mark or error.context_mark
        line = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise UserError(f"is not valid YAML: {', '.join(parts)}{line}", where=where) from None
    except yaml.YAMLError as error:
        problem = re.sub(r"\s+", " ", str(error)).replace(' in "<unicode string>",', ",")
        raise UserError(f"is not valid YAML: {problem}", where=where) from None
    except RecursionError:
        raise UserError("is not valid YAML: it is nested too deeply", where=where) from None
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: unreadable file, not UTF-8, or see `parse_yaml`; or something other than a mapping.
    """
    where = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode("utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig")
    except OSError as error:
        raise unreadable(error, where) from None
    except UnicodeDecodeError as error:
        problem = f"is not valid YAML: it is not {error.encoding} text (byte {error.start})"
        raise UserError(problem.replace("utf-8", "UTF-8"), where=where) from None
    value = parse_yaml(text, where=where)
    if not isinstance(value, dict):
        raise UserError(f"holds a {type(value).__name__}, expected a mapping", where=where)
    return value
