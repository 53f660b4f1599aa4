"""The loop of one apply process: accept or resume, keep leases, tick, end. One screen; the parts do the work."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from executor.apply.chunking import chunks_of
from executor.apply.surroundings import Membership, RunSurroundings, join
from executor.apply.workshop import Workshop, open_workshop
from executor.events import tell_calendar
from executor.flow.governor import Governor
from executor.flow.limits import limits_at
from executor.ledger.ledger import Ledger
from executor.ledger.values import ENDED, Progress, RunState
from schema.errors import MigrationError, RunPaused, Stopped, UsageError
from schema.limits import RunLimits
from schema.plan import Plan

TICK_SECONDS = 0.1


def apply(given: RunSurroundings) -> Progress:
    """Take part in the plan's run until it has ended; what the ledger says then.

    Raises Stopped after a drain on request, the error that ended the run early (run-wide StoreErrors,
    IntegrityRefused, LedgerErrors), and whatever Runs.accept refuses with.
    """
    plan, ledger, settings, stop = given.plan, given.ledger, given.settings, given.stop
    batches = chosen_batches(plan, settings.only)
    run = ledger.runs.accept(plan, list(chunks_of(plan)), who=settings.who, tool_version=settings.tool_version)
    progress = ledger.reports.progress(run.run_id)
    given.events.run_accepted(run.run_id, run.resumed, progress)
    refuse_paused(ledger, progress)
    closed = limits_at(plan.limits, progress.now, progress.limits).closed_until is not None
    if progress.state in ENDED or (settings.leave_when_idle and (closed or not ledger.leases.claimable(run, batches))):
        return progress
    member = join(given, run, batches)
    workshop = open_workshop(given, member)
    closed = False
    try:
        closed = _work(given, member, workshop, accepted=progress)
    except MigrationError as error:
        member.crash.met(error)
    finally:
        drained = workshop.close()
        workshop.sample(given.clock())
        member.lifeline.leave(workshop.writer.open_chunks(), 0 if closed or not stop.draining else Stopped.exit_code)
    member.crash.reraise()
    if stop.draining and not (closed and drained):
        raise Stopped(
            "stopped; everything finished is in the ledger, apply the same plan again to go on"
            if drained
            else "stopped before all objects in flight had ended; apply the same plan again to go on"
        )
    return ledger.reports.progress(run.run_id)


def _work(given: RunSurroundings, member: Membership, workshop: Workshop, *, accepted: Progress) -> bool:
    """Tick until the run, or this process's part in it, has ended, or a stop came in.

    *accepted*: read before this process joined. Returns whether it leaves because the calendar is closed.
    """
    leaves_early = member.batches is not None or given.settings.leave_when_idle
    governor, lifeline, run_id = given.governor, member.lifeline, member.run.run_id
    limits = lifeline.limits(replace(accepted, workers=accepted.workers + 1), holding=False)
    tell_calendar(given.events, RunLimits(), limits)
    hold_to(governor, limits, lifeline.share)
    workshop.start()
    while True:
        given.stop.propagate()
        if given.stop.draining:
            return False
        if limits.closed_until is not None and given.settings.leave_when_idle:
            given.stop.request()
            return True
        now = given.clock()
        governor.tick(now, workshop.pool.busy)
        member.watch.tick(now)
        workshop.rest(now)
        workshop.look(now, limits)
        workshop.pool.resize(governor.target())
        workshop.writer.mark_lost(lifeline.renew(workshop.writer.open_chunks()))
        progress = lifeline.progress_due(run_id)
        if progress is not None:
            refuse_paused(given.ledger, progress)
            before, limits = limits, lifeline.limits(progress, holding=bool(workshop.writer.open_chunks()))
            tell_calendar(given.events, before, limits)
            hold_to(governor, limits, lifeline.share)
            given.events.progress(progress, governor.snapshot(now))
        lifeline.show(partial(workshop.seen, now, limits))
        ledger_says = lifeline.finish(run_id) if workshop.nothing_left() else None
        if ledger_says in ENDED or (ledger_says is not None and leaves_early and workshop.starved):
            return False
        workshop.wait(TICK_SECONDS)


def refuse_paused(ledger: Ledger, progress: Progress) -> None:
    """Raise RunPaused when somebody has paused the run."""
    if progress.state is RunState.PAUSED and (pause := ledger.runs.paused_by(progress.run_id)) is not None:
        raise RunPaused(
            f"run {progress.run_id} was paused by {pause.who} at {pause.since:%Y-%m-%d %H:%M:%S} UTC; everything "
            f"finished is in the ledger. `s3migrate resume {progress.run_id}` lifts the pause; then apply the same "
            "plan again"
        )


def hold_to(governor: Governor, limits: RunLimits, share: float) -> None:
    """Let *governor* keep this process's share of the run's limits."""
    governor.set_limits(limits.figures, share=share)


def chosen_batches(plan: Plan, only: frozenset[str] | None) -> list[int] | None:
    """Numbers of the batches named by id or by stage; None: all. Raises UsageError for an unknown name."""
    if only is None:
        return None
    known = {b.id for b in plan.batches} | {s.id for s in plan.stages}
    unknown = sorted(only - known)
    if unknown:
        raise UsageError(f"the plan has no stage or batch named {', '.join(unknown)}; `s3migrate show` lists them")
    return [n for n, b in enumerate(plan.batches) if b.id in only or b.stage in only]
