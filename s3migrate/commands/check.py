"""check: whether a plan and its manifests are intact, without any network."""

from __future__ import annotations

from pathlib import Path

import click

from s3migrate.commands.common import json_errors, json_lines, json_option, plan_argument, read_plan
from s3migrate.plan_url import PlanUrl
from s3migrate.views.plan_text import summary_of
from schema.errors import IntegrityRefused
from schema.files.manifest import manifest_complaints
from schema.files.plan_checks import check_guards
from schema.formats.quantities import counted_text


@click.command("check", short_help="Check a plan and its manifests, offline.")
@plan_argument
@json_option
@json_errors
def check_command(plan_path: Path | PlanUrl, as_json: bool) -> None:
    """Check PLAN offline: schema, plan_id, sums, DAG, guards, and every manifest's digest, order and counts."""
    plan, manifests = read_plan(plan_path)
    check_guards(plan)
    complaints = list(manifest_complaints(plan, manifests))
    if complaints:
        raise IntegrityRefused("\n".join(complaints))
    if as_json:
        json_lines().emit({"type": "check", "plan_id": plan.plan_id, **summary_of(plan)})
    else:
        batches = counted_text(len(plan.batches), "batch")
        click.echo(f"{plan_path} is intact: {plan.plan_id}, {batches}, every manifest checked.")
