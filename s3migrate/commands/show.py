"""show and check: a plan without any network."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import click

from s3migrate.commands.common import json_lines, json_option, plan_argument, read_plan, told_as_json
from s3migrate.views.plan_text import batch_text, batches_text, method_text, plan_markdown, plan_text, summary_of
from schema.errors import IntegrityRefused, UsageError
from schema.escape import one_line
from schema.manifest import ManifestStore, read_entries, verify_manifest
from schema.plain import plain
from schema.plan import Plan
from schema.plan_checks import check_guards
from schema.plan_document import to_document
from schema.quantities import counted_text


@click.command("show", short_help="Render a plan, or one of its batches.")
@plan_argument
@click.option("--format", "form", type=click.Choice(["text", "json", "md"]), default="text", show_default=True)
@click.option(
    "--batch", "batch_id", metavar="ID", help="The objects of one batch, or of a side manifest (skip, conflict...)."
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Objects shown of a batch.")
@told_as_json
def show_command(plan_path: Path, form: str, batch_id: str | None, limit: int) -> None:
    """Render PLAN for people (text, md) or machines (json)."""
    plan, manifests = read_plan(plan_path)
    if batch_id is not None:
        _show_batch(plan, manifests, batch_id, limit, form)
    elif form == "json":
        # With the batches of a plan so large that its document only names their index.
        click.echo(json.dumps({**to_document(plan), "batches": plain(plan.batches)}, indent=1))
    elif form == "md":
        click.echo(plan_markdown(plan))
    else:
        click.echo(plan_text(plan))
        for line in batches_text(plan):
            click.echo(line)


def _show_batch(plan: Plan, manifests: ManifestStore, batch_id: str, limit: int, form: str) -> None:
    batch = next((batch for batch in plan.batches if batch.id == batch_id), None)
    digests = [] if batch is None else [batch.manifest]
    digests += [s.side_manifests[batch_id] for s in plan.sections if batch_id in s.side_manifests]
    if not digests and any(batch_id in s.summary for s in plan.sections):
        click.echo(f"The plan has no object under {batch_id}.", err=True)
        return
    if not digests:
        raise UsageError(f"the plan has no batch or side manifest named {batch_id!r}; `s3migrate show` lists them")
    travels: dict[str, str] = {}
    if batch is not None and batch.method is not None:
        travels = {"method": batch.method, "method_reason": plan.section(batch.section).methods[batch.method]}
    if batch is not None and form != "json":
        click.echo("\n".join([batch_text(batch), *([method_text(**travels)] if travels else [])]))
    for digest in digests:
        for ord, entry in islice(read_entries(manifests, digest), limit):
            if form == "json":
                click.echo(json.dumps({"ord": ord, **entry._asdict(), "target": entry.target, **travels}))
                continue
            target = "" if entry.target == entry.key else f" -> {one_line(entry.target)}"
            why = f"  ({one_line(entry.reason)})" if entry.reason else ""
            click.echo(f"{ord:7} {entry.action:10} {entry.size:14,} {one_line(entry.key)}{target}{why}")


@click.command("check", short_help="Check a plan and its manifests, offline.")
@plan_argument
@json_option
@told_as_json
def check_command(plan_path: Path, as_json: bool) -> None:
    """Check PLAN offline: schema, plan_id, sums, DAG, guards, and every manifest's digest, order and counts."""
    plan, manifests = read_plan(plan_path)
    check_guards(plan)
    complaints = []
    for batch in plan.batches:
        try:
            verify_manifest(manifests, batch.manifest, objects=batch.objects, bytes=batch.bytes, keys=batch.keys)
        except IntegrityRefused as error:
            complaints.append(f"{batch.id}: {error}")
    for section in plan.sections:
        for name, digest in section.side_manifests.items():
            tally = section.summary[name]
            try:
                verify_manifest(manifests, digest, objects=tally.objects, bytes=tally.bytes, keys=None)
            except IntegrityRefused as error:
                complaints.append(f"{section.id}/{name}: {error}")
    if complaints:
        raise IntegrityRefused("\n".join(complaints))
    if as_json:
        json_lines().emit({"type": "check", "plan_id": plan.plan_id, **summary_of(plan)})
    else:
        click.echo(
            f"{plan_path} is whole: {plan.plan_id}, {counted_text(len(plan.batches), 'batch')}, every manifest checked."
        )
