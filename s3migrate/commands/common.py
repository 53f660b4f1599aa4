"""Shared by several commands: options, the plan or the run they work on, errors as JSON."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from s3migrate.console import output
from s3migrate.console.failure import report
from s3migrate.console.json_lines import JsonLines, left_out
from s3migrate.plan_url import PlanUrl
from s3migrate.settings import Settings
from s3migrate.wiring import manifest_store
from schema.errors import LocalDiskError, MigrationError, UsageError
from schema.files.manifest import ManifestStore
from schema.formats.durable_file import replace
from schema.formats.escape import from_one_line, one_line
from schema.plan import Plan

if TYPE_CHECKING:
    from executor.ledger.ledger import Ledger
    from executor.ledger.values import Run
    from executor.stop import Stop
    from s3migrate.views.run_view import HumanRun, JsonRun

P = ParamSpec("P")
JSON_LINES = "s3migrate.json_lines"
"""The key in click's context under which the writer is kept."""

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")


quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress; only problems and the result.")


_FILE = click.Path(path_type=Path, dir_okay=False)


class PlanPlace(click.ParamType[Any]):
    """A plan file, or the s3://BUCKET/KEY of a published plan."""

    name = "plan"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | PlanUrl:
        """The plan that the argument names."""
        if not isinstance(value, str) or not value.startswith("s3://"):
            return Path(_FILE.convert(value, param, ctx))
        try:
            return PlanUrl.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PLAN_PLACE = PlanPlace()
plan_argument = click.argument("plan_path", metavar="PLAN", type=PLAN_PLACE)


def json_errors(command: Callable[P, int | None]) -> Callable[P, int]:
    """Report a command's MigrationErrors as a JSON line, too, when --json was given. Returns the exit code."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs) or 0
        except MigrationError as error:
            return report(error, emitter(bool(kwargs.get("as_json"))))

    return wrapped


def read_plan(path: Path | PlanUrl) -> tuple[Plan, ManifestStore]:
    """The checked plan and the store of its manifests. Raises InputMissing, PlanCorrupt, UsageError, StoreErrors."""
    if isinstance(path, PlanUrl):
        from s3migrate.plan_bucket import fetch

        return fetch(path)
    from schema.files.planfile import load_plan  # imports the validation, which `status` does not need

    beside = path.absolute().parent
    plan = load_plan(path, lambda name, destination: manifest_store(name, beside, destination))
    return plan, manifest_store(plan.manifest_store, beside, plan.sections[0].destination)


def plan_of_run(run: Run, path: Path | PlanUrl | None) -> tuple[Plan, ManifestStore]:
    """The plan of *run* with its manifests, from *path* or from plans/. Raises UsageError when it is not there."""
    # Other files in plans/ may be damaged or of another version: they are not parsed.
    here = sorted(Path("plans").glob("*.plan.yaml"))
    named = (each for each in here if run.plan_id in each.read_text("utf-8", "replace"))
    for candidate in named if path is None else (path,):
        plan, manifests = read_plan(candidate)
        if plan.plan_id == run.plan_id:
            return plan, manifests
    looked = f"{path} is not the plan" if path is not None else "no file in plans/ is the plan"
    raise UsageError(
        f"{looked} of run {run.run_id} ({run.name} serial {run.serial}, {run.plan_id}); name it with --plan"
    )


def chosen_run(ledger: Ledger, run_id: int | None) -> Run:
    """The run named, or the latest. Raises UsageError when there is none."""
    if run_id is None:
        latest = ledger.runs.latest()
        if latest is None:
            raise UsageError("the ledger has no run yet; `s3migrate apply PLAN` starts one")
        return latest
    for run in ledger.runs.all():
        if run.run_id == run_id:
            return run
    raise UsageError(f"the ledger has no run {run_id}; `s3migrate status --all` lists them")


def spelled(key: str) -> str:
    """The key that a person spelled as s3migrate shows it (see escape.one_line)."""
    try:
        return from_one_line(key)
    except ValueError:
        return key


def write_output(path: Path, data: bytes) -> None:
    """Make *data* the content of *path*. Raises LocalDiskError."""
    try:
        replace(path, data)
    except OSError as error:
        raise LocalDiskError(f"{path} cannot be written: {error.strerror}") from error


def stop_at_signals(*others: signal.Signals) -> Stop:
    """A Stop that SIGINT, SIGTERM and *others* request."""
    from executor.stop import Stop

    stop = Stop()
    for name in (signal.SIGINT, signal.SIGTERM, *others):
        signal.signal(name, stop.request)
    return stop


def say(text: str) -> None:
    """A line on stderr, for people."""
    click.echo(f"s3migrate: {one_line(text)}", err=True)


def follow_output(settings: Settings, *, silent: bool) -> bool:
    """Prepare the output of plan or verify: whether a bar is drawn, on a terminal unless *silent*."""
    live = settings.stderr_is_terminal and not silent
    if live:
        output.detach(left_out)
    else:
        output.outlive_readers()
    return live


def emitter(as_json: bool) -> Callable[[dict[str, Any]], None] | None:
    """Writes one JSON line; None without --json."""
    return json_lines().emit if as_json else None


def waits_told(emit: Callable[[dict[str, Any]], None] | None) -> HumanRun | JsonRun:
    """Shows what a command waits for, as `apply` does."""
    from s3migrate.views.run_view import HumanRun, JsonRun

    return HumanRun(live=False) if emit is None else JsonRun(emit)


def json_lines() -> JsonLines:
    """The one writer of JSON lines of the running command."""
    meta = click.get_current_context().meta
    if JSON_LINES not in meta:
        meta[JSON_LINES] = JsonLines()
    found: JsonLines = meta[JSON_LINES]
    return found
