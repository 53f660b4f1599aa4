"""Samples are made of what the threads were seen at and of differences of counters; none is lost with the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from executor.activity import ThreadActivity
from executor.apply.history import MOST_UNKEPT, SAMPLE_SECONDS, FlowHistory, Watched
from executor.apply.writer import Recorded
from executor.flow.side_counters import SideCounters
from executor.machine.buffers import ByteBudget
from schema.errors import WhichSide
from schema.flow.request_classes import RequestClass
from schema.flow.samples import Activity
from schema.process_view import EndpointView, ProcessView, WaitingKey

VIEW = ProcessView(2, "steady", {"h:443": EndpointView(waiting_keys=(WaitingKey("k", "SlowDown", 3, 4.0),))})


@dataclass
class Bench:
    """A process whose parts stand still until a test moves them."""

    pool: Any = field(default_factory=lambda: cast(Any, type("Pool", (), {"activities": []})()))
    writer: Any = field(default_factory=lambda: cast(Any, type("Writer", (), {"recorded": Recorded()})()))
    feeder: Any = field(default_factory=lambda: cast(Any, type("Feeder", (), {"activity": ThreadActivity()})()))
    source: SideCounters = field(default_factory=SideCounters)
    saturated: bool = False
    used: float = 0.0

    def history(self) -> FlowHistory:
        watched = Watched(self.pool, self.writer, self.feeder, ByteBudget(100), {WhichSide.SOURCE: self.source})
        return FlowHistory(watched, lambda: 0.0, processor_seconds=lambda: self.used, saturated=lambda: self.saturated)

    def threads(self, *doing: Activity) -> None:
        self.pool.activities = [ThreadActivity() for _ in doing]
        for thread, what in zip(self.pool.activities, doing, strict=True):
            thread.doing = what
            thread.limit = "bandwidth"


def test_threads_count_for_the_time_since_the_last_look() -> None:
    bench = Bench()
    history = bench.history()
    bench.threads(Activity.SOURCE, Activity.SOURCE, Activity.LIMIT)
    history.look(1.0)
    history.look(1.01)  # too soon
    bench.threads(Activity.DESTINATION, Activity.IDLE)
    history.look(1.5)
    history.take(1.5, VIEW)
    counts = history.unkept(1.5)[0].counts
    assert counts.threads == {
        Activity.SOURCE: 2.0, Activity.LIMIT: 1.0, Activity.DESTINATION: 0.5, Activity.IDLE: 0.5,
    }  # fmt: skip
    assert counts.limit_seconds == {"bandwidth": 1.0}


def test_an_idle_thread_waits_for_the_ledger_while_a_claim_is_asked_for() -> None:
    bench = Bench()
    history = bench.history()
    bench.threads(Activity.IDLE)
    bench.feeder.activity.doing = Activity.LEDGER
    history.look(1.0)
    history.take(1.0, VIEW)
    assert history.unkept(1.0)[0].counts.threads == {Activity.LEDGER: 1.0}


def test_counts_are_differences_and_the_first_sample_has_what_was_asked_before() -> None:
    bench = Bench()
    bench.source.mine().requests["ListObjectsV2"] += 1
    history = bench.history()
    bench.source.mine().requests["GetObject"] += 2
    bench.writer.recorded, bench.used, bench.saturated = Recorded(2, 1, 300), 0.5, True
    history.look(2.0)
    history.take(2.0, VIEW)
    bench.source.mine().requests["GetObject"] += 1
    history.take(5.0, VIEW)
    first, second = (sample.counts for sample in history.unkept(5.0))
    assert first.of(WhichSide.SOURCE).requests == {RequestClass.LIST: 1, RequestClass.GET: 2}
    assert (first.seconds, first.objects, first.failed, first.bytes) == (2.0, 2, 1, 300)
    assert (first.processor_seconds, first.saturated_seconds) == (0.5, 2.0)
    assert second.of(WhichSide.SOURCE).requests == {RequestClass.LIST: 0, RequestClass.GET: 1}
    assert (second.seconds, second.objects, second.threads) == (3.0, 0, {})


def test_samples_are_held_while_the_ledger_is_away_and_know_how_old_they_are() -> None:
    history = Bench().history()
    assert not history.due(SAMPLE_SECONDS / 2) and history.due(SAMPLE_SECONDS)
    history.take(10.0, VIEW)
    history.take(20.0, VIEW)
    assert [(sample.number, sample.ago) for sample in history.unkept(25.0)] == [(1, 15.0), (2, 5.0)]
    history.kept()
    assert history.unkept(26.0) == []
    for n in range(MOST_UNKEPT):
        history.take(30.0 + n, VIEW)
    assert not history.due(1e6)


def test_no_key_goes_into_the_history() -> None:
    history = Bench().history()
    history.take(1.0, VIEW)
    assert history.unkept(1.0)[0].view.endpoints["h:443"].waiting_keys == ()
