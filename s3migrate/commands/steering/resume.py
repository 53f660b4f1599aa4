"""resume: lift the pause of a run."""

from __future__ import annotations

from contextlib import closing

import click

from executor.ledger.values import ENDED
from s3migrate.commands.common import chosen_run, json_errors, json_lines, json_option
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger


@click.command("resume", short_help="Lift the pause of a run; then apply.")
@click.argument("run_id", metavar="RUN", type=int)
@json_option
@json_errors
def resume_command(run_id: int, as_json: bool) -> None:
    """Undo `pause`: processes may take part in RUN again. Starts none; that is for apply."""
    settings = read_settings()
    with closing(open_ledger(settings)) as ledger:
        run = chosen_run(ledger, run_id)
        resumed = ledger.runs.resume(run_id, who=settings.who)
    if as_json:
        json_lines().emit({"type": "resume", "run_id": run_id, "changed": resumed})
    elif resumed:
        click.echo(f"Run {run_id} is no longer paused; apply its plan, unless something restarts its processes.")
    else:
        state = run.state.name.lower() if run.state in ENDED else "not paused"
        click.echo(f"Run {run_id} is {state}; nothing to do.")
