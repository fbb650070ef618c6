"""Access to the values of an official (mmdetection-style) configuration that accounts for every one of them.

A value is read, required to equal what this package does, passed over with a reason, or refused: a value that changes
a detector must not be ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from codetr.core.errors import UserError, listed
from codetr.core.text import shorten

REQUIRED: Any = object()
"""Default of a number, or a list of numbers, that the official code requires."""

_ANYWHERE = {
    "init_cfg": "initial weights, which those of the checkpoint or of the recipe replace",
    "pretrained": "initial weights, which those of the checkpoint or of the recipe replace",
}
"""Names that are passed over in every part, with the reason."""

_MOST_FAULTS = 30


@dataclass(frozen=True)
class Only:
    """A setting that is a constant in this package.

    Attributes:
        supported: values that mean what this package does.
        default: official default, the value where the setting is absent; None where it is required.
        like: path of another setting that determines `supported`, for the message.
    """

    supported: tuple[Any, ...]
    default: Any = None
    like: str | None = None


def only(*supported: Any, default: Any = None, like: str | None = None) -> Only:
    """Return a setting with these supported values."""
    return Only(tuple(map(_plain, supported)), _plain(default), like)


def always(value: Any) -> Only:
    """Return a setting whose only supported value is the official default."""
    return only(value, default=value)


@dataclass
class _Account:
    """What readers of one configuration have found."""

    understood: set[str] = field(default_factory=set)
    irrelevant: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)


class ConfigReader:
    """Read values by dotted path. Of a list, as the official configurations have for a single head, it uses the first.

    Args:
        values: nested dicts and lists of plain values; tuples count as lists.
        path: path of `values` in the file, for messages.
    """

    def __init__(self, values: Any, path: str = "", account: _Account | None = None) -> None:
        self.values, self.path = values if account else _plain(values), path
        self._account = account or _Account()

    @property
    def irrelevant(self) -> dict[str, str]:
        """Reason of every path, of a value or of a part, that was passed over."""
        return self._account.irrelevant

    @property
    def faults(self) -> list[str]:
        """What cannot be built, with path and value."""
        return self._account.faults

    def has(self, path: str) -> bool:
        """Return whether there is a non-empty value or part at `path`."""
        return bool(self._find(path)[1])

    def at(self, path: str) -> ConfigReader:
        """Return a reader of the part at `path`, empty if it is absent."""
        full, value = self._find(path)
        return ConfigReader({} if value is None else value, full, self._account)

    def get(self, path: str, default: Any = REQUIRED) -> Any:
        """Return the value at `path`, or `default`, the official one, if it is absent.

        It must be of the kind of `default`: text, a truth value, a number or a list of numbers. Otherwise that is
        noted as a fault, and the result is `default`, or None for a required value.
        """
        full, value = self._find(path)
        fallback = None if default is REQUIRED else default
        if value is _ABSENT:
            if default is REQUIRED:
                self.faults.append(f"{full} is missing")
            return fallback
        self._understood(full, value)
        if kind := _other_kind(value, default):
            self.faults.append(f"{full} is {_shown(value)}, expected {kind}")
            return fallback
        return value

    def read(self, target: str, fields: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
        """Read fields of our settings.

        Args:
            target: dotted path of the settings in `DetectorConfig`, so that what is wrong with a value is reported
                with its path in the file.
            fields: our name → path and default, see `get`.
        """
        for name, (path, _) in fields.items():
            self.names(f"{target}.{name}".strip("."), path)
        return {name: self.get(path, default) for name, (path, default) in fields.items()}

    def names(self, target: str, path: str) -> None:
        """Note that the setting `target` of this package is made of the value at `path`."""
        self._account.sources[target] = self._find(path)[0]

    def require(self, constants: Mapping[str, Only]) -> None:
        """Note a fault for every value that this package does not support.

        Args:
            constants: setting by path.
        """
        for path, constant in constants.items():
            full, value = self._find(path)
            if value is _ABSENT:
                value = constant.default
            else:
                self._understood(full, value)
            if not any(_equal(value, supported) for supported in constant.supported):
                like = f", as {constant.like}" if constant.like else ""
                supported = ", ".join(map(repr, constant.supported))
                self.faults.append(f"{full} is {_shown(value)}, supported: {supported}{like}")

    def require_multiple(self, path: str, divisor: Any, *, like: str) -> None:
        """Note a fault unless the number at `path` is a multiple of `divisor`.

        Args:
            path: of a number that was read.
            divisor: a positive whole number; what is none is reported when the settings are parsed.
            like: what determines `divisor`, for the message.
        """
        full, value = self._find(path)
        if _is_number(value) and isinstance(divisor, int) and divisor > 0 and value % divisor:
            self.faults.append(f"{full} is {value!r}, supported: multiples of {divisor}, as {like}")

    def pass_over(self, reasons: Mapping[str, str]) -> None:
        """Note values and parts that change nothing in a detector.

        Args:
            reasons: reason by path.
        """
        self._account.irrelevant |= {self._find(path)[0]: reason for path, reason in reasons.items()}

    def finish(self, where: str) -> None:
        """Check that every value is accounted for.

        Args:
            where: source of the configuration, for the message.

        Raises:
            UserError: there are faults, or values that were neither read nor passed over; they are listed by path.
        """
        unknown = [
            f"{path} is {_shown(value)}, which this package does not know"
            for path, value in leaves(self.values or [], self.path)
            if path and path not in self._account.understood and not self._passed_over(path)
        ]
        self.faults.extend(unknown)
        if self.faults:
            raise self.error(where)

    def error(self, where: str) -> UserError:
        """Return the error for what was found to be unsupported."""
        hint = "If a value changes nothing in the detector, remove it and give the configuration by --config."
        return UserError(listed([*dict.fromkeys(self.faults)], _MOST_FAULTS, "; "), where=where, hint=hint)

    def refuse(self, error: ValidationError, where: str) -> UserError:
        """Return the error for values that are outside their bounds, with their paths in the file.

        Args:
            error: of settings made of the values that `read` returned.
            where: source of the configuration.
        """
        problems = []
        for problem in error.errors():
            # Unions are part of pydantic's paths by the value of their discriminator, elements by their index.
            parts = [part for part in problem["loc"] if isinstance(part, str) and part not in _KINDS]
            path, message = ".".join(parts), problem["msg"].removeprefix("Value error, ")
            if source := self._account.sources.get(path):
                problems.append(f"{source}: {message} (got {_shown(problem['input'])})")
                continue
            # Several values together are wrong.
            sources = [source for name, source in self._account.sources.items() if name.startswith(f"{path}.")]
            problems.append(f"{', '.join(sources) or path or 'the detector'}: {message}")
        return UserError("; ".join(problems), where=where)

    def _passed_over(self, path: str) -> bool:
        parts = path.split(".")
        for end, part in enumerate(parts, start=1):
            prefix = ".".join(parts[:end])
            if part in _ANYWHERE:
                self.irrelevant[prefix] = _ANYWHERE[part]
            if prefix in self.irrelevant:
                return True
        return False

    def _understood(self, path: str, value: Any) -> None:
        # A part where a value is expected remains unknown.
        if _is_value(value):
            self._account.understood.add(path)

    def _find(self, path: str) -> tuple[str, Any]:
        """Return the complete path, with indices of lists, and the value, `_ABSENT` if there is none."""
        node, full = self.values, [self.path] if self.path else []
        for part in path.split("."):
            if isinstance(node, list) and not part.isdigit():
                full.append("0")
                node = node[0] if node else _ABSENT
            full.append(part)
            if isinstance(node, dict):
                node = node.get(part, _ABSENT)
            else:
                node = node[int(part)] if isinstance(node, list) and int(part) < len(node) else _ABSENT
        return ".".join(full), node


class _Absent:
    def __bool__(self) -> bool:
        return False


_ABSENT = _Absent()
_KINDS = frozenset({"co_deformable", "co_dino", "resnet", "swin", "vit", "timm"})


def leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and value of every value that is not a part; a list of plain values is one."""
    if _is_value(node):
        yield path, node
        return
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from leaves(value, f"{path}.{name}" if path else str(name))


def _is_value(node: Any) -> bool:
    if isinstance(node, list):
        return not any(isinstance(part, dict) for part in node)
    return not isinstance(node, dict) or not node


def _shown(value: Any) -> str:
    return shorten(repr(value))


def _plain(value: Any) -> Any:
    """Return nested values with lists in place of tuples, and dicts in place of other mappings."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _equal(value: Any, supported: Any) -> bool:
    """Compare, with 1 and True different, as a number in place of a truth value is likely to be a mistake."""
    return bool(value == supported) and isinstance(value, bool) == isinstance(supported, bool)


def _other_kind(value: Any, default: Any) -> str | None:
    """Return the kind of value that `default` has and `value` has not, None if both have it."""
    if isinstance(default, str):
        return None if isinstance(value, str) else "text"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, list):
        return None if isinstance(value, list) and all(map(_is_number, value)) else "a list of numbers"
    numbers = value if isinstance(value, list) and default is REQUIRED else [value]
    return None if all(map(_is_number, numbers)) else "a number"


def _is_number(value: Any) -> bool:
    """Return whether a value is a number of a size that a setting can have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
