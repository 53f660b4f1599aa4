"""What the operator has to look at, and the command that helps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from executor.ledger.values import DRIFTED, RunState
from s3migrate.views.run_view import restoring_text
from s3migrate.views.worker_view import SILENT_SECONDS
from s3migrate.watching.snapshot import RunSnapshot
from schema.formats.quantities import counted_text, duration_text
from schema.limits import CLOSED, closed_text


class Need(NamedTuple):
    """One thing to look at."""

    what: str
    command: str
    """To be copied; '' if no command helps."""


def needs_of(snapshot: RunSnapshot) -> Iterator[Need]:
    """Most urgent first; nothing when the run goes well."""
    progress = snapshot.progress
    run_id = progress.run_id
    working = progress.state is RunState.OPEN
    if snapshot.closed is not None:
        command = f"s3migrate limit {run_id} {CLOSED}=none"
        yield Need(f"The calendar is {closed_text(snapshot.closed.ends)}: to run anyway, open it.", command)
    elif working and progress.workers == 0:
        yield Need("No process is working on this run: start one with the plan file.", "s3migrate apply PLAN")
    for worker in snapshot.workers:
        if worker.silent_seconds > SILENT_SECONDS and working:
            silent = duration_text(worker.silent_seconds)
            yield Need(f"Process {worker.process.pid} on {worker.host} has been silent for {silent}.", "")
        if worker.seen is not None and worker.seen.waiting:
            yield Need(f"Process {worker.process.pid} on {worker.host} waits: {worker.seen.waiting}", "")
    if progress.failed:
        given_up = counted_text(progress.failed, "object")
        yield Need(f"{given_up} failed for good; fix the cause, then try them again.", f"s3migrate retry {run_id}")
    if progress.verify_failed:
        yield Need(
            f"{counted_text(progress.verify_failed, 'object')} could not be proven.", f"s3migrate status {run_id}"
        )
    drifted = sum(progress.by_outcome.get(outcome, 0) for outcome in DRIFTED)
    if drifted:
        changed = counted_text(drifted, "object")
        yield Need(f"{changed} changed since the plan and were left alone: plan again.", "s3migrate plan")
    if progress.restoring and working:
        yield Need(f"{restoring_text(progress)}.", "")
