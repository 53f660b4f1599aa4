"""unlock: take the destination lock from a run."""

from __future__ import annotations

from contextlib import closing

import click

from s3migrate.commands.common import json_errors
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger


@click.command("unlock", short_help="Take the destination lock from a run.")
@click.argument("lock_id")
@json_errors
def unlock_command(lock_id: str) -> None:
    """Take the destination lock LOCK_ID from its run: its processes are fenced off, what they did is kept."""
    settings = read_settings()
    with closing(open_ledger(settings)) as ledger:
        ledger.locks.unlock(lock_id, who=settings.who)
    click.echo(f"Lock {lock_id} is released; the run's processes can claim no more work.")
