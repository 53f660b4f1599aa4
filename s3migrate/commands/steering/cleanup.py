"""cleanup: abort the multipart uploads that our own runs left open."""

from __future__ import annotations

from contextlib import closing

import click

from executor.copy.upload import sweep_uploads
from executor.ledger.ledger import Ledger
from executor.ledger.values import Run
from s3migrate.commands.common import PLAN_PLACE, chosen_run, json_errors, json_lines, json_option, read_plan
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger, open_sections
from schema.errors import UsageError
from schema.formats.escape import one_line
from schema.formats.quantities import counted_text


@click.command("cleanup", short_help="Abort multipart uploads that a run left open.")
@click.argument("run_or_plan", metavar="[RUN|PLAN]", required=False)
@json_option
@json_errors
def cleanup_command(run_or_plan: str | None, as_json: bool) -> None:
    """Abort the uploads that RUN (a number, or its PLAN; default: the latest run) started and did not finish.

    Uploads of others are never touched. A later `apply` can no longer resume these objects and starts them again.
    """
    wanted = None if run_or_plan is None or run_or_plan.isdecimal() else read_plan(PLAN_PLACE(run_or_plan))[0].plan_id
    with closing(open_ledger(read_settings())) as ledger:
        run = _chosen(ledger, run_or_plan, wanted)
        plan = ledger.runs.plan_of(run.run_id)
        stores = open_sections(((s.id, s.source, s.destination) for s in plan.sections), timeouts=plan.timeouts)
        swept = sweep_uploads(plan, ledger, run.run_id, destinations={name: pair[1] for name, pair in stores.items()})
    for key, upload_id in swept:
        if as_json:
            json_lines().emit({"type": "aborted", "key": key, "upload_id": upload_id})
        else:
            click.echo(f"aborted {one_line(key)} {one_line(upload_id)}")
    if not as_json:
        click.echo(f"{counted_text(len(swept), 'upload')} aborted.")


def _chosen(ledger: Ledger, named: str | None, plan_id: str | None) -> Run:
    if plan_id is None:
        return chosen_run(ledger, int(named) if named else None)
    run = ledger.runs.find(plan_id)
    if run is None:
        raise UsageError("this plan was never applied with this ledger; there is nothing of ours to clean up")
    return run
