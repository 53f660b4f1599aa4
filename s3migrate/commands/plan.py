"""plan: probe and list both sides, decide, write the plan and its manifests."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click

from executor.machine.memory import calm_collector, set_malloc_arenas
from planner.build import build_plan
from planner.inputs import PlanInputs, nothing_completed
from planner.lineage import lineage_of
from planner.march import EarlierCopy
from s3migrate import __version__
from s3migrate.commands.common import (
    PLAN_PLACE,
    emitter,
    follow_output,
    json_option,
    quiet_option,
    read_plan,
    told_as_json,
)
from s3migrate.plan_url import PlanUrl
from s3migrate.planning.checkpoints import LISTINGS_FOLDER, CheckpointPlace, listing_checkpoints
from s3migrate.planning.completed_before import completed_before
from s3migrate.planning.endpoint_choices import with_chosen_endpoints
from s3migrate.planning.inventories import InventoryReader
from s3migrate.planning.probing import ListingTerms, probe_pair, this_machine
from s3migrate.settings import Settings, read_settings
from s3migrate.views.plan_progress import PlanLines
from s3migrate.views.plan_text import plan_text, summary_of
from s3migrate.wiring import ledger_if_any, manifest_store, open_sections, planned_budget
from schema.declaration import Declaration
from schema.ends import endpoint_of
from schema.errors import IntegrityRefused, ListingUnordered, LocalDiskError
from schema.exit_codes import ExitCode
from schema.files.declaration_file import load_declaration
from schema.files.manifest import ManifestFolder, ManifestStore
from schema.files.planfile import write_plan
from schema.formats.escape import one_line
from schema.plan import Plan
from storage.port import Believe, ObjectStore
from storage.probe.timing import Timing


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
    help="LIST requests at once, each side.",
)
@click.option(
    "--believe",
    type=click.Choice([each.value for each in Believe]),
    default=Believe.LISTING.value,
    show_default=True,
    help="Where a source object's size and ETag come from; 'head' asks each one.",
)
@click.option("--fresh", is_flag=True, help="List everything, also where an interrupted plan could be gone on with.")
@quiet_option
@json_option
@told_as_json
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
    them. Planning again with nothing changed rewrites nothing. A killed plan goes on where its listings were.
    """
    settings = read_settings()
    lines = _lines(settings, silent=quiet or as_json)
    set_malloc_arenas()
    calm_collector()
    declaration = load_declaration(declaration_path)
    path = output or Path("plans") / f"{declaration.name}.plan.yaml"
    emit = emitter(as_json)
    lines.probing(len(declaration.pairs))
    before = _base(path, base, lineage_of(declaration))
    declaration, endpoints = with_chosen_endpoints(declaration, before, time.monotonic)
    timings: dict[str, Timing] = {}
    stores = open_sections(
        ((p.id, p.source, p.destination) for p in declaration.pairs),
        lambda side, _which: timings.setdefault(endpoint_of(side), Timing()),
        timeouts=declaration.timeouts,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        manifests = manifest_store(declaration.manifests, path.absolute().parent, declaration.pairs[0].destination)
        place = CheckpointPlace(settings.state_folder / LISTINGS_FOLDER, declaration.sha256, fresh=fresh)
        with (
            closing(InventoryReader(declaration_path.parent, declaration.timeouts, time.time)) as inventories,
            listing_checkpoints(place, time.time()) as checkpoints,
        ):
            terms = ListingTerms(parallel_listing, Believe(believe), inventories, timings, checkpoints)
            asked = _Asked(declaration, before, settings, endpoints, terms)
            plan = _planned(asked, stores, manifests, lines=lines)
            written = write_plan(path, plan, manifests)
    except OSError as error:
        raise LocalDiskError(f"{error.filename or path} cannot be written: {error.strerror}") from error
    finally:
        for pair in stores.values():
            for store in pair:
                store.close()
    if emit:
        words = {"type": "plan_summary", "plan": str(path), "plan_id": plan.plan_id, "written": written}
        emit(words | {"inventories": inventories.read, "resumed": checkpoints.resumed} | summary_of(plan))
    else:
        click.echo(plan_text(plan), err=True)
        click.echo(f"{'Wrote' if written else 'Unchanged:'} {path}", err=True)
        if plan.batches:
            click.echo(f"Review it, then: s3migrate apply {path}", err=True)
    return ExitCode.CHANGES if detailed_exitcode and plan.batches else ExitCode.DONE


class _Asked(NamedTuple):
    """What is to be planned."""

    declaration: Declaration
    base: Plan | None
    settings: Settings
    endpoints: Mapping[str, Any]
    """Measurements of the candidate endpoints, by URL."""
    terms: ListingTerms


def _planned(
    asked: _Asked,
    stores: Mapping[str, tuple[ObjectStore, ObjectStore]],
    manifests: ManifestStore,
    *,
    lines: PlanLines,
) -> Plan:
    """Probe and list every pair, and plan. Raises what build_plan raises, StoreErrors."""
    declaration = asked.declaration
    pairs = {pair.id: probe_pair(declaration, pair, stores[pair.id], terms=asked.terms) for pair in declaration.pairs}
    read = asked.terms.inventories.read
    resumed = asked.terms.checkpoints.resumed
    if asked.base is not None:
        lines.expected = {s.id: s.summary["listed"].objects for s in asked.base.sections}
    lines.reading(read)
    lines.resuming(resumed)
    provenance = {
        "generated_by": f"s3migrate {__version__}",
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": asked.settings.host,
        **({"endpoints": asked.endpoints} if asked.endpoints else {}),
        **({"inventories": read} if read else {}),
        **({"resumed_listings": resumed} if resumed else {}),
    }
    lineage = lineage_of(declaration)
    with _staging(manifests) as staging, closing(_Memory(asked.settings, manifests, lineage)) as memory:
        inputs = PlanInputs(
            declaration,
            pairs,
            manifests,
            staging,
            planned_budget(declaration),
            machine=this_machine(asked.settings.host),
            base=asked.base,
            memory=memory.of_section,
            provenance=provenance,
            on_progress=lines.tell,
        )
        for _bucket in range(2 * len(stores)):
            try:
                return build_plan(inputs)
            except ListingUnordered:
                continue  # the store now knows that this bucket's listing is unordered, and sorts it from the start
        return build_plan(inputs)


@contextmanager
def _staging(manifests: ManifestStore) -> Iterator[Path]:
    """A folder for temporary files, beside the manifests where those are in a folder: publishing is then a rename."""
    root = manifests.root if isinstance(manifests, ManifestFolder) else None
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=root) as folder:
        yield Path(folder)


class _Memory:
    """What this lineage has copied before, by the ledger; nothing where there is no ledger."""

    def __init__(self, settings: Settings, manifests: ManifestStore, lineage: str) -> None:
        self._ledger = ledger_if_any(settings)
        self._manifests = manifests
        self._lineage = lineage

    def of_section(self, section: str) -> Iterator[EarlierCopy]:
        """See planner.inputs.CompletedBefore."""
        if self._ledger is None:
            return nothing_completed(section)
        return completed_before(self._ledger, self._manifests, lineage=self._lineage, section=section)

    def close(self) -> None:
        """Let the ledger go."""
        if self._ledger is not None:
            self._ledger.close()


def _base(path: Path, named: Path | PlanUrl | None, lineage: str) -> Plan | None:
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
    return plan if plan.lineage == lineage else None


def _lines(settings: Settings, *, silent: bool) -> PlanLines:
    """Who shows people how far planning is."""
    live = follow_output(settings, silent=silent)
    return PlanLines(_silent if silent else partial(click.echo, err=True), time.monotonic, live)


def _silent(_line: str) -> None:
    """With --json and --quiet only the outcome is reported."""
