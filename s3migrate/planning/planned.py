"""From a declaration to a written plan: choose endpoints, probe and list both ends of every pair, decide, write.

Importing it takes a noticeable time, so `plan` prints its first line before it does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from planner.build import build_plan
from planner.inputs import PlanInputs, PlanProgress, nothing_completed
from planner.lineage import lineage_of
from planner.march import EarlierCopy
from planner.review.calibration import Borne, borne_in, tells
from s3migrate import __version__
from s3migrate.planning.checkpoints import LISTINGS_FOLDER, CheckpointPlace, listing_checkpoints
from s3migrate.planning.completed_before import completed_before
from s3migrate.planning.endpoint_choices import with_chosen_endpoints
from s3migrate.planning.inventories import InventoryReader
from s3migrate.planning.probing import ListingTerms, probe_pair, this_machine
from s3migrate.settings import Settings
from s3migrate.wiring import ledger_if_any, manifest_store, open_sections, planned_budget
from schema.declaration import Declaration
from schema.ends import endpoint_of
from schema.errors import ListingUnordered, LocalDiskError
from schema.files.manifest import ManifestFolder, ManifestStore
from schema.files.planfile import write_plan
from schema.plan import Plan
from storage.port import Believe, ObjectStore
from storage.probe.timing import Timing


class Told(Protocol):
    """Shows people how far planning has come; see views.plan_progress.PlanLines."""

    expected: Mapping[str, int]
    """Keys at the source, by pair, according to the previous plan."""

    def reading(self, inventories: Mapping[str, Mapping[str, Any]]) -> None:
        """Which inventories are read instead of a bucket, and how old they are."""

    def resuming(self, resumed: Mapping[str, Mapping[str, Any]]) -> None:
        """Which listings resume those of an interrupted plan."""

    def tell(self, progress: PlanProgress) -> None:
        """Show the totals so far."""


class Asked(NamedTuple):
    """What is to be planned."""

    declaration: Declaration
    folder: Path
    """The declaration's, from which paths of inventories start."""
    base: Plan | None
    """The previous plan."""
    parallel: int
    """LIST requests in flight per side."""
    believe: Believe
    fresh: bool
    """List everything again, even where an interrupted plan could be resumed."""


class Planned(NamedTuple):
    """A plan that was made."""

    plan: Plan
    written: bool
    """False: the file already had this content."""
    inventories: Mapping[str, Mapping[str, Any]]
    """By origin: what was read instead of a bucket."""
    resumed: Mapping[str, Mapping[str, Any]]
    """By origin: which listings resumed those of an interrupted plan."""


class _Means(NamedTuple):
    """What a plan is made with."""

    settings: Settings
    terms: ListingTerms
    stores: Mapping[str, tuple[ObjectStore, ObjectStore]]
    """(source, destination) by pair."""
    manifests: ManifestStore
    endpoints: Mapping[str, Any]
    """Measurements of the candidate endpoints, by URL."""


def plan_into(path: Path, asked: Asked, settings: Settings, *, told: Told) -> Planned:
    """Plan what was *asked*, and write the plan to *path* and its manifests beside it, or where the declaration says.

    Raises what build_plan and write_plan raise, StoreErrors, and LocalDiskError where something cannot be written.
    """
    declaration, endpoints = with_chosen_endpoints(asked.declaration, asked.base, time.monotonic)
    asked = asked._replace(declaration=declaration)
    timings: dict[str, Timing] = {}
    stores = open_sections(
        ((p.id, p.source, p.destination) for p in declaration.pairs),
        lambda side, _which: timings.setdefault(endpoint_of(side), Timing()),
        timeouts=declaration.timeouts,
    )
    try:
        place = CheckpointPlace(settings.state_folder / LISTINGS_FOLDER, declaration.sha256, fresh=asked.fresh)
        with (
            _writing(path),
            closing(InventoryReader(asked.folder, declaration.timeouts, time.time)) as inventories,
            listing_checkpoints(place, time.time()) as checkpoints,
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            manifests = manifest_store(declaration.manifests, path.absolute().parent, declaration.pairs[0].destination)
            terms = ListingTerms(asked.parallel, asked.believe, inventories, timings, checkpoints)
            plan = _planned(asked, _Means(settings, terms, stores, manifests, endpoints), told=told)
            written = write_plan(path, plan, manifests)
    finally:
        for pair in stores.values():
            for store in pair:
                store.close()
    return Planned(plan, written, inventories.read, checkpoints.resumed)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What is written below, *path* last, to the local disk. Raises LocalDiskError."""
    try:
        yield
    except OSError as error:
        raise LocalDiskError(f"{error.filename or path} cannot be written: {error.strerror}") from error


def _planned(asked: Asked, means: _Means, *, told: Told) -> Plan:
    """Probe and list every pair, and plan."""
    declaration = asked.declaration
    pairs = {
        pair.id: probe_pair(declaration, pair, means.stores[pair.id], terms=means.terms) for pair in declaration.pairs
    }
    read = means.terms.inventories.read
    resumed = means.terms.checkpoints.resumed
    if asked.base is not None:
        told.expected = {s.id: s.summary["listed"].objects for s in asked.base.sections}
    told.reading(read)
    told.resuming(resumed)
    provenance = {
        "generated_by": f"s3migrate {__version__}",
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": means.settings.host,
        **({"endpoints": means.endpoints} if means.endpoints else {}),
        **({"inventories": read} if read else {}),
        **({"resumed_listings": resumed} if resumed else {}),
    }
    manifests, lineage = means.manifests, lineage_of(declaration)
    with _staging(manifests) as staging, closing(_EarlierCopies(means.settings, manifests, lineage)) as earlier:
        inputs = PlanInputs(
            declaration,
            pairs,
            manifests,
            staging,
            planned_budget(declaration),
            machine=this_machine(means.settings.host),
            borne=earlier.borne(),
            base=asked.base,
            memory=earlier.of_section,
            provenance=provenance,
            on_progress=told.tell,
        )
        for _bucket in range(2 * len(means.stores)):
            try:
                return build_plan(inputs)
            except ListingUnordered:
                continue  # the store now knows that this bucket's listing is unordered, and sorts it from the start
        return build_plan(inputs)


@contextmanager
def _staging(manifests: ManifestStore) -> Iterator[Path]:
    """A folder for temporary files, on the same disk as a manifest folder: publishing is then a rename."""
    root = manifests.root if isinstance(manifests, ManifestFolder) else None
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=root) as folder:
        yield Path(folder)


class _EarlierCopies:
    """What this lineage has copied before, according to the ledger; nothing without a ledger."""

    def __init__(self, settings: Settings, manifests: ManifestStore, lineage: str) -> None:
        self._ledger = ledger_if_any(settings)
        self._manifests = manifests
        self._lineage = lineage

    def of_section(self, section: str) -> Iterator[EarlierCopy]:
        """See planner.inputs.CompletedBefore."""
        if self._ledger is None:
            return nothing_completed(section)
        return completed_before(self._ledger, self._manifests, lineage=self._lineage, section=section)

    def borne(self) -> Borne | None:
        """What endpoints that refused requests gave the last run of this lineage that tells."""
        if self._ledger is None:
            return None
        runs = (run.run_id for run in self._ledger.runs.all() if run.lineage == self._lineage)
        histories = ((run_id, self._ledger.samples.history(run_id)) for run_id in runs)
        return next((borne_in(run_id, history) for run_id, history in histories if tells(history)), None)

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._ledger.close()
