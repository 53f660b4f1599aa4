"""The command line: one group, one module a command."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import click

from executor.machine.descriptors import raise_limit
from s3migrate import __version__
from s3migrate.console.failure import run_click
from schema.errors import ExitCode

COMMANDS = {
    "init": "init:init_command",
    "schema": "schema:schema_command",
    "plan": "plan:plan_command",
    "show": "show:show_command",
    "check": "check:check_command",
    "apply": "apply:apply_command",
    "status": "status:status_command",
    "verify": "verify:verify_command",
    "retry": "retry:retry_command",
    "explain": "explain:explain_command",
    "cleanup": "cleanup:cleanup_command",
    "limit": "limit:limit_command",
    "unlock": "unlock:unlock_command",
    "ledger": "ledger:ledger_group",
}
"""Name -> module below s3migrate.commands and the command in it; imported when it is asked for, not before."""

EXIT_CODES = "\b\nExit codes:\n" + "".join(f"  {code:<4}{code.meaning}\n" for code in ExitCode)
"""The end of --help; \\b: click keeps the lines as they are."""


class LazyGroup(click.Group):
    """Imports a command's module when the command is named: apply need not wait for the planner's libraries."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the order of the work."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        # Nothing that is imported becomes garbage: looking for it took a tenth of the start-up.
        gc.disable()
        found = getattr(import_module(f"s3migrate.commands.{module}"), name)
        gc.freeze()
        gc.enable()
        return found if isinstance(found, click.Command) else None


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="s3migrate")
def cli() -> None:
    """Move S3 buckets: plan, review, apply, verify.

    A plan is a file that people review; apply carries out exactly that plan, checkpoints every object in a
    PostgreSQL ledger, and may be killed and run again at any moment; verify proves the result.
    """


def main() -> None:
    """Entry point of the console script."""
    raise_limit()
    sys.exit(run_click(cli))


if __name__ == "__main__":
    main()
