"""show: a plan, or one of its batches, without any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import click

from s3migrate.commands.common import PLAN_PLACE, json_errors, plan_argument, read_plan, write_output
from s3migrate.plan_url import PlanUrl
from s3migrate.views.kubernetes import resources_patch
from s3migrate.views.plan_text import batch_text, batches_text, method_text, plan_text
from s3migrate.views.review.changes import ROWS, changes_markdown, changes_text, compare_plans
from s3migrate.views.review.plan_json import gitlab_json, plan_json
from s3migrate.views.review.plan_markdown import plan_markdown
from s3migrate.views.review.verdict import draw_sample, objects_of
from schema.errors import UsageError
from schema.files.manifest import ManifestStore, read_entries
from schema.formats.escape import one_line
from schema.formats.quantities import counted_text
from schema.plan import TRANSFER_ACTIONS, Action, Entry, Plan

FORMS = ("text", "json", "md", "html", "gitlab", "k8s-resources")
OBJECT_FORMS = ("text", "json")
"""The formats of --batch and --action."""
LoadedPlan = tuple[Plan, ManifestStore]
"""A plan and where its manifests are."""


@click.command("show", short_help="Render a plan, or one of its batches.")
@plan_argument
@click.option("--base", "base_path", type=PLAN_PLACE, help="With md and html: the plan to compare with.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@click.option(
    "--batch", "batch_id", metavar="ID", help="The objects of one batch, or of a side manifest (skip, conflict...)."
)
@click.option("--action", type=click.Choice([each.value for each in Action]), help="The objects with this action.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Objects shown of a batch or an action."
)
@json_errors
def show_command(  # click passes one argument for each option
    *,
    plan_path: Path | PlanUrl,
    base_path: Path | PlanUrl | None,
    form: str,
    output: Path | None,
    batch_id: str | None,
    action: str | None,
    limit: int,
) -> None:
    """Render PLAN for people (text, md, html) or machines (json; gitlab: the figures of a merge request's widget)."""
    if (action is not None or batch_id is not None) and (output is not None or form not in OBJECT_FORMS):
        raise UsageError(
            "--batch and --action list objects on stdout, with --format text or json: leave out -o and other formats"
        )
    plan, manifests = read_plan(plan_path)
    if action is not None:
        _show_action(plan, manifests, Action(action), limit=limit, form=form)
    elif batch_id is not None:
        _show_batch(plan, manifests, batch_id, limit=limit, form=form)
    else:
        before = None if base_path is None else read_plan(base_path)
        text = _rendered((plan, manifests), plan_path, before, form=form)
        if output is None:
            click.echo(text)
            return
        write_output(output, f"{text}\n".encode())


def _rendered(plan: LoadedPlan, path: Path | PlanUrl, before: LoadedPlan | None, *, form: str) -> str:
    """The plan at *path* in one of FORMS, compared with *before* if that is given."""
    if form == "json":
        return json.dumps(plan_json(plan[0]), indent=1)
    if form == "gitlab":
        return json.dumps(gitlab_json(plan[0]))
    if form == "k8s-resources":
        return resources_patch(plan[0]).rstrip("\n")
    if form == "text":
        return "\n".join([plan_text(plan[0]), *batches_text(plan[0])])
    compared = None if before is None else compare_plans(before, plan, limit=ROWS)
    sample = draw_sample(*plan)
    if form == "md":
        changes = None if compared is None else list(changes_markdown(compared))
        return plan_markdown(plan[0], path, sample, changes=changes)
    from s3migrate.views.review.plan_html import plan_html  # imports jinja2, which no other format needs

    return plan_html(plan[0], path, sample, changes=None if compared is None else list(changes_text(compared)))


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
            _show_entry(ord, entry, travels, form=form)


def _show_action(plan: Plan, manifests: ManifestStore, action: Action, *, limit: int, form: str) -> None:
    """The first *limit* objects of *action*, in plan order, with how many there are."""
    total = objects_of(plan, action)
    if form != "json":
        click.echo(f"{action}: {counted_text(total, 'object')}{f', the first {limit}' if total > limit else ''}")
    batches = [batch.manifest for batch in plan.batches] if action in TRANSFER_ACTIONS else []
    sides = [section.side_manifests[action] for section in plan.sections if action in section.side_manifests]
    found = (
        (ord, entry)
        for digest in [*batches, *sides]
        for ord, entry in read_entries(manifests, digest)
        if entry.action is action
    )
    for ord, entry in islice(found, min(limit, total)):
        _show_entry(ord, entry, {}, form=form)


def _show_entry(ord: int, entry: Entry, travels: Mapping[str, str], *, form: str) -> None:
    """Print one line; *travels* says how the object travels, if that is known."""
    if form == "json":
        click.echo(json.dumps({"ord": ord, **entry._asdict(), "target": entry.target, **travels}))
        return
    target = "" if entry.target == entry.key else f" -> {one_line(entry.target)}"
    why = f"  ({one_line(entry.reason)})" if entry.reason else ""
    click.echo(f"{ord:7} {entry.action:10} {entry.size:14,} {one_line(entry.key)}{target}{why}")
