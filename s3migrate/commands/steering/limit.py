"""limit: change a limit of a run while it works."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

import click

from executor.flow.limits import AS_PLANNED, LIFTED
from executor.ledger.values import ENDED, RunState
from s3migrate.commands.common import chosen_run, json_errors, json_lines, json_option
from s3migrate.settings import read_settings
from s3migrate.wiring import open_ledger
from schema.errors import UsageError
from schema.limits import CLOSED, LIMITS

_WORDS = {"none": LIFTED, "plan": AS_PLANNED}


_EXAMPLES = ", ".join(f"{name}={limit.example}" for name, limit in LIMITS.items())
_LIMIT_HELP = f"""Change a limit of RUN while it is running: {_EXAMPLES}.

The limit is the whole run's, at each endpoint; its processes share it. It overrides the plan's limit and its calendar
until NAME=plan restores the plan's value. NAME=none lifts the limit; {CLOSED}=none opens a closed calendar.
"""


@click.command("limit", help=_LIMIT_HELP, short_help="Change a limit of a run while it works.")
@click.argument("run_id", metavar="RUN", type=int)
@click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
@json_option
@json_errors
def limit_command(run_id: int, settings: tuple[str, ...], as_json: bool) -> None:
    """See _LIMIT_HELP."""
    wanted = dict(map(limit_of, settings))
    with closing(open_ledger(read_settings())) as ledger:
        run = chosen_run(ledger, run_id)
        for name, figure in wanted.items():
            ledger.runs.set_limit(run.run_id, name, figure)
    if as_json:
        json_lines().emit({"type": "limit", "run_id": run_id, "limits": wanted})
    else:
        click.echo(f"Run {run_id}: " + ", ".join(settings) + _when(run.state, wanted))


def _when(state: RunState, wanted: Collection[str]) -> str:
    if state in ENDED and CLOSED in wanted:
        return f"; the run is {state.name.lower()}, and who verifies or certifies it follows within a second or two."
    if state in ENDED:
        return f"; but the run is {state.name.lower()}: nothing is left to limit."
    return "; its processes follow within two seconds."


def limit_of(setting: str) -> tuple[str, float]:
    """NAME=VALUE as the ledger keeps it. Raises UsageError."""
    name, _, value = setting.partition("=")
    if name not in LIMITS and name != CLOSED:
        raise UsageError(f"{name!r} is not a limit; the limits are {', '.join([*LIMITS, CLOSED])}")
    if value in _WORDS:
        return name, _WORDS[value]
    if name == CLOSED:
        raise UsageError(f"{setting!r}: a calendar can only be opened by hand; to stop the run: `s3migrate pause`")
    try:
        return name, float(LIMITS[name].parse(value))
    except ValueError as error:
        raise UsageError(f"{setting!r}: {error}; `{name}=none` lifts the limit") from None
