"""Run a command line to its exit code; both `codetr` and `python -m pipelines` do it in the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer

from codetr.cli.arguments import checked_arguments
from codetr.cli.reported import reported_error
from codetr.cli.streams import discard_stdout, keep_running_without_log, open_closed_streams
from codetr.core.errors import ReportedError
from codetr.core.exit_codes import ExitCode
from codetr.core.text import show_safely


def run_app(
    app: typer.Typer,
    arguments: Sequence[str],
    fail: Callable[[ReportedError], NoReturn],
    *,
    reported: Callable[[Exception], ReportedError | None] = reported_error,
    name: str | None = None,
) -> NoReturn:
    """Run a command and exit with one of `ExitCode`; an exception that is a defect is raised.

    Args:
        app: the commands.
        arguments: the command line, without the name of the program.
        fail: prints an error and exits.
        reported: returns an exception as an error to report; None for a defect.
        name: of the program in its help; None for that of the process.
    """
    open_closed_streams()
    keep_running_without_log()
    show_safely()
    try:
        given = checked_arguments(arguments)
        # `obj` is what commands see as `context.obj`: they may have to start themselves again on several processes.
        code = app(args=given, prog_name=name, obj=given, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The program that reads the output, e.g. head, has seen enough.
        discard_stdout()
        code = ExitCode.FAILED
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # of the parser; the help is printed
            sys.exit(ExitCode.MISTAKE)
        known = reported(error)
        if known is None:
            raise
        fail(known)
    sys.exit(code or ExitCode.OK)
