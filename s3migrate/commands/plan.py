"""plan: probe and list both sides, decide, write the plan and its manifests."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from executor.machine.memory import calm_collector, set_malloc_arenas
from s3migrate.commands.common import (
    PLAN_PLACE,
    emitter,
    follow_output,
    json_errors,
    json_option,
    quiet_option,
    read_plan,
)
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import Settings, read_settings
from s3migrate.views.plan_progress import PlanLines
from s3migrate.views.plan_text import plan_text, summary_of
from schema.declaration import Declaration
from schema.errors import IntegrityRefused
from schema.exit_codes import ExitCode
from schema.files.declaration_file import load_declaration
from schema.formats.escape import one_line
from schema.plan import Plan
from storage.port import Believe


@click.command("plan", short_help="List both sides, write plan and manifests.")
@click.argument("declaration_path", metavar="DECLARATION", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="[plans/NAME.plan.yaml]")
@click.option("--base", metavar="PLAN", type=PLAN_PLACE, help="An older plan whose batch cuts to keep.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when the plan has changes.")
@click.option(
    "--parallel-listing",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="LIST requests in flight per side.",
)
@click.option(
    "--believe",
    type=click.Choice([each.value for each in Believe]),
    default=Believe.LISTING.value,
    show_default=True,
    help="Where a source object's size and ETag come from; 'head' sends one request per object.",
)
@click.option("--fresh", is_flag=True, help="List everything again, even where an interrupted plan could be resumed.")
@quiet_option
@json_option
@json_errors
def plan_command(  # click passes one argument for each option
    *,
    declaration_path: Path,
    output: Path | None,
    base: Path | PlanUrl | None,
    detailed_exitcode: bool,
    parallel_listing: int,
    believe: str,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """List both sides of DECLARATION and write the plan, to be reviewed, and its manifests.

    Nothing is copied. The probe writes a few canary objects under .s3migrate-probe/ at the destination and removes
    them. Planning again with nothing changed rewrites nothing. A killed plan resumes its listings.
    """
    settings = read_settings()
    lines = _lines(settings, silent=quiet or as_json)
    set_malloc_arenas()
    calm_collector()
    declaration = load_declaration(declaration_path)
    path = output or Path("plans") / f"{declaration.name}.plan.yaml"
    emit = emitter(as_json)
    lines.probing(len(declaration.pairs))
    from s3migrate.planning.planned import (  # and all that lists, probes and decides: people know by now
        Asked,
        plan_into,
    )

    known = _base(path, base, declaration)
    asked = Asked(declaration, declaration_path.parent, known, parallel_listing, Believe(believe), fresh)
    made = plan_into(path, asked, settings, told=lines)
    plan = made.plan
    if emit:
        words = {"type": "plan_summary", "plan": str(path), "plan_id": plan.plan_id, "written": made.written}
        emit(words | {"inventories": made.inventories, "resumed": made.resumed} | summary_of(plan))
    else:
        click.echo(plan_text(plan), err=True)
        click.echo(f"{'Wrote' if made.written else 'Unchanged:'} {path}", err=True)
        if plan.batches:
            click.echo(f"Review it, then: s3migrate apply {path}", err=True)
    return ExitCode.CHANGES if detailed_exitcode and plan.batches else ExitCode.DONE


def _base(path: Path, named: Path | PlanUrl | None, declaration: Declaration) -> Plan | None:
    """The base plan: the one named, else the one about to be replaced if it is whole and of this migration."""
    if named is not None:
        return read_plan(named)[0]
    if not path.exists():
        return None
    try:
        plan = read_plan(path)[0]
    except IntegrityRefused as error:
        click.echo(f"  {path} is incomplete and is planned again: {one_line(str(error))}", err=True)
        return None
    from planner.lineage import lineage_of

    return plan if plan.lineage == lineage_of(declaration) else None


def _lines(settings: Settings, *, silent: bool) -> PlanLines:
    """What shows people how far planning has come."""
    live = follow_output(settings, silent=silent)
    return PlanLines(_silent if silent else partial(click.echo, err=True), time.monotonic, live)


def _silent(_line: str) -> None:
    """With --json and --quiet only the outcome is reported."""
