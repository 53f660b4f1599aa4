"""status: from the ledger alone."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import click

from executor.flow.limits import AS_PLANNED
from executor.ledger.ledger import Ledger
from executor.ledger.values import ENDED, FailedObject, Pause
from s3migrate.commands.common import chosen_run, json_errors, json_lines, json_option
from s3migrate.console.json_lines import JsonLines
from s3migrate.settings import read_settings
from s3migrate.views.ending import named_text
from s3migrate.views.run_view import Rate, figures, progress_line
from s3migrate.views.why import why_figures, why_of
from s3migrate.views.worker_view import scaling_text, worker_figures, worker_lines
from s3migrate.wiring import KEPT, open_ledger
from schema.formats.escape import one_line
from schema.formats.quantities import count_text, counted_text, size_text
from schema.limits import CLOSED, LIMITS, Closure, closed_at, closed_text

WATCH_SECONDS = 2.0
FAILURES_SHOWN = 20
FAILURES_IN_JSON = 10_000


@click.command("status", short_help="Progress, outcomes, failures, flow.")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@click.option("--all", "all_runs", is_flag=True, help="Every run, one line each.")
@click.option(
    "--serve",
    "serve_at",
    is_flag=False,
    flag_value="127.0.0.1:0",
    metavar="[ADDR]",
    help="A live page over all runs, /metrics and /run.json, at HOST:PORT (default: any port of 127.0.0.1).",
)
@click.option("--watch", is_flag=True, help="Repeat every two seconds until the run ends.")
@json_option
@json_errors
def status_command(*, run_id: int | None, all_runs: bool, serve_at: str | None, watch: bool, as_json: bool) -> None:
    """Where RUN (default: the latest) stands: progress, outcomes, failures."""
    settings = read_settings()
    lines = json_lines() if as_json else None
    serves = serve_at is not None
    with closing(open_ledger(settings, connections=KEPT if serves else 1, pooled=serves)) as ledger:
        if serve_at is not None:
            from s3migrate.watching.serving import serve  # imports a web server, needed here only

            for name in (signal.SIGINT, signal.SIGTERM):  # even if the parent process ignores them
                signal.signal(name, signal.default_int_handler)
            serve(ledger, serve_at, token=settings.serve_token)
            return
        if all_runs:
            _list(ledger, lines)
            return
        run = chosen_run(ledger, run_id)
        rate = Rate()
        while True:
            if watch and lines is None and sys.stdout.isatty():
                click.clear()
            ended = _show(ledger, run.run_id, rate, lines=lines)
            if not watch or ended:
                return
            time.sleep(WATCH_SECONDS)


def _list(ledger: Ledger, lines: JsonLines | None) -> None:
    for run in ledger.runs.all():
        if lines is not None:
            facts = {"plan_id": run.plan_id, "serial": run.serial, "objects": run.objects, "bytes": run.bytes}
            state = run.state.name.lower()
            lines.emit({"type": "run", "run_id": run.run_id, "name": run.name, "state": state, **facts})
        else:
            click.echo(
                f"run {run.run_id}  {run.state.name.lower():10}  {run.name} serial {run.serial}  "
                f"{counted_text(run.objects, 'object')}, {size_text(run.bytes)}  {run.plan_id[:19]}"
            )


def _show(ledger: Ledger, run_id: int, rate: Rate, *, lines: JsonLines | None) -> bool:
    progress = ledger.reports.progress(run_id)
    most = FAILURES_SHOWN if lines is None else FAILURES_IN_JSON
    failures = ledger.reports.failures(run_id, most)
    drifted = ledger.reports.left_alone(run_id, most) if progress.drifted else []
    workers = ledger.workers.present(run_id) if progress.state not in ENDED else []
    scaling = ledger.workers.scaling(run_id)
    pause = ledger.runs.paused_by(run_id)
    closed = closed_at(ledger.runs.closures(run_id), progress.now)
    why = why_of(ledger, progress)
    if lines is not None:
        wanted = scaling._asdict() if scaling is not None else None
        paused = {"who": pause.who, "since": pause.since.isoformat()} if pause is not None else None
        until = None if closed is None else closed.ends.isoformat()
        extra = {"limits": dict(progress.limits), "scaling": wanted, "paused": paused, "closed_until": until}
        lines.emit({"type": "status", **figures(progress), **extra})
        for worker in workers:
            lines.emit({"type": "process", "run_id": run_id, **worker_figures(worker)})
        lines.emit({"type": "why", "run_id": run_id, **why_figures(why)})
        for kind, found in (("failure", failures), ("drift", drifted)):
            for failed in found:
                lines.emit({"type": kind, "key": failed.key, "batch": failed.batch_id, "ord": failed.ord,
                            "class": failed.error_code, "http": failed.http_status, "message": failed.message,
                            "own": failed.own})  # fmt: skip
    else:
        click.echo(
            f"run {run_id} ({one_line(progress.name)}) is {progress.state.name.lower()}: "
            + progress_line(progress, None, rate)
        )
        for line in _why_stopped(run_id, pause, closed):
            click.echo(f"  {line}")
        outcomes = ", ".join(f"{o.name.lower()} {count_text(n)}" for o, n in progress.by_outcome.items() if n)
        if outcomes:
            click.echo(f"  outcomes: {outcomes}")
        click.echo(
            f"  chunks: {progress.ready} ready, {progress.leased} leased, {progress.blocked} blocked, "
            f"{progress.parked} parked; {counted_text(progress.workers, 'process')} at work"
        )
        if scaling is not None:
            click.echo(f"  {scaling_text(scaling)}")
        if progress.verified or progress.verify_failed:
            click.echo(f"  proven between stages: {progress.verified}, not proven: {progress.verify_failed}")
        for name, figure in sorted(progress.limits.items()):
            if figure != AS_PLANNED:
                text = LIMITS[name].text if name in LIMITS else str  # a newer version may know more
                click.echo(f"  limit set while running: {name} " + (text(figure) if figure else "none"))
        if why.shares:
            click.echo(f"  why not faster: {why.sentence}")
        for worker in workers:
            for line in worker_lines(worker):
                click.echo(f"  {line}")
        _echo_objects("failed", failures, max(progress.failed + progress.verify_failed, len(failures)))
        _echo_objects("drifted", drifted, progress.drifted)
    return progress.state in ENDED


def _why_stopped(run_id: int, pause: Pause | None, closed: Closure | None) -> Iterator[str]:
    """Why nothing runs, and what to do about it."""
    if pause is not None:
        yield (
            f"paused by {one_line(pause.who)} at {pause.since:%Y-%m-%d %H:%M:%S} UTC; "
            f"`s3migrate resume {run_id}` lifts the pause"
        )
    if closed is not None:
        yield f"its calendar is {closed_text(closed.ends)}; `s3migrate limit {run_id} {CLOSED}=none` opens it"


def _echo_objects(what: str, found: Sequence[FailedObject], total: int) -> None:
    for failed in found:
        click.echo(f"  {what}: {named_text(failed)}: {failed.error_code}: {one_line(failed.message)}")
    if total > len(found):
        click.echo(f"  {what}: and {count_text(total - len(found))} more (--json lists {count_text(FAILURES_IN_JSON)})")
