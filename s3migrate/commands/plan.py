"""plan: probe and list both sides, decide, write the plan and its manifests."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from executor.machine.memory import set_malloc_arenas
from planner.build import PlanProgress, SectionStores, build_plan, nothing_completed
from planner.lineage import lineage_of
from planner.march import Completion
from s3migrate import __version__
from s3migrate.commands.common import emitter, json_option, told_as_json
from s3migrate.console.output import outlive_readers
from s3migrate.planning.completed_before import completed_before
from s3migrate.planning.endpoint_choices import with_chosen_endpoints
from s3migrate.planning.probing import probe_pairs, sample_of
from s3migrate.settings import Settings, read_settings
from s3migrate.views.plan_text import plan_text, summary_of
from s3migrate.wiring import ledger_if_any, manifest_store, open_sections, planned_budget
from schema.declaration import Declaration
from schema.declaration_file import load_declaration
from schema.errors import IntegrityRefused, ListingUnordered, LocalDiskError
from schema.escape import one_line
from schema.manifest import ManifestFolder, ManifestStore
from schema.plan import Plan
from schema.planfile import load_plan, write_plan
from schema.quantities import count_text
from storage.port import Believe, ObjectStore, believing

CHANGES_PRESENT = 2


@click.command("plan", short_help="List both sides, write plan and manifests.")
@click.argument("declaration_path", metavar="DECLARATION", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="[plans/NAME.plan.yaml]")
@click.option("--base", type=click.Path(path_type=Path, dir_okay=False), help="An older plan whose batch cuts to keep.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when the plan has changes.")
@click.option(
    "--parallel-listing",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="LIST requests at once, each side.",
)
@click.option(
    "--believe",
    type=click.Choice([each.value for each in Believe]),
    default=Believe.LISTING.value,
    show_default=True,
    help="What says how large a source object is and which: 'head' asks each one.",
)
@json_option
@told_as_json
def plan_command(
    declaration_path: Path,
    output: Path | None,
    base: Path | None,
    detailed_exitcode: bool,
    parallel_listing: int,
    believe: str,
    as_json: bool,
) -> int:
    """List both sides of DECLARATION and write the plan, to be reviewed, and its manifests.

    Nothing is copied. The probe writes a few canary objects under .s3migrate-probe/ at the destination and
    removes them. Planning again with nothing changed rewrites nothing.
    """
    settings = read_settings()
    outlive_readers()
    set_malloc_arenas()
    declaration = load_declaration(declaration_path)
    path = output or Path("plans") / f"{declaration.name}.plan.yaml"
    emit = emitter(as_json)
    before = _base(path, base, lineage_of(declaration))
    declaration, endpoints = with_chosen_endpoints(declaration, before, time.monotonic)
    stores = open_sections(((p.id, p.source, p.destination) for p in declaration.pairs), timeouts=declaration.timeouts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        manifests = manifest_store(declaration.manifests, path.absolute().parent, declaration.pairs[0].destination)
        arguments = (declaration, stores, manifests, before, settings, parallel_listing, _teller(as_json), endpoints)
        for _bucket in range(2 * len(stores)):
            try:
                plan = _build(*arguments, believe=Believe(believe))
                break
            except ListingUnordered:
                continue  # the store knows now that this bucket lists in no order, and sorts it from the start
        else:
            plan = _build(*arguments, believe=Believe(believe))
        written = write_plan(path, plan, manifests)
    except OSError as error:
        raise LocalDiskError(f"{error.filename or path} cannot be written: {error.strerror}") from error
    finally:
        for pair in stores.values():
            for store in pair:
                store.close()
    if emit:
        emit(
            {"type": "plan_summary", "plan": str(path), "plan_id": plan.plan_id, "written": written, **summary_of(plan)}
        )
    else:
        click.echo(plan_text(plan), err=True)
        click.echo(f"{'Wrote' if written else 'Unchanged:'} {path}", err=True)
        if plan.batches:
            click.echo(f"Review it, then: s3migrate apply {path}", err=True)
    return CHANGES_PRESENT if detailed_exitcode and plan.batches else 0


def _build(
    declaration: Declaration,
    stores: Mapping[str, tuple[ObjectStore, ObjectStore]],
    manifests: ManifestStore,
    base: Plan | None,
    settings: Settings,
    parallel_listing: int,
    tell: Callable[[PlanProgress], None],
    endpoints: Mapping[str, Any],
    *,
    believe: Believe,
) -> Plan:
    samples = {
        pair.id: sample_of(stores[pair.id][0], pair.source.prefix, declaration.policy.versions == "all")
        for pair in declaration.pairs
    }
    probed = probe_pairs(declaration, stores, samples)
    provenance = {
        "generated_by": f"s3migrate {__version__}",
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": settings.host,
        **({"endpoints": endpoints} if endpoints else {}),
    }
    ledger = ledger_if_any(settings)

    def memory(section_id: str) -> Iterator[Completion]:
        if ledger is None:
            return nothing_completed(section_id)
        return completed_before(ledger, manifests, lineage_of(declaration), section_id)

    # Staged beside the manifests where they live in a folder, so that publishing is a rename, not a copy.
    root = manifests.root if isinstance(manifests, ManifestFolder) else None
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=root) as staging, closing(ledger or _Nothing()):
        return build_plan(
            declaration,
            {name: SectionStores(*pair) for name, pair in stores.items()},
            manifests=manifests,
            staging=Path(staging),
            base=base,
            capabilities={name: (believing(p.source, believe), p.destination) for name, p in probed.items()},
            losses={name: p.losses for name, p in probed.items()},
            methods={name: p.choice for name, p in probed.items()},
            memory=memory,
            budget=planned_budget(declaration),
            manifest_store_name=declaration.manifests,
            provenance=provenance,
            on_progress=tell,
            parallel_listing=parallel_listing,
        )


class _Nothing:
    def close(self) -> None:
        """There is no ledger to close."""


def _base(path: Path, named: Path | None, lineage: str) -> Plan | None:
    """The older plan: the one named, else the one about to be replaced if it is of this migration and whole."""
    older = named or path
    if named is None and not path.exists():
        return None
    beside = older.absolute().parent
    try:
        plan = load_plan(older, lambda name, destination: manifest_store(name, beside, destination))
    except IntegrityRefused as error:
        if named is not None:
            raise
        click.echo(f"  {path} is not whole and is planned anew: {one_line(str(error))}", err=True)
        return None
    return plan if named is not None or plan.lineage == lineage else None


def _teller(as_json: bool) -> Callable[[PlanProgress], None]:
    def tell(progress: PlanProgress) -> None:
        if as_json:
            return
        source, destination = count_text(progress.source_listed), count_text(progress.destination_listed)
        state = "listed" if progress.finished else "listing"
        click.echo(f"  {progress.section}: {state} {source} at the source, {destination} at the destination", err=True)

    return tell
