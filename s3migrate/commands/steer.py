"""retry, limit, unlock: words to a run in the ledger."""

from __future__ import annotations

import click

from executor.flow.limits import AS_PLANNED, LIFTED
from executor.ledger.ledger import Ledger
from executor.ledger.values import Run, RunState
from s3migrate.commands.common import json_lines, json_option, told_as_json
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger
from schema.errors import UsageError
from schema.limits import LIMITS
from schema.quantities import counted_text

ENDED = frozenset({RunState.COMPLETE, RunState.FAILED, RunState.SUPERSEDED})
_WORDS = {"none": LIFTED, "plan": AS_PLANNED}


def chosen_run(ledger: Ledger, run_id: int | None) -> Run:
    """The run named, or the latest. Raises UsageError when there is none."""
    if run_id is None:
        latest = ledger.runs.latest()
        if latest is None:
            raise UsageError("the ledger has no run yet; `s3migrate apply PLAN` begins one")
        return latest
    for run in ledger.runs.all():
        if run.run_id == run_id:
            return run
    raise UsageError(f"the ledger has no run {run_id}; `s3migrate status --all` lists them")


@click.command("retry", short_help="Make failed objects ready again; then apply.")
@click.argument("run_id", metavar="RUN", type=int, required=False)
@json_option
@told_as_json
def retry_command(run_id: int | None, as_json: bool) -> None:
    """Make the failed objects of RUN (default: the latest) ready again; then apply its plan."""
    ledger = open_ledger(read_settings())
    try:
        run = chosen_run(ledger, run_id)
        chunks = ledger.runs.retry(run.run_id)
    finally:
        ledger.close()
    if as_json:
        json_lines().emit({"type": "retry", "run_id": run.run_id, "chunks": chunks})
    else:
        again = f"made ready again: {counted_text(chunks, 'chunk')}; apply its plan to work on them."
        click.echo(f"Run {run.run_id}: " + (again if chunks else "nothing of it has failed for good; nothing to do."))


_EXAMPLES = ", ".join(f"{name}={limit.example}" for name, limit in LIMITS.items())
_LIMIT_HELP = f"""Change a limit of RUN while it is running: {_EXAMPLES}.

The limit is the whole run's, at each endpoint; its processes share it. It overrides the plan's limit and its calendar
until NAME=plan restores the plan's value. NAME=none lifts the limit.
"""


@click.command("limit", help=_LIMIT_HELP, short_help="Change a limit of a run while it works.")
@click.argument("run_id", metavar="RUN", type=int)
@click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
@json_option
@told_as_json
def limit_command(run_id: int, settings: tuple[str, ...], as_json: bool) -> None:
    """See _LIMIT_HELP."""
    wanted = dict(map(limit_of, settings))
    ledger = open_ledger(read_settings())
    try:
        run = chosen_run(ledger, run_id)
        for name, figure in wanted.items():
            ledger.runs.set_limit(run.run_id, name, figure)
    finally:
        ledger.close()
    if as_json:
        json_lines().emit({"type": "limit", "run_id": run_id, "limits": wanted})
    else:
        click.echo(f"Run {run_id}: " + ", ".join(settings) + _when(run.state))


def _when(state: RunState) -> str:
    if state in ENDED:
        return f"; but the run is {state.name.lower()}: nothing is left to be limited."
    return "; its processes follow within a second or two."


def limit_of(setting: str) -> tuple[str, float]:
    """NAME=VALUE as the ledger keeps it. Raises UsageError."""
    name, _, value = setting.partition("=")
    if name not in LIMITS:
        raise UsageError(f"{name!r} is not a limit; there are: {', '.join(LIMITS)}")
    if value in _WORDS:
        return name, _WORDS[value]
    try:
        return name, float(LIMITS[name].parse(value))
    except ValueError as error:
        raise UsageError(f"{setting!r}: {error}; `{name}=none` lifts the limit") from None


@click.command("unlock", short_help="Take the destination lock from a run.")
@click.argument("lock_id")
@told_as_json
def unlock_command(lock_id: str) -> None:
    """Take the destination lock LOCK_ID from its run: its processes are fenced, what they did is kept."""
    ledger = open_ledger(read_settings())
    try:
        ledger.scopes.unlock(lock_id)
    finally:
        ledger.close()
    click.echo(f"Lock {lock_id} is released; the run's processes can claim no more.")
