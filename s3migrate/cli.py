"""The command line: one group, one module a command."""

from __future__ import annotations

import sys

import click

from s3migrate import __version__
from s3migrate.commands.apply import apply_command
from s3migrate.commands.cleanup import cleanup_command
from s3migrate.commands.explain import explain_command
from s3migrate.commands.init import init_command, schema_command
from s3migrate.commands.ledger import ledger_group
from s3migrate.commands.plan import plan_command
from s3migrate.commands.show import check_command, show_command
from s3migrate.commands.status import status_command
from s3migrate.commands.steer import limit_command, retry_command, unlock_command
from s3migrate.commands.verify import verify_command
from s3migrate.failure import run_click

EXIT_CODES = """\b
Exit codes:
  0   done, or nothing to do
  1   unexpected: a bug, its traceback is on stderr
  2   plan --detailed-exitcode: the plan has changes
  3   finished, but some objects failed, drifted or are parked
  4   refused: the plan is stale
  5   refused: plan or manifest is not what it claims to be
  6   refused: another plan holds the destination
  7   refused: not the approved plan, a loss not accepted, or a guard exceeded
  8   verify found differences
  64  usage
  65  the declaration is malformed
  66  a named file is not there
  68  no such bucket, or the wrong region
  69  endpoint or ledger cannot be reached, or the destination is full
  74  the local disk is full or read-only
  75  stopped; apply the same plan again to go on
  76  an answer that cannot be trusted (listing, protocol)
  77  credentials or permissions refused, clock skewed, certificate not verified
  78  the ledger's schema does not fit this build
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="s3migrate")
def cli() -> None:
    """Move S3 buckets: plan, review, apply, verify.

    A plan is a file that people review; apply carries out exactly that plan, checkpoints every object in a
    PostgreSQL ledger, and may be killed and run again at any moment; verify proves the result.
    """


for command in (
    init_command,
    schema_command,
    plan_command,
    show_command,
    check_command,
    apply_command,
    status_command,
    verify_command,
    retry_command,
    explain_command,
    cleanup_command,
    limit_command,
    unlock_command,
    ledger_group,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_click(cli))


if __name__ == "__main__":
    main()
