"""The loop of one apply process: accept or resume, keep leases, tick, end. One screen; the parts do the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from executor.apply.chunking import chunks_of
from executor.apply.endpoint_watch import EndpointCare, EndpointWatch
from executor.apply.lifeline import Lifeline
from executor.apply.settings import ApplySettings
from executor.apply.workshop import Workshop, open_workshop
from executor.crash import Crash
from executor.events import Events
from executor.flow.governor import Governor
from executor.flow.limits import RunLimits
from executor.ledger.ledger import Ledger
from executor.ledger.local_workers import ProcessPlace
from executor.ledger.values import Progress, Run, RunState
from executor.route import SectionRuntime
from executor.stop import Stop
from schema.errors import MigrationError, Stopped, UsageError
from schema.manifest import ManifestStore
from schema.plan import Plan

TICK_SECONDS = 0.1
ENDED = frozenset({RunState.COMPLETE, RunState.FAILED, RunState.SUPERSEDED})


def apply(
    plan: Plan,
    sections: Mapping[str, SectionRuntime],
    manifests: ManifestStore,
    ledger: Ledger,
    governor: Governor,
    settings: ApplySettings,
    events: Events,
    stop: Stop,
    clock: Callable[[], float],
    care: Mapping[str, EndpointCare] | None = None,
) -> Progress:
    """Take part in *plan*'s run until it has ended; what the ledger says then.

    *care*: what can be done about an endpoint that is away, by the names of *governor*'s endpoints.
    Raises Stopped after a drain on request, the error that ended the run early (run-wide StoreErrors,
    IntegrityRefused, LedgerErrors), and whatever Ledger.accept refuses with.
    """
    only = chosen_batches(plan, settings.only)
    run = ledger.accept(plan, list(chunks_of(plan)), who=settings.who, tool_version=settings.tool_version)
    progress = ledger.progress(run.run_id)
    events.run_accepted(run.run_id, run.resumed, progress)
    if progress.state in ENDED:
        return progress
    crash = Crash(stop)
    process = settings.process or ProcessPlace("", settings.pid, 0)
    worker = ledger.join(run, settings.host, settings.pid, settings.tool_version, process)
    lifeline = Lifeline(
        ledger, worker, settings.lease_seconds, clock, declared=plan.limits, process=process, who=settings.who
    )
    lifeline.bury_dead()
    watch = EndpointWatch(governor.endpoints, care or {}, events)
    workshop = open_workshop(
        plan, sections, manifests, ledger, worker, governor, lifeline, settings, only, events, stop, clock, crash, watch
    )
    try:
        _work(run, progress, governor, lifeline, workshop, only is not None, events, stop, clock)
    except MigrationError as error:
        crash.met(error)
    finally:
        drained = workshop.close(settings.grace_seconds, events, stop)
        lifeline.leave(workshop.writer.open_chunks(), 0 if not stop.draining else Stopped.exit_code)
    crash.reraise()
    if stop.draining:
        raise Stopped(
            "stopped; everything finished is in the ledger, apply the same plan again to go on"
            if drained
            else "stopped before all objects in flight had ended; apply the same plan again to go on"
        )
    return ledger.progress(run.run_id)


def _work(
    run: Run,
    accepted: Progress,
    governor: Governor,
    lifeline: Lifeline,
    workshop: Workshop,
    partial_run: bool,
    events: Events,
    stop: Stop,
    clock: Callable[[], float],
) -> None:
    """Tick until the run has ended, or a stop came in."""
    # Read before this process joined.
    limits = lifeline.limits(replace(accepted, workers=accepted.workers + 1), holding=False)
    hold_to(governor, limits, lifeline.share)
    workshop.start()
    while True:
        stop.propagate()
        if stop.draining:
            return
        now = clock()
        governor.tick(now, workshop.pool.busy)
        workshop.watch.tick(now)
        workshop.rest(now)
        workshop.pool.resize(governor.target())
        workshop.writer.mark_lost(lifeline.renew(workshop.writer.open_chunks()))
        progress = lifeline.progress_due(run.run_id)
        if progress is not None:
            limits = lifeline.limits(progress, holding=bool(workshop.writer.open_chunks()))
            hold_to(governor, limits, lifeline.share)
            events.progress(progress, workshop.flow(now))
        lifeline.show(partial(workshop.seen, now, limits, lifeline.share))
        ledger_says = lifeline.finish(run.run_id) if workshop.nothing_left() else None
        if ledger_says in ENDED or (ledger_says is not None and partial_run and workshop.starved):
            return
        workshop.wait(TICK_SECONDS)


def hold_to(governor: Governor, limits: RunLimits, share: float) -> None:
    """Let *governor* keep this process's share of the run's limits."""
    governor.set_limits(limits.requests_per_second, limits.bandwidth, limits.concurrent_requests, share=share)


def chosen_batches(plan: Plan, only: frozenset[str] | None) -> list[int] | None:
    """Numbers of the batches named by id or by stage; None: all. Raises UsageError for an unknown name."""
    if only is None:
        return None
    known = {b.id for b in plan.batches} | {s.id for s in plan.stages}
    unknown = sorted(only - known)
    if unknown:
        raise UsageError(f"the plan has no stage or batch named {', '.join(unknown)}; `s3migrate show` lists them")
    return [n for n, b in enumerate(plan.batches) if b.id in only or b.stage in only]
