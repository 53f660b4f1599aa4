"""Each process finds the quickest of the declared endpoints by a few of its own transfers, and mends mistakes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from schema.declaration import Side
from schema.errors import ConnectionFailed, StoreError
from schema.tiers import MIB
from storage.endpoint_trials import MEASURED, TRIAL, EndpointTrials, Trials
from storage.port import UNOBSERVED, RequestSample


@dataclass(frozen=True)
class Link:
    """A way to the bucket: so many seconds before an answer, and bytes a second of all transfers together."""

    latency: float
    capacity: float
    error: StoreError | None = None

    def seconds(self, size: int, under_way: int) -> float:
        return self.latency + size * under_way / self.capacity


NEAR = Link(0.001, 5e6)
FAR = Link(0.060, 100e6)


def run(
    links: Callable[[float], Sequence[Link]], *, size: int, seconds: float, threads: int = 16, at: int = 0
) -> tuple[Trials, list[int]]:
    """*threads* that transfer without a pause; the trials at the end, and the way of each transfer."""
    trials = Trials(len(links(0.0)), at)
    under_way: Counter[int] = Counter()
    taken: list[int] = []
    events = [(n * 1e-6, n, -1, RequestSample("", 0, 0, 0, None)) for n in range(threads)]
    while events:
        now, thread, way, sample = heapq.heappop(events)
        if way >= 0:
            under_way[way] -= 1
            trials.ended(way, sample, now)
        if now >= seconds:
            continue
        way = trials.begins(now)
        taken.append(way)
        under_way[way] += 1
        link = links(now)[way]
        took = link.seconds(size, under_way[way])
        heapq.heappush(events, (now + took, thread, way, RequestSample("PutObject", took, took, size, link.error)))
    return trials, taken


def always(*links: Link) -> Callable[[float], Sequence[Link]]:
    return lambda _now: links


def test_for_large_objects_throughput_wins_over_latency() -> None:
    trials, taken = run(always(NEAR, FAR), size=MIB, seconds=120)
    assert trials.at == 1
    assert taken[: taken.index(1)].count(0) < 3 * MEASURED, "it was found out early"
    assert taken.count(0) < 0.1 * len(taken)


def test_for_small_objects_latency_does() -> None:
    trials, taken = run(always(NEAR, FAR), size=1000, seconds=3)
    assert trials.at == 0
    assert taken.count(1) <= 2 * TRIAL, "one trial, and no more transfers than belong to it"
    trials, taken = run(always(NEAR, FAR), size=1000, seconds=3, at=1)
    assert trials.at == 0, "also where the plan had chosen the other"


def test_a_way_that_only_looks_quick_to_a_few_is_left_again() -> None:
    """Eight transfers fit through it, sixty-four do not."""
    narrow, wide = Link(0.001, 30e6), Link(0.050, 60e6)
    trials, taken = run(always(wide, narrow), size=MIB, seconds=600, threads=64)
    assert trials.at == 0
    assert taken.count(1) < 0.1 * len(taken)


def test_what_becomes_slow_is_left() -> None:
    def links(now: float) -> Sequence[Link]:
        return (FAR, Link(0.050, 20e6)) if now < 100 else (Link(0.060, 2e6), Link(0.050, 20e6))

    trials, taken = run(links, size=MIB, seconds=600)
    assert taken[:1000].count(1) < 100, "control: while it is quick it is used"
    assert trials.at == 1


def test_workers_in_two_regions_each_take_their_own() -> None:
    at_home, abroad = Link(0.002, 200e6), Link(0.080, 20e6)
    assert [run(always(*links), size=MIB, seconds=60)[0].at for links in ((at_home, abroad), (abroad, at_home))] == [
        0,
        1,
    ]


def test_a_trial_that_fails_ends_at_once() -> None:
    trials, taken = run(always(FAR, Link(0.001, 1e9, ConnectionFailed("refused"))), size=MIB, seconds=60)
    assert (trials.at, 0 < taken.count(1) <= TRIAL) == (0, True)


class Moves:
    """A store that only remembers where it was moved."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def move_to(self, endpoint_url: str) -> None:
        self.urls.append(endpoint_url)


def transfer(trials: EndpointTrials, count: int, now: list[float], *, seconds: Callable[[], float]) -> None:
    for _ in range(count):
        trials.before("PutObject", MIB)
        took = seconds()
        now[0] += took
        trials.after(RequestSample("PutObject", took, 0.0, MIB, None))


def test_the_store_is_moved_for_a_trial_and_stays_where_it_was_better() -> None:
    now, store = [0.0], Moves()
    side = Side("x", endpoint_url="http://a", endpoint_candidates=("http://a", "http://b"))
    trials = EndpointTrials(UNOBSERVED, side, clock=lambda: now[0])
    trials.store = store

    def seconds() -> float:
        return 0.05 if store.urls[-1:] == ["http://b"] else 0.5

    transfer(trials, MEASURED, now, seconds=seconds)
    assert (store.urls, trials.in_use()) == ([], "http://a")
    transfer(trials, 2 * MEASURED, now, seconds=seconds)
    assert (store.urls, trials.in_use()) == (["http://b"], "http://b")
    trials.move_to("http://a")
    assert (store.urls[-1], trials.in_use()) == ("http://a", "http://a"), "the one in use was away"


@pytest.mark.parametrize("operation", ["HeadObject", "ListObjectsV2"])
def test_what_moves_no_bytes_measures_nothing(operation: str) -> None:
    side = Side("x", endpoint_url="http://a", endpoint_candidates=("http://a", "http://b"))
    trials = EndpointTrials(UNOBSERVED, side, clock=lambda: 0.0)
    store = trials.store = Moves()
    for _ in range(3 * MEASURED):
        trials.before(operation, 0)
        trials.after(RequestSample(operation, 0.5, 0.5, 0, None))
    assert store.urls == []
