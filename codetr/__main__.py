"""`python -m codetr` is the command `codetr`; torchrun starts it this way."""

from codetr.cli import main

if __name__ == "__main__":
    main()
