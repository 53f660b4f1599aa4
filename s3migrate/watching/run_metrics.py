"""The metrics of every run, from the ledger: the same whether its processes are alive, dead or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from executor.ledger.values import RunState
from s3migrate import __version__
from s3migrate.watching.families import Samples, family
from s3migrate.watching.registry import RUN_METRICS
from s3migrate.watching.snapshot import RunSnapshot
from schema.flow.samples import SIDES
from schema.limits import CLOSED

Figures = Iterable[tuple[tuple[str, ...], float | None]]
"""Labels after run and name, and the value; None: unknown, not exported."""


class RunCollector(Collector):
    """Exports snapshots."""

    def __init__(self, snapshots: Sequence[RunSnapshot]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        """One family for each metric of RUN_METRICS."""
        for metric in RUN_METRICS:
            yield family(metric.name, [s for snapshot in self._snapshots for s in _samples(metric.name, snapshot)])


def _samples(name: str, snapshot: RunSnapshot) -> Samples:
    run = (str(snapshot.run.run_id), snapshot.run.name)
    figures = _FIGURES[name](snapshot)
    return [((*run, *labels), float(value)) for labels, value in figures if value is not None]


def _state(snapshot: RunSnapshot) -> Figures:
    closed = snapshot.closed is not None and snapshot.progress.state is RunState.OPEN
    for state in RunState:
        yield (state.name.lower(),), float(snapshot.progress.state is state and not closed)
    yield (CLOSED,), float(closed)


def _objects(snapshot: RunSnapshot) -> Figures:
    progress = snapshot.progress
    yield ("planned",), progress.objects
    yield ("done",), progress.done
    yield ("failed",), progress.failed
    yield ("restoring",), progress.restoring
    yield ("left",), progress.objects - progress.done - progress.failed


def _chunks(snapshot: RunSnapshot) -> Figures:
    for state in ("ready", "leased", "blocked", "parked"):
        yield (state,), getattr(snapshot.progress, state)


def _eta(snapshot: RunSnapshot) -> Figures:
    if snapshot.eta is not None:
        yield from (((bound,), seconds) for bound, seconds in snapshot.eta._asdict().items())


def _requests(snapshot: RunSnapshot) -> Figures:
    for side in SIDES:
        for kind, number in snapshot.total.of(side).requests.items():
            yield (side.value, kind.name.lower()), number


def _age(snapshot: RunSnapshot) -> float:
    progress = snapshot.progress
    return ((progress.finished_at or progress.now) - progress.started_at).total_seconds()


def _completed(snapshot: RunSnapshot) -> Figures:
    last = snapshot.last_completion
    yield (), None if last is None else last.timestamp()


_FIGURES: Mapping[str, Callable[[RunSnapshot], Figures]] = {
    "s3migrate_run_info": lambda s: [((s.run.plan_id, str(s.run.serial), __version__), 1)],
    "s3migrate_run_state": _state,
    "s3migrate_objects": _objects,
    "s3migrate_bytes": lambda s: [(("planned",), s.progress.bytes), (("done",), s.progress.bytes_done)],
    "s3migrate_ended_objects_total": lambda s: [((o.name.lower(),), n) for o, n in s.progress.by_outcome.items()],
    "s3migrate_ended_bytes_total": lambda s: [((), s.progress.bytes_done)],
    "s3migrate_failures_total": lambda s: [((reason,), n) for reason, n in s.failed_by.items()],
    "s3migrate_chunks": _chunks,
    "s3migrate_workers": lambda s: [((), s.progress.workers)],
    "s3migrate_desired_workers": lambda s: [((), 0 if s.scaling is None else s.scaling.desired_workers)],
    "s3migrate_eta_seconds": _eta,
    "s3migrate_planned_duration_seconds": lambda s: [((), s.planned_seconds)],
    "s3migrate_run_age_seconds": lambda s: [((), _age(s))],
    "s3migrate_last_completion_timestamp_seconds": _completed,
    "s3migrate_verified_objects_total": lambda s: [
        (("proven",), s.progress.verified),
        (("not proven",), s.progress.verify_failed),
    ],
    "s3migrate_run_requests_total": _requests,
    "s3migrate_run_thread_seconds_total": lambda s: [((a.name.lower(),), n) for a, n in s.total.threads.items()],
}
