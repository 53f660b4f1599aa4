"""The history of a run as the ledger keeps it: what was written is read, and sums are sums."""

from __future__ import annotations

from support.ledger_plan import chunk_specs, ledger_plan

from executor.ledger.ledger import Ledger
from executor.ledger.samples import NewSample
from executor.ledger.values import Worker
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import NOTHING, Activity, FlowCounts, SideCounts
from schema.limits import RunLimits
from schema.process_view import EndpointView, ProcessView

SIDES = {
    WhichSide.SOURCE: SideCounts({RequestClass.GET: 7, RequestClass.LIST: 1}, 2, 1, 500, 1.5),
    WhichSide.DESTINATION: SideCounts({RequestClass.PUT: 5}, 0, 0, 450, 2.5),
}
COUNTS = FlowCounts(
    10.0, 5, 1, 450, 3.0, 2.0, 1.0, {Activity.SOURCE: 20.0, Activity.LIMIT: 4.0}, {"bandwidth": 4.0}, SIDES
)  # fmt: skip
VIEW = ProcessView(4, "more gave more", {"h:443": EndpointView(rtt_ms=1.5)}, limits=RunLimits({"bandwidth": 5.0}))


def joined(ledger: Ledger) -> Worker:
    plan = ledger_plan()
    run = ledger.runs.accept(plan, chunk_specs(plan), who="ann", tool_version="0")
    return ledger.workers.join(run, "h", 1, tool_version="0")


def sample(number: int, ago: float) -> NewSample:
    return NewSample(number, ago, COUNTS, VIEW, 64, 128)


def test_a_sample_is_read_as_it_was_written(ledger: Ledger) -> None:
    worker = joined(ledger)
    ledger.samples.append(worker, [sample(1, 0.0)])
    (found,) = ledger.samples.latest(worker.run_id, seconds=60)
    assert (found.worker_id, found.number, found.counts, found.view) == (worker.worker_id, 1, COUNTS, VIEW)
    assert (found.buffer_bytes, found.buffer_limit) == (64, 128)


def test_the_latest_are_those_of_the_last_seconds_before_the_newest(ledger: Ledger) -> None:
    worker = joined(ledger)
    ledger.samples.append(worker, [sample(n, ago) for n, ago in ((1, 400.0), (2, 350.0), (3, 310.0))])
    assert [found.number for found in ledger.samples.latest(worker.run_id, seconds=60)] == [2, 3]


def test_a_sample_appended_twice_is_there_once_and_the_sum_is_the_sum(ledger: Ledger) -> None:
    worker = joined(ledger)
    other = ledger.workers.join(ledger.runs.all()[0], "h", 2, tool_version="0")
    ledger.samples.append(worker, [sample(1, 20.0)])
    ledger.samples.append(worker, [sample(1, 20.0), sample(2, 10.0)])
    ledger.samples.append(other, [sample(1, 0.0)])
    assert ledger.samples.total(worker.run_id) == COUNTS + COUNTS + COUNTS


def test_the_history_has_at_most_so_many_steps_and_loses_nothing(ledger: Ledger) -> None:
    worker = joined(ledger)
    ledger.samples.append(worker, [sample(n, 10.0 * (100 - n)) for n in range(1, 101)])
    points = ledger.samples.history(worker.run_id, points=20)
    assert 10 <= len(points) <= 21
    assert {round(point.seconds) for point in points} == {round(1000 / 19)}
    assert [point.begins for point in points] == sorted(point.begins for point in points)
    assert sum((point.counts for point in points), NOTHING).objects == 500
    assert sum(point.counts.limit_seconds["bandwidth"] for point in points) == 400.0


def test_a_run_without_samples_has_no_history(ledger: Ledger) -> None:
    worker = joined(ledger)
    assert ledger.samples.latest(worker.run_id, seconds=60) == []
    assert ledger.samples.total(worker.run_id) == NOTHING
    assert ledger.samples.history(worker.run_id) == []
