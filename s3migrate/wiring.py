"""The composition root: stores, ledger, manifests and governor from settings and plan.

What only some commands need is imported where it is used: `show` loads no database driver, `status` no S3 code.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from executor.machine.descriptors import descriptors
from s3migrate.settings import Settings
from schema.declaration import Declaration, Side
from schema.ends import endpoint_of
from schema.errors import ConnectionFailed, RequestTimedOut, UsageError, WhichSide
from schema.files.manifest import ManifestFolder, ManifestStore
from schema.flow.samples import SIDES, Activity
from schema.limits import RunLimits
from schema.plan import Plan

if TYPE_CHECKING:
    from executor.copy.job import Tools
    from executor.flow.endpoint import EndpointGovernor
    from executor.flow.governor import Governor
    from executor.flow.meters import RequestMeter
    from executor.ledger.embedded.server import EmbeddedPostgres
    from executor.ledger.ledger import Ledger
    from executor.ledger.values import Run
    from executor.stop import Stop
    from schema.timeouts import Timeouts
    from storage.endpoint_trials import EndpointTrials
    from storage.failover import Movable
    from storage.port import RequestObserver
    from storage.s3.store import S3Store

PLANNED_BUDGET = 1024**3
"""The memory, in bytes, that part sizes are chosen for when the declaration sets no limits.memory: fixed, so that a
plan does not depend on the machine that made it."""
EMBEDDED_FOLDER = "postgres"
KEPT = 4
"""Connections to the ledger that threads keep open between them."""


def planned_budget(declaration: Declaration) -> int:
    """The memory, in bytes, that a plan's part sizes are chosen for."""
    return declaration.limits.memory or PLANNED_BUDGET


def embedded(settings: Settings) -> EmbeddedPostgres:
    """The embedded server of this state folder, not started."""
    from executor.ledger.embedded.server import EmbeddedPostgres

    return EmbeddedPostgres(settings.state_folder / EMBEDDED_FOLDER, idle_seconds=settings.ledger_idle_seconds)


def open_ledger(settings: Settings, *, migrate: bool = True, connections: int = 1, pooled: bool = False) -> Ledger:
    """The ledger at S3MIGRATE_LEDGER, or else the embedded one; *connections* to it stay open, *pooled* by SQLAlchemy.

    The embedded server is started, restarted when it dies, and its schema is brought up to date. The schema of any
    other server is only checked.
    """
    from executor.ledger.embedded.server import Reviver
    from executor.ledger.ledger import Ledger

    if settings.ledger_url is not None:
        ledger = Ledger(settings.ledger_url, connections=connections, pooled=pooled)
    else:
        server = embedded(settings)
        ledger = Ledger(server.url(), connections=connections, pooled=pooled, missed=Reviver(server))
    if migrate and settings.ledger_url is None:
        ledger.schema.migrate()
    elif migrate:
        ledger.schema.check()
    return ledger


def ledger_if_any(settings: Settings) -> Ledger | None:
    """The ledger if there is one; where nothing was ever applied no server is started."""
    if settings.ledger_url is None and not (settings.state_folder / EMBEDDED_FOLDER).exists():
        return None
    return open_ledger(settings)


def open_sections(
    pairs: Iterable[tuple[str, Side, Side]],
    observer_of: Callable[[Side, WhichSide], RequestObserver | None] = lambda _side, _which: None,
    *,
    timeouts: Timeouts,
) -> dict[str, tuple[S3Store, S3Store]]:
    """(source, destination) stores by section id."""
    from storage.open_store import open_store

    def opened(side: Side, which: WhichSide) -> S3Store:
        return open_store(side, observer=observer_of(side, which), timeouts=timeouts, which=which)

    return {
        name: (opened(source, WhichSide.SOURCE), opened(destination, WhichSide.DESTINATION))
        for name, source, destination in pairs
    }


@contextmanager
def open_readers(
    plan: Plan, note: Callable[[str], None], observer: RequestObserver
) -> Iterator[dict[str, tuple[S3Store, S3Store]]]:
    """The stores of every section, for reading only, all with one *observer*; closed at the end. Each moves to the next
    declared endpoint while its own does not answer, and *note* is called with a message.
    """
    from storage.failover import Failover

    watches: list[Failover] = []

    def watched(side: Side, _which: WhichSide) -> Failover:
        watches.append(Failover(side, note, observer))
        return watches[-1]

    ends = ((section.id, section.source, section.destination) for section in plan.sections)
    stores = open_sections(ends, watched, timeouts=plan.timeouts)
    for watch, store in zip(watches, (store for pair in stores.values() for store in pair), strict=True):
        watch.store = store
    try:
        yield stores
    finally:
        for pair in stores.values():
            for store in pair:
                store.close()


def calendar_of(plan: Plan, ledger: Ledger, run: Run | None) -> Callable[[], RunLimits]:
    """Returns the limits of *plan* in force now, including what `limit` has changed for *run*."""
    from executor.flow.limits import limits_at

    def limits() -> RunLimits:
        if run is None:
            return limits_at(plan.limits, datetime.now(UTC), {})
        progress = ledger.reports.progress(run.run_id)
        return limits_at(plan.limits, progress.now, progress.limits)

    return limits if plan.limits.closes else RunLimits


def reading_tools(budget: int, stop: Stop) -> Tools:
    """What verification needs besides stores and ledger: *budget* bytes of buffers, retries until *stop*."""
    from executor.attempts import Retrier
    from executor.copy.job import Tools
    from executor.machine.buffers import BufferPool, ByteBudget

    return Tools(BufferPool(ByteBudget(budget)), Retrier(stop, random.random, lambda _stop: None), stop)


class Governors:
    """One EndpointGovernor per endpoint, however its URL is spelled, shared by all stores that use it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        meters: Mapping[WhichSide, RequestMeter] | None = None,
    ) -> None:
        """*meters*: requests are measured there, too."""
        from executor.flow.side_counters import SideCounters

        self.by_name: dict[str, EndpointGovernor] = {}
        self.sides = {side: SideCounters() for side in SIDES}
        self._trials: list[EndpointTrials] = []
        """Those of the sides with several declared endpoints, in the order in which their stores are opened."""
        self._meters = meters
        self._clock = clock
        self._wait = wait

    def of(self, side: Side) -> EndpointGovernor:
        """The endpoint's governor."""
        from executor.flow.endpoint import EndpointGovernor, wait_asleep

        name = endpoint_of(side)
        if name not in self.by_name:
            self.by_name[name] = EndpointGovernor(name, clock=self._clock, wait=self._wait or wait_asleep)
        return self.by_name[name]

    def observer(self, side: Side, which: WhichSide) -> RequestObserver:
        """Observes the requests of one store of *side*, the *which* side of its pair."""
        from executor.flow.meters import MeteredObserver
        from executor.flow.side_counters import SideObserver
        from storage.endpoint_trials import EndpointTrials

        waits_for = Activity.SOURCE if which is WhichSide.SOURCE else Activity.DESTINATION
        counted = SideObserver(self.of(side), self.sides[which], waits_for)
        observer = counted if self._meters is None else MeteredObserver(counted, self._meters[which])
        if len(side.endpoint_candidates) < 2:
            return observer
        self._trials.append(EndpointTrials(observer, side, clock=self._clock))
        return self._trials[-1]

    def attach(self, opened: Iterable[tuple[Side, S3Store]]) -> Mapping[S3Store, EndpointTrials]:
        """Let each store whose side declares several endpoints move between them, depending on how transfers go.

        *opened*: the stores that have the observers made here, in the same order.
        """
        stores = [store for side, store in opened if len(side.endpoint_candidates) > 1]
        for trials, store in zip(self._trials, stores, strict=True):
            trials.store = store
        return dict(zip(stores, self._trials, strict=True))


def share_descriptors(governor: Governor, stores: Mapping[str, tuple[S3Store, S3Store]]) -> None:
    """Keep *governor*'s workers and all connections within the number of files that this process may open."""
    from storage.wire.connections import keep_open

    room = descriptors()
    each = max((source.descriptors + destination.descriptors for source, destination in stores.values()), default=2)
    workers = room.workers(each)
    governor.bind(workers, room.why)
    keep_open(2 * workers)


def preflight(
    stores: Mapping[str, tuple[S3Store, S3Store]],
    plan: Plan,
    note: Callable[[str], None],
    *,
    movers: Mapping[S3Store, Movable] = MappingProxyType({}),
) -> None:
    """One LIST on each side, so that wrong credentials or a missing bucket stop the run before it starts.

    When the endpoint in the plan does not answer but another declared one does, its store moves there and *note* is
    called with a message. *movers*: what moves a store, if not the store itself.
    """

    sides = [
        (store, side)
        for section in plan.sections
        for store, side in zip(stores[section.id], (section.source, section.destination), strict=True)
    ]
    with ThreadPoolExecutor(min(8, len(sides)) or 1, thread_name_prefix="preflight") as threads:
        # In order, so that the same mistake gives the same message whichever side answers first.
        for answer in [threads.submit(_reach, store, side, movers.get(store, store)) for store, side in sides]:
            if moved := answer.result():
                note(moved)


def _reach(store: S3Store, side: Side, mover: Movable) -> str:
    """LIST at the first of the side's endpoints that answers. Returns a message if it is not the planned one, or ''.

    From now on the store sends a refused read again without the headers it can do without (S3Store.dispense).
    """
    store.dispense()
    try:
        store.ask_listing(side.prefix)
        return ""
    except (ConnectionFailed, RequestTimedOut) as away:
        for url in side.endpoint_candidates:
            if url != side.endpoint_url:
                mover.move_to(url)
                with suppress(ConnectionFailed, RequestTimedOut):
                    store.ask_listing(side.prefix)
                    return f"{side.endpoint_url} does not answer ({away}); {url} is used instead"
        raise


def manifest_store(name: str, beside: Path, destination: Side) -> ManifestStore:
    """A folder beside the plan, or s3://bucket/prefix at the destination's endpoint with its credentials."""
    if not name.startswith("s3://"):
        root = (beside / name).resolve()
        if Path(name).is_absolute() or not root.is_relative_to(beside.resolve()):
            raise UsageError(f"manifests: {name!r} leaves the plan's folder; name a folder beside the plan")
        return ManifestFolder(root)
    parts = urlsplit(name)
    return manifest_bucket(replace(destination, bucket=parts.netloc, prefix=""), parts.path.strip("/"))


def manifest_bucket(side: Side, prefix: str) -> ManifestStore:
    """Manifests in the bucket of *side*, under *prefix*; looks for no credentials until a manifest is asked for."""
    from storage.manifest_bucket import ManifestBucket
    from storage.open_store import open_store

    return ManifestBucket(partial(open_store, side), prefix)


def probe_token(declaration: Declaration) -> str:
    """A name for this probe's canary keys; it is not part of the plan."""
    seed = f"{declaration.sha256}{time.time_ns()}{random.random()}"  # noqa: S311 - a name, not a secret
    return hashlib.sha256(seed.encode()).hexdigest()[:16]
