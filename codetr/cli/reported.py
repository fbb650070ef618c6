"""Exceptions of commands as errors to report: what a person or the system caused is a message, a defect a traceback."""

from __future__ import annotations

from codetr.cli.unknown_option import unknown_option
from codetr.core.errors import ReportedError, RunFailed, UserError
from codetr.core.system.os_errors import reported_os_error


def reported_error(error: Exception) -> ReportedError | None:
    """Return an exception of a command as an error to report without a traceback; None for a defect."""
    if isinstance(error, ReportedError):
        return error
    if isinstance(error, OSError):
        return reported_os_error(error)
    if isinstance(error, ValueError | RuntimeError) and (reported := _of_a_library(str(error))):
        return reported
    return _of_the_parser(error)


def _of_the_parser(error: Exception) -> ReportedError | None:
    """Return the error to report for a wrong command line; None if it is something else.

    The parser would print an option as it was given, with control characters. Typer has a parser of its own since 0.26
    and Click's before, with the same attributes.
    """
    show = getattr(error, "format_message", None)
    if show is None:
        return None
    context = getattr(error, "ctx", None)
    if context is not None and (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        known = [name for parameter in context.command.params for name in parameter.opts]
        return unknown_option(str(option), context.command_path, known)
    command = context.command_path if context else "codetr"
    return UserError(show().rstrip(".?"), hint=f"`{command} --help` lists the options.")


def _of_a_library(message: str) -> ReportedError | None:
    """Return the error to report for a message of Python's pathlib or of PyTorch."""
    if "embedded null" in message:
        return UserError("a path holds a NUL character", hint="Correct the path in the settings or the options.")
    if "home directory" in message:
        hint = "Give the path of the folder, or ./~name for a file of this name."
        return UserError("a path begins with ~ and the name of no user", hint=hint)
    if message.startswith("Symlink loop"):  # before Python 3.13
        problem = message.replace("Symlink loop from", "symbolic links form a circle:")
        return UserError(problem, hint="Remove the links, or give another path.")
    if message.startswith("DataLoader worker"):
        # PyTorch raises this at an arbitrary line of the main process when the system kills a loader process.
        hint = "Is memory, or the shared memory of the container, too small? Training resumes from its checkpoint when "
        hint += "started again; fewer workers (loader.workers, for evaluate workers) need less."
        return RunFailed(f"a process that loads images was killed: {message}", hint=hint)
    return None
