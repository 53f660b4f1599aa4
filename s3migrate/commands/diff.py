"""diff: what differs between two plans, without any network."""

from __future__ import annotations

import json
from pathlib import Path

import click

from s3migrate.commands.common import PLAN_PLACE, json_errors, read_plan
from s3migrate.plan_url import PlanUrl
from s3migrate.views.review.changes import changes_json, changes_markdown, changes_text, compare_plans
from schema.exit_codes import ExitCode


@click.command("diff", short_help="Show what differs between two plans.")
@click.argument("old_path", metavar="OLD", type=PLAN_PLACE)
@click.argument("new_path", metavar="NEW", type=PLAN_PLACE)
@click.option("--format", "form", type=click.Choice(["text", "json", "md"]), default="text", show_default=True)
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Objects shown.")
@json_errors
def diff_command(*, old_path: Path | PlanUrl, new_path: Path | PlanUrl, form: str, limit: int) -> int:
    """Show what differs between the plans OLD and NEW: declaration, capabilities, totals, batches, objects.

    Serial, time and provenance do not count. Only manifests that differ are read. Exit 0: equal; 2: different.
    """
    changes = compare_plans(read_plan(old_path), read_plan(new_path), limit=limit)
    if form == "json":
        click.echo(json.dumps(changes_json(changes), indent=1))
    else:
        for line in changes_markdown(changes) if form == "md" else changes_text(changes):
            click.echo(line)
    return ExitCode.DONE if changes.equal else ExitCode.CHANGES
