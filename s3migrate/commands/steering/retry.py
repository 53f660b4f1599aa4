"""retry: make a run's failed objects ready again."""

from __future__ import annotations

from contextlib import closing

import click

from s3migrate import __version__
from s3migrate.commands.common import chosen_run, json_errors, json_lines, json_option
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger
from schema.formats.quantities import counted_text


@click.command("retry", short_help="Make failed objects ready again; then apply.")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@json_option
@json_errors
def retry_command(run_id: int | None, as_json: bool) -> None:
    """Make the failed objects of RUN (default: the latest) ready again; then apply its plan."""
    settings = read_settings()
    with closing(open_ledger(settings)) as ledger:
        run = chosen_run(ledger, run_id)
        chunks = ledger.runs.retry(run.run_id, who=settings.who, tool_version=__version__)
    if as_json:
        json_lines().emit({"type": "retry", "run_id": run.run_id, "chunks": chunks})
    else:
        again = f"made ready again: {counted_text(chunks, 'chunk')}; apply its plan to work on them."
        click.echo(f"Run {run.run_id}: " + (again if chunks else "no object has failed for good; nothing to do."))
