"""apply: accept or resume a plan's run, work on it, say how it ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from executor.governor import Governor
from executor.ledger_types import Outcome, Progress, RunState
from executor.memory_limit import default_budget, set_malloc_arenas
from executor.runner import ApplySettings, apply
from executor.section import sections_of
from executor.stop import Stop
from s3migrate import __version__
from s3migrate.commands.common import emitter, json_option, plan_argument, read_plan, told_as_json
from s3migrate.settings import Settings, read_settings
from s3migrate.views.run_view import HumanRun, JsonRun, Rate, figures, progress_line
from s3migrate.wiring import Governors, open_ledger, open_sections, preflight
from schema.errors import FinishedWithFailures, NotApproved, StalePlan, Stopped
from schema.plan import Plan
from schema.plan_checks import check_guards

MAX_WORKERS = 512
"""Threads one process may grow to; each costs about 100 KiB beside its buffers."""
DRIFT = (Outcome.SOURCE_CHANGED, Outcome.SOURCE_GONE, Outcome.CONFLICT)


@click.command("apply")
@plan_argument
@click.option("--expect-plan-id", metavar="HEX", help="Refuse any other plan (also S3MIGRATE_EXPECT).")
@click.option("--only", multiple=True, metavar="STAGE|BATCH", help="Work on these stages or batches alone.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, help="Local worker processes.")
@json_option
@told_as_json
def apply_command(
    plan_path: Path, expect_plan_id: str | None, only: tuple[str, ...], processes: int, as_json: bool
) -> int:
    """Carry out PLAN: accept it, or go on where its run stopped.

    Run it again after a kill; run it in several processes or on several machines at once: they share the work.
    The first SIGINT or SIGTERM finishes the objects in flight and exits 75, a second one lets go of them.
    """
    settings = read_settings()
    set_malloc_arenas()
    plan, manifests = read_plan(plan_path)
    check_approved(plan, expect_plan_id or settings.expected_plan_id)
    stop = Stop()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, stop.request)
    governors = Governors()
    stores = open_sections(((s.id, s.source, s.destination) for s in plan.sections), governors.of)
    preflight(stores, plan)
    ledger = open_ledger(settings)
    emit = emitter(as_json)
    events = JsonRun(emit) if emit else HumanRun(settings.stderr_is_terminal)
    budget = plan.limits.memory or default_budget()
    governor = Governor(governors.by_name, plan.limits.workers or MAX_WORKERS, workers=plan.limits.workers)
    try:
        progress = apply(
            plan,
            sections_of(plan, stores, budget),
            manifests,
            ledger,
            governor,
            _apply_settings(settings, budget, only),
            events,
            stop,
            time.monotonic,
        )
    except Stopped as stopped:
        if stop.abandoning:
            click.echo(f"s3migrate: {stopped}", err=True)
            os._exit(Stopped.exit_code)  # threads in flight are let go; the ledger is the truth
        raise
    finally:
        if not stop.abandoning:
            ledger.close()
            for pair in stores.values():
                for store in pair:
                    store.close()
    if emit:
        emit({"type": "run_complete", **figures(progress)})
    else:
        click.echo(
            ("\r\x1b[K" if settings.stderr_is_terminal else "") + progress_line(progress, None, Rate()), err=True
        )
    return conclude(progress)


def _apply_settings(settings: Settings, budget: int, only: tuple[str, ...]) -> ApplySettings:
    return ApplySettings(
        who=settings.who,
        host=settings.host,
        pid=os.getpid(),
        tool_version=__version__,
        budget=budget,
        only=frozenset(only) or None,
    )


def check_approved(plan: Plan, expected: str | None) -> None:
    """Raises NotApproved for another plan than *expected* or a loss nobody accepted, GuardExceeded for its guards."""
    if expected is not None and expected.removeprefix("sha256:") != plan.plan_id.removeprefix("sha256:"):
        raise NotApproved(f"this plan is {plan.plan_id}, approved was {expected}; apply the plan that was reviewed")
    refused = [
        f"{section.id}: {loss.id} ({loss.text})"
        for section in plan.sections
        for loss in section.losses
        if not loss.accepted
    ]
    if refused:
        raise NotApproved(
            "the destination cannot hold everything the source has:\n"
            + "\n".join(refused)
            + "\naccept each by name in the declaration (accept_loss: [...]) and plan again, or change the destination"
        )
    check_guards(plan)


def conclude(progress: Progress) -> int:
    """0 when every object arrived. Raises FinishedWithFailures, StalePlan."""
    if progress.state is RunState.SUPERSEDED:
        raise StalePlan(f"run {progress.run_id} was superseded by a newer plan; apply that one")
    drifted = sum(progress.by_outcome.get(outcome, 0) for outcome in DRIFT)
    if progress.failed or progress.verify_failed or drifted or progress.state is RunState.FAILED:
        raise FinishedWithFailures(
            f"run {progress.run_id} finished with {progress.failed} failed, {drifted} drifted and "
            f"{progress.verify_failed} objects not proven; `s3migrate status {progress.run_id}` lists them, "
            f"`s3migrate retry {progress.run_id}` tries the failed ones again"
        )
    return 0
