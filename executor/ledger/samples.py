"""The history of runs: samples are appended by the processes, and read one by one, in steps of time, or as a sum."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from executor.ledger.database import Database, Row, by_name
from executor.ledger.values import Worker
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import (
    NOTHING,
    SIDES,
    Activity,
    FlowCounts,
    FlowPoint,
    FlowSample,
    SideCounts,
)
from schema.process_view import ProcessView

WHOLE_RUN = 1e12
"""Seconds of a step that no run outlasts."""
SHORTEST_STEP = 10.0
"""Seconds; samples are no finer."""
_PLAIN = ("seconds", "objects", "failed", "bytes", "processor_seconds", "processor_wait_seconds", "saturated_seconds")
_OF_SIDE = ("throttled", "failed", "bytes", "seconds")
_WHOLE = frozenset({"objects", "failed", "bytes", "throttled", "requests"})
_LISTS: Mapping[str, type[Activity | RequestClass]] = {
    "threads": Activity,
    "source_requests": RequestClass,
    "destination_requests": RequestClass,
}
_SUMS = ", ".join(
    [f"sum({name}) AS {name}" for name in _PLAIN]
    + [f"sum({side.value}_{name}) AS {side.value}_{name}" for side in SIDES for name in _OF_SIDE]
    + [
        f"ARRAY[{', '.join(f'coalesce(sum({name}[{member:d}]), 0)' for member in members)}] AS {name}"
        for name, members in _LISTS.items()
    ]
)
_STEP = "floor(extract(epoch FROM at) / :step)"
_HISTORY = f"""
    SELECT {_STEP} AS step, {_SUMS} FROM ledger.flow_sample WHERE run_id = :run_id GROUP BY 1 ORDER BY 1"""
_LIMITED = f"""
    SELECT {_STEP} AS step, held.key AS name, sum(CAST(held.value AS float8)) AS seconds
      FROM ledger.flow_sample, json_each_text(limit_seconds) held WHERE run_id = :run_id GROUP BY 1, 2"""
_SPAN = """
    SELECT coalesce(extract(epoch FROM max(at) - min(at) + make_interval(secs => max(seconds))), 0)::float8
      FROM ledger.flow_sample WHERE run_id = :run_id"""


@dataclass(frozen=True, slots=True)
class NewSample:
    """A sample to be appended; the ledger's clock dates it."""

    number: int
    """From 1; a sample that is appended twice is appended once."""
    ago: float
    """Seconds since the end of its interval."""
    counts: FlowCounts
    view: ProcessView
    buffer_bytes: int
    buffer_limit: int


class Samples:
    """See schema.flow.samples for what is in a sample.

    What a killed process did since its last sample is lost; Reports.progress gives the objects and bytes of a run,
    counting what is durable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, worker: Worker, samples: Sequence[NewSample]) -> None:
        """Add *samples* of one process."""
        with self._database.transaction() as transaction:
            now = transaction.value("SELECT extract(epoch FROM clock_timestamp())::float8")
            rows = [_row(worker, sample, now - sample.ago) for sample in samples]
            transaction.insert("flow_sample", rows, on_conflict="DO NOTHING")

    def latest(self, run_id: int, *, seconds: float) -> list[FlowSample]:
        """The samples of the run's last *seconds*, looking back from the newest one; by moment."""
        with self._database.transaction() as transaction:
            rows = transaction.rows(
                """
                SELECT * FROM ledger.flow_sample WHERE run_id = :run_id
                   AND at > (SELECT max(at) FROM ledger.flow_sample WHERE run_id = :run_id)
                          - make_interval(secs => :seconds)
                 ORDER BY at, worker_id""",
                run_id=run_id,
                seconds=seconds,
            )
        return [_sample(row) for row in rows]

    def last_completion(self, run_id: int) -> datetime | None:
        """The end of the last sample in which an object was finished; None: there is no such sample."""
        with self._database.transaction() as transaction:
            found: datetime | None = transaction.value(
                "SELECT max(at) FROM ledger.flow_sample WHERE run_id = :run_id AND objects > 0", run_id=run_id
            )
        return found

    def total(self, run_id: int) -> FlowCounts:
        """All samples of the run added up; `seconds` is the time of its processes."""
        points = self._points(run_id, WHOLE_RUN)
        return points[0].counts if points else NOTHING

    def history(self, run_id: int, *, points: int = 200) -> list[FlowPoint]:
        """The run in at most *points* steps of equal length (ten seconds at least), oldest first.

        A step in which no process lived is left out. A sample counts in the step in which it ends.
        """
        with self._database.transaction() as transaction:
            span = float(transaction.value(_SPAN, run_id=run_id))
        return self._points(run_id, max(SHORTEST_STEP, span / max(1, points - 1)))

    def _points(self, run_id: int, step: float) -> list[FlowPoint]:
        with self._database.transaction() as transaction:
            rows = transaction.rows(_HISTORY, run_id=run_id, step=step)
            limited = transaction.rows(_LIMITED, run_id=run_id, step=step)
        held: dict[Any, dict[str, float]] = {}
        for row in limited:
            held.setdefault(row.step, {})[row.name] = row.seconds
        return [
            FlowPoint(_moment(float(row.step) * step), step, _counts(by_name(row), held.get(row.step, {})))
            for row in rows
        ]


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def _row(worker: Worker, sample: NewSample, epoch: float) -> dict[str, Any]:
    counts = sample.counts
    row: dict[str, Any] = {
        "run_id": worker.run_id,
        "worker_id": worker.worker_id,
        "number": sample.number,
        "at": _moment(epoch),
        **{name: getattr(counts, name) for name in _PLAIN},
        "threads": [counts.threads.get(activity, 0.0) for activity in Activity],
        "limit_seconds": json.dumps(dict(counts.limit_seconds)),
    }
    for side in SIDES:
        of_side = counts.of(side)
        row[f"{side.value}_requests"] = [of_side.requests.get(kind, 0) for kind in RequestClass]
        row |= {f"{side.value}_{name}": getattr(of_side, name) for name in _OF_SIDE}
    return {
        **row,
        "buffer_bytes": sample.buffer_bytes,
        "buffer_limit": sample.buffer_limit,
        "view": json.dumps(sample.view.to_json()),
    }


def _sample(row: Row) -> FlowSample:
    said = by_name(row)
    return FlowSample(
        worker_id=row.worker_id,
        number=row.number,
        at=row.at,
        counts=_counts(said, row.limit_seconds),
        view=ProcessView.from_json(row.view),
        buffer_bytes=row.buffer_bytes,
        buffer_limit=row.buffer_limit,
    )


def _counts(said: Mapping[str, Any], limit_seconds: Mapping[str, float]) -> FlowCounts:
    return FlowCounts(
        **{name: _number(name, said[name]) for name in _PLAIN},
        threads=_by_member(Activity, said["threads"]),
        limit_seconds=limit_seconds,
        sides={side: _side(said, side) for side in SIDES},
    )


def _side(said: Mapping[str, Any], side: WhichSide) -> SideCounts:
    requests = said[f"{side.value}_requests"]
    return SideCounts(
        {kind: int(number) for kind, number in _by_member(RequestClass, requests).items()},
        **{name: _number(name, said[f"{side.value}_{name}"]) for name in _OF_SIDE},
    )


def _number(name: str, value: Any) -> Any:
    """Sums of bigint come as Decimal."""
    return int(value) if name in _WHOLE else float(value)


def _by_member(members: Iterable[Any], values: Sequence[Any]) -> dict[Any, float]:
    """What is not 0, by member; an array of an older version is shorter."""
    return {member: float(value) for member, value in zip(members, values, strict=False) if value}
