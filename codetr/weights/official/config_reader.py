"""Access to the values of an official (mmdetection-style) configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ConfigReader:
    """Read values by dotted path. Of a list, as the official configurations have for a single head, it uses the first.

    Args:
        values: nested plain dicts and lists.
    """

    def __init__(self, values: Any) -> None:
        self.values = values

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at `path`, or `default` if it is absent or None."""
        node = self.values
        for part in path.split("."):
            if isinstance(node, list):
                node = node[0] if node else {}
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return default if node is None else node

    def at(self, path: str) -> ConfigReader:
        """Return a reader of the part at `path`, empty if it is absent."""
        return ConfigReader(self.get(path, {}))

    def faults(self, constants: Mapping[str, tuple[Any, ...]]) -> list[str]:
        """List the values that this package does not support, one line each; absent values have the official default.

        Args:
            constants: supported values by path.
        """
        return [
            f"{path} is {value!r}, supported: {', '.join(map(repr, allowed))}"
            for path, allowed in constants.items()
            if (value := self.get(path)) is not None and value not in allowed
        ]
