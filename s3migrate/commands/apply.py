"""apply: accept or resume a plan's run, work on it, report how it ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click

from executor.apply.chunking import chunks_of
from executor.apply.runner import apply, chosen_batches, refuse_paused
from executor.apply.settings import ApplySettings
from executor.apply.surroundings import RunSurroundings, Window
from executor.events import Events
from executor.flow.governor import Governor
from executor.flow.meters import RequestMeter
from executor.ledger.ledger import Ledger
from executor.ledger.values import ENDED, Blamed, Progress, Run, RunState
from executor.ledger.workers import this_process
from executor.machine.memory import calm_collector, memory_limit, set_malloc_arenas, undeclared_budget
from executor.machine.processor import ProcessorLoad, schedule_as_batch, usable_cores
from executor.route import routes_of
from executor.stop import Stop
from s3migrate import __version__
from s3migrate.applying.crew import Crew, Recruits, end_with_parent, patient_progress
from s3migrate.applying.endpoint_care import care_for
from s3migrate.applying.engines.choice import engine_of
from s3migrate.applying.fleet import Fleet
from s3migrate.applying.prefork import prefork
from s3migrate.commands.common import (
    emitter,
    json_errors,
    json_option,
    plan_argument,
    quiet_option,
    read_plan,
    say,
    stop_at_signals,
)
from s3migrate.console import output
from s3migrate.console.failure import run_click
from s3migrate.console.json_lines import left_out
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import Settings, read_settings
from s3migrate.views.ending import NAMED, ending_text
from s3migrate.views.run_view import HumanRun, JsonRun, Rate, figures, progress_line
from s3migrate.watching.address import Address
from s3migrate.watching.live_run import LiveRun, QuietRun
from s3migrate.watching.metered import CountedEvents, Metered
from s3migrate.wiring import KEPT, Governors, open_ledger, open_sections, preflight, share_descriptors
from schema.declaration import Side
from schema.errors import FinishedWithFailures, NotApproved, StalePlan, Stopped, UsageError
from schema.files.manifest import ManifestStore
from schema.files.plan_checks import check_guards
from schema.flow.samples import SIDES
from schema.formats.escape import one_line
from schema.plan import Plan
from schema.processes import MOST, processes_for
from storage.endpoint_trials import EndpointTrials
from storage.s3.store import S3Store

MAX_WORKERS = 512
"""Most threads of one process; each costs about 100 KiB besides its buffers."""
NOBODY = Blamed()


def asked_for(_context: object, _option: object, text: str) -> int | None:
    """The value of `--processes`: the number asked for; None: auto, `processes_for` decides. Raises BadParameter."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST):
        raise click.BadParameter(f"{text!r} is neither a number from 1 to {MOST} nor 'auto'")
    return int(text)


@click.command("apply", short_help="Carry out a plan, or resume its run.")
@plan_argument
@click.option("--expect-plan-id", metavar="HEX", help="Refuse any other plan (also S3MIGRATE_EXPECT).")
@click.option("--only", multiple=True, metavar="STAGE|BATCH", help="Work on these stages or batches only.")
@click.option("--processes", callback=asked_for, default="auto", metavar="N|auto", help="Processes; auto: by cores.")
@click.option("--engine", metavar="URL", help="Where workers run: local, dask://HOST:PORT, ray://HOST:PORT, slurm.")
@click.option("--leave-when-idle", is_flag=True, help="Exit 0 when nothing is left to start, even while others work.")
@quiet_option
@click.option("--metrics", "metrics_at", metavar="ADDR", help="Serve this process's Prometheus metrics at HOST:PORT.")
@click.option("--one-of", type=(click.IntRange(1), int), hidden=True, help="Processes, and the parent's PID.")
@json_option
@json_errors
def apply_command(  # click passes one argument for each option
    *,
    plan_path: Path | PlanUrl,
    expect_plan_id: str | None,
    only: tuple[str, ...],
    processes: int | None,
    engine: str | None,
    leave_when_idle: bool,
    one_of: tuple[int, int] | None,
    metrics_at: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Carry out PLAN: accept it, or resume its run.

    Run it again after a kill, or in several processes or on several machines at once: they share the work. The first
    SIGINT or SIGTERM finishes the objects in flight and exits 75, a second one abandons them.
    """
    settings = read_settings()
    output.detach(left_out)
    set_malloc_arenas()
    stop = stop_at_signals(signal.SIGHUP)
    if one_of is not None:
        end_with_parent(one_of[1])
    plan, manifests = read_plan(plan_path)
    check_approved(plan, expect_plan_id or settings.expected_plan_id)
    count = 1 if one_of or metrics_at or engine else processes or _processes_for(plan)
    words = _words(plan, plan_path, only)
    with _forked(words, count, leave_when_idle=leave_when_idle) as crew:
        emit = emitter(as_json)
        metered, governors = _metered(metrics_at, processes)
        ends = ((s.id, s.source, s.destination) for s in plan.sections)
        stores = open_sections(ends, governors.observer, timeouts=plan.timeouts)
        trials = governors.attach(_sides(plan, stores))
        blamed = NOBODY
        try:
            preflight(stores, plan, say, movers=trials)
            with closing_but_abandoned(open_ledger(settings, connections=KEPT), stop) as ledger:
                live = settings.stderr_is_terminal
                view = JsonRun(emit) if emit else _human_view(plan, ledger, live=live, quiet=quiet)
                events = _counted(metered, view)
                asked = _Asked(plan, ledger, settings, only, events, stop, leave_when_idle)
                if engine is not None:
                    most = processes or (usable_cores() if engine == "local" else MOST)
                    progress = _place(asked, words, engine, most=most, emit=emit)
                elif crew is not None:
                    progress = _supervise(asked, crew, emit=emit)
                else:
                    window = metered.window if metered else Window()
                    opened = _Ends(stores, governors, window, trials)
                    progress = _work(asked, manifests, opened, processes=one_of[0] if one_of else 1)
                if not isinstance(progress, int) and progress.untried:
                    blamed = ledger.reports.blamed(progress.run_id, NAMED)
        finally:
            if not stop.abandoning:
                for store in chain.from_iterable(stores.values()):
                    store.close()
    return progress if isinstance(progress, int) else _concluded(progress, blamed, emit)


def _processes_for(plan: Plan) -> int:
    return processes_for(plan.transfer.objects, plan.limits, cores=usable_cores(), memory=memory_limit().bytes)


def _concluded(progress: Progress, blamed: Blamed, emit: Callable[[dict[str, Any]], None] | None) -> int:
    """Print the closing line; returns the exit code. Raises what `conclude` raises."""
    if emit:
        emit({"type": "run_complete", **figures(progress)})
    else:
        click.echo(progress_line(progress, None, Rate()), err=True)
    return conclude(progress, blamed)


def _metered(address: str | None, processes: int | None) -> tuple[Metered | None, Governors]:
    """The governors that observe the requests and, with `--metrics`, what is served of them. Raises UsageError."""
    if address is None:
        return None, Governors()
    if processes is not None and processes > 1:
        raise UsageError("--metrics serves one process: start each with an address of its own instead of --processes")
    from s3migrate.watching.metrics_server import serve_metrics  # imports prometheus-client, needed here only

    meters = {side: RequestMeter() for side in SIDES}
    governors = Governors(meters=meters)
    metered = Metered(Window(), meters, governors.sides)
    try:
        at = Address.parse(address)
    except ValueError as error:
        raise UsageError(f"--metrics: {error}") from None
    port = serve_metrics(at, metered)
    click.echo(f"s3migrate: metrics at {at._replace(port=port).url}metrics", err=True)
    return metered, governors


def _counted(metered: Metered | None, events: Events) -> Events:
    """*events*; with `--metrics` its retries are counted."""
    if metered is None:
        return events
    return CountedEvents(events, metered.retries)


def _human_view(plan: Plan, ledger: Ledger, *, live: bool, quiet: bool) -> Events:
    """What shows the run to people."""
    many = len(plan.sections) > 1
    if quiet:
        return QuietRun(many=many)
    return LiveRun(ledger, plan.plan_id, many=many) if live else HumanRun(live=False, many=many)


@contextmanager
def closing_but_abandoned(ledger: Ledger, stop: Stop) -> Iterator[Ledger]:
    """Close *ledger* at the end, unless abandoned threads may still use it."""
    try:
        yield ledger
    finally:
        if not stop.abandoning:
            ledger.close()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be applied, and who receives its events."""

    plan: Plan
    ledger: Ledger
    settings: Settings
    only: tuple[str, ...]
    """Stages or batches; empty means all."""
    events: Events
    stop: Stop
    leave_when_idle: bool


class _Ends(NamedTuple):
    """The stores of every section, and the governors they ask."""

    stores: Mapping[str, tuple[S3Store, S3Store]]
    governors: Governors
    window: Window
    """What `--metrics` serves of the running process."""
    trials: Mapping[S3Store, EndpointTrials]
    """Of the stores with several declared endpoints."""


def _sides(plan: Plan, stores: Mapping[str, tuple[S3Store, S3Store]]) -> list[tuple[Side, S3Store]]:
    """Every store, in the order in which they were opened, and the side it was opened for."""
    return [pair for s in plan.sections for pair in zip((s.source, s.destination), stores[s.id], strict=True)]


def _work(asked: _Asked, manifests: ManifestStore, ends: _Ends, *, processes: int) -> Progress:
    """Take part in the run as this one process of so many that share the machine."""
    plan, stores = asked.plan, ends.stores
    budget = plan.limits.memory or undeclared_budget(processes)
    governor = Governor(
        ends.governors.by_name,
        plan.limits.workers or MAX_WORKERS,
        workers=plan.limits.workers,
        processor=ProcessorLoad(processes=processes),
    )
    share_descriptors(governor, stores)
    calm_collector()
    schedule_as_batch()
    try:
        return apply(
            RunSurroundings(
                plan=plan,
                routes=routes_of(plan, stores, budget),
                manifests=manifests,
                ledger=asked.ledger,
                governor=governor,
                settings=_apply_settings(asked, budget),
                events=asked.events,
                stop=asked.stop,
                sides=ends.governors.sides,
                window=ends.window,
                care=care_for(_sides(plan, stores), ends.trials),
            )
        )
    except Stopped as stopped:
        if asked.stop.abandoning:
            click.echo(f"s3migrate: {stopped}", err=True)
            output.deliver()
            os._exit(Stopped.exit_code)  # threads in flight are abandoned; the ledger is the truth
        raise


def _accepted(asked: _Asked) -> Run:
    """Accept or resume the plan's run, for other processes to carry out. Raises what Runs.accept raises."""
    plan, ledger = asked.plan, asked.ledger
    chosen_batches(plan, frozenset(asked.only) or None)
    run = ledger.runs.accept(plan, list(chunks_of(plan)), who=asked.settings.who, tool_version=__version__)
    asked.events.run_accepted(run.run_id, run.resumed, ledger.reports.progress(run.run_id))
    return run


def _words(plan: Plan, plan_path: Path | PlanUrl, only: Sequence[str]) -> list[str]:
    """The arguments of `s3migrate` for each process that carries out the run."""
    chosen = [word for name in only for word in ("--only", name)]
    return ["apply", str(plan_path), "--json", "--processes", "1", "--expect-plan-id", plan.plan_id, *chosen]


@contextmanager
def _forked(words: Sequence[str], count: int, *, leave_when_idle: bool) -> Iterator[Recruits | None]:
    """The processes of a run, forked while nothing is open; None for a run of this one process."""
    if count == 1:
        yield None
        return
    words = [*words, "--one-of", str(count), str(os.getpid()), *(["--leave-when-idle"] if leave_when_idle else [])]
    root = click.get_current_context().find_root().command
    waiting = prefork(partial(run_click, root, words), count)
    with waiting or nullcontext():
        yield Recruits([sys.executable, "-m", "s3migrate", *words], count, waiting)


def _supervise(asked: _Asked, recruits: Recruits, *, emit: Callable[[dict[str, Any]], None] | None) -> Progress | int:
    """Start the processes and supervise them; returns the run's progress at the end, or the exit code of a refusal."""
    ledger, run = asked.ledger, _accepted(asked)
    crew = Crew(recruits, events=asked.events, stop=asked.stop, note=partial(_note, emit=emit))
    ending = crew.run(partial(patient_progress, ledger, run.run_id))
    if ending.refused is not None:
        click.echo("s3migrate: " + one_line(str(ending.refused["summary"])), err=True)
        if emit:
            emit(dict(ending.refused))
        return int(ending.refused["exit"])
    if ending.broken:
        click.echo("s3migrate: " + "\n".join(map(one_line, ending.broken)), err=True)
        return 1
    progress = ledger.reports.progress(run.run_id)
    refuse_paused(ledger, progress)
    if not ending.ended and progress.state not in ENDED:
        raise Stopped("stopped; everything finished is in the ledger, apply the same plan again to go on")
    return progress


def _place(
    asked: _Asked,
    words: Sequence[str],
    engine_name: str,
    *,
    most: int,
    emit: Callable[[dict[str, Any]], None] | None,
) -> Progress | int:
    """Have the engine run as many workers as the run can use; returns the progress, or a refusal's exit code."""
    run_id = _accepted(asked).run_id
    refuse_paused(asked.ledger, asked.ledger.reports.progress(run_id))
    engine = engine_of(engine_name, most)
    fleet = Fleet(
        engine,
        [*words, "--leave-when-idle"],
        most,
        ledger=asked.ledger,
        run_id=run_id,
        events=asked.events,
        stop=asked.stop,
        note=partial(_note, emit=emit),
    )
    try:
        end = fleet.run()
    finally:
        engine.close()
    if end.refused is not None:
        click.echo("s3migrate: a worker was refused: " + one_line(end.refused.said), err=True)
        return end.refused.code if end.refused.code > 0 else 1
    if end.progress is not None:
        refuse_paused(asked.ledger, end.progress)
    if end.progress is None or end.progress.state not in ENDED:
        raise Stopped("stopped; everything finished is in the ledger, apply the same plan again to go on")
    return end.progress


def _note(text: str, *, emit: Callable[[dict[str, Any]], None] | None) -> None:
    if emit:
        emit({"type": "process", "message": text})
    else:
        click.echo(f"s3migrate: {text}", err=True)


def _apply_settings(asked: _Asked, budget: int) -> ApplySettings:
    settings = asked.settings
    return ApplySettings(
        who=settings.who,
        host=settings.host,
        pid=os.getpid(),
        tool_version=__version__,
        budget=budget,
        only=frozenset(asked.only) or None,
        leave_when_idle=asked.leave_when_idle,
        restore_poll_seconds=settings.restore_poll_seconds,
        process=this_process(os.getpid()),
    )


def check_approved(plan: Plan, expected: str | None) -> None:
    """Raises NotApproved for a plan other than *expected* or an unaccepted loss, GuardExceeded for its guards."""
    if expected is not None and expected.removeprefix("sha256:") != plan.plan_id.removeprefix("sha256:"):
        raise NotApproved(
            f"this plan is {plan.plan_id}, but the approved one is {expected}; apply the plan that was reviewed"
        )
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


def conclude(progress: Progress, blamed: Blamed = NOBODY) -> int:
    """0 when every object arrived. Raises FinishedWithFailures, StalePlan.

    *blamed*: what kept objects from being tried, if any were not.
    """
    if progress.state is RunState.SUPERSEDED:
        raise StalePlan(f"run {progress.run_id} was superseded by a newer plan; apply that one")
    if progress.failed or progress.verify_failed or progress.drifted or progress.state is RunState.FAILED:
        raise FinishedWithFailures(ending_text(progress, blamed))
    return 0
