"""The command `codetr`: every step and tool, with settings from recipes, params files and `--set`.

This is the edge: settings are read and checked here, and errors become a message and an exit code. Heavy
libraries are imported only by the commands that need them, so that `codetr --help` answers at once.
"""

from codetr.cli.app import main

__all__ = ["main"]
