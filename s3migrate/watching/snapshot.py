"""The current state of a run in the ledger: everything that the screen, the page, run.json and the metrics show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from executor.ledger.ledger import Ledger
from executor.ledger.values import (
    ENDED,
    CellProgress,
    FailedObject,
    Progress,
    Run,
    Scaling,
    StageProgress,
    StageState,
    WorkerSeen,
)
from s3migrate.views.why import Why, why_of
from s3migrate.watching.eta import Eta, eta_of
from schema.flow.samples import FlowCounts, FlowPoint
from schema.limits import Closure, closed_at

POINTS = 120
"""Most points of a chart."""
CELLS = 240
FAILURES_SHOWN = 20
STAGE_WORDS = {
    StageState.BLOCKED: "waits for the stages before it",
    StageState.OPEN: "open",
    StageState.PASSED: "done",
}


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """The state of a run at one point in time."""

    run: Run
    progress: Progress
    stages: Sequence[StageProgress]
    cells: Sequence[CellProgress]
    """In the plan's order, which is by key within each stage."""
    workers: Sequence[WorkerSeen]
    scaling: Scaling | None
    """None: the run has ended."""
    failures: Sequence[FailedObject]
    """The first FAILURES_SHOWN."""
    failed_by: Mapping[str, int]
    """All that failed for good, by error code."""
    planned_seconds: int | None
    """What the plan expected; None: it does not say."""
    last_completion: datetime | None
    """When an object was last finished, to ten seconds; None: none was."""
    total: FlowCounts
    history: Sequence[FlowPoint]
    why: Why
    eta: Eta | None
    closed: Closure | None = None
    """Why the calendar is closed now; None: it is open."""

    @property
    def ended(self) -> bool:
        """The run is in a final state."""
        return self.progress.state in ENDED


def snapshot_of(ledger: Ledger, run: Run) -> RunSnapshot:
    """Read from the ledger. Raises LedgerErrors."""
    run_id = run.run_id
    progress = ledger.reports.progress(run_id)
    closures = ledger.runs.closures(run_id)
    history = ledger.samples.history(run_id, points=POINTS)
    failures = ledger.reports.failures(run_id, FAILURES_SHOWN)
    return RunSnapshot(
        run=run,
        progress=progress,
        stages=ledger.reports.stages(run_id),
        cells=ledger.reports.cells(run_id, CELLS),
        workers=[] if progress.state in ENDED else ledger.workers.present(run_id),
        scaling=ledger.workers.scaling(run_id),
        failures=failures,
        failed_by=ledger.reports.failure_counts(run_id) if failures else {},
        planned_seconds=ledger.runs.planned_seconds(run_id),
        last_completion=ledger.samples.last_completion(run_id),
        total=ledger.samples.total(run_id),
        history=history,
        why=why_of(ledger, progress),
        eta=None if progress.state in ENDED else eta_of(progress, history, closures),
        closed=closed_at(closures, progress.now),
    )
