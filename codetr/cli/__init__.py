"""The command `codetr`: every step and tool, with settings from recipes, params files and `--set`.

This is the edge: settings are read and checked here, and a `UserError` becomes a message and exit code 2. Nothing
heavy is imported before a command needs it, so that `codetr --help` answers at once.
"""

from codetr.cli.app import main

__all__ = ["main"]
