"""`python -m codetr` is the command `codetr`; torchrun and the other programs that start it do so this way."""

import os
import sys

from codetr.core.exit_codes import ExitCode
from codetr.core.system.parent_watch import watch_parent


def require_posix(system: str = os.name) -> None:
    """Exit on systems without the locks, signals and processes that are used here: their modules cannot be imported."""
    if system != "posix":
        print("Error: codetr runs on Linux and macOS. On Windows, use it in WSL 2.", file=sys.stderr)
        sys.exit(ExitCode.MISTAKE)


def main() -> None:
    """Run the command line; end when the process that started this one to work for it ends."""
    require_posix()
    watch_parent()
    # Imported while the parent is watched already.
    from codetr.cli import main as run

    run()


if __name__ == "__main__":
    main()
