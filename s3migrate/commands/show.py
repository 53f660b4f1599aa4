"""show: a plan, or one of its batches, without any network."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import click

from s3migrate.commands.common import plan_argument, read_plan, told_as_json
from s3migrate.views.plan_text import batch_text, batches_text, method_text, plan_markdown, plan_text
from schema.errors import UsageError
from schema.files.manifest import ManifestStore, read_entries
from schema.files.plan_document import to_document
from schema.formats.escape import one_line
from schema.formats.plain import plain
from schema.plan import Plan


@click.command("show", short_help="Render a plan, or one of its batches.")
@plan_argument
@click.option("--format", "form", type=click.Choice(["text", "json", "md"]), default="text", show_default=True)
@click.option(
    "--batch", "batch_id", metavar="ID", help="The objects of one batch, or of a side manifest (skip, conflict...)."
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Objects shown of a batch.")
@told_as_json
def show_command(*, plan_path: Path, form: str, batch_id: str | None, limit: int) -> None:
    """Render PLAN for people (text, md) or machines (json)."""
    plan, manifests = read_plan(plan_path)
    if batch_id is not None:
        _show_batch(plan, manifests, batch_id, limit=limit, form=form)
    elif form == "json":
        # With the batches of a plan so large that its document only names their index.
        click.echo(json.dumps({**to_document(plan), "batches": plain(plan.batches)}, indent=1))
    elif form == "md":
        click.echo(plan_markdown(plan))
    else:
        click.echo(plan_text(plan))
        for line in batches_text(plan):
            click.echo(line)


def _show_batch(plan: Plan, manifests: ManifestStore, batch_id: str, *, limit: int, form: str) -> None:
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
