"""cleanup: abort the multipart uploads that our own runs left open."""

from __future__ import annotations

from pathlib import Path

import click

from executor.sweep import sweep_uploads
from s3migrate.commands.common import json_option, plan_argument, read_plan, told_as_json
from s3migrate.json_lines import JsonLines
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger, open_sections
from schema.errors import UsageError
from schema.escape import one_line


@click.command("cleanup")
@plan_argument
@json_option
@told_as_json
def cleanup_command(plan_path: Path, as_json: bool) -> None:
    """Abort the uploads that PLAN's run began and did not finish; uploads of others are never touched.

    What a later `apply` could have gone on with is lost: its large objects begin anew.
    """
    plan, _ = read_plan(plan_path)
    stores = open_sections(((s.id, s.source, s.destination) for s in plan.sections), lambda _side: None)
    ledger = open_ledger(read_settings())
    try:
        run = ledger.find_run(plan.plan_id)
        if run is None:
            raise UsageError("this plan was never applied with this ledger; there is nothing of ours to clean up")
        swept = sweep_uploads(plan, ledger, run.run_id, {name: pair[1] for name, pair in stores.items()})
    finally:
        ledger.close()
    for key, upload_id in swept:
        if as_json:
            JsonLines().emit({"type": "aborted", "key": key, "upload_id": upload_id})
        else:
            click.echo(f"aborted {one_line(key)} {one_line(upload_id)}")
    if not as_json:
        click.echo(f"{len(swept)} uploads aborted.")
