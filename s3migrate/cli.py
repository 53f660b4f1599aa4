"""The command line: one group, one module per command."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import click

from executor.machine.descriptors import raise_limit
from s3migrate import __version__
from s3migrate.console.failure import run_click
from schema.exit_codes import ExitCode

COMMANDS = {
    "init": ("init:init_command", "Write a commented declaration."),
    "schema": ("schema:schema_command", "Print a JSON Schema: migration, plan or show."),
    "plan": ("plan:plan_command", "List both sides, write plan and manifests."),
    "show": ("show:show_command", "Render a plan, or one of its batches."),
    "diff": ("diff:diff_command", "Show what differs between two plans."),
    "check": ("check:check_command", "Check a plan and its manifests, offline."),
    "publish": ("publish:publish_command", "Put a plan and its manifests into a bucket."),
    "apply": ("apply:apply_command", "Carry out a plan, or resume its run."),
    "status": ("status:status_command", "Progress, outcomes, failures, flow."),
    "advise": ("advise:advise_command", "What more or fewer workers would do for a run."),
    "verify": ("verify:verify_command", "Prove that source and destination are equal."),
    "certify": ("proof.certify:certify_command", "Write a certificate of what a run has put in place."),
    "report": ("proof.report:report_command", "A run in one file: verdict, figures, curves, failures."),
    "prove": ("proof.prove:prove_command", "Prove that a certificate includes a key."),
    "retry": ("steering.retry:retry_command", "Make failed objects ready again; then apply."),
    "explain": ("explain:explain_command", "Everything known about one key."),
    "cleanup": ("steering.cleanup:cleanup_command", "Abort multipart uploads that a run left open."),
    "limit": ("steering.limit:limit_command", "Change a limit of a run while it works."),
    "pause": ("steering.pause:pause_command", "Drain a run's processes and refuse new ones."),
    "resume": ("steering.resume:resume_command", "Lift the pause of a run; then apply."),
    "unlock": ("steering.unlock:unlock_command", "Take the destination lock from a run."),
    "ledger": ("ledger:ledger_group", "The ledger: its schema, its state, its server."),
}
"""Name -> module under s3migrate.commands and the command in it, imported only when it is used; and its short help
(a test compares it with the command's own), so that --help imports none of them.
"""

EXIT_CODES = "\b\nExit codes:\n" + "".join(f"  {code:<4}{code.meaning}\n" for code in ExitCode)
"""The end of --help; \\b: click keeps the lines as they are."""


class LazyGroup(click.Group):
    """Imports a command's module only when that command runs: apply does not wait for the planner's libraries."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the order of the work."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        # Importing leaves no garbage; looking for it took a tenth of the start-up.
        gc.disable()
        found = getattr(import_module(f"s3migrate.commands.{module}"), name)
        gc.freeze()
        gc.enable()
        return found if isinstance(found, click.Command) else None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in --help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in COMMANDS.items()])


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
