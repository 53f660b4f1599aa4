"""publish: put a plan and its manifests into a bucket, for workers that have no copy of them."""

from __future__ import annotations

from pathlib import Path

import click

from s3migrate.commands.common import json_errors, json_lines, json_option, plan_argument, read_plan
from s3migrate.plan_bucket import publish
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import read_settings
from schema.errors import UsageError


@click.command("publish", short_help="Put a plan and its manifests into a bucket.")
@plan_argument
@click.argument("to", metavar="s3://BUCKET/PREFIX")
@json_option
@json_errors
def publish_command(plan_path: Path | PlanUrl, to: str, as_json: bool) -> None:
    """Put PLAN and its manifests under s3://BUCKET/PREFIX, where `apply s3://...` finds them on any machine.

    The bucket is on AWS and opened with botocore's credential chain, unless S3MIGRATE_PLAN_ENDPOINT,
    S3MIGRATE_PLAN_REGION and S3MIGRATE_PLAN_CREDENTIALS (the prefix of variables, as in `credentials: {env: PREFIX}`)
    say otherwise. The plan is named by its id; pass that to `apply --expect-plan-id`, too, so that only the plan that
    was reviewed is applied.
    """
    try:
        place = PlanUrl.parse(to)
    except ValueError as error:
        raise UsageError(f"{to!r}: {error}") from None
    plan, manifests = read_plan(plan_path)
    url = publish(plan, manifests, place, staging_folder=read_settings().state_folder)
    if as_json:
        json_lines().emit({"type": "published", "url": str(url), "plan_id": plan.plan_id})
    else:
        click.echo(f"{url}\n  s3migrate apply {url} --expect-plan-id {plan.plan_id.removeprefix('sha256:')}")
