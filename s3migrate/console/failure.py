"""The one place that turns an error into a message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import click

from s3migrate.console.output import ReaderGone, released
from schema.errors import LocalDiskError, MigrationError, descriptors_exhausted
from schema.exit_codes import ExitCode
from schema.formats.escape import one_line

DESCRIPTOR_CODES = frozenset({errno.EMFILE, errno.ENFILE})
DISK_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def report(error: MigrationError, emit_json: Callable[[dict[str, Any]], None] | None) -> int:
    """Report the error on stderr, and as one JSON object through *emit_json*. Returns the exit code. A stream that
    nobody reads is no error.
    """
    lines = [one_line(line) for line in str(error).splitlines()] or [type(error).__name__]
    with contextlib.suppress(OSError):
        click.echo("s3migrate: " + "\n  ".join(lines), err=True)
    if emit_json is not None:
        with contextlib.suppress(OSError):
            emit_json(
                {
                    "type": "diagnostic",
                    "severity": "error",
                    "code": type(error).__name__,
                    "exit": error.exit_code,
                    "summary": str(error),
                }
            )
    return error.exit_code


def run_click(command: click.Command, arguments: list[str] | None = None) -> int:
    """Run the command line. Never raises; always returns an exit code from the README's table."""
    with released(), terminable():
        try:
            result = command.main(args=arguments, prog_name="s3migrate", standalone_mode=False)
            return result if isinstance(result, int) else 0
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except click.ClickException as error:
            with contextlib.suppress(OSError):
                error.show(sys.stderr)
            return ExitCode.USAGE
        except click.Abort:
            with contextlib.suppress(OSError):
                click.echo("s3migrate: interrupted", err=True)
            return ExitCode.STOPPED
        except MigrationError as error:
            return report(error, None)
        except ReaderGone:
            return ExitCode.DONE  # the reader is gone; commands that do more than show continue without it
        except (Exception, SystemExit) as error:  # click turns any broken pipe into a SystemExit
            return _unexpected(error)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM meanwhile ends a command as Ctrl-C does, unless the command or its caller has decided otherwise."""
    main = threading.current_thread() is threading.main_thread()
    undecided = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if undecided:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if undecided:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _unexpected(error: BaseException) -> int:
    """A full disk, too many open files, or a bug, whose traceback is shown for the bug report."""
    if isinstance(error, OSError) and error.errno in DISK_CODES:
        return report(LocalDiskError(f"{error.filename or 'the output'} cannot be written: {error.strerror}"), None)
    if isinstance(error, OSError) and error.errno in DESCRIPTOR_CODES:
        return report(descriptors_exhausted(str(error.filename or "a file or connection")), None)
    with contextlib.suppress(OSError):
        traceback.print_exc()
        click.echo("s3migrate: this is a bug in s3migrate; nothing is lost, the ledger holds what was done", err=True)
    return ExitCode.UNEXPECTED
