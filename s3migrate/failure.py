"""The one place that turns an error into a sentence and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from schema.errors import MigrationError, UsageError
from schema.escape import one_line

UNEXPECTED = 1
USAGE = UsageError.exit_code


def report(error: MigrationError, emit_json: Callable[[dict[str, Any]], None] | None) -> int:
    """Say what happened on stderr (and as one JSON object when asked for); the exit code."""
    lines = [one_line(line) for line in str(error).splitlines()] or [type(error).__name__]
    click.echo("s3migrate: " + "\n  ".join(lines), err=True)
    if emit_json is not None:
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
    """Run the command line; never raises, always answers an exit code of README's table."""
    try:
        result = command.main(args=arguments, prog_name="s3migrate", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)
        return USAGE
    except click.Abort:
        click.echo("s3migrate: interrupted", err=True)
        return 75
    except MigrationError as error:
        return report(error, None)
    except BrokenPipeError:
        return UNEXPECTED
    except Exception:  # a bug: keep its traceback, it is what the report needs
        traceback.print_exc()
        click.echo("s3migrate: this is a bug in s3migrate; nothing is lost, the ledger holds what was done", err=True)
        return UNEXPECTED
