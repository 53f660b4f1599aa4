"""advise: what more or fewer workers, or another limit, would do for a run."""

from __future__ import annotations

from contextlib import closing

import click

from s3migrate.commands.common import chosen_run, json_errors, json_lines
from s3migrate.settings import read_settings
from s3migrate.views.advice import advice_figures, advise
from s3migrate.views.why import why_of
from s3migrate.wiring import open_ledger


@click.command("advise", short_help="What more or fewer workers would do for a run.")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text", show_default=True)
@json_errors
def advise_command(run_id: int | None, shape: str) -> None:
    """What another number of workers would do for RUN (default: the latest), judged by how it has gone so far.

    Never advises more workers than its endpoints have been seen to bear. Exit 0 whatever the advice.
    """
    with closing(open_ledger(read_settings())) as ledger:
        run = chosen_run(ledger, run_id)
        progress = ledger.reports.progress(run.run_id)
        why = why_of(ledger, progress)
        found = advise(
            progress,
            ledger.workers.scaling(run.run_id),
            why,
            history=ledger.samples.history(run.run_id),
            closures=ledger.runs.closures(run.run_id),
        )
    if shape == "json":
        json_lines().emit({"type": "advice", "run_id": run.run_id, **advice_figures(found)})
        return
    click.echo(f"Run {run.run_id}: {found.sentence}")
    click.echo(f"  why not faster: {why.sentence}")
