"""resume: let a paused run go on."""

from __future__ import annotations

import click

from executor.ledger.values import ENDED
from s3migrate.commands.common import chosen_run, json_lines, json_option, told_as_json
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger


@click.command("resume", short_help="Let a paused run go on; then apply.")
@click.argument("run_id", metavar="RUN", type=int)
@json_option
@told_as_json
def resume_command(run_id: int, as_json: bool) -> None:
    """Undo `pause`: processes may take part in RUN again. It starts none; apply does."""
    settings = read_settings()
    ledger = open_ledger(settings)
    try:
        run = chosen_run(ledger, run_id)
        resumed = ledger.runs.resume(run_id, who=settings.who)
    finally:
        ledger.close()
    if as_json:
        json_lines().emit({"type": "resume", "run_id": run_id, "changed": resumed})
    elif resumed:
        click.echo(f"Run {run_id} goes on; apply its plan where nothing starts its processes again by itself.")
    else:
        state = run.state.name.lower() if run.state in ENDED else "not paused"
        click.echo(f"Run {run_id} is {state}; nothing to do.")
