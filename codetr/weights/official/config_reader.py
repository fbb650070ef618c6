"""Looking values up in an official (mmdetection style) configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ConfigReader:
    """Looks values up by dotted path; the lists of one head that the official configurations use are skipped."""

    def __init__(self, values: Any) -> None:
        """Args: nested plain dicts and lists."""
        self.values = values

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`, or `default` where it is absent or None."""
        node = self.values
        for part in path.split("."):
            if isinstance(node, list):
                node = node[0] if node else {}
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return default if node is None else node

    def at(self, path: str) -> ConfigReader:
        """A reader of the part at `path`, empty where it is absent."""
        return ConfigReader(self.get(path, {}))

    def faults(self, constants: Mapping[str, tuple[Any, ...]]) -> list[str]:
        """What differs from values that are constants here, a line each; what is absent has the official default.

        Args:
            constants: allowed values by path.
        """
        return [
            f"{path} is {value!r}, only {' or '.join(map(repr, allowed))} can be built"
            for path, allowed in constants.items()
            if (value := self.get(path)) is not None and value not in allowed
        ]
