"""A run half done, as the ledger might tell of it; tests change what they look at."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from executor.ledger.values import (
    CellProgress,
    FailedObject,
    Outcome,
    ProcessPlace,
    Progress,
    Run,
    RunState,
    Scaling,
    StageProgress,
    StageState,
    WorkerSeen,
)
from s3migrate.views.why import Bottleneck, Why
from s3migrate.watching.eta import Eta
from s3migrate.watching.snapshot import RunSnapshot
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import Activity, FlowCounts, FlowPoint, SideCounts
from schema.limits import RunLimits
from schema.process_view import EndpointView, ProcessView, Quality

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\x1b[31m[bold]\u202e&'\""
SIDES = {
    WhichSide.SOURCE: SideCounts({RequestClass.GET: 3100, RequestClass.LIST: 4}, 0, 2, 310 << 20, 400.0),
    WhichSide.DESTINATION: SideCounts({RequestClass.PUT: 3100}, 124, 0, 310 << 20, 900.0),
}
COUNTS = FlowCounts(
    seconds=10.0,
    objects=3100,
    failed=1,
    bytes=310 << 20,
    processor_seconds=4.0,
    threads={Activity.SOURCE: 150.0, Activity.DESTINATION: 400.0, Activity.THROTTLING: 60.0, Activity.WORKING: 30.0},
    sides=SIDES,
)

REFUSED = FailedObject(
    3, "bulk-03", 17, 403, "AccessRefused", f"PutObject {HOSTILE}: refused", "r1", NOW, HOSTILE, True
)


def worker(number: int = 1, **more: Any) -> WorkerSeen:
    """A process that is well."""
    ends = {
        "source.example:443": EndpointView(rtt_ms=12.1, requests_per_second=310, bytes_per_second=31 << 20),
        "destination.example:443": EndpointView(
            rtt_ms=48.0, requests_per_second=310, bytes_per_second=31 << 20, throttled=0.04, quality=Quality.DEGRADED
        ),
    }
    limits = RunLimits({"bandwidth": 200.0 * (1 << 20)}, {"bandwidth": "plan"})
    view = ProcessView(64, "more gave no more goodput", ends, busy=60, limits=limits, share=0.5)
    return WorkerSeen(number, "host", ProcessPlace("", 4710 + number, 0), NOW, 1.0, view)._replace(**more)


def snapshot(**more: Any) -> RunSnapshot:
    """Run 3 of a million objects."""
    begun = NOW - timedelta(hours=1)
    run = Run(3, 1, "sha256:" + "ab" * 32, RunState.OPEN, False, "photos", "photos", 7, 1_000_000, 98 << 30, begun)
    progress = Progress(
        run_id=3, name="photos", state=RunState.OPEN, objects=1_000_000, bytes=98 << 30, done=432_100, failed=3,
        bytes_done=43 << 30, leased=4, ready=120, blocked=80, parked=1,
        by_outcome={Outcome.COPIED: 432_000, Outcome.ALREADY_THERE: 90, Outcome.CONFLICT: 10}, verified=200,
        verify_failed=0, workers=2, started_at=begun, now=NOW, working=2,
    )  # fmt: skip
    points = [
        FlowPoint(begun + timedelta(seconds=30 * n), 30.0, replace(COUNTS, objects=2000 + 37 * n % 900))
        for n in range(120)
    ]
    shares = {Activity.DESTINATION: 0.62, Activity.SOURCE: 0.23, Activity.THROTTLING: 0.1, Activity.WORKING: 0.05}
    made = RunSnapshot(
        run=run,
        progress=progress,
        stages=[
            StageProgress("canary", StageState.PASSED, 100, 100, 0),
            StageProgress("bulk", StageState.OPEN, 999_000, 432_000, 3),
            StageProgress("deletes", StageState.BLOCKED, 900, 0, 0),
        ],
        cells=[CellProgress(5000, 5000 if n < 80 else 2500 if n < 90 else 0, 3 if n == 40 else 0) for n in range(200)],
        workers=[worker(1), worker(2)],
        scaling=Scaling(3, run.plan_id, "photos", 120, 4, 560_000, 55 << 30, 2, "working", 5),
        failures=[REFUSED],
        failed_by={"AccessRefused": 3},
        planned_seconds=14_400,
        last_completion=NOW,
        total=COUNTS,
        history=points,
        why=Why(Bottleneck.DESTINATION, shares, "62 % of thread time waited for the destination's answers (290 ms)."),
        eta=Eta(6000.0, 7800.0, 11_000.0),
    )  # fmt: skip
    return replace(made, **more)
