"""The program `liverleaf`: its commands put together, and how it ends.

Exit codes: 0 success; 1 a failure, explained in one line; 2 bad use; 130 stopped by Ctrl-C.
"""

# Without `from __future__ import annotations`: typer would compile every annotation from its text
# each time, --help included. Everything heavy is imported inside the command that needs it.
import logging
import sys
from io import TextIOWrapper
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from liverleaf.cli import logs
from liverleaf.cli.analyze import analyze_commands
from liverleaf.cli.benchmarks import benchmarks
from liverleaf.cli.console import print_error
from liverleaf.cli.ingest import ingest_commands
from liverleaf.cli.models import model_commands
from liverleaf.cli.phantom import phantom_commands

logger = logging.getLogger(__name__)

FAILURE, STOPPED = 1, 130

# click's UsageError, or that of typer's own copy of click: typer has no public name for it
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="liverleaf",
    help=(
        "Multi-phase liver imaging: from a folder of DICOM to lesions, their types and their"
        " enhancement. Research use only."
    ),
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (analyze_commands, ingest_commands, phantom_commands, model_commands, benchmarks):
    app.add_typer(commands)


@app.callback()
def _start_log(
    context: typer.Context,
    verbose: Annotated[
        bool,
        typer.Option(logs.VERBOSE, help="Say on standard error what is done; for every command."),
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(
            logs.LOG_FILE,
            metavar="FILE",
            help="Add the same to a file, with the time; for every command.",
        ),
    ] = None,
) -> None:
    from liverleaf import __version__

    logs.start(verbose=verbose, file=log_file)
    logger.info("liverleaf %s %s", __version__, context.invoked_subcommand)


def main() -> None:
    """Run the command line; a fault of the input is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # file names may hold any bytes
            stream.reconfigure(errors="backslashreplace")
    arguments = logs.options_first(sys.argv[1:])
    as_json = "--json" in arguments
    began = perf_counter()
    try:
        code = _run(arguments, as_json=as_json)
        # the explanation stays off the log: it may quote a path that names a patient
        logger.info("ended with exit code %d after %.1f s", code, perf_counter() - began)
    finally:
        logs.stop()
    sys.exit(code)


def _run(arguments: list[str], *, as_json: bool) -> int:
    try:
        code = app(args=arguments, standalone_mode=False) or 0
    except KeyboardInterrupt:
        code = STOPPED
    except UsageError as error:
        return _bad_use(error, as_json=as_json)
    except Exception as error:
        if not _explains_itself(error):
            logger.error("failed unexpectedly: %s", type(error).__name__)
            raise
        logger.error("failed: %s", type(error).__name__)
        print_error(_in_a_line(error), as_json=as_json)
        return FAILURE
    if code == STOPPED:  # typer turns Ctrl-C within a command into this
        print_error("stopped before it was done", as_json=as_json)
    return int(code)


def _bad_use(error: typer.BadParameter, *, as_json: bool) -> int:
    """Explain it as typer does, with the usage, or as JSON."""
    if as_json:
        print_error(error.format_message(), as_json=True)
    else:
        error.show()
    return error.exit_code


def _explains_itself(error: Exception) -> bool:
    from liverleaf.study import InputError

    return isinstance(error, InputError | OSError)


def _in_a_line(error: Exception) -> str:
    from liverleaf.study import InputError

    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    if isinstance(error, InputError):  # one line, but for the names of files in it
        return str(error)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


if __name__ == "__main__":
    main()
