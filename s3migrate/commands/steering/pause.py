"""pause: drain a run's processes and refuse new ones until it is resumed."""

from __future__ import annotations

from contextlib import closing

import click

from executor.ledger.values import ENDED
from s3migrate.commands.common import chosen_run, json_errors, json_lines, json_option
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger
from schema.errors import UsageError
from schema.formats.escape import one_line


@click.command("pause", short_help="Drain a run's processes and refuse new ones.")
@click.argument("run_id", metavar="RUN", type=int)
@json_option
@json_errors
def pause_command(run_id: int, as_json: bool) -> None:
    """Pause RUN, wherever its processes run: each finishes its objects in flight, records them and exits 75.

    Until `s3migrate resume RUN`, apply exits 75 at once and autoscalers see that no worker is wanted.
    """
    settings = read_settings()
    with closing(open_ledger(settings)) as ledger:
        run = chosen_run(ledger, run_id)
        if run.state in ENDED:
            raise UsageError(f"run {run_id} is {run.state.name.lower()}: there is nothing to pause")
        paused = ledger.runs.pause(run_id, who=settings.who)
        pause = ledger.runs.paused_by(run_id)
    if pause is None:
        raise UsageError(f"run {run_id} has just ended or been resumed; `s3migrate status` shows which")
    if as_json:
        since = pause.since.isoformat()
        json_lines().emit({"type": "pause", "run_id": run_id, "changed": paused, "who": pause.who, "since": since})
    elif paused:
        click.echo(f"Run {run_id} is paused; its processes end when they have finished their objects in flight.")
    else:
        click.echo(f"Run {run_id} was paused already, by {one_line(pause.who)} at {pause.since:%Y-%m-%d %H:%M:%S} UTC.")
