"""What surrounds a run in one process: what it is given, and what it holds once it has joined."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from executor.apply.endpoint_watch import EndpointCare, EndpointWatch
from executor.apply.lifeline import Lifeline
from executor.apply.settings import ApplySettings
from executor.events import Events
from executor.flow.governor import Governor
from executor.flow.meters import Histogram
from executor.flow.side_counters import SideCounters
from executor.ledger.ledger import Ledger
from executor.ledger.values import Run, Worker
from executor.patience import LedgerPatience
from executor.route import Route
from executor.stop import Crash, Stop
from schema.errors import WhichSide
from schema.files.manifest import ManifestStore
from schema.plan import Plan
from schema.process_view import ProcessView

STALE_SECONDS = 0.2
"""How long a worker whose leases were not renewed in time, or whose calendar is closed, waits before the next look."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The state of this process at one point in time, for other threads. Histograms are still being written."""

    view: ProcessView
    thread_seconds: Sequence[float]
    """By schema.flow.samples.Activity, since the process began."""
    buffer_bytes: int
    buffer_limit: int
    queued_rows: int
    """Results not yet written to the ledger."""
    flush_seconds: Histogram
    object_sizes: Histogram


@dataclass(slots=True)
class Window:
    """Lets other threads look into the process; costs nothing until one does."""

    look: Callable[[], ProcessState] | None = None
    """None: it has not begun to work."""


@dataclass(frozen=True, slots=True)
class RunSurroundings:
    """What one process of a run works with. Built once, by the command."""

    plan: Plan
    routes: Mapping[str, Route]
    """By section id."""
    manifests: ManifestStore
    ledger: Ledger
    governor: Governor
    settings: ApplySettings
    events: Events
    stop: Stop
    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    sides: Mapping[WhichSide, SideCounters] = field(default_factory=dict)
    """Where the requests of the routes' stores are counted."""
    window: Window = field(default_factory=Window)
    care: Mapping[str, EndpointCare] = field(default_factory=dict)
    """What can be done about an endpoint that is away, by the names of the governor's endpoints."""

    @property
    def patience(self) -> LedgerPatience:
        """Waits while the ledger is away."""
        return LedgerPatience(self.stop, self.events)


@dataclass(frozen=True, slots=True)
class Membership:
    """This process as a worker of the run."""

    run: Run
    worker: Worker
    batches: Sequence[int] | None
    """Numbers of the batches it works on; None: all."""
    lifeline: Lifeline
    watch: EndpointWatch
    crash: Crash

    def blocked(self, now: float) -> float:
        """Seconds until it is worth checking again whether work may be started; 0.0: now."""
        return self.watch.blocked(now) or (0.0 if self.lifeline.fresh and not self.lifeline.closed else STALE_SECONDS)


def join(given: RunSurroundings, run: Run, batches: Sequence[int] | None) -> Membership:
    """Register this process in *run*, and release what dead processes on this machine hold. Raises StalePlan,
    LedgerErrors.
    """
    settings = given.settings
    worker = given.ledger.workers.join(
        run, settings.host, settings.pid, tool_version=settings.tool_version, process=settings.place
    )
    lifeline = Lifeline(given.ledger, worker, settings, declared=given.plan.limits, clock=given.clock)
    lifeline.bury_dead()
    watch = EndpointWatch(given.governor.endpoints, given.care, given.events)
    return Membership(run, worker, batches, lifeline, watch, Crash(given.stop))
