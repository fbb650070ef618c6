"""`python -m codetr` is the command `codetr`; torchrun and the other programs that start it do so this way."""

from codetr.core.system.parent_watch import watch_parent


def main() -> None:
    """Run the command line; end when the process that started this one to work for it ends."""
    watch_parent()
    # Imported while the parent is watched already.
    from codetr.cli import main as run

    run()


if __name__ == "__main__":
    main()
